"""What is done to the pages while the site is built, on small documents of which the answer is known."""

from pathlib import Path

import pytest
from docutils import nodes
from docutils.utils import new_document

from book.tools.site import boxes, cards, formulas, markup, place, popups, predictions, prune, search
from book.tools.site.chapters import all_chapters
from book.tools.site.citations import read_papers, short
from book.tools.site.path import squares, strip, the_path


def document(*children: nodes.Node) -> nodes.document:
    result = new_document("page")
    section = nodes.section("", nodes.title("", "A title"), *children, ids=["a-title"])
    result += section
    return result


def text(words: str) -> nodes.paragraph:
    return nodes.paragraph("", words)


def prompt(words: str = "How many?") -> nodes.paragraph:
    return nodes.paragraph("", "", nodes.strong("", "Predict, then run."), nodes.Text(f" {words}"))


def cell(index: int, tagged: bool = True, predict: dict | None = None) -> nodes.container:
    metadata = {"vitedu": {"predict": predict}} if predict else {}
    classes = ["cell", *(["tag_predict-answer"] if tagged else [])]
    output = nodes.container("", nodes.literal_block("", "6"), classes=["cell_output"])
    made = nodes.container(
        "", output, nb_element="cell_code", cell_index=index, cell_metadata=metadata, classes=classes
    )
    return made


IDS = [f"cell-{n}" for n in range(9)]


# --- predictions ---


def test_cell_is_tied_to_the_last_prompt_before_it_and_the_paragraph_behind_is_covered():
    behind, further = text("It is six."), text("And so on.")
    first, second = prompt("One?"), prompt("Two?")
    page = document(first, cell(1, tagged=False), second, cell(3), behind, further)
    assert predictions.tie(page, IDS) == {"predictions": 1}
    boxes_ = [node for node in page.findall(nodes.raw) if 'class="predict"' in node.astext()]
    assert len(boxes_) == 1
    assert boxes_[0].parent[boxes_[0].parent.index(boxes_[0]) - 1] is second
    assert 'data-cells="answer-cell-3"' in boxes_[0].astext()
    assert "predict-told" in behind["classes"]
    assert "predict-told" not in further["classes"]


def test_a_list_is_covered_with_the_paragraph_that_leads_into_it():
    behind, items, further = text("Two things."), nodes.bullet_list("", nodes.list_item()), text("And so on.")
    predictions.tie(document(prompt(), cell(1), behind, items, further), IDS)
    assert ["predict-told" in node["classes"] for node in (behind, items, further)] == [True, True, False]


def test_cells_that_answer_one_prompt_share_its_box():
    page = document(prompt(), cell(1, predict={"kind": "number", "answer": 6}), cell(2))
    assert predictions.tie(page, IDS) == {"predictions": 1}
    box = next(node.astext() for node in page.findall(nodes.raw))
    assert 'data-cells="answer-cell-1 answer-cell-2"' in box
    assert 'data-answer="6"' in box


def test_next_prompt_is_not_covered():
    following = prompt("Two?")
    predictions.tie(document(prompt(), cell(1), following, cell(3)), IDS)
    assert "predict-told" not in following["classes"]


def test_answer_without_a_prompt_is_an_error_that_names_the_cell():
    with pytest.raises(ValueError, match="cell-1"):
        predictions.tie(document(text("No prompt."), cell(1)), IDS)


@pytest.mark.parametrize(
    "predict",
    [
        {"kind": "guess"},
        {"kind": "number", "answer": "six"},
        {"kind": "number"},
        {"kind": "choice", "choices": ["a", "b"], "answer": "c"},
        {"kind": "text", "anwser": 3},
    ],
)
def test_wrong_metadata_is_refused(predict):
    with pytest.raises(ValueError, match=r"prediction|choices|number"):
        predictions.checked(predict)


def test_every_prompt_of_the_chapters_has_its_answer_covered_or_folded():
    """A prompt that stands above a cell, and whose answer no cell gives, has to have it in a fold or in the text."""
    tagged = sum(
        "predict-answer" in cell_["metadata"].get("tags", [])
        for chapter in all_chapters()
        for cell_ in chapter.notebook["cells"]
    )
    assert tagged >= 80


# --- formulas ---


@pytest.mark.parametrize(
    ("before", "after", "bound"),
    [
        ("a ", ". Then", ["P", "."]),
        ("with (", ") as", ["(", "P", ")"]),
        ("the ", "-th one", ["P", "-th"]),
        ("", "’s", ["P", "’s"]),
    ],
)
def test_formula_and_the_signs_that_touch_it_stand_in_one_box(before, after, bound):
    paragraph = nodes.paragraph(
        "", "", *filter(None, [before and nodes.Text(before), nodes.math("P", "P"), nodes.Text(after)])
    )
    whole = paragraph.astext()
    formulas.bind(document(paragraph))
    box = next(iter(paragraph.findall(nodes.inline)))
    assert "nobreak" in box["classes"]
    assert [part.astext() for part in box] == bound
    assert paragraph.astext() == whole


def test_sign_is_cut_off_the_text_beside_the_formula_and_not_off_an_equal_one_before():
    paragraph = nodes.paragraph("", "", nodes.literal("", "W"), nodes.Text(", "), nodes.literal("", "U"))
    paragraph += [nodes.Text(" for "), nodes.math("r", "r"), nodes.Text(", "), nodes.math("z", "z")]
    whole = paragraph.astext()
    formulas.bind(document(paragraph))
    assert paragraph.astext() == whole == "W, U for r, z"


