"""Sphinx extension: each picture of a page carries its width and height, and is fetched when a reader comes near it.

With both, the browser keeps a picture's place free and nothing jumps. The pictures of notebooks have twice the pixels
of their size on the page, for screens that have as many.
"""

import html
import re
import zlib
from functools import cache
from pathlib import Path

from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx

IMAGE = re.compile(r"<img (?P<rest>[^>]*\bsrc=\"(?P<source>[^\":]+)\"[^>]*)>")
DENSITY = {"chapters": 2}  # folder of a page -> pixels of its pictures for one of the page


@cache
def size_of(path: Path) -> tuple[float, float] | None:
    """Width and height in the picture's own pixels; None where a drawing does not say."""
    if path.suffix != ".svg":
        with Image.open(path) as image:
            return image.size
    box = re.search(r"viewBox=\"[\d.-]+ [\d.-]+ ([\d.]+) ([\d.]+)\"", path.read_text(encoding="utf-8"))
    return (float(box[1]), float(box[2])) if box else None


def forget_styles(app: Sphinx, doctree: nodes.document) -> None:
    """A notebook's own sizes would become a style of the tag, against which the page could not shrink a picture."""
    for image in doctree.findall(nodes.image):
        if image.get("uri", "").endswith(".png"):
            image.attributes.pop("width", None)
            image.attributes.pop("height", None)


def say_sizes(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Write both numbers and `loading` into the tags of what Sphinx copies to the folder of images."""
    del template, doctree
    copied = {name: Path(app.srcdir) / source for source, name in app.builder.images.items()}

    def written(tag: re.Match) -> str:
        source = copied.get(html.unescape(tag["source"]).rpartition("/")[2])
        size = size_of(source) if source and " width=" not in tag[0] else None
        if size is None:
            return tag[0]
        density = 1 if source.suffix == ".svg" else DENSITY.get(page.partition("/")[0], 1)
        width, height = (round(side / density) for side in size)
        return f'<img loading="lazy" width="{width}" height="{height}" {tag["rest"]}>'

    if "body" in context:
        context["body"] = IMAGE.sub(written, context["body"])


def setup(app: Sphinx) -> dict:
    app.connect("doctree-read", forget_styles)
    app.connect("html-page-context", say_sizes)
    revision = zlib.crc32(Path(__file__).read_bytes())  # a change of this file makes Sphinx read all pages anew
    return {"version": "1", "env_version": revision, "parallel_read_safe": True, "parallel_write_safe": True}
