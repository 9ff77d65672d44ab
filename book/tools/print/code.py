"""Sphinx extension: the cells of a notebook in print.

Code that only draws a figure is left out: the figure stays, and the notebook has the code. Other folded code is shown
under what its fold is called. What leads into Colab stays once a chapter.
"""

from docutils import nodes
from sphinx.application import Sphinx

from book.tools.site.cells import PROVENANCE_CLASS, elements

DRAWS = "Code of figure"
LATE = 600  # when book/tools/site/cells.py has named the folds


def unfold(app: Sphinx, doctree: nodes.document) -> None:
    del app
    for cell in elements(doctree, "cell_code"):
        called = cell.get("prompt_show", "") if cell.attributes.pop("hide_mode", None) else ""
        if called.startswith(DRAWS):
            for source in elements(cell, "cell_code_source"):
                source.parent.remove(source)
        elif called:
            cell.insert(0, nodes.container("", nodes.paragraph("", called), classes=["fold-name"]))


def set_provenance_small(app: Sphinx, doctree: nodes.document) -> None:
    del app
    for block in list(doctree.findall(nodes.literal_block)):
        if PROVENANCE_CLASS in block["classes"]:
            small = nodes.container(classes=["provenance-line"])
            block.replace_self(small)
            small += block


def drop_links(app: Sphinx, doctree: nodes.document) -> None:
    del app
    for paragraph in list(doctree.findall(nodes.paragraph)):
        if "colab-exercise" in paragraph["classes"]:
            paragraph.parent.remove(paragraph)


def setup(app: Sphinx) -> dict[str, bool]:
    for change in (unfold, set_provenance_small, drop_links):
        app.connect("doctree-read", change, priority=LATE)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