def test_formula_between_spaces_is_left_alone():
    paragraph = nodes.paragraph("", "", nodes.Text("of "), nodes.math("P", "P"), nodes.Text(" pixels"))
    formulas.bind(document(paragraph))
    assert not list(paragraph.findall(nodes.inline))


# --- boxes, tables, pop-ups ---


def test_quotation_that_is_worth_keeping_becomes_a_box_and_no_other():
    kept = nodes.block_quote(
        "", nodes.paragraph("", "", nodes.Text(""), nodes.strong("", "Worth keeping."), nodes.Text(" Scores."))
    )
    other = nodes.block_quote("", text("Somebody said so."))
    page = document(kept, other)
    boxes.make_boxes(page)
    box = next(iter(page.findall(nodes.admonition)))
    assert [part.astext() for part in box] == ["Worth keeping", "Scores."]
    assert list(page.findall(nodes.block_quote)) == [other]


def test_empty_header_becomes_a_cell_and_others_stay():
    body = '<th class="head"><p></p></th><th class="head"><p>width</p></th><th></th>'
    context = {"body": body}
    markup.mend(None, "page", "", context, None)
    assert context["body"] == '<td class="head"></td><th class="head"><p>width</p></th><td></td>'


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("a *map* of `x`", "a <em>map</em> of <code>x</code>"),
        ("the [paper](https://example.org)", "the paper"),
        ("$w * u * v$ and *u*", r'<span class="math">\(w * u * v\)</span> and <em>u</em>'),
        ("a < b", "a &lt; b"),
    ],
)
def test_meaning_of_a_term_is_set_as_on_the_page(markdown, html):
    assert popups.inline_html(markdown) == html


# --- papers ---


def test_papers_are_read_as_plain_text_with_the_label_that_the_chapters_use():
    papers = read_papers()
    assert papers["vaswani2017"].label == "Vaswani et al., 2017"
    assert papers["nadaraya1964"].label == "Nadaraya, 1964"
    assert papers["abnar2020"].label == "Abnar and Zuidema, 2020"
    assert not [paper for paper in papers.values() if set("{}\\") & set(paper.title + "".join(paper.authors))]
    assert all(paper.addresses for paper in papers.values())


def test_long_list_of_authors_says_how_many_more_there_are():
    assert short(tuple("abcdefgh")) == "a, b, c, d, e, f and 2 more"
    assert short(tuple("abcdefg")) == "a, b, c, d, e, f, g"


# --- search ---


def test_text_of_a_section_is_its_prose_without_its_subsections_and_of_code_the_names():
    code = nodes.container("", nodes.literal_block("", "def patchify(x):\n    return 1"), nb_element="cell_code")
    inner = nodes.section("", nodes.title("", "Inner"), text("Below."), ids=["inner"])
    formula = nodes.paragraph("", "", nodes.Text("With "), nodes.math(r"\mathrm{GELU}", r"\mathrm{GELU}"))
    found = list(search.sections_of(document(text("Above."), code, formula, inner)))
    assert found == [("a-title", "A title", "Above. patchify With GELU"), ("inner", "Inner", "Below.")]


# --- the path, cards, and what stays ---


def test_path_marks_the_place_and_what_is_planned():
    path, here = the_path(), "chapters/05_patch_partitioning"
    drawn = strip(path, str, here)
    assert drawn.count('aria-current="page"') == 1
    assert f'href="{here}"' in drawn.partition('aria-current="page"')[0].rpartition("<a ")[2]
    assert squares(path, str).count('class="planned"') == sum(not stop.written for stop in path)


def test_each_chapter_has_one_figure_for_its_card():
    for chapter in all_chapters():
        marked = [c["id"] for c in chapter.notebook["cells"] if c["metadata"].get("vitedu", {}).get("card")]
        assert len(marked) == 1, chapter.path.name
        assert cards.figure_of(chapter).width > 200


def test_card_has_the_size_that_services_show_whole_and_words_beside_the_figure():
    figure = cards.Image.new("RGB", (400, 300), "#112233")
    card = cards.card("5 · Patch partitioning", figure)
    assert card.size == cards.SIZE
    assert card.getpixel((900, 315)) == (0x11, 0x22, 0x33)
    assert len(card.crop((0, 0, cards.LEFT, cards.SIZE[1])).getcolors(99999)) > 10


def test_pruning_keeps_what_is_named_and_nothing_else_of_mathjax(tmp_path: Path):
    names = [
        "mathjax/tex-chtml.js",
        "mathjax/tex-svg.js",
        "mathjax/output/chtml/fonts/a.woff",
        "mathjax/output/svg/b.js",
    ]
    names += ["mathjax/sre/mathmaps/en.json", "mathjax/sre/mathmaps/hi.json", "locales/ko/a.mo", "scripts/a.js.map"]
    names += ["scripts/a.js", "page/predict.js"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    prune.prune(tmp_path)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {names[0], names[2], names[4], names[8], names[9]}
    assert not (tmp_path / "mathjax" / "output" / "svg").exists()


def test_amounts_count_the_exercises_of_each_chapter():
    environment = type("Environment", (), {"metadata": {}})
    found = place.amounts(type("App", (), {"env": environment}))
    assert found["chapters/05_patch_partitioning"] == [0, 6]
