"""Sphinx extension: what the builder's markup lacks, mended while the site is built.

- The first cell of a table's header, over the names of the rows, is empty: a cell, then, and no header of nothing.
- A table of misconceptions has a class, by which the style sheet makes cards of its rows on a phone.
- The list of contents that the theme prints under each title is no landmark of its own and not part of the page's text.
"""

import re
import zlib
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

EMPTY_HEADER = re.compile(r"<th\b([^>]*)>\s*(?:<p>\s*</p>)?\s*</th>")


def header_of(table: nodes.table) -> list[str]:
    row = next(iter(table.findall(nodes.thead)), None)
    return [entry.astext().strip().lower() for entry in row.findall(nodes.entry)] if row else []


def mark_misconceptions(app: Sphinx, doctree: nodes.document) -> None:
    """Tables that begin with the column *often said*; the class tells how many columns they have."""
    del app
    for table in doctree.findall(nodes.table):
        header = header_of(table)
        if header and header[0] == "often said":
            table["classes"] += ["often-said", f"columns-{len(header)}"]


def mend(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    del app, page, template, doctree
    if "body" in context:
        context["body"] = EMPTY_HEADER.sub(r"<td\1></td>", context["body"])


def setup(app: Sphinx) -> dict:
    app.connect("doctree-read", mark_misconceptions)
    app.connect("html-page-context", mend)
    revision = zlib.crc32(Path(__file__).read_bytes())
    return {"version": "1", "env_version": revision, "parallel_read_safe": True, "parallel_write_safe": True}
