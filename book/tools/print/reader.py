"""Sphinx extension: the ePub builder: Sphinx's own, with what it lacks for a book whose first page lies in a folder.

Sphinx names the pages of the contents relative to that folder, so that the spine points to nothing; it adds scripts
and styles that no page here uses; and it does not say which pages hold MathML, what the cover is, and how the book is
read aloud. epubcheck finds all of that.
"""

import html
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.builders.epub3 import Epub3Builder

from book.tools.print.cover import draw_cover
from book.tools.print.drawings import light
from book.tools.print.settings import parts

HERE = Path(__file__).parent
STYLE = "book.css"
COVER = "cover.png"
ITEM = re.compile(r'<item id="(?P<id>[^"]+)" href="(?P<href>[^"]+)" media-type="(?P<type>[^"]+)" />')
ACCESS = """    <meta property="schema:accessMode">textual</meta>
    <meta property="schema:accessMode">visual</meta>
    <meta property="schema:accessModeSufficient">textual</meta>
    <meta property="schema:accessibilityFeature">alternativeText</meta>
    <meta property="schema:accessibilityFeature">MathML</meta>
    <meta property="schema:accessibilityFeature">tableOfContents</meta>
    <meta property="schema:accessibilityHazard">none</meta>
    <meta property="schema:accessibilitySummary">Every figure has alternative text; formulas are MathML.</meta>
"""


class BookEpub(Epub3Builder):
    """Its files lie in one folder, which is zipped."""

    def init_css_files(self) -> None:
        self._css_files = []
        self.add_css_file(STYLE)

    def init_js_files(self) -> None:
        self._js_files = []

    def copy_static_files(self) -> None:
        static = Path(self.outdir) / "_static"
        static.mkdir(parents=True, exist_ok=True)
        (static / STYLE).write_text((HERE / "epub.css").read_text(encoding="utf-8"), encoding="utf-8")
        draw_cover(static / COVER)

    def copy_image_files(self) -> None:
        super().copy_image_files()
        for drawing in (Path(self.outdir) / self.imagedir).glob("*.svg"):
            drawing.write_text(light(drawing.read_text(encoding="utf-8")), encoding="utf-8")

    def get_toc(self) -> None:
        super().get_toc()
        for node in self.refnodes:
            node["refuri"] = posixpath.normpath(node["refuri"])

    def toc_metadata(self, level: int, navpoints: list) -> dict:
        return {**super().toc_metadata(level, navpoints), "uid": html.escape(self.config.epub_identifier)}

    def build_content(self) -> None:
        for file in (Path(self.outdir) / "_static").glob("*.css"):
            if file.name != STYLE:
                file.unlink()
        (Path(self.outdir) / self.coverpage_name).unlink(
            missing_ok=True
        )  # of an earlier build; it would be there twice
        super().build_content()
        content = Path(self.outdir) / "content.opf"
        text = ITEM.sub(self.item, content.read_text(encoding="utf-8"))
        content.write_text(text.replace("  </metadata>", f"{ACCESS}  </metadata>", 1), encoding="utf-8")

    def build_navigation_doc(self) -> None:
        """The contents of today's devices have the parts; those of older ones, toc.ncx, may name no page twice."""
        pages = self.refnodes
        self.refnodes = list(with_parts(pages, self.out_suffix))
        super().build_navigation_doc()
        self.refnodes = pages

    def item(self, found: re.Match) -> str:
        """An item of the manifest with its properties."""
        properties = []
        if found["href"] == f"_static/{COVER}":
            properties.append("cover-image")
        if found["type"] == "application/xhtml+xml":
            page = (Path(self.outdir) / found["href"]).read_text(encoding="utf-8")
            properties += ["mathml"] if "<math " in page else []
            properties += ["svg"] if "<svg" in page else []
        said = f' properties="{" ".join(properties)}"' if properties else ""
        return found[0].replace(" />", f"{said} />")


def with_parts(entries: list[dict], suffix: str) -> Iterator[dict]:
    """The contents, one level deeper, under the names of the parts; what stands before the first is left alone."""
    names = {f"{file}{suffix}": name for file, name in parts().items()}
    within = False
    for entry in entries:
        if name := names.get(entry["refuri"]):
            within = True
            yield {"level": 1, "refuri": entry["refuri"], "text": name}
        yield {**entry, "level": entry["level"] + within}


def drop_what_no_device_runs(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Scripts that extensions of the site ask for, and the pop-ups' data."""
    del page, template, doctree
    if app.builder.name == "epub":
        context["script_files"] = []
        context["css_files"] = [file for file in context["css_files"] if STYLE in str(getattr(file, "filename", file))]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_builder(BookEpub, override=True)
    app.connect("html-page-context", drop_what_no_device_runs, priority=950)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
