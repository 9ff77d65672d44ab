"""Sphinx extension: the pages as one book on paper.

The parts of _toc.yml get a page each, and what the first page of the site says becomes a chapter. The links of the
glossary and the bibliography are made here, because Sphinx resolves a whole book in one go and the site page by page.
"""

import zlib
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.builders.latex.nodes import thebibliography

from book.tools.print.settings import parts
from book.tools.site import citations, glossary_links

WELCOME = "About this book"


def open_parts(tree: nodes.document) -> None:
    names = parts()
    for file in tree.findall(addnodes.start_of_file):
        if file["docname"] in names:
            file.insert(0, nodes.raw("", f"\\part{{{names[file['docname']]}}}\n", format="latex"))


def make_welcome(tree: nodes.document) -> None:
    """The first page's own sections would be chapters; they belong under one."""
    root = tree[0]
    own = [child for child in root.children[1:] if not next(child.findall(addnodes.start_of_file), None)]
    for child in own:
        root.remove(child)
    root.insert(1, nodes.section("", nodes.title("", WELCOME), *own, ids=["about"], docname=tree["docname"]))


def bring_home(tree: nodes.document) -> None:
    """Sphinx gathers the entries of the bibliography behind the whole book; they belong on their page."""
    pages = {file["docname"]: file for file in tree.findall(addnodes.start_of_file)}
    for gathered in list(tree.findall(thebibliography)):
        gathered.parent.remove(gathered)
        next(pages[citations.PAGE].findall(nodes.section)).extend(gathered.children)


def finish_entries(tree: nodes.Element) -> None:
    """A label as long as the authors' names does not fit into the margin of a list: it opens the entry."""
    for entry in list(tree.findall(nodes.citation)):
        label, body = entry[0], entry.children[1:]
        body[0].insert(0, nodes.Text("  "))
        body[0].insert(0, nodes.strong("", label.astext()))
        entry.parent.replace(entry, nodes.container("", *body, classes=["bibliography-entry"]))


def show_sections(app: Sphinx, doctree: nodes.document) -> None:
    """In the contents of a reading device; those on paper go as deep as tex/look.tex says."""
    del app
    for contents in doctree.findall(addnodes.toctree):
        contents["titlesonly"], contents["maxdepth"] = False, 2


def bind(app: Sphinx, tree: nodes.document, page: str) -> None:
    if app.builder.format != "latex":
        return
    bring_home(tree)
    for file in list(tree.findall(addnodes.start_of_file)):
        glossary_links.add_links(app, file, file["docname"])
        citations.link_back(app, file, file["docname"])
    finish_entries(tree)
    make_welcome(tree)
    open_parts(tree)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-read", show_sections)
    app.connect("doctree-resolved", bind)
    # A change of one of these files makes Sphinx read all pages anew.
    revision = zlib.crc32(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))))
    return {"version": "1", "env_version": revision, "parallel_read_safe": True, "parallel_write_safe": True}
