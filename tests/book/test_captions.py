"""Captions that stand under a picture as text become those of the page's figures; test_book.py sees the built pages."""

import pytest
from docutils import nodes
from docutils.core import publish_doctree
from myst_parser.docutils_ import Parser

from book.tools.site import captions

DRAWING = """![A square.](square.svg)

**Figure 3.1.** A *square*, as in $x$.

Figure 3.1 shows one, Figure
3.2 does not.
"""


def read(markdown: str) -> nodes.document:
    settings = {"myst_enable_extensions": ["dollarmath"], "report_level": 5}
    doctree = publish_doctree(markdown, parser=Parser(), settings_overrides=settings)
    captions.lift_captions(None, doctree)
    return doctree


@pytest.fixture
def warned(monkeypatch) -> list[str]:
    said = []
    monkeypatch.setattr(captions.LOG, "warning", lambda text, *values, **_: said.append(text % values))
    return said


def test_a_drawing_in_the_text_takes_the_caption_under_it():
    doctree = read(DRAWING)
    (figure,) = doctree.findall(nodes.figure)
    assert figure["ids"] == ["figure-3-1"]
    assert [type(child) for child in figure] == [nodes.image, nodes.caption]
    assert figure[1].astext() == "Figure 3.1. A square, as in x."
    assert list(figure[1].findall(nodes.emphasis))
    assert list(figure[1].findall(nodes.math))
    assert figure.parent is doctree
    assert doctree.astext().count("A square, as in") == 1


def test_a_mention_leads_to_the_figure_of_the_same_page_alone():
    links = list(read(DRAWING).findall(nodes.reference))
    assert [(link.astext(), link["refid"]) for link in links] == [("Figure 3.1", "figure-3-1")]


def test_a_mention_that_runs_over_the_end_of_a_line_is_one():
    links = read(DRAWING.replace("Figure\n3.2", "Figure\n3.1")).findall(nodes.reference)
    assert [link["refid"] for link in links] == ["figure-3-1"] * 2


@pytest.mark.parametrize("above", ["", "Words.\n\n", "![A square.](square.svg) and words\n\n", "    code\n\n"])
def test_a_caption_without_its_picture_is_an_error(warned, above):
    doctree = read(f"{above}**Figure 3.1.** A square.\n")
    assert warned == ["no picture stands right above the caption of figure 3.1"]
    assert not list(doctree.findall(nodes.figure))


@pytest.mark.parametrize("text", ["**Figure 3.1** A square.", "Figure 3.1. A square.", "See **Figure 3.1.**"])
def test_other_paragraphs_are_left_alone(warned, text):
    doctree = read(f"![A square.](square.svg)\n\n{text}\n")
    assert not list(doctree.findall(nodes.figure))
    assert not warned
