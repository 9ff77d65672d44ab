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
        if (
            not isinstance(first, nodes.paragraph)
            or not isinstance(first[0], nodes.strong)
            or first[0].astext() != OPENING
        ):
            continue
        first.remove(first[0])
        if first and isinstance(first[0], nodes.Text):
            first.replace(first[0], nodes.Text(first[0].astext().lstrip()))
        title = nodes.title("", OPENING.rstrip("."))
        quotation.replace_self(nodes.admonition("", title, *quotation.children, classes=["worth-keeping"]))


def setup(app: Sphinx) -> dict:
    app.connect("doctree-read", lambda app, doctree: make_boxes(doctree))
    revision = zlib.crc32(Path(__file__).read_bytes())
    return {"version": "1", "env_version": revision, "parallel_read_safe": True, "parallel_write_safe": True}
