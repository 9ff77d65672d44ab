"""Sphinx extension: where the reader is. The path on the first page, a strip of it on each chapter, and what is done.

```{path-picture}```     the chapters as squares, from the table on the same page

Each page also carries how many predictions and exercises every chapter has, for book/_static/page/progress.js.
"""

import json
import zlib
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from book.tools.site.chapters import ROOT, all_chapters
from book.tools.site.path import INTRO, squares, strip, the_path


class PathPicture(SphinxDirective):
    """The squares; what links to a page is written in by `link`, when all pages are known."""

    has_content = True  # what those see who read the file itself

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(INTRO.relative_to(ROOT)))
        return [nodes.raw("", "", format="html", classes=["path-picture"])]


def link(app: Sphinx, doctree: nodes.document, page: str) -> None:
    for node in doctree.findall(nodes.raw):
        if "path-picture" in node["classes"]:
            node.children = [nodes.Text(squares(the_path(), lambda there: app.builder.get_relative_uri(page, there)))]


def amounts(app: Sphinx) -> dict[str, list[int]]:
    """Page of a chapter -> how many predictions it asks for, and how many exercises it has."""
    found = {}
    for chapter in all_chapters():
        page = f"chapters/{chapter.path.stem}"
        found[page] = [app.env.metadata.get(page, {}).get("predictions", 0), len(chapter.exercises)]
    return found


def add(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """The strip under a chapter's title, and the amounts on every page."""
    del template
    if app.builder.name != "html" or doctree is None:
        return
    if page.startswith("chapters/"):
        where = strip(the_path(), lambda there: app.builder.get_relative_uri(page, there), page)
        context["body"] = context["body"].replace("</h1>", f"</h1>\n{where}", 1)
    written = json.dumps(amounts(app), separators=(",", ":"))
    context["body"] += f'<script type="application/json" id="chapter-amounts">{written}</script>\n'
    app.add_js_file("page/progress.js")


def setup(app: Sphinx) -> dict:
    app.add_directive("path-picture", PathPicture)
    app.connect("doctree-resolved", link)
    app.connect("html-page-context", add)
    app.add_js_file("page/keep.js", priority=300)  # before all scripts of page/, which keep things by it
    revision = zlib.crc32(Path(__file__).read_bytes() + Path(__file__).with_name("path.py").read_bytes())
    return {"version": "1", "env_version": revision, "parallel_read_safe": True, "parallel_write_safe": True}
