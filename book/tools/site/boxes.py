"""Sphinx extension: the few lines worth keeping stand in a box.

In a notebook they are a quotation that opens with **Worth keeping.**, which every reader of Markdown shows; here it
becomes a box of the theme:

    > **Worth keeping.** Attention is a soft look-up: scores, softmax, average.
"""

import zlib
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

OPENING = "Worth keeping."


def make_boxes(doctree: nodes.document) -> None:
    for quotation in list(doctree.findall(nodes.block_quote)):
        first = quotation[0] if len(quotation) else None
        if not isinstance(first, nodes.paragraph):
            continue
        words = [child for child in first.children if child.astext()]  # MyST begins with an empty text
        if len(words) < 2 or not isinstance(words[0], nodes.strong) or words[0].astext() != OPENING:
            continue
        rest = [nodes.Text(words[1].astext().lstrip()) if isinstance(words[1], nodes.Text) else words[1], *words[2:]]
        body = [nodes.paragraph("", "", *rest), *quotation.children[1:]]
        title = nodes.title("", OPENING.rstrip("."))
        quotation.replace_self(nodes.admonition("", title, *body, classes=["worth-keeping"]))


def setup(app: Sphinx) -> dict:
    app.connect("doctree-read", lambda app, doctree: make_boxes(doctree))
    revision = zlib.crc32(Path(__file__).read_bytes())
    return {"version": "1", "env_version": revision, "parallel_read_safe": True, "parallel_write_safe": True}
