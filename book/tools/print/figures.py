"""Sphinx extension: a picture in print has the size that its maker gave it, and never more than the width of a line.

The pictures of notebooks have twice the pixels of their size; drawings say theirs.
"""

from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

from book.tools.site.pictures import DENSITY, size_of


def say_width(app: Sphinx, doctree: nodes.document) -> None:
    density = DENSITY.get(app.env.docname.partition("/")[0], 1)
    for image in doctree.findall(nodes.image):
        image.attributes.pop("height", None)
        image.attributes.pop("width", None)
        path = Path(app.srcdir) / image["uri"]
        size = size_of(path) if path.is_file() else None
        if size:
            image["width"] = f"{round(size[0] / (1 if path.suffix == '.svg' else density))}px"


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-read", say_width, priority=700)  # Sphinx has found the pictures
    return {"parallel_read_safe": True, "parallel_write_safe": True}
