"""Sphinx extension: from the page of a chapter into its notebook in Colab.

Under its title a notebook has a badge and a link to the page, made from the book's address by `make notebooks`. On the
page itself a labelled button stands in their place, under the line of the budget, and each exercise has a link of its
own, which asks Colab to scroll to the exercise's cell.
"""

import json
import re
import zlib
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

from book.tools.site.captions import EARLY

COLAB = "https://colab.research.google.com/github/"
EXERCISE = re.compile(r"Exercise \d+\.\d+ · ")


def badge_of(doctree: nodes.document) -> nodes.paragraph | None:
    """The paragraph under the title that begins with a picture which leads to Colab."""
    for paragraph in doctree.findall(nodes.paragraph):
        first = paragraph.children[0] if paragraph.children else None
        if isinstance(first, nodes.reference) and first.get("refuri", "").startswith(COLAB):
            return paragraph if isinstance(first[0], nodes.image) else None
    return None


def link(text: str, address: str, kind: str) -> nodes.paragraph:
    return nodes.paragraph("", "", nodes.reference("", text, refuri=address, internal=False), classes=[kind])


def replace_badge(app: Sphinx, doctree: nodes.document) -> None:
    badge = badge_of(doctree)
    if badge is None:
        return
    address, notebook = badge[0]["refuri"], json.loads(Path(app.env.doc2path(app.env.docname)).read_text("utf-8"))
    for paragraph in badge.parent.children:
        if paragraph.astext().startswith("Budget"):
            place = badge.parent.index(paragraph) + 1
            badge.parent.insert(place, link("Open this chapter in Colab", address, "colab-button"))
            break
    badge.parent.remove(badge)
    for section in doctree.findall(nodes.section):
        cells = [node for node in section.children if "tag_exercise" in node.get("classes", ())]
        if EXERCISE.match(section[0].astext()) and cells:
            there = f"{address}#scrollTo={notebook['cells'][cells[0]['cell_index']]['id']}"
            section.insert(section.index(cells[0]), link("Solve this exercise in Colab", there, "colab-exercise"))


def setup(app: Sphinx) -> dict:
    app.connect("doctree-read", replace_badge, priority=EARLY)
    revision = zlib.crc32(Path(__file__).read_bytes())  # a change of this file makes Sphinx read all pages anew
    return {"version": "1", "env_version": revision, "parallel_read_safe": True, "parallel_write_safe": True}
