"""The path through the book: the chapters as patches, in raster order, from the table of chapters in book/intro.md.

On the first page they are squares with their titles, on a chapter's page a strip on which the reader finds the place.
Both are lists of links, so that they are read aloud in order, fit any width, and their words fit the squares whatever
the font.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

INTRO = Path(__file__).resolve().parents[2] / "intro.md"

GROUNDS = ("#2f5d8a", "#1f7573", "#2b7549", "#8a5318", "#6d4c8d")  # white on each: contrast of 5 : 1 or more

PART = re.compile(r"^\| *\| \*\*(?P<name>[^*]+)\*\* \|")
ROW = re.compile(
    r"^\| (?P<number>\d+) \| (?:\[(?P<written>[^\]]+)\]\(\.\./(?P<page>\S+)\.ipynb\)"
    r"|(?P<planned>[^*|]+?) \*\(planned\)\*)"
)


@dataclass(frozen=True)
class Stop:
    """One chapter on the path."""

    number: int
    title: str
    part: int  # counts from 0
    opens: str  # the name of its part where it is the first of it, else ""
    page: str | None  # chapters/05_…; None where the chapter is planned

    @property
    def written(self) -> bool:
        return self.page is not None


def stops(intro: str) -> Iterator[Stop]:
    """The chapters in the order of the table in the introduction."""
    part, opens = -1, ""
    for line in intro.splitlines():
        if match := PART.match(line):
            part, opens = part + 1, match["name"]
        elif match := ROW.match(line):
            yield Stop(int(match["number"]), match["written"] or match["planned"], part, opens, match["page"])
            opens = ""


def the_path() -> list[Stop]:
    return list(stops(INTRO.read_text(encoding="utf-8")))


def attributes(stop: Stop) -> str:
    """The square's class, and its colour."""
    kind = "" if stop.written else ' class="planned"'
    return f'{kind} style="--ground: {GROUNDS[stop.part % len(GROUNDS)]}"'


def squares(path: list[Stop], address: Callable[[str], str]) -> str:
    """The path as squares with their titles; `address` makes a link of a page's name."""
    lines = ['<ol class="path">']
    for stop in path:
        name = escape(stop.title)
        title = f'<a href="{address(stop.page)}" data-page="{stop.page}">{name}</a>' if stop.written else name
        opens = f'<span class="part">{escape(stop.opens)}</span>' if stop.opens else ""
        planned = "" if stop.written else '<span class="state">planned</span>'
        lines.append(
            f'<li{attributes(stop)}><b>{stop.number}</b>{planned}<span class="title">{title}</span>{opens}</li>'
        )
    return "\n".join([*lines, "</ol>"]) + "\n"


def strip(path: list[Stop], address: Callable[[str], str], here: str) -> str:
    """The path as a row of small squares, on the page `here`."""
    lines = ['<nav class="where" aria-label="The path through the book"><ol>']
    for stop in path:
        name = f"{stop.number}, {escape(stop.title)}"
        current = ' aria-current="page"' if stop.page == here else ""
        inside = (
            f'<a href="{address(stop.page)}" data-page="{stop.page}"{current} title="{name}"'
            f' aria-label="Chapter {name}">{stop.number}</a>'
            if stop.written
            else f'<span title="{name}, planned">{stop.number}</span>'
        )
        lines.append(f"<li{attributes(stop)}>{inside}</li>")
    return "\n".join([*lines, "</ol></nav>"]) + "\n"
