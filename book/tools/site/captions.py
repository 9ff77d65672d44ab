"""Sphinx extension: the caption that a notebook has as text, under a picture, becomes the caption of the page's figure.

A Markdown cell that begins `**Figure 5.1.**` belongs to the picture right above it, which a cell has drawn or which
stands there by itself. Readers of the notebook see it where it is; on the page it is lifted into the figure, whose
address is #figure-5-1, and *Figure 5.1* in the text of the same page leads there. A caption without a picture above it
is an error.
"""

import re
import zlib
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

from book.tools.site.glossary_links import prose_of

LOG = logging.getLogger(__name__)
LABEL = re.compile(r"Figure (\d+\.\d+)\.")
MENTION = re.compile(r"Figure[ \n](\d+\.\d+)")
EARLY = 400  # before Sphinx looks for pictures, which has 500


def figure_id(number: str) -> str:
    return f"figure-{number.replace('.', '-')}"


def number_of(paragraph: nodes.paragraph) -> str:
    """The number of the figure whose caption the paragraph is, or nothing."""
    first = next((child for child in paragraph.children if child.astext()), None)  # MyST begins with an empty text
    match = LABEL.fullmatch(first.astext()) if isinstance(first, nodes.strong) else None
    return match[1] if match else ""


def picture_above(paragraph: nodes.paragraph) -> nodes.image | None:
    """The last picture of the cell above, or of a paragraph that holds nothing else."""
    index = paragraph.parent.index(paragraph)
    above = paragraph.parent[index - 1] if index else None
    if isinstance(above, nodes.container) and "cell" in above["classes"]:
        return next(iter(reversed(list(above.findall(nodes.image)))), None)
    inside = [child for child in above if child.astext()] if isinstance(above, nodes.paragraph) else []
    return inside[0] if len(inside) == 1 and isinstance(inside[0], nodes.image) else None


def make_figure(image: nodes.image, paragraph: nodes.paragraph, number: str) -> nodes.figure:
    """Put the picture and the words of the paragraph, which leaves its place, into one figure."""
    figure = nodes.figure(ids=[figure_id(number)])
    alone = isinstance(image.parent, nodes.paragraph)  # a block of its own takes the paragraph's place
    (image.parent if alone else image).replace_self(figure)
    figure += [image, nodes.caption("", "", *paragraph.children)]
    paragraph.parent.remove(paragraph)
    return figure


def lift_captions(app: Sphinx, doctree: nodes.document) -> None:
    numbers = set()
    for paragraph in list(doctree.findall(nodes.paragraph)):
        if number := number_of(paragraph):
            image = picture_above(paragraph)
            if image is None:
                LOG.warning("no picture stands right above the caption of figure %s", number, location=paragraph)
                continue
            make_figure(image, paragraph, number)
            numbers.add(number)
    if numbers:
        link_mentions(doctree, numbers)


def link_mentions(doctree: nodes.document, numbers: set[str]) -> None:
    """Each *Figure 5.1* in running text leads to that figure, if it stands on the same page."""
    for text in prose_of(doctree):
        pieces, end = [], 0
        for match in MENTION.finditer(text):
            if match[1] in numbers:
                link = nodes.reference("", "", nodes.Text(match[0]), internal=True, refid=figure_id(match[1]))
                pieces += [nodes.Text(text[end : match.start()]), link]
                end = match.end()
        if pieces:
            text.parent.replace(text, [piece for piece in [*pieces, nodes.Text(text[end:])] if piece.astext()])


def setup(app: Sphinx) -> dict:
    app.connect("doctree-read", lift_captions, priority=EARLY)
    revision = zlib.crc32(Path(__file__).read_bytes())  # a change of this file makes Sphinx read all pages anew
    return {"version": "1", "env_version": revision, "parallel_read_safe": True, "parallel_write_safe": True}
