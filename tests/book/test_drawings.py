"""The drawings: stored is what the scripts draw, every word stays on the sheet, and both grounds are legible."""

import importlib.util
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "book" / "figures"
SVG = "{http://www.w3.org/2000/svg}"


def load(name: str):
    """A script of book/figures/drawings, which is no package: the scripts import each other by their bare names."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / "drawings" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def drawings() -> dict:
    names = ("sheet", "attention", "pictures", "recurrence", "learning", "convolutions", "windows", "carried")
    names += ("without_labels",)
    before = {name: sys.modules.get(name) for name in names}
    modules = [load(name) for name in names]
    yield {name: draw() for module in modules[1:] for name, draw in module.DRAWINGS.items()}
    for name in names:
        sys.modules.pop(name) if before[name] is None else sys.modules.update({name: before[name]})


def test_stored_drawings_are_those_that_the_scripts_draw(drawings):
    assert {path.stem for path in FOLDER.glob("*.svg")} == drawings.keys()
    for name, sheet in drawings.items():
        assert (FOLDER / f"{name}.svg").read_text(encoding="utf-8") == sheet.svg(), "python book/figures/drawings"


def test_every_drawing_says_what_it_shows(drawings):
    for sheet in drawings.values():
        root = ElementTree.fromstring(sheet.svg())
        assert root.find(f"{SVG}title").text == sheet.title
        assert len(root.find(f"{SVG}desc").text) > 80


def test_every_drawing_is_shown_with_its_own_words(drawings):
    """By a chapter or a page, and the alternative text is what the drawing says of itself."""
    texts = [path.read_text(encoding="utf-8") for path in [*ROOT.glob("chapters/*.ipynb"), *ROOT.glob("book/*.md")]]
    for name, sheet in drawings.items():
        shown = [text for text in texts if f"figures/{name}.svg" in text]
        assert shown, name
        assert all(sheet.says in text for text in shown), name


def test_no_word_leaves_its_sheet(drawings):
    """By a generous guess at the width of a letter, 0.6 of its height."""
    for name, sheet in drawings.items():
        for text in ElementTree.fromstring(sheet.svg()).iter(f"{SVG}text"):
            width = 0.6 * float(text.get("font-size")) * len(text.text)
            shift = {"start": 0, "middle": width / 2, "end": width}[text.get("text-anchor")]
            left = float(text.get("x")) - shift
            assert left > 0, (name, text.text)
            assert left + width < sheet.width, (name, text.text)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_are_legible_on_every_colour(drawings, theme):
    """Contrast as WCAG defines it, of ink on each ground a word may stand on; 4.5 is what it asks of text."""
    style = next(iter(drawings.values())).svg()
    light, dark = style.split("@media", 1)
    colours = dict(re.findall(r"--(\w+): (#\w{6})", light if theme == "light" else dark.split("text {")[0]))

    def luminance(colour: str) -> float:
        linear = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in linear]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one: str, other: str) -> float:
        high, low = sorted((luminance(colours[one]), luminance(colours[other])), reverse=True)
        return (high + 0.05) / (low + 0.05)

    for ground in ("blue", "teal", "green", "sand", "violet", "plain", "ground"):
        assert contrast("ink", ground) >= 4.5, ground
    assert contrast("soft", "ground") >= 4.5
