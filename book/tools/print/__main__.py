"""`python -m book.tools.print pdf|epub [FOLDER]`: the book as a PDF or an ePub in FOLDER, else in _build/print."""

import os
import shutil
import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from book.tools.print import pdf
from book.tools.print.cover import draw_cover
from book.tools.print.settings import EPUB, OUTPUT, PDF, ROOT, printed

BUILDERS = {"pdf": "latex", "epub": "epub"}


def run_sphinx(builder: str, folder: Path) -> Path:
    """The folder with what the builder wrote. SystemExit where it warned."""
    with patch_docutils(), docutils_namespace():
        app = Sphinx(
            ROOT,
            confdir=None,
            outdir=folder / builder,
            doctreedir=folder / "doctrees",
            buildername=builder,
            confoverrides=printed(),
            status=None,
            warning=sys.stderr,
            warningiserror=True,
            keep_going=True,
        )
        app.build()
    if app.statuscode:
        shutil.rmtree(folder / "doctrees")  # Sphinx repeats the warnings of a page only when it reads the page again
        raise SystemExit("The book was not built; the warnings above say why.")
    return folder / builder


def build(kind: str, folder: Path) -> Path:
    made = run_sphinx(BUILDERS[kind], folder)
    if kind == "epub":
        return Path(shutil.copy(made / EPUB, folder / EPUB))
    draw_cover(made / "cover.png")
    return Path(shutil.copy(pdf.typeset(made, folder / "latexmk.txt"), folder / PDF))


def main(kind: str, folder: str = str(OUTPUT)) -> None:
    if kind == "pdf" and pdf.remedy():
        raise SystemExit(pdf.remedy())
    try:
        made = build(kind, Path(folder).resolve())
    except RuntimeError as error:
        raise SystemExit(str(error)) from None
    print(f"Done: {os.path.relpath(made)}, {made.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in BUILDERS:
        raise SystemExit(__doc__)
    main(*sys.argv[1:3])
