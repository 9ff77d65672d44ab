"""Sphinx extension: ties each *Predict, then run.* to the cell that answers it, for book/_static/page/predict.js.

The cell has the tag `predict-answer`. The prompt is the last paragraph before it in which **predict** is set off. How
it is answered stands in the cell's metadata, `{"vitedu": {"predict": {…}}}`:

    {"kind": "number", "answer": 8, "unit": "times"}       [4, 6] for anything between; "exact": true for a count
    {"kind": "choice", "choices": ["yes", "no"], "answer": "no"}
    {"kind": "text"}                                       a sentence, which the page cannot judge; the default

`"covers": 2` covers two paragraphs behind the output as well; one is covered where nothing is said.
"""

import json
import re
import zlib
from collections.abc import Mapping
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

TAG = "predict-answer"
FIELDS = {"kind", "answer", "unit", "exact", "choices", "covers"}
KINDS = ("number", "choice", "text")
PROSE = (nodes.paragraph, nodes.bullet_list, nodes.enumerated_list, nodes.math_block)

logger = logging.getLogger(__name__)


def is_cell(node: nodes.Node) -> bool:
    return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code"


def is_prompt(node: nodes.Node) -> bool:
    """A paragraph that sets *predict* off, in bold or in italics."""
    if not isinstance(node, nodes.paragraph):
        return False
    marks = [child for child in node.children if isinstance(child, nodes.strong | nodes.emphasis)]
    return any(re.match(r"predict\b", mark.astext(), re.IGNORECASE) for mark in marks)


def checked(predict: Mapping) -> dict:
    """The metadata of a prediction, complete. ValueError that says what is wrong."""
    kind = predict.get("kind", "text")
    if kind not in KINDS or set(predict) - FIELDS:
        raise ValueError(
            f"a prediction is one of {', '.join(KINDS)}, with {', '.join(sorted(FIELDS))}: {dict(predict)}"
        )
    answers = predict.get("answer")
    answers = answers if isinstance(answers, list) else [answers]
    if kind == "choice" and not set(answers) <= set(predict.get("choices", [])):
        raise ValueError(f"the answer {predict.get('answer')!r} is none of the choices {predict.get('choices')}")
    if kind == "number" and not all(isinstance(part, int | float) for part in answers):
        raise ValueError(f"the answer {predict.get('answer')!r} is no number")
    return {"covers": 1, **predict, "kind": kind}


def told_behind(cell: nodes.Element, count: int) -> list[nodes.Element]:
    """The next `count` paragraphs behind a cell, up to the next heading, cell or prompt: they tell the answer.

    A list or a formula belongs to the paragraph that leads into it.
    """
    siblings, found, counted = cell.parent.children, [], 0
    for node in siblings[cell.parent.index(cell) + 1 :]:
        belongs = bool(found) and not isinstance(node, nodes.paragraph)
        if not isinstance(node, PROSE) or is_prompt(node) or (counted == count and not belongs):
            break
        counted += not belongs
        found.append(node)
    return found


def box(key: str, predict: Mapping, cells: list[str]) -> nodes.raw:
    """What the script makes a form of; without the script it shows nothing."""
    data = {"key": key, "kind": predict["kind"], "cells": " ".join(cells)}
    data |= {name: json.dumps(predict[name]) for name in ("answer", "choices") if name in predict}
    data |= {name: str(predict[name]) for name in ("unit", "exact") if predict.get(name)}
    written = "".join(f' data-{name}="{escape(value)}"' for name, value in data.items())
    return nodes.raw("", f'<div class="predict" id="predict-{key}"{written} hidden></div>', format="html")


def tie(doctree: nodes.document, ids: list[str]) -> dict[str, int]:
    """Put a box behind every prompt that a cell answers; `ids` are those of the notebook's cells. Raises ValueError."""
    prompt, prompts = None, {}  # the paragraph -> its cells
    for node in list(doctree.findall(nodes.Element)):
        if is_prompt(node):
            prompt = node
        elif is_cell(node) and f"tag_{TAG}" in node["classes"]:
            if prompt is None:
                raise ValueError(f"cell {ids[node['cell_index']]} answers a prediction, and no prompt stands before it")
            prompts.setdefault(prompt, []).append(node)
    for paragraph, cells in prompts.items():
        predict = checked(cells[0]["cell_metadata"].get("vitedu", {}).get("predict", {}))
        names = []
        for cell in cells:
            names.append(nodes.make_id(f"answer-{ids[cell['cell_index']]}"))
            cell["ids"].append(names[-1])
            for told in told_behind(cell, predict["covers"]):
                told["classes"].append("predict-told")
        place = paragraph.parent.index(paragraph) + 1
        while place < len(paragraph.parent) and isinstance(
            paragraph.parent[place], nodes.bullet_list | nodes.enumerated_list
        ):
            place += 1
        paragraph["classes"].append("predict-prompt")
        paragraph.parent.insert(place, box(nodes.make_id(names[0].removeprefix("answer-")), predict, names))
    return {"predictions": len(prompts)}


def on_read(app: Sphinx, doctree: nodes.document) -> None:
    path = Path(app.env.doc2path(app.env.docname))
    if path.suffix != ".ipynb":
        return
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    try:
        app.env.metadata[app.env.docname] |= tie(doctree, [cell.get("id", str(i)) for i, cell in enumerate(cells)])
    except ValueError as error:
        logger.warning("%s", error, location=app.env.docname)


def load_script(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Only the pages that ask for predictions carry what asks."""
    del template, context, doctree
    if app.env.metadata.get(page, {}).get("predictions"):
        app.add_css_file("page/predict.css")
        app.add_js_file("page/predict.js")


def setup(app: Sphinx) -> dict:
    app.connect("doctree-read", on_read)
    app.connect("html-page-context", load_script)
    revision = zlib.crc32(Path(__file__).read_bytes())
    return {"version": "1", "env_version": revision, "parallel_read_safe": True, "parallel_write_safe": True}
