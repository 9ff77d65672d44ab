"""Sphinx extension: a formula and the sign that belongs to it stay on one line.

A browser may break a line before and after a formula, so that the next one begins with a full stop or the last one ends
with a bracket. The formula, what opens before it and what closes behind it go into one box that does not break.
"""

import re
import zlib
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

OPENS = re.compile(r"[(\[“‘\"'±≈]+$")
CLOSES = re.compile(r"^(?:[.,;:!?)\]”’\"'%…]|-(?:\w{1,4}\b)?|’?s\b)+")
CLASS = "nobreak"


def bind(doctree: nodes.document) -> None:
    """Put every formula that touches a sign into one box with it. Titles stay: other pages copy them."""
    for formula in list(doctree.findall(nodes.math)):
        parent = formula.parent
        if isinstance(parent, nodes.title) or CLASS in parent.get("classes", ()):
            continue
        place = parent.index(formula)
        before = touching(parent, place - 1, OPENS)
        after = touching(parent, place + 1, CLOSES)
        if before or after:
            box = nodes.inline("", "", classes=[CLASS])
            parent.replace(formula, box)
            box += [*map(nodes.Text, filter(None, [before])), formula, *map(nodes.Text, filter(None, [after]))]


def touching(parent: nodes.Element, place: int, pattern: re.Pattern) -> str:
    """Cut the signs that touch the formula off the text beside it, and return them."""
    if not 0 <= place < len(parent) or not isinstance(parent[place], nodes.Text):
        return ""
    text = parent[place].astext()
    match = pattern.search(text)
    if not match:
        return ""
    parent[place] = nodes.Text(text[: match.start()] + text[match.end() :])  # by place: equal texts are equal nodes
    return match[0]


def setup(app: Sphinx) -> dict:
    app.connect("doctree-read", lambda app, doctree: bind(doctree))
    revision = zlib.crc32(Path(__file__).read_bytes())
    return {"version": "1", "env_version": revision, "parallel_read_safe": True, "parallel_write_safe": True}
