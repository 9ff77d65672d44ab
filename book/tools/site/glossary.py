"""The glossary's entries, read from book/glossary.md, which is their only source."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from docutils.nodes import make_id
from myst_parser.mdit_to_docutils.base import default_slugify

PAGE = Path(__file__).resolve().parents[2] / "glossary.md"

ENTRY = re.compile(
    r"""^\#\#\#\ (?P<term>[^\n]+)\n\n
        \*\*(?P<korean>[^*\n]+)\*\*(?P<also>,\ also\ [^:]+)?:\s+
        (?P<meaning>.+?)\s+
        \[Chapter\ \d+\]\(\.\./chapters/(?P<chapter>\w+)\.ipynb\#(?P<anchor>[\w-]+)\)\s*(?=^\#|\Z)""",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
HEADING = re.compile(r"^### (.+)$", re.MULTILINE)
QUALIFIER = re.compile(r" \([^)]+\)$")


@dataclass(frozen=True)
class Entry:
    """`### term`, then `**Korean**, also *another form*: meaning [Chapter 5](link to the section it belongs to)`."""

    term: str
    korean: str
    forms: tuple[str, ...]  # how the term is written in the chapters, the term itself first
    meaning: str
    chapter: str  # name of the notebook, without its ending
    anchor: str

    @property
    def slug(self) -> str:
        """The entry's own anchor on the glossary page."""
        return default_slugify(self.term)

    @property
    def html_id(self) -> str:
        """What the slug becomes in the built page, where links made by MyST are translated and ours are not."""
        return make_id(self.slug)

    @property
    def everyday(self) -> bool:
        """A word with another meaning as well, such as `head (of attention)`: it is linked in its own section alone."""
        return QUALIFIER.search(self.term) is not None

    @cached_property
    def pattern(self) -> re.Pattern:
        """Matches any of the forms as whole words, also in the plural and across the end of a line."""
        forms = sorted(self.forms, key=len, reverse=True)
        words = "|".join(form_pattern(form) for form in forms)
        return re.compile(rf"(?<![\w-])(?:{words})(?![\w-])")


def form_pattern(form: str) -> str:
    """A form in small letters also matches at the start of a sentence; one with capitals matches as it is."""
    stem, ending = (form[:-1], "(?:y|ies)") if re.search("[^aeiou]y$", form) else (form, "(?:s|es)?")
    text = r"\s+".join(re.escape(word) for word in stem.split()) + ending
    return rf"(?i:{text})" if form == form.lower() else text


def read_glossary(text: str | None = None) -> list[Entry]:
    """All entries in the order of the page. ValueError that names the first entry which does not have the form."""
    text = PAGE.read_text(encoding="utf-8") if text is None else text
    entries = []
    for match in ENTRY.finditer(text):
        term = match["term"].strip()
        also = re.findall(r"\*([^*]+)\*", match["also"] or "")
        forms = (QUALIFIER.sub("", term), *also)
        meaning = " ".join(match["meaning"].split())
        entries.append(Entry(term, match["korean"], forms, meaning, match["chapter"], match["anchor"]))
    found, headings = {entry.term for entry in entries}, [heading.strip() for heading in HEADING.findall(text)]
    wrong = [heading for heading in headings if heading not in found]
    if wrong:
        raise ValueError(
            f"the glossary's entry {wrong[0]!r} lacks its Korean term, its meaning or its link to a chapter"
        )
    return entries
