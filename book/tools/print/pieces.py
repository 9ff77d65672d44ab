"""Sphinx extension: what is alive on the site, at rest: a piece is its figure and a sentence that says where it runs.

The squares of the path are drawn for paper; the boxes in which the site keeps a reader's settings are left out.
"""

import re

from docutils import nodes
from sphinx.application import Sphinx

from book.tools.site.path import GROUNDS, Stop, the_path

OPENS = re.compile(r"^\s*<div[^>]*\sdata-vitedu=")
CLOSES = re.compile(r"^\s*</div>\s*$")
SETTINGS = re.compile(r"reader-settings")
COLUMNS = 4


def put_to_rest(app: Sphinx, doctree: nodes.document) -> None:
    """The boxes go, what stands in them stays; a sentence in one gets the address of the page that it speaks of."""
    page = f"{app.config.print_address}{app.env.docname}.html"
    within = False
    for raw in list(doctree.findall(nodes.raw)):
        html = raw.astext()
        if OPENS.match(html):
            within = True
            sentence = raw.next_node(siblings=True, descend=False)
            if isinstance(sentence, nodes.paragraph):
                sentence += [nodes.Text(" ("), nodes.reference("", page, refuri=page, internal=False), nodes.Text(")")]
                sentence["classes"].append("lives-elsewhere")
            raw.parent.remove(raw)
        elif (within and CLOSES.match(html)) or SETTINGS.search(html):
            within = within and not CLOSES.match(html)
            raw.parent.remove(raw)


def square(stop: Stop) -> str:
    ground = f"part{stop.part % len(GROUNDS)}"
    title = stop.title.replace("&", r"\&")
    return rf"\pathsquare{{{ground}}}{{{stop.number}}}{{{title}}}{{{'' if stop.written else 'planned'}}}"


def draw_path(app: Sphinx, doctree: nodes.document) -> None:
    """Beside the squares for a reading device, which book/tools/site/place.py makes, some for paper."""
    del app
    for raw in list(doctree.findall(nodes.raw)):
        if "path-picture" in raw["classes"]:
            path = the_path()
            rows = [path[start : start + COLUMNS] for start in range(0, len(path), COLUMNS)]
            lines = "\\\\[1.5mm]\n".join("\\hfill\n".join(map(square, row)) for row in rows)
            text = f"\\begin{{minipage}}{{\\linewidth}}\n{lines}\n\\end{{minipage}}"
            text = f"\\par\\medskip\\noindent{text}\\par\\medskip\n"
            raw.parent.insert(raw.parent.index(raw) + 1, nodes.raw("", text, format="latex"))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_config_value("print_address", "", "env")
    app.connect("doctree-read", put_to_rest)
    app.connect("doctree-read", draw_path)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
