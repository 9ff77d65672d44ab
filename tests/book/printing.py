"""The printed book for the tests: both formats in one temporary folder, each made once, and what checks them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from book.tools.site.chapters import ROOT, all_chapters

EPUBCHECK = Path("/usr/share/java/epubcheck.jar")
CHECK_MISSING = "epubcheck is missing; install it: apt install epubcheck"
CHAPTERS = all_chapters()
EXERCISES = [exercise for chapter in CHAPTERS for exercise in chapter.exercises]


def make(kind: str, folder: Path) -> None:
    command = [sys.executable, "-m", "book.tools.print", kind, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        pytest.fail(f"make {kind} fails:\n{done.stdout[-2000:]}{done.stderr[-4000:]}", pytrace=False)


def do_without(what: str) -> None:
    """Elsewhere what needs a program is skipped, with the remedy; on a test machine it never is."""
    if os.environ.get("CI") == "true":
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


def folds(label: str) -> int:
    """How many folded parts of the chapters bear this label."""
    cells = (cell for chapter in CHAPTERS for cell in chapter.notebook["cells"] if cell["cell_type"] == "markdown")
    return sum("".join(cell["source"]).count(f"<summary>{label}</summary>") for cell in cells)
