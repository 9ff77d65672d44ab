"""What print changes on a page: folds, drawings, predictions, and what it takes over from the site's settings."""

import re
from types import SimpleNamespace

import pytest
import yaml
from docutils import nodes

from book.tools.print.cover import draw_cover
from book.tools.print.drawings import light
from book.tools.print.folds import gather, heading, nest
from book.tools.print.hangul import OTHER
from book.tools.print.predictions import asked
from book.tools.print.settings import EPUB, PDF, parts, printed
from book.tools.site.chapters import ROOT
from book.tools.site.downloads import FILES, PAGE, copy, offer


def raw(html: str) -> nodes.raw:
    return nodes.raw("", html, format="html")


def text(words: str) -> nodes.paragraph:
    return nodes.paragraph("", words)


def test_folds_nest_and_keep_their_labels():
    inner = [raw("<details>\n<summary>Hint 1</summary>"), text("inside"), raw("</details>")]
    (outer, after) = nest([raw("<details><summary>Aside</summary>"), text("a"), *inner, raw("</details>"), text("b")])
    assert outer["label"] == "Aside"
    assert outer[1]["label"] == "Hint 1"
    assert after.astext() == "b"


def test_a_fold_that_is_not_closed_is_named():
    with pytest.raises(ValueError, match="'Hint 2' is not closed"):
        nest([raw("<details>\n<summary>Hint 2</summary>"), text("inside")])


def test_solutions_move_to_the_end_and_hints_stay():
    title = nodes.title("", "Exercise 5.2 · Undo it  ●●○  (10 min)")
    hint = [raw("<details>\n<summary>Hint 1</summary>"), text("a nudge"), raw("</details>")]
    answer = [raw("<details>\n<summary>Solution</summary>"), text("the answer"), raw("</details>")]
    exercise = nodes.section("", title, *hint, *answer, ids=["exercise-5-2"])
    document = nodes.document(None, None, "", nodes.section("", nodes.title("", "5"), exercise, ids=["top"]))
    gather(document, "chapters/05_patches")
    assert exercise[1].astext() == "Hint 1. a nudge"
    assert "the answer" not in exercise.astext()
    solutions = document[0][-1]
    assert [part.astext() for part in solutions[1]][:2] == ["Solution 5.2 · Undo it", "the answer"]
    assert [link["refid"] for link in document.findall(nodes.reference)] == ["solution-5-2", "exercise-5-2"]


@pytest.mark.parametrize(
    ("title", "found"),
    [
        ("Exercise 5.2 · Undo the patches  ●●○  (10 min)", ("5.2", "Undo the patches")),
        ("Two questions to think about", ("", "Two questions to think about")),
    ],
)
def test_heading_of_an_exercise_is_its_number_and_name(title, found):
    assert heading(nodes.title("", title)) == found


def test_drawings_have_their_light_colours_written_out():
    for drawing in (ROOT / "book" / "figures").glob("*.svg"):
        assert not re.search(r"var\(|@media", light(drawing.read_text(encoding="utf-8"))), drawing.name


def test_choices_are_printed_and_a_number_gets_a_line():
    assert "○\xa0B/16" in asked({"kind": "choice", "choices": ["B/16", "B/32"], "answer": "B/16"})[0].astext()
    assert r"\guessline{30mm}{\%}" in asked({"kind": "number", "answer": 3, "unit": "%"})[0].astext()


def test_hangul_and_signs_are_found_in_running_text():
    assert [match[0] for match in OTHER.finditer("raster order, 래스터 순서, ●●○")] == ["래스터 순서", "●●○"]


def test_settings_follow_the_site():
    settings = printed()
    site = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert settings["project"] == site["title"]
    assert settings["myst_heading_slug_func"] == site["sphinx"]["config"]["myst_heading_slug_func"]
    assert parts()["chapters/01_limits_of_recurrence"] == "Where attention comes from"


def test_site_looks_for_the_files_that_are_made():
    assert list(FILES) == [PDF, EPUB]


def test_cover_is_the_same_each_time(tmp_path):
    for name in ("a.png", "b.png"):
        draw_cover(tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("names", [[], [EPUB], [PDF, EPUB]])
def test_site_offers_what_lies_beside_it(tmp_path, names):
    app = SimpleNamespace(outdir=tmp_path / "html", builder=SimpleNamespace(name="html"))
    app.outdir.mkdir()
    (tmp_path / "print").mkdir()
    for name in names:
        (tmp_path / "print" / name).write_bytes(b"x")
    ways = nodes.container("", classes=["ways"])
    offer(app, nodes.document(None, None, "", ways), PAGE)
    copy(app, None)
    links = [link["refuri"] for link in ways.findall(nodes.reference)]
    assert links == [f"../downloads/{name}" for name in names]
    assert all((app.outdir / "book" / link).resolve().is_file() for link in links)
