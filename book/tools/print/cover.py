"""The cover of the printed book: the path through it, one patch a chapter, as on the site's first page."""

from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from book.tools.site.cards import ACCENT, BOOK, GROUND, INK, MUTED
from book.tools.site.path import GROUNDS, the_path

SIZE = (1654, 2339)  # A4 at 200 dots an inch
MARGIN, GAP, COLUMNS = 150, 26, 4
PLANNED = "#d9d6cd"
LINES = ("Vision", "Transformers", "from the ground up")


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)  # Pillow brings one, so that covers are alike on every machine


def draw_cover(file: Path) -> None:
    picture = Image.new("RGB", SIZE, GROUND)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, SIZE[0], 28), fill=ACCENT)
    top = 210
    for line, size in zip(LINES, (170, 170, 84), strict=True):
        draw.text((MARGIN - size // 18, top), line, font=font(size), fill=INK)
        top += round(1.12 * size)
    side = (SIZE[0] - 2 * MARGIN - (COLUMNS - 1) * GAP) // COLUMNS
    top = 760
    for place, stop in enumerate(the_path()):
        row, column = divmod(place, COLUMNS)
        left, upper = MARGIN + column * (side + GAP), top + row * (side + GAP)
        ground = GROUNDS[stop.part % len(GROUNDS)] if stop.written else PLANNED
        draw.rounded_rectangle((left, upper, left + side, upper + side), radius=18, fill=ground)
        ink = "white" if stop.written else MUTED
        draw.text((left + side / 2, upper + side / 2), str(stop.number), font=font(120), fill=ink, anchor="mm")
    draw.text((MARGIN, SIZE[1] - 105), "The vitedu authors", font=font(46), fill=MUTED)
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(64, dither=Image.Dither.NONE).save(file, optimize=True, dpi=(200, 200))


assert " ".join(LINES) == BOOK
