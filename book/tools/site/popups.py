"""Sphinx extension: what the pop-ups of a page say, of terms and of papers, for book/_static/page/popup.js.

A pop-up opens by pointer, touch and keyboard; without the script each link leads to the glossary or to the paper. The
extensions that know terms and papers call `say`, and the page carries what was said as JSON: it works from disk.
"""

import json
import re
from html import escape

from docutils import nodes
from sphinx.application import Sphinx

FORMULA = re.compile(r"\$([^$]+)\$")


def inline_html(markdown: str) -> str:
    """One paragraph of the book's Markdown as HTML: emphasis, code, formulas; a link becomes its text."""
    text = escape(re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", markdown), quote=False)
    formulas = FORMULA.findall(text)
    text = FORMULA.sub("\0", text)  # emphasis is looked for outside of them
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", text)
    text = re.sub(r"\*([^*]+)\*", r"<em>\1</em>", text)
    for formula in formulas:
        text = text.replace("\0", rf'<span class="math">\({formula}\)</span>', 1)
    return text


def say(context: dict, kind: str, key: str, words: dict) -> None:
    """Note what the pop-up of one term or paper on this page says."""
    context.setdefault("popups", {}).setdefault(kind, {})[key] = words


def write_down(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Append what was said to the page, and load the script, if anything was said."""
    del page, template, doctree
    if context.get("popups") and app.builder.name == "html":
        text = json.dumps(context["popups"], ensure_ascii=False).replace("</", "<\\/")
        context["body"] += f'<script type="application/json" id="popup-data">{text}</script>\n'
        app.add_js_file("page/popup.js")
        app.add_css_file("page/popup.css")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", write_down)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
