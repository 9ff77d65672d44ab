"""Sphinx extension: the text of every section, for a search that leads to the section and works from disk.

Sphinx's own index knows which page holds a word, and its excerpts are fetched from the pages, which a browser refuses
from disk. `_static/sections.js` holds the prose of each section; book/_static/page/search.js searches it.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

SKIPPED = (nodes.title, nodes.raw, nodes.literal_block, nodes.comment, nodes.image, nodes.figure, nodes.target)
DEFINED = re.compile(r"^\s*(?:def|class) (\w+)", re.MULTILINE)


def words_of(node: nodes.Node) -> Iterator[str]:
    """The prose of a section without its subsections; of code, only the names that it defines."""
    for child in node.children:
        if isinstance(child, nodes.container) and child.get("nb_element") == "cell_code":
            yield " ".join(DEFINED.findall(child.astext()))
        elif isinstance(child, nodes.Text):
            yield child.astext()
        elif isinstance(child, nodes.math):
            yield bare(child.astext())
        elif not isinstance(child, (*SKIPPED, nodes.section, nodes.math_block)):
            yield "".join(words_of(child)) if isinstance(child, nodes.TextElement) else " ".join(words_of(child))


def bare(latex: str) -> str:
    """A formula as it reads in an excerpt: without backslashes and braces."""
    return re.sub(
        r"\\(?:mathrm|text|operatorname|left|right)\b|[\\{}]", "", latex.replace(r"\cdot", "·").replace(r"\times", "×")
    )


def sections_of(doctree: nodes.document) -> Iterator[tuple[str, str, str]]:
    """(anchor, title, text) of each section of a page; the first is the page itself."""
    for section in doctree.findall(nodes.section):
        text = re.sub(r"\s+", " ", " ".join(words_of(section))).strip()
        yield section["ids"][0], section[0].astext(), text


def write_index(app: Sphinx, problem: Exception | None) -> None:
    if problem or app.builder.name != "html":
        return
    rows = []
    for page in sorted(app.env.found_docs):
        title = app.env.titles[page].astext()
        for count, (anchor, heading, text) in enumerate(sections_of(app.env.get_doctree(page))):
            rows.append([app.builder.get_target_uri(page), title, f"#{anchor}" if count else "", heading, text])
    script = f"vitedu.sections = {json.dumps(rows, ensure_ascii=False, separators=(',', ':'))};\n"
    (Path(app.outdir) / "_static" / "sections.js").write_text(script, encoding="utf-8")


def load_script(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    del template, context, doctree
    if page == "search":
        app.add_js_file("page/search.js")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", load_script)
    app.connect("build-finished", write_index)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
