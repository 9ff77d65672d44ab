"""Sphinx extension: what a chapter's cells look like on the page.

A folded cell says what it holds, with the words of its first line, `# @title Code of figure 5.1`, which is for Colab
and leaves the code. The line that says where a recorded result comes from is set apart from the results.
"""

import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

from book.tools.form import TITLE

PROVENANCE = re.compile(r"\s*python book/experiments/\w+\.py.*, torch [\w.]+\s*")
PROVENANCE_CLASS = "provenance"


def elements(doctree: nodes.document, kind: str) -> Iterator[nodes.container]:
    """The containers that myst-nb has made of one kind of part of a cell."""
    return (node for node in list(doctree.findall(nodes.container)) if node.get("nb_element") == kind)


def name_folds(app: Sphinx, doctree: nodes.document) -> None:
    for cell in elements(doctree, "cell_code"):
        block = next(iter(cell.findall(nodes.literal_block)), None)
        title = TITLE.match(block.astext()) if block and cell.get("hide_mode") else None
        if title:
            cell["prompt_show"] = cell["prompt_hide"] = title["title"]
            set_text(block, block.astext()[title.end() :])


def set_text(block: nodes.literal_block, text: str) -> None:
    """Both as it was written and as it is shown: Sphinx colours code only where the two are equal."""
    block.rawsource = text
    block.children = []
    block += nodes.Text(text)


def set_provenance_apart(app: Sphinx, doctree: nodes.document) -> None:
    for output in elements(doctree, "cell_code_output"):
        for block in list(output.findall(nodes.literal_block)):
            lines = block.astext().splitlines(keepends=True)
            if any(map(PROVENANCE.fullmatch, lines)):
                block.parent.replace(block, list(parts(block, lines)))


def parts(block: nodes.literal_block, lines: list[str]) -> Iterator[nodes.literal_block]:
    """The block cut into runs of lines that are provenance and runs that are not."""
    runs: list[tuple[bool, str]] = []
    for line in lines:
        apart = bool(PROVENANCE.fullmatch(line))
        if runs and runs[-1][0] == apart:
            runs[-1] = apart, runs[-1][1] + line
        else:
            runs.append((apart, line))
    for apart, text in runs:
        part = block.copy()
        set_text(part, text.strip() if apart else text)
        part["classes"] = [*block["classes"], *([PROVENANCE_CLASS] if apart else [])]
        yield part


def setup(app: Sphinx) -> dict:
    app.connect("doctree-read", name_folds)
    app.connect("doctree-read", set_provenance_apart)
    revision = zlib.crc32(Path(__file__).read_bytes())  # a change of this file makes Sphinx read all pages anew
    return {"version": "1", "env_version": revision, "parallel_read_safe": True, "parallel_write_safe": True}
