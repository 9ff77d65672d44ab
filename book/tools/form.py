"""The form of a chapter that follows from its tags and captions: `make notebooks` writes it, the tests keep it.

Under a figure stands its caption, a Markdown cell that begins `**Figure 5.1.**`. Code that only draws carries the tag
`hide-input`: it is folded in the site, in Jupyter and in Colab, and its first line says what the fold holds. What
answers a prediction carries the tag `predict-answer`: its output is stored folded, and the site covers it. Under the
title stand the ways to other places: the notebook in Colab, and its page in the book.
"""

import re
import tomllib
from functools import cache
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from book.tools.site.address import colab_address, site_address

ROOT = Path(__file__).resolve().parents[2]
FOLDED, ANSWER = "hide-input", "predict-answer"
CAPTION = re.compile(r"\*\*Figure (?P<number>\d+\.\d+)\.\*\* (?P<text>\S.*)", re.DOTALL)
TITLE = re.compile(r"# @title (?P<title>\S.*)\n")  # Colab shows it on the fold
BADGE = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"


def put_in_form(notebook: NotebookNode, name: str = "") -> None:
    """Fold what is tagged, in place; under the title of the chapter called `name`, such as 05_patches, its links."""
    for cell, following in zip(notebook.cells, [*notebook.cells[1:], None], strict=True):
        if cell.cell_type == "code" and FOLDED in cell.metadata.get("tags", []):
            fold(cell, caption_number(following))
        if cell.cell_type == "code" and ANSWER in cell.metadata.get("tags", []):
            cover(cell)
    if name and notebook.cells and notebook.cells[0].source.startswith("# "):
        put_links(notebook.cells[0], links(name))


def caption_number(cell: NotebookNode | None) -> str:
    """The number of the figure whose caption this cell is, or nothing."""
    match = CAPTION.match(cell.source) if cell and cell.cell_type == "markdown" else None
    return match["number"] if match else ""


def fold(cell: NotebookNode, figure: str) -> None:
    """Jupyter's mark and Colab's, and the line that says what is inside; without a figure it is the author's."""
    cell.metadata.setdefault("jupyter", nbformat.from_dict({}))["source_hidden"] = True
    cell.metadata["cellView"] = "form"
    title = TITLE.match(cell.source)
    if figure:
        cell.source = f"# @title Code of figure {figure}\n{cell.source[title.end() if title else 0 :]}"
    elif not title:
        cell.source = f"# @title Code\n{cell.source}"


def cover(cell: NotebookNode) -> None:
    """Jupyter's marks, the older and the newer, of an output that is folded until the cell is run or clicked on."""
    cell.metadata["collapsed"] = True
    cell.metadata.setdefault("jupyter", nbformat.from_dict({}))["outputs_hidden"] = True


def links(name: str) -> str:
    """One line for under the title of chapter `name`."""
    page = f"{site_address(repository())}chapters/{name}.html"
    return f"{BADGE}({colab_address(repository(), name)}) [This chapter in the book]({page})"


def put_links(cell: NotebookNode, line: str) -> None:
    """In the place of the links that stand under the title, or where they belong."""
    title, _, rest = cell.source.partition("\n")
    if rest.lstrip().startswith(BADGE):
        rest = rest.lstrip().partition("\n")[2]
    cell.source = f"{title}\n\n{line}\n\n{rest.lstrip()}".rstrip()


@cache
def repository() -> str:
    """The address that stands in pyproject.toml, which everything follows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["urls"]["Repository"]
