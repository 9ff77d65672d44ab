"""Sphinx extension: what no page asks for does not stay in the site.

The package that brings MathJax copies all of its builds, 24 MB, of which a page loads one. The fonts of that build, its
TeX extensions, and what its menu offers to readers of English who listen, stay; so do the theme's styles and fonts.
"""

import shutil
from pathlib import Path

from sphinx.application import Sphinx

# In _static; a name that ends with / is a folder.
MATHJAX_KEPT = (
    "tex-chtml.js",
    "output/chtml/fonts/",
    "input/tex/extensions/",
    "a11y/",
    "sre/mathmaps/en.json",
    "sre/mathmaps/base.json",
)
UNUSED = ("locales", "vendor/fontawesome/*/js", "**/*.map", "vendor/fontawesome/*/webfonts/*.ttf")


def prune(static: Path) -> None:
    mathjax = static / "mathjax"
    for path in sorted(mathjax.rglob("*")):
        name = path.relative_to(mathjax).as_posix()
        if path.is_file() and not any(
            name == kept or (kept.endswith("/") and name.startswith(kept)) for kept in MATHJAX_KEPT
        ):
            path.unlink()
    for folder in sorted((path for path in mathjax.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
    for pattern in UNUSED:
        for path in list(static.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def on_finished(app: Sphinx, problem: Exception | None) -> None:
    if problem is None and app.builder.name == "html":
        prune(Path(app.outdir) / "_static")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", on_finished, priority=900)  # when all have copied theirs
    return {"parallel_read_safe": True, "parallel_write_safe": True}
