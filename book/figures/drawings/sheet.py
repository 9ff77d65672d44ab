"""What all drawings of the book are made of: one sheet, one set of colours for light and for dark, one kind of arrow.

A drawing brings its own ground, so that it is legible on any page; browsers choose the colours by the page's own
setting. Colour is never the only difference: parts are labelled.
"""

from html import escape

STYLE = """
svg { --ground: #fbfaf7; --ink: #232f32; --soft: #5f6f72; --line: #7b8a8d;
  --blue: #d5e4f2; --teal: #cfe8e5; --green: #d8ecd9; --sand: #f6e2c6; --violet: #e5daf0; --plain: #ffffff;
  --strong: #1f6f76; }
@media (prefers-color-scheme: dark) { svg { --ground: #1b2224; --ink: #e9eded; --soft: #a9b4b6; --line: #8b9a9d;
  --blue: #28435c; --teal: #1f4c4a; --green: #28492d; --sand: #59411f; --violet: #43345a; --plain: #263034;
  --strong: #63c2bd; } }
text { font-family: "Segoe UI", Roboto, "Helvetica Neue", Arial, "Noto Sans", "DejaVu Sans", sans-serif;
  fill: var(--ink); }
.mono { font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.soft { fill: var(--soft); }
.edge { fill: none; stroke: var(--line); stroke-width: 1.6; }
.heavy { fill: none; stroke: var(--strong); stroke-width: 3; }
.dashed { stroke-dasharray: 5 4; }
.part { stroke: var(--line); stroke-width: 1.3; }
"""
COLOURS = ("blue", "teal", "green", "sand", "violet", "plain")


class Sheet:
    """Collects what is drawn; `svg()` is the file. Lengths are pixels at the drawing's natural size."""

    def __init__(self, width: int, height: int, title: str, says: str) -> None:
        self.width, self.height, self.title, self.says = width, height, title, says
        self.parts: list[str] = []

    def text(
        self, x: float, y: float, words: str, size: int = 14, anchor: str = "middle", kind: str = "", weight: int = 400
    ):
        """One line; `y` is its base line."""
        mark = f' class="{kind}"' if kind else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}"{mark}>'
            f"{escape(words)}</text>"
        )

    def box(
        self,
        x: float,
        y: float,
        w: float,
        h: float,
        words: str = "",
        colour: str = "plain",
        size: int = 14,
        round_: int = 6,
    ):
        """A rectangle with its words in the middle; a line break in them is one."""
        self.parts.append(
            f'<rect class="part" x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="{round_}"'
            f' fill="var(--{colour})"/>'
        )
        lines = words.split("\n") if words else []
        top = y + h / 2 + 0.36 * size - (len(lines) - 1) * 0.6 * size
        for number, line in enumerate(lines):
            self.text(x + w / 2, top + number * 1.2 * size, line, size)

    def circle(self, x: float, y: float, r: float, words: str = "", colour: str = "plain", size: int = 15):
        self.parts.append(f'<circle class="part" cx="{x:g}" cy="{y:g}" r="{r:g}" fill="var(--{colour})"/>')
        if words:
            self.text(x, y + 0.36 * size, words, size)

    def path(self, d: str, arrow: bool = True, kind: str = "edge"):
        end = f' marker-end="url(#{"big" if "heavy" in kind else "head"})"' if arrow else ""
        self.parts.append(f'<path class="{kind}" d="{d}"{end}/>')

    def arrow(self, x1: float, y1: float, x2: float, y2: float, kind: str = "edge"):
        self.path(f"M{x1:g} {y1:g}L{x2:g} {y2:g}", kind=kind)

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str = "edge"):
        self.path(f"M{x1:g} {y1:g}L{x2:g} {y2:g}", arrow=False, kind=kind)

    def grid(self, x: float, y: float, rows: int, columns: int, side: float, colour="plain", words=None):
        """Cells side by side; `colour` and `words` are one for all, or functions of row and column."""
        for row in range(rows):
            for column in range(columns):
                fill = colour(row, column) if callable(colour) else colour
                label = words(row, column) if words else ""
                self.box(x + column * side, y + row * side, side, side, label, fill, round(min(13, side * 0.45)), 1)

    def svg(self) -> str:
        def head(name: str, colour: str, size: float) -> str:
            return (
                f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="{size}" markerHeight="{size}"'
                f' orient="auto">'
                f'<path d="M0 0L8 4L0 8z" fill="var(--{colour})"/></marker>'
            )

        return "\n".join([
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}"'
            f' height="{self.height}" role="img">',
            f"<title>{escape(self.title)}</title><desc>{escape(self.says)}</desc>",
            f"<style>{STYLE}</style>",
            f"<defs>{head('head', 'line', 6.5)}{head('big', 'strong', 4)}</defs>",
            f'<rect width="{self.width}" height="{self.height}" rx="10" fill="var(--ground)"/>',
            *self.parts,
            "</svg>\n",
        ])  # fmt: skip
