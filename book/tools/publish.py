"""The repository's address stands in pyproject.toml; everything that repeats it follows (behind `make publish`).

    python book/tools/publish.py                                  print the address, and any place that disagrees
    python book/tools/publish.py https://github.com/OWNER/NAME    change it everywhere

Only GitHub addresses: Colab opens notebooks from there and from nowhere else. The address of the built site follows
when it is built (site_address.py).
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("book", "chapters", "vitedu")  # with all below them, and the files beside them

OWNER, NAME = r"[A-Za-z0-9-]+", r"[A-Za-z0-9._-]*[A-Za-z0-9_-]"
ADDRESS = re.compile(rf"https://github\.com/(?P<slug>{OWNER}/{NAME})/?")
# How a place that holds the address begins, whatever stands there now. A link to anybody else's repository looks like
# none of these.
PLACES = r"""
    (?: ^Repository\ =\ "https://github\.com/     # pyproject.toml
      | ^\ \ url:\ https://github\.com/           # _config.yml
      | ^repository-code:\ "?https://github\.com/ # CITATION.cff
      | git\ clone\ https://github\.com/
      | git\+https://github\.com/                 # the setup cell of each chapter
      | https://colab\.research\.google\.com/github/
      | \[repository\]\(https://github\.com/ )"""


class Place(NamedTuple):
    """Where the address stands: the file, the span of OWNER/NAME in its text, and what stands there."""

    path: Path
    start: int
    end: int
    slug: str


def parse(address: str) -> str:
    """`https://github.com/OWNER/NAME`, also with `.git` or a final slash -> `OWNER/NAME`. ValueError otherwise."""
    match = ADDRESS.fullmatch(address.removesuffix(".git"))
    if match is None:
        raise ValueError(f"{address!r} is not of the form https://github.com/OWNER/NAME, which Colab needs")
    return match["slug"]


def current(root: Path = ROOT) -> str:
    """OWNER/NAME as pyproject.toml has it. ValueError if it has none."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if "Repository" not in project.get("urls", {}):
        raise ValueError('pyproject.toml has no line `Repository = "https://github.com/OWNER/NAME"`; add it')
    return parse(project["urls"]["Repository"])


def texts(root: Path) -> Iterator[tuple[Path, str]]:
    """Every text file that may hold the address, with what it holds. The tests are not among them: they ask for it."""
    below = (path for folder in FOLDERS for path in (root / folder).rglob("*"))
    for path in sorted([*root.glob("*"), *below]):
        parts = path.relative_to(root).parts
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in parts):
            try:
                yield path, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue  # a picture or trained weights


def places(root: Path = ROOT) -> Iterator[Place]:
    """Every place that holds the address: those that always do, and wherever else the present one is written."""
    present = rf"github(?:\.com)?/ (?={re.escape(current(root))}(?:\.git)?(?!\.?[A-Za-z0-9_-]))"
    pattern = re.compile(rf"(?: {PLACES} | {present} ) (?P<slug>{OWNER}/{NAME})", re.VERBOSE | re.MULTILINE)
    for path, text in texts(root):
        for match in pattern.finditer(text):
            slug = match["slug"].removesuffix(".git")
            yield Place(path, match.start("slug"), match.start("slug") + len(slug), slug)


def disagreeing(root: Path = ROOT) -> list[str]:
    """One line for each place that has another address than pyproject.toml."""
    slug = current(root)
    wrong = [place for place in places(root) if place.slug != slug]
    return [f"{place.path.relative_to(root)} has {place.slug}, not {slug}" for place in wrong]


def change(slug: str, root: Path = ROOT) -> list[Path]:
    """Write `slug` at every place; returns the files that changed. Doing it twice changes nothing the second time."""
    found = list(places(root))
    changed = []
    for path in dict.fromkeys(place.path for place in found):
        text = path.read_text(encoding="utf-8")
        new = text
        for place in reversed([place for place in found if place.path == path]):  # from the end: spans stay valid
            new = new[: place.start] + slug + new[place.end :]
        if new != text:
            path.write_text(new, encoding="utf-8")
            changed.append(path)
    return changed


def main(arguments: list[str]) -> int:
    try:
        if not arguments:
            print(f"The address is https://github.com/{current()}")
            print("To change it: make publish REPO=https://github.com/OWNER/NAME")
            wrong = disagreeing()
            print("\n".join(wrong), end="\n" if wrong else "")
            return 1 if wrong else 0
        slug = parse(arguments[0])
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    changed = change(slug)
    for path in changed:
        print(f"changed {path.relative_to(ROOT)}")
    print(f"The address is https://github.com/{slug}" + ("" if changed else "; nothing to change"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
