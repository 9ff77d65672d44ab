"""Sphinx extension: *Predict, then run* in print: a box, with the choices to tick or a line to write on.

The answer follows at once: paper hides nothing, and how_to_use.md says so.
"""

from docutils import nodes
from sphinx.application import Sphinx

from book.tools.site.predictions import TAG, checked, is_cell, is_prompt

LISTS = nodes.bullet_list | nodes.enumerated_list


def asked(predict: dict) -> list[nodes.Node]:
    """What the reader fills in; on a reading device, where nobody can, the choices alone."""
    if predict["kind"] == "choice":
        words = "\xa0\xa0 ".join(f"○\xa0{choice}" for choice in predict["choices"])
        return [nodes.paragraph("", words, classes=["choices"])]
    unit = predict.get("unit", "") if predict["kind"] == "number" else ""
    width = "30mm" if predict["kind"] == "number" else r"\linewidth"
    return [nodes.raw("", rf"\guessline{{{width}}}{{{unit.replace('%', chr(92) + '%')}}}", format="latex")]


def box(doctree: nodes.document) -> None:
    prompt, boxed = None, set()
    for node in list(doctree.findall(nodes.Element)):
        if is_prompt(node):
            prompt = node
        elif is_cell(node) and f"tag_{TAG}" in node["classes"] and prompt is not None and id(prompt) not in boxed:
            boxed.add(id(prompt))
            predict = checked(node["cell_metadata"].get("vitedu", {}).get("predict", {}))
            place = prompt.parent
            end = start = place.index(prompt)
            while end + 1 < len(place) and isinstance(place[end + 1], LISTS):
                end += 1
            inside = place.children[start : end + 1]
            framed = nodes.container("", classes=["predict-box"])
            place.children[start : end + 1] = [framed]
            framed.parent = place
            framed += [*inside, *asked(predict)]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-read", lambda app, doctree: box(doctree))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
