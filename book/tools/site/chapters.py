"""The chapters as files: their headings, exercises and sections, for the pages that list them."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from myst_parser.mdit_to_docutils.base import default_slugify

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "chapters"

HEADING = re.compile(r"(#{1,6}) +(.+?)\s*$")
NUMBER = re.compile(r"^\d+\.\d+ ")  # of a section, as in "5.1 Why not one token for each pixel?"
FENCE = re.compile(r"\s*(```+|~~~+)")
EXERCISE = re.compile(
    r"Exercise (?P<number>\d+\.\d+) · (?P<title>\S.*\S)  (?P<stars>●○○|●●○|●●●)  \((?P<minutes>\d+) min\)"
)


@dataclass(frozen=True)
class Section:
    """A heading with what follows it up to the next one, whatever its level."""

    level: int
    title: str
    anchor: str  # as in a link to the page: chapters/05_….ipynb#anchor
    text: str  # Markdown, the heading left out
    code: list[dict]  # its code cells


@dataclass(frozen=True)
class Exercise:
    """One exercise of a chapter, as its heading states it."""

    number: str
    title: str
    stars: str  # ●○○ to ●●●
    minutes: int
    anchor: str


@dataclass(frozen=True)
class Chapter:
    """One notebook of `chapters/`."""

    path: Path

    @property
    def link(self) -> str:
        """The notebook's address from a page in `book/`."""
        return f"../chapters/{self.path.name}"

    @property
    def number(self) -> int:
        return int(self.path.name[:2])

    @property
    def title(self) -> str:
        """The title without its number."""
        return self.sections[0].title.partition(" · ")[2]

    @cached_property
    def notebook(self) -> dict:
        return json.loads(self.path.read_text(encoding="utf-8"))

    @cached_property
    def sections(self) -> list[Section]:
        return list(read_sections(self.notebook["cells"]))

    @property
    def exercises(self) -> list[Exercise]:
        found = [(EXERCISE.fullmatch(section.title), section) for section in self.sections]
        return [
            Exercise(match["number"], match["title"], match["stars"], int(match["minutes"]), section.anchor)
            for match, section in found
            if match
        ]

    def within(self, anchor: str) -> list[Section]:
        """The section with this anchor and the subsections under it. KeyError if there is none."""
        starts = [index for index, section in enumerate(self.sections) if section.anchor == anchor]
        if not starts:
            raise KeyError(f"{self.path.name} has no section #{anchor}")
        first, *others = self.sections[starts[0] :]
        inside = [first]
        for section in others:
            if section.level <= first.level:
                break
            inside.append(section)
        return inside


def read_sections(cells: list[dict]) -> Iterator[Section]:
    """Walk through the cells; a line that begins with # inside a fence of code is no heading."""
    heading, lines, code, used = None, [], [], set()
    for cell in cells:
        if cell["cell_type"] == "code":
            code.append(cell)
            continue
        fence = ""
        for line in "".join(cell["source"]).splitlines():
            mark = FENCE.match(line)
            if mark and (not fence or mark[1].startswith(fence)):
                fence = "" if fence else mark[1]
            match = None if fence else HEADING.fullmatch(line)
            if match:
                if heading:
                    yield Section(*heading, "\n".join(lines), code)
                heading, lines, code = (len(match[1]), match[2], unused_slug(match[2], used)), [], []
            else:
                lines.append(line)
        lines.append("")
    if heading:
        yield Section(*heading, "\n".join(lines), code)


def slug(title: str) -> str:
    """The anchor of a heading: MyST's own, without the number of the section, so that links outlive a new section."""
    return default_slugify(NUMBER.sub("", title))


def unused_slug(title: str, used: set[str]) -> str:
    """The anchor that a heading gets: a second one of the same title gets -1 behind it."""
    plain = anchor = slug(title.replace("`", ""))
    count = 1
    while anchor in used:
        anchor = f"{plain}-{count}"
        count += 1
    used.add(anchor)
    return anchor


def notebooks(starts: Sequence[str] = ()) -> list[Path]:
    """In reading order, those whose file names start with one of these. SystemExit that lists all where none does."""
    found = sorted(FOLDER.glob("*.ipynb"))
    chosen = [path for path in found if not starts or path.name.startswith(tuple(starts))]
    if found and not chosen:
        raise SystemExit(
            f"no chapter starts with {' or '.join(starts)!r}; there are: {', '.join(p.stem for p in found)}"
        )
    return chosen


def all_chapters() -> list[Chapter]:
    """In reading order."""
    return [Chapter(path) for path in notebooks()]
