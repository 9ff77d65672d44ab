"""Sphinx extension: what the text's font on paper lacks is set in another: Hangul, and the signs of difficulty.

The log of a build says "Missing character" where this list is too short, and book/tools/print/pdf.py then fails.
"""

import re

from docutils import nodes
from sphinx.application import Sphinx

HANGUL = "\uac00-\ud7a3\u1100-\u11ff\u3130-\u318f"
SIGNS = "●○→←↑↓↔⇒⊙⊗⅓⅔⅛⅜⅝⅞√∝≈≤≥∂∎✓ℓεσρκαφΦΣ−ᵀ₀⁰⁹"
OTHER = re.compile(rf"(?P<hangul>[{HANGUL}]+(?: +[{HANGUL}]+)*)|[{SIGNS}]+")
IN_CODE = (nodes.literal, nodes.literal_block, nodes.math, nodes.math_block, nodes.raw)


def set_apart(app: Sphinx, tree: nodes.document, page: str) -> None:
    if app.builder.format != "latex":
        return
    for text in list(tree.findall(nodes.Text)):
        if OTHER.search(text) and not isinstance(text.parent, IN_CODE):
            pieces, end = [], 0
            for match in OTHER.finditer(text):
                command = "hangul" if match["hangul"] else "othersign"
                pieces.append(nodes.Text(text[end : match.start()]))
                pieces.append(nodes.raw("", rf"\{command}{{{match[0]}}}", format="latex"))
                end = match.end()
            text.parent.replace(text, [piece for piece in [*pieces, nodes.Text(text[end:])] if piece.astext()])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-resolved", set_apart, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
