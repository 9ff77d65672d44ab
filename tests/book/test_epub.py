"""The ePub: sound to epubcheck, whole, in order, with formulas that survive and code that wraps."""

import re
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml
from bs4 import BeautifulSoup

from book.tools.print.mathml import mathml
from book.tools.print.settings import EPUB
from book.tools.site.chapters import ROOT
from tests.book.printing import CHECK_MISSING, EPUBCHECK, EXERCISES, do_without, folds, make

MATH = "{http://www.w3.org/1998/Math/MathML}"
LARGEST = 12_000_000  # bytes
CONTENTS = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
LISTED = [CONTENTS["root"], *(chapter["file"] for part in CONTENTS["parts"] for chapter in part["chapters"])]


@pytest.fixture(scope="module")
def epub(printed) -> Path:
    make("epub", printed)
    return printed / EPUB


@pytest.fixture(scope="module")
def files(epub) -> dict[str, str]:
    """Every text in it by its name."""
    with ZipFile(epub) as archive:
        assert archive.namelist()[0] == "mimetype"
        names = [name for name in archive.namelist() if name.endswith((".xhtml", ".opf", ".ncx", ".css"))]
        return {name: archive.read(name).decode() for name in names}


@pytest.fixture(scope="module")
def chapters(files) -> dict[str, BeautifulSoup]:
    return {
        name: BeautifulSoup(text, "html.parser")
        for name, text in files.items()
        if name.startswith("chapters/") and name.endswith(".xhtml")
    }


def test_epubcheck_finds_nothing(epub):
    if not EPUBCHECK.exists():
        do_without(CHECK_MISSING)
    command = ["java", "-jar", str(EPUBCHECK), "--failonwarnings", str(epub)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-4000:]
    assert "0 fatals / 0 errors / 0 warnings" in done.stdout


def test_every_page_stands_in_the_spine_in_the_order_of_the_contents(files):
    places = dict(re.findall(r'<item id="([^"]+)" href="([^"]+)"', files["content.opf"]))
    spine = [places[page] for page in re.findall(r'<itemref idref="([^"]+)" />', files["content.opf"])]
    assert spine == ["epub-cover.xhtml", *(f"{page}.xhtml" for page in LISTED)]


def test_contents_are_nested_by_part_and_flat_for_older_devices(files):
    parts = BeautifulSoup(files["nav.xhtml"], "html.parser").nav.ol.find_all("li", recursive=False)
    assert [part.a.text for part in parts[1:]] == [part["caption"] for part in CONTENTS["parts"]]
    nested = [link["href"] for part in parts[1:] for link in part.ol.select("a") if "#" not in link["href"]]
    assert nested == [f"{page}.xhtml" for page in LISTED[1:]]
    flat = re.findall(r'<content src="([^"#]+)"', files["toc.ncx"])
    assert flat == [f"{page}.xhtml" for page in LISTED]


def test_it_says_what_it_is(files):
    content = files["content.opf"]
    assert "<dc:title>Vision Transformers from the ground up</dc:title>" in content
    assert "<dc:language>en</dc:language>" in content
    assert 'href="_static/cover.png" media-type="image/png" properties="cover-image"' in content


def test_every_exercise_leads_to_its_solution_and_back(chapters):
    there, titles = [], []
    for page in chapters.values():
        for link in page.select("p.to-solution a, p.to-exercise a"):
            assert page.find(id=link["href"].removeprefix("#")), link
            there.append(link)
        titles += [title.text.replace("’", "'") for title in page.select("section.solution > h3")]
    answers = sum(map(folds, ("Solution", "Model answer", "A model answer")))
    assert len(titles) == answers
    assert len(there) == 2 * answers
    assert {f"{exercise.number} · {exercise.title}" for exercise in EXERCISES} <= {
        title.partition(" ")[2].removeprefix("answer ") for title in titles
    }


def test_nothing_is_left_of_what_only_a_browser_can_use(files):
    for name, text in files.items():
        assert not re.search(r"<script|<details|<summary|data-vitedu|class=\"predict\"", text), name


def test_every_formula_of_a_chapter_is_mathml(files, chapters):
    for name, page in chapters.items():
        formulas = page.find_all("math")
        assert len(formulas) > 10, name
        assert not page.find("merror"), name
        assert not page.find_all(class_="math"), name
        for formula in formulas:
            said = "".join(part.text for part in formula.find_all(["mi", "mo", "mn", "mtext"]))
            assert not re.search(r"[\\&]", said), formula["alttext"]


def cells(latex: str) -> list[int]:
    rows = ET.fromstring(mathml(latex, True)).findall(f".//{MATH}mtr")
    return [len(row.findall(f"{MATH}mtd")) for row in rows]


def test_a_prime_and_an_index_stand_one_above_the_other():
    both = ET.fromstring(mathml(r"z'_\ell", False)).find(f".//{MATH}msubsup")
    assert [part.text for part in both] == ["z", "ℓ", "′"]
    assert mathml("x''", False).count("″") == 1


def test_aligned_equations_keep_their_columns():
    assert cells(r"\begin{aligned} z &= a && (1) \\ y &= b && (2) \end{aligned}") == [4, 4]
    assert cells(r"\begin{cases} a & s < w \\[2ex] b & s \ge w \end{cases}") == [2, 2]
    assert "2ex" not in mathml(r"\begin{cases} a & b \\[2ex] c & d \end{cases}", True).partition(">")[2]


def test_a_size_stands_on_a_style_alone():
    """MathML 3, which ePub asks for, knows it nowhere else."""
    formula = ET.fromstring(mathml(r"\dfrac{a}{b} + \begin{cases} a & b \end{cases}", False))
    styled = {
        part.tag.removeprefix(MATH) for part in formula.iter() if {"displaystyle", "scriptlevel"} & set(part.attrib)
    }
    assert styled == {"mstyle"}


def test_code_wraps_and_dark_readers_have_their_colours(files):
    style = files["_static/book.css"]
    assert re.search(r"pre \{[^}]*white-space: pre-wrap", style)
    assert "@media (prefers-color-scheme: dark)" in style


def test_it_is_small_enough_to_send(epub):
    assert epub.stat().st_size < LARGEST
