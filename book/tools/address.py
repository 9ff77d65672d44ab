"""The repository's address stands in pyproject.toml; everything that repeats it follows (behind `make address`).

    python book/tools/address.py                                  print the address, and any place that disagrees
    python book/tools/address.py https://github.com/OWNER/NAME    change it everywhere

Only GitHub addresses: Colab opens notebooks from there and from nowhere else.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FILES = ("pyproject.toml", "_config.yml", "CITATION.cff", "*.md", "book/*.md", "chapters/*.ipynb")

SLUG = r"(?P<slug>[A-Za-z0-9-]+/[A-Za-z0-9._-]*[A-Za-z0-9_-])"
ADDRESS = re.compile(rf"https://github\.com/{SLUG}/?")
# How a place that holds the address begins. A link to anybody else's repository looks like none of these.
PLACES = re.compile(
    r"""(?: Repository\ =\ "https://github\.com/      # pyproject.toml
          | ^\ \ url:\ https://github\.com/           # _config.yml
          | ^repository-code:\ "?https://github\.com/ # CITATION.cff
          | git\ clone\ https://github\.com/
          | git\+https://github\.com/                 # the setup cell of each chapter
          | https://colab\.research\.google\.com/github/
          | \[repository\]\(https://github\.com/ )"""
    + SLUG,
    re.VERBOSE | re.MULTILINE,
)


class Place(NamedTuple):
    """Where the address stands: the file, the span of OWNER/NAME in its text, and what stands there."""

    path: Path
    start: int
    end: int
    slug: str


def places(root: Path = ROOT) -> Iterator[Place]:
    """Every place in the repository that holds its address."""
    for pattern in FILES:
        for path in sorted(root.glob(pattern)):
            for match in PLACES.finditer(path.read_text(encoding="utf-8")):
                yield Place(path, *match.span("slug"), match["slug"].removesuffix(".git"))


def current(root: Path = ROOT) -> str:
    """OWNER/NAME as pyproject.toml has it. ValueError if it has none."""
    for place in places(root):
        if place.path.name == "pyproject.toml":
            return place.slug
    raise ValueError('pyproject.toml has no line `Repository = "https://github.com/OWNER/NAME"`; add it')


def parse(address: str) -> str:
    """`https://github.com/OWNER/NAME`, also with `.git` or a final slash -> `OWNER/NAME`. ValueError otherwise."""
    match = ADDRESS.fullmatch(address.removesuffix(".git"))
    if match is None:
        raise ValueError(f"{address!r} is not of the form https://github.com/OWNER/NAME, which Colab needs")
    return match["slug"]


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
            print(
                f"The address is https://github.com/{current()}; change it: make address REPO=https://github.com/OWNER/NAME"
            )
            wrong = sorted({f"{p.path.relative_to(ROOT)} has {p.slug}" for p in places() if p.slug != current()})
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
