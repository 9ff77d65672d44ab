"""The PDF: no error in the log, no missing character, whole, with its links, fonts, title and language.

It needs LaTeX, which the machine of continuous integration lacks: run `make pdf` and this file before a release.
"""

import re
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest

from book.tools.print import pdf
from book.tools.print.settings import PDF
from tests.book.printing import CHAPTERS, EXERCISES, folds, make

PAGES = (25, 50)  # of the whole book, for each chapter
READERS = ("pdftotext", "pdfinfo", "pdffonts")


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("’", "'"))


@pytest.fixture(scope="module")
def paper(printed) -> Path:
    if pdf.remedy():
        pytest.skip(pdf.remedy())
    if not all(map(shutil.which, READERS)):
        pytest.skip("what reads a PDF is missing; install it: apt install poppler-utils")
    make("pdf", printed)
    return printed / PDF


def ask(program: str, *options: str) -> str:
    return subprocess.run([program, *options], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def words(paper) -> str:
    return squeezed(ask("pdftotext", str(paper), "-"))


def test_log_has_no_error_and_no_missing_character(paper):
    log = paper.parent / "latex" / "book.log"
    assert log.exists()
    assert pdf.faults_of(log) == []


def test_faults_are_found_in_a_log(tmp_path):
    log = tmp_path / "book.log"
    lines = [
        "! Undefined control sequence.",
        "Missing character: There is no 가 in font texgyrepagella-regular!",
        "fine",
    ]
    log.write_text("\n".join(lines), encoding="utf-8")
    assert pdf.faults_of(log) == lines[:2]
    assert pdf.faults_of(tmp_path / "none.log")


def test_every_chapter_exercise_and_solution_is_there(words):
    for chapter in CHAPTERS:
        title = squeezed(chapter.sections[0].title.replace("`", ""))
        assert words.count(title) >= 2, f"{title}: in the contents and at its place"
    missing = [exercise.number for exercise in EXERCISES if f"Exercise {exercise.number} ·" not in words]
    assert not missing
    solved = set(re.findall(r"(?:Solution|Model answer) (\d+\.\d+) ·", words))
    assert {exercise.number for exercise in EXERCISES} <= solved
    hints = len(re.findall(r"Hint \d\.", words))
    assert hints >= sum(folds(f"Hint {number}") for number in range(1, 6))


def test_hangul_and_signs_are_there(words):
    assert re.search("래스터 순서", words)
    assert "●○○" in words


def test_number_of_pages_is_that_of_so_many_chapters(paper):
    pages = int(re.search(r"^Pages:\s+(\d+)", ask("pdfinfo", str(paper)), re.MULTILINE)[1])
    assert PAGES[0] * len(CHAPTERS) < pages < PAGES[1] * len(CHAPTERS)


def test_paper_title_and_language_are_set(paper):
    info = ask("pdfinfo", str(paper))
    assert re.search(r"^Title:\s+Vision Transformers from the ground up$", info, re.MULTILINE)
    assert re.search(r"^Page size:.*A4", info, re.MULTILINE)
    assert "/Lang(en-GB)" in catalogues(paper)


def catalogues(paper: Path) -> str:
    """The compressed objects of a PDF that say what it is."""
    data, found = paper.read_bytes(), []
    for stream in re.finditer(rb"/ObjStm.{0,200}?stream\r?\n", data, re.DOTALL):
        found.append(zlib.decompressobj().decompress(data[stream.end() :]).decode("latin-1"))
    return "".join(found)


def test_all_fonts_are_embedded(paper):
    rows = ask("pdffonts", str(paper)).splitlines()[2:]
    assert len(rows) > 5
    assert not [row for row in rows if not re.search(r"\byes (?:yes|no)\s+(?:yes|no)\s+\d+\s+0$", row)]


def test_what_is_missing_is_said_in_one_line(monkeypatch):
    monkeypatch.setattr(pdf, "missing", lambda: iter(["xelatex", "latexmk"]))
    pdf.remedy.cache_clear()
    try:
        assert pdf.remedy().startswith("xelatex, latexmk missing; install what a PDF needs: apt install texlive-xetex")
        assert "\n" not in pdf.remedy()
    finally:
        monkeypatch.undo()
        pdf.remedy.cache_clear()
