"""From LaTeX to a PDF, held to what a reader would notice: no error, no missing character, no dead reference."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PROGRAMS = ("xelatex", "latexmk", "rsvg-convert")
FILES = ("tcolorbox.sty", "titlesec.sty", "texgyrepagella-regular.otf", "texgyreheros-regular.otf")  # of LaTeX
FAMILIES = ("TeX Gyre Pagella Math", "DejaVu Sans Mono", "NanumMyeongjo")  # fonts of the system
PACKAGES = (
    "texlive-xetex texlive-latex-extra texlive-fonts-recommended latexmk librsvg2-bin "
    "fonts-texgyre-math fonts-dejavu fonts-nanum"
)
FAULTS = re.compile(r"^! .*|^Missing character: .*|^LaTeX Warning: (?:Hyper )?[Rr]eference .*undefined.*", re.MULTILINE)


def answers(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def missing() -> Iterator[str]:
    """What a PDF needs and this machine lacks."""
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    yield from absent
    if not absent:
        yield from (file for file in FILES if not answers("kpsewhich", file))
        yield from (family for family in FAMILIES if not answers("fc-list", family))


@cache
def remedy() -> str:
    """One line that says what to install; empty where all is there."""
    lacks = list(missing())
    return f"{', '.join(lacks)} missing; install what a PDF needs: apt install {PACKAGES}" if lacks else ""


def typeset(folder: Path, log: Path) -> Path:
    """Run xelatex as often as the references need. RuntimeError with what the log complains of."""
    environment = os.environ | {"LATEXOPTS": "", "max_print_line": "1000"}  # for Sphinx's latexmkrc, for TeX
    command = ["latexmk", "-xelatex", "-silent", "-interaction=nonstopmode", "-halt-on-error", "book.tex"]
    with log.open("w", encoding="utf-8") as out:
        done = subprocess.run(command, cwd=folder, env=environment, stdout=out, stderr=out, check=False)
    faults = faults_of(folder / "book.log")
    if done.returncode or faults:
        raise RuntimeError("\n".join([f"xelatex is not content; see {folder / 'book.log'}", *faults[:20]]))
    return folder / "book.pdf"


def faults_of(log: Path) -> list[str]:
    return FAULTS.findall(log.read_text(encoding="utf-8", errors="replace")) if log.exists() else ["no log"]
