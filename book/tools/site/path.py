"""The picture of the path through the book, drawn from the table of chapters in book/intro.md (see tables.py).

The book as a picture that has been cut into patches: one for each chapter, in raster order, in the colour of its part.
Planned chapters are pale and dashed. Every word stands on a ground of its own, so that it is legible on any page.
"""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

INTRO = Path(__file__).resolve().parents[2] / "intro.md"

COLUMNS, SIDE, GAP, MARGIN = 4, 140, 16, 4  # pixels
LETTERS = 14  # that fit into one line of a patch
GROUNDS = ("#2f5d8a", "#1f7573", "#2b7549", "#8a5318", "#6d4c8d")  # white on each: contrast of 5 : 1 or more
PALE, EDGE, INK, ARROW = "#d3dbdc", "#5f6f72", "#232f32", "#7b8a8d"

PART = re.compile(r"^\| *\| \*\*(?P<name>[^*]+)\*\* \|")
ROW = re.compile(r"^\| (?P<number>\d+) \| (?:\[(?P<written>[^\]]+)\]|(?P<planned>[^*|]+?) \*\(planned\)\*)")


@dataclass(frozen=True)
class Stop:
    """One chapter on the path."""

    number: int
    title: str
    part: int  # counts from 0
    opens: str  # the name of its part where it is the first of it, else ""
    written: bool


def stops(intro: str) -> Iterator[Stop]:
    """The chapters in the order of the table in the introduction."""
    part, opens = -1, ""
    for line in intro.splitlines():
        if match := PART.match(line):
            part, opens = part + 1, match["name"]
        elif match := ROW.match(line):
            title = match["written"] or match["planned"]
            yield Stop(int(match["number"]), title, part, opens, match["written"] is not None)
            opens = ""


def corner(index: int) -> tuple[int, int]:
    """Left and top of a patch, in raster order."""
    row, column = divmod(index, COLUMNS)
    return MARGIN + column * (SIDE + GAP), MARGIN + row * (SIDE + GAP)


def text(x: float, y: float, words: str, size: int, colour: str, weight: int = 400) -> str:
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" fill="{colour}">{escape(words)}</text>'


def patch(index: int, stop: Stop) -> Iterator[str]:
    """The square of one chapter: its number, its title and, where a part begins, the name of the part."""
    x, y = corner(index)
    ground, ink = (GROUNDS[stop.part % len(GROUNDS)], "#ffffff") if stop.written else (PALE, INK)
    edge = "" if stop.written else f' stroke="{EDGE}" stroke-width="1.5" stroke-dasharray="5 4"'
    yield f'<rect x="{x}" y="{y}" width="{SIDE}" height="{SIDE}" rx="9" fill="{ground}"{edge}/>'
    yield text(x + 11, y + 33, str(stop.number), 25, ink, 700)
    if not stop.written:
        yield text(x + 72, y + 30, "planned", 13, ink)
    for line, words in enumerate(textwrap.wrap(stop.title, LETTERS)):
        yield text(x + 11, y + 58 + 19 * line, words, 16, ink, 600)
    opens = textwrap.wrap(stop.opens, 18)
    for line, words in enumerate(opens):
        yield text(x + 11, y + SIDE - 11 - 15 * (len(opens) - 1 - line), words, 13, ink)


def step(index: int) -> str:
    """The arrow from one patch to the next: to the right, or back to the start of the next row."""
    x, y = corner(index)
    if (index + 1) % COLUMNS:
        middle = y + 28
        return f'<path d="M{x + SIDE + 1} {middle}h{GAP - 5}" marker-end="url(#head)"/>'
    below, left = y + SIDE + GAP / 2, MARGIN + 28
    return f'<path d="M{x + SIDE - 28} {y + SIDE + 1}V{below:g}H{left}v{GAP / 2 - 4:g}" marker-end="url(#head)"/>'


def draw(intro: str) -> str:
    """The whole picture as SVG."""
    path = list(stops(intro))
    rows = -(-len(path) // COLUMNS)
    width, height = (2 * MARGIN + count * (SIDE + GAP) - GAP for count in (COLUMNS, rows))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' font-family="Helvetica, Arial, sans-serif">',
        f'<defs><marker id="head" viewBox="0 0 6 6" refX="3" refY="3" markerWidth="5" markerHeight="5" orient="auto">'
        f'<path d="M0 0L6 3L0 6z" fill="{ARROW}"/></marker></defs>',
        f'<g fill="none" stroke="{ARROW}" stroke-width="2">',
        *(step(index) for index in range(len(path) - 1)),
        "</g>",
        *(line for index, stop in enumerate(path) for line in patch(index, stop)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"
