"""Sphinx extension: a paper that the text links says its title and authors, and paper and text are linked both ways.

A link to an address that book/references.bib names becomes a citation. Each entry of the bibliography then carries the
label that the text uses, author and year, and the places that cite it.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from docutils import nodes
from pybtex.database import Person, parse_file
from pybtex.richtext import Text
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from book.tools.site.popups import say

FILE = Path(__file__).resolve().parents[2] / "references.bib"
PAGE = "book/bibliography"


@dataclass(frozen=True)
class Paper:
    """One entry of the bibliography, in plain text."""

    key: str
    title: str
    authors: tuple[str, ...]  # in full, first name first
    label: str  # as the text cites it: Vaswani et al., 2017
    year: str
    venue: str
    addresses: tuple[str, ...]


def plain(latex: str) -> str:
    return str(Text.from_latex(latex))


def names(people: list[Person]) -> Iterator[tuple[str, str]]:
    """(full name, family name) of each."""
    for person in people:
        family = plain(" ".join(person.prelast_names + person.last_names))
        yield plain(" ".join([*person.first_names, *person.middle_names])) + " " + family, family


@cache
def read_papers() -> dict[str, Paper]:
    """Key -> entry, in the order of the file."""
    papers = {}
    for key, entry in parse_file(str(FILE)).entries.items():
        full, family = zip(*names(entry.persons["author"]), strict=True)
        first = family[0] if len(family) == 1 else " and ".join(family) if len(family) == 2 else f"{family[0]} et al."
        fields = dict(entry.fields.items())
        addresses = tuple(value for value in fields.values() if value.startswith("https://"))
        venue = plain(re.sub(r"\\url\{[^}]*\}", "", fields.get("howpublished", ""))).strip(" .,")
        names_ = tuple(name.strip() for name in full)
        papers[key] = Paper(
            key, plain(fields["title"]), names_, f"{first}, {fields['year']}", fields["year"], venue, addresses
        )
    return papers


def by_address() -> dict[str, Paper]:
    return {address: paper for paper in read_papers().values() for address in paper.addresses}


def mark(app: Sphinx, doctree: nodes.document) -> None:
    """Note which papers a page cites, and give the first citation of each an anchor."""
    page, papers, cited = app.env.docname, by_address(), []
    if page == PAGE:
        return
    for link in doctree.findall(nodes.reference):
        paper = papers.get(link.get("refuri", ""))
        if paper and not isinstance(link.parent, nodes.title):
            link["classes"].append("citation")
            if paper.key not in cited:
                cited.append(paper.key)
                link["ids"].append(f"cites-{paper.key}")
    app.env.metadata[page]["cites"] = cited


def say_papers(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    del template, doctree
    cited = app.env.metadata.get(page, {}).get("cites", [])
    anchors = anchors_of(app.env)
    for paper in (read_papers()[key] for key in cited):
        entry = f"{app.builder.get_relative_uri(page, PAGE)}#{anchors[paper.key]}" if paper.key in anchors else None
        words = {
            "title": paper.title,
            "authors": short(paper.authors),
            "where": ", ".join(filter(None, (paper.venue, paper.year))),
        }
        for address in paper.addresses:
            say(context, "papers", address, {**words, "entry": entry})


def short(authors: tuple[str, ...], most: int = 6) -> str:
    """The first six, and how many more there are."""
    rest = len(authors) - most
    return ", ".join(authors) if rest <= 1 else f"{', '.join(authors[:most])} and {rest} more"


def anchors_of(env: BuildEnvironment) -> dict[str, str]:
    """Key of an entry -> its anchor on the bibliography page."""
    return {citation.key: citation.citation_id for citation in env.get_domain("cite").citations}


def link_back(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Give each entry of the bibliography the text's label, and say which pages cite it."""
    if page != PAGE:
        return
    keys = {anchor: key for key, anchor in anchors_of(app.env).items()}
    for entry in doctree.findall(nodes.citation):
        key = next((keys[anchor] for anchor in entry["ids"] if anchor in keys), None)
        if key is None:
            continue
        label = next(iter(entry.findall(nodes.label)), None)
        if label is not None:
            label.children = []
            label += nodes.Text(read_papers()[key].label)
        places = [other for other in citing_order(app.env) if key in app.env.metadata[other].get("cites", [])]
        if places:
            line = nodes.inline("", "Cited in ", classes=["cited-in"])
            for count, other in enumerate(places):
                line += nodes.Text(", " if count else "")
                address = f"{app.builder.get_relative_uri(PAGE, other)}#cites-{key}"
                line += nodes.reference("", place_name(app.env, other), internal=True, refuri=address)
            line += nodes.Text(".")
            entry[-1] += [nodes.Text(" "), line]


def citing_order(env: BuildEnvironment) -> list[str]:
    """Chapters in reading order, then the other pages."""
    return sorted(env.found_docs, key=lambda page: (not page.startswith("chapters/"), page))


def place_name(env: BuildEnvironment, page: str) -> str:
    title = env.titles[page].astext()
    number = re.match(r"(\d+) · ", title)
    return f"chapter\xa0{number[1]}" if number else title


def write_anew(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Any page may have begun to cite a paper."""
    del app
    return [PAGE] if PAGE in env.found_docs else []


def setup(app: Sphinx) -> dict:
    app.connect("doctree-read", mark)
    app.connect("env-updated", write_anew)
    app.connect("doctree-resolved", link_back)
    app.connect("html-page-context", say_papers, priority=400)  # before popups.py writes them down
    revision = zlib.crc32(Path(__file__).read_bytes() + FILE.read_bytes())
    return {"version": "1", "env_version": revision, "parallel_read_safe": True, "parallel_write_safe": True}
