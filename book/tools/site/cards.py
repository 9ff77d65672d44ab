"""Sphinx extension: the picture that a shared link shows, with the best figure of the chapter that it leads to.

A cell's metadata `{"vitedu": {"card": true}}` makes its picture the chapter's. The other pages, and chapters without
one, show the book's own drawing.
"""

import base64
import io
import re
import textwrap
from functools import cache
from pathlib import Path

from docutils import nodes
from PIL import Image, ImageDraw, ImageFont
from sphinx.application import Sphinx

from book.tools.site.chapters import ROOT, Chapter, all_chapters

SIZE = (1200, 630)  # pixels: what the large services show uncut
LEFT = 440  # width of the column of words
MARGIN = 48
GROUND, INK, ACCENT, MUTED = "#fbfaf7", "#232f32", "#1f6f76", "#5f6f72"
BOOK = "Vision Transformers from the ground up"
FALLBACK = ROOT / "book" / "figures" / "card.png"


def figure_of(chapter: Chapter) -> Image.Image | None:
    """The picture of the cell that is marked, or None."""
    for cell in chapter.notebook["cells"]:
        if cell["metadata"].get("vitedu", {}).get("card"):
            for output in cell["outputs"]:
                if "image/png" in output.get("data", {}):
                    return Image.open(io.BytesIO(base64.b64decode("".join(output["data"]["image/png"]))))
    return None


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)  # Pillow brings one, so that cards are alike on every machine


def write(draw: ImageDraw.ImageDraw, top: int, words: str, size: int, colour: str, letters: int) -> int:
    """Lines of words from `top` down, in the left column; returns where they end."""
    for line in textwrap.wrap(words, letters):
        draw.text((MARGIN, top), line, font=font(size), fill=colour)
        top += round(1.25 * size)
    return top


def card(title: str, figure: Image.Image | None) -> Image.Image:
    """Title and book on the left, the figure on the right, as large as it fits."""
    picture = Image.new("RGB", SIZE, GROUND)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, 14, SIZE[1]), fill=ACCENT)
    number, _, name = title.rpartition(" · ")
    top = 90
    if number:
        top = write(draw, top, f"Chapter {number}", 30, ACCENT, 24) + 14
    write(draw, top, name, 50, INK, 16)
    write(draw, SIZE[1] - 120, BOOK, 27, MUTED, 30)
    if figure:
        box = (MARGIN + LEFT, MARGIN, SIZE[0] - MARGIN, SIZE[1] - MARGIN)
        figure = flat(figure)
        scale = min((box[2] - box[0]) / figure.width, (box[3] - box[1]) / figure.height)
        figure = figure.resize((round(figure.width * scale), round(figure.height * scale)), Image.Resampling.LANCZOS)
        place = ((box[0] + box[2] - figure.width) // 2, (box[1] + box[3] - figure.height) // 2)
        draw.rectangle(
            (place[0] - 14, place[1] - 14, place[0] + figure.width + 14, place[1] + figure.height + 14), fill="white"
        )
        picture.paste(figure, place)
    return picture


def flat(figure: Image.Image) -> Image.Image:
    """On white, where it is transparent."""
    figure = figure.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", figure.size, "white"), figure).convert("RGB")


def add_card(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Draw the page's card and name it where sphinxext.opengraph looks."""
    del template
    if doctree is None or app.builder.name != "html" or context.get("meta") is None:
        return
    chapters = {f"chapters/{chapter.path.stem}": chapter for chapter in all_chapters()}
    figure = figure_of(chapters[page]) if page in chapters else None
    if figure is None and FALLBACK.exists():
        figure = Image.open(FALLBACK)
    title = re.sub(r"<[^>]+>", "", context["title"]).replace("&amp;", "&")
    name = f"_images/cards/{page.replace('/', '_')}.png"
    file = Path(app.outdir) / name
    file.parent.mkdir(parents=True, exist_ok=True)
    card(title, figure).quantize(192, dither=Image.Dither.NONE).save(file, optimize=True)
    context["meta"] |= {
        "og:image": app.config.ogp_site_url + name,
        "og:image:width": str(SIZE[0]),
        "og:image:height": str(SIZE[1]),
        "og:image:alt": f"{title}: a page of the book {BOOK}",
    }


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", add_card, priority=400)  # before sphinxext.opengraph
    return {"parallel_read_safe": True, "parallel_write_safe": True}
