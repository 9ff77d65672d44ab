"""Sphinx extension: the site offers the book as a PDF and as an ePub, if `make pdf` and `make epub` have made them."""

import shutil
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

PAGE = "book/intro"
FILES = {"vision-transformers.pdf": "PDF", "vision-transformers.epub": "ePub"}  # as book/tools/print names them
USE = {"PDF": "for paper", "ePub": "for a reading device"}
FOLDER = "downloads"  # in the site


def made(app: Sphinx) -> list[Path]:
    """What lies beside the site, in _build/print."""
    folder = Path(app.outdir).parent / "print"
    return [folder / name for name in FILES if (folder / name).is_file()] if app.builder.name == "html" else []


def offer(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """One more way to use the book, below the others."""
    ways = next((node for node in doctree.findall(nodes.container) if "ways" in node["classes"]), None)
    if page != PAGE or ways is None or not (files := made(app)):
        return
    line = nodes.paragraph("", "", nodes.strong("", "Keep."), nodes.Text(" The whole book"))
    for place, file in enumerate(files):
        kind = FILES[file.name]
        address = f"../{FOLDER}/{file.name}"
        size = f" {USE[kind]} ({file.stat().st_size / 1e6:.0f} MB)"
        line += nodes.Text(", and as an " if place else " as a " if kind == "PDF" else " as an ")
        line += [nodes.reference("", kind, refuri=address, internal=True), nodes.Text(size)]
    line += nodes.Text(".")
    ways += line


def write_anew(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Whether they are there may have changed since the page was written."""
    return [PAGE] if app.builder.name == "html" and PAGE in env.found_docs else []


def copy(app: Sphinx, problem: Exception | None) -> None:
    if problem is None and app.builder.name == "html":
        shutil.rmtree(Path(app.outdir) / FOLDER, ignore_errors=True)
        for file in made(app):
            target = Path(app.outdir) / FOLDER / file.name
            target.parent.mkdir(exist_ok=True)
            shutil.copy(file, target)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("env-updated", write_anew)
    app.connect("doctree-resolved", offer)
    app.connect("build-finished", copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
