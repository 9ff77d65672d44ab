"""The form that all chapters share: captions as text, folded drawing code, length of lines, numbers, links, words."""

import ast
import base64
import copy
import io
import itertools
import json
import re
from pathlib import Path

import nbformat
import pytest
from markdown_it import MarkdownIt
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from book.tools.form import BADGE, CAPTION, FOLDED, TITLE, links, put_in_form, repository
from book.tools.site.address import colab_address, site_address
from book.tools.site.chapters import FENCE, HEADING, all_chapters, slug

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = all_chapters()
WIDEST = 86  # characters of a line of code that fit the page of a laptop
CLOSING = ["Exercises", "Summary", "Common misconceptions", "Further reading", "What comes next"]
PICTURE_ALONE = re.compile(r"^!\[[^]]+\]\([^)]+\)$", re.MULTILINE)
# How others spell, and the book does not; names in code are as they are.
SPELT_OTHERWISE = re.compile(
    r"\b(?:(?:col|fav|lab|neighb|behavi|hon)or|gray|center|fiber|meter(?!s?\b)|artifact|catalog\b|learnt|toward\b|judgment"
    r"|(?:label|model|travel|cancel|signal)(?:ed|ing)\b(?<!lled)(?<!lling)"
    r"|(?:anal|paral)yz|\w{2,}(?:al|ar|er|im|it|or|an|gn|ph|ct)iz(?:e|ed|es|er|ers|ing|ation|ations)\b)",
    re.IGNORECASE,
)

every_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.path.stem)


def cells_of(chapter) -> list[NotebookNode]:
    return nbformat.read(chapter.path, as_version=4).cells


def tags(cell: NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


def code_of(cells: list[NotebookNode]) -> list[NotebookNode]:
    return [cell for cell in cells if cell.cell_type == "code"]


def pictures(cell: NotebookNode) -> list[NotebookNode]:
    """The outputs of a code cell that are pictures."""
    return [output for output in cell.get("outputs", []) if any(k.startswith("image/") for k in output.get("data", {}))]


# --- captions ---


def figures_of(cells: list[NotebookNode]) -> list[str]:
    """The number under each picture, in order; an empty text where there is none right under it."""
    numbers = []
    for cell, following in zip(cells, [*cells[1:], None], strict=True):
        if cell.cell_type == "code" and pictures(cell):
            match = CAPTION.match(following.source) if following and following.cell_type == "markdown" else None
            numbers.append(match["number"] if match else "")
        elif cell.cell_type == "markdown":
            for picture in PICTURE_ALONE.finditer(cell.source):
                match = CAPTION.match(cell.source[picture.end() :].lstrip())
                numbers.append(match["number"] if match else "")
    return numbers


@every_chapter
def test_every_picture_has_its_caption_under_it_with_the_next_number(chapter):
    cells = cells_of(chapter)
    numbers = figures_of(cells)
    assert numbers == [f"{chapter.number}.{n}" for n in range(1, len(numbers) + 1)]
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    begun = re.findall(r"^\*\*Figure \d+\.\d+\.\*\*", text, re.MULTILINE)
    assert len(begun) == len(numbers), "a caption without its picture"
    assert all(len(pictures(cell)) <= 1 for cell in code_of(cells)), "a cell makes one figure"


@every_chapter
def test_a_caption_under_a_cell_is_one_paragraph_and_stands_nowhere_else(chapter):
    """A line that begins like an item of a list would end it."""
    cells = cells_of(chapter)
    for cell in cells:
        assert "figure" not in cell.metadata.get("mystnb", {}), "write the caption as text, under the cell"
    for cell, following in itertools.pairwise(cells):
        if pictures(cell):
            blocks = [token.type for token in MarkdownIt().parse(following.source) if token.level == 0]
            assert blocks == ["paragraph_open", "paragraph_close"]
            assert len(CAPTION.match(following.source)["text"].split()) >= 3


def test_a_missing_caption_and_a_wrong_number_are_seen():
    image = new_output("display_data", data={"image/png": ""})
    drawn = new_code_cell("draw()", outputs=[image])
    caption = new_markdown_cell("**Figure 1.1.** A line.")
    assert figures_of([drawn, caption, drawn]) == ["1.1", ""]
    assert figures_of([drawn, new_markdown_cell("Figure 1.1. A line.")]) == [""]
    assert figures_of([new_markdown_cell("Text.\n\n![a drawing](a.svg)\n\n**Figure 1.2.** A drawing.")]) == ["1.2"]


@every_chapter
def test_figures_that_the_text_names_exist(chapter):
    text = "\n".join(cell.source for cell in cells_of(chapter) if cell.cell_type == "markdown")
    named = set(re.findall(r"Figure\s(\d+\.\d+)", text))
    there = {number for other in CHAPTERS for number in figures_of(cells_of(other))} if named else set()
    assert named <= there


@every_chapter
def test_pictures_have_twice_the_pixels_of_their_size(chapter):
    for cell in code_of(cells_of(chapter)):
        for output in pictures(cell):
            with Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))) as image:
                size = output.metadata["image/png"]
                assert (image.width // 2, image.height // 2) == (size["width"], size["height"])


# --- folds ---


@every_chapter
def test_folded_code_says_what_it_holds_and_never_stands_twice_in_a_row(chapter):
    cells = cells_of(chapter)
    for cell, following in zip(cells, [*cells[1:], None], strict=True):
        if cell.cell_type != "code":
            continue
        folded = FOLDED in tags(cell)
        assert cell.metadata.get("jupyter", {}).get("source_hidden", False) is folded
        assert cell.metadata.get("cellView", "") == ("form" if folded else "")
        title = TITLE.match(cell.source)
        assert bool(title) is folded, f"a title belongs to folded code: {cell.source[:60]}"
        assert not folded or len(title["title"].split()) > 1, "say what the fold holds: # @title …"
        assert not (folded and following and FOLDED in tags(following)), "join the two cells"


def drawing() -> NotebookNode:
    cells = [
        new_markdown_cell("# 5 · A\n\nText."),
        new_code_cell("# draws\nplt.show()", metadata={"tags": [FOLDED]}),
        new_markdown_cell("**Figure 5.7.** A line."),
        new_code_cell("# @title Which are meant\nprint(1)", metadata={"tags": [FOLDED]}),
        new_code_cell("open()"),
    ]
    return new_notebook(cells=cells)


def test_folding_follows_the_tag_and_the_number_of_the_figure():
    notebook = drawing()
    put_in_form(notebook)
    _, figure, caption, table, shown = notebook.cells
    assert figure.source == "# @title Code of figure 5.7\n# draws\nplt.show()"
    assert figure.metadata["cellView"] == "form"
    assert figure.metadata["jupyter"] == {"source_hidden": True}
    assert table.source.startswith("# @title Which are meant\n")
    assert shown.source == "open()"
    assert not shown.metadata
    caption.source = "**Figure 5.8.** A line."
    put_in_form(notebook)
    assert figure.source.startswith("# @title Code of figure 5.8\n# draws")


@every_chapter
def test_what_answers_a_prediction_is_stored_folded(chapter):
    """Jupyter's marks, the older and the newer; no other output is folded."""
    for cell in code_of(cells_of(chapter)):
        answers = "predict-answer" in cell.metadata.get("tags", [])
        assert cell.metadata.get("collapsed", False) == answers, cell.id
        assert cell.metadata.get("jupyter", {}).get("outputs_hidden", False) == answers, cell.id
        assert not answers or cell.outputs, cell.id


def test_the_form_is_put_on_once():
    notebook = drawing()
    put_in_form(notebook, "05_a")
    again = copy.deepcopy(notebook)
    put_in_form(again, "05_a")
    assert again == notebook


# --- links under the title ---


def test_links_under_the_title_follow_the_address():
    notebook = drawing()
    put_in_form(notebook, "05_a")
    lines = notebook.cells[0].source.split("\n")
    assert [lines[0], lines[1], lines[3], lines[4]] == ["# 5 · A", "", "", "Text."]
    assert lines[2] == links("05_a")
    assert f"{colab_address(repository(), '05_a')})" in lines[2]
    assert f"{site_address(repository())}chapters/05_a.html)" in lines[2]
    notebook.cells[0].source = notebook.cells[0].source.replace("05_a.", "04_old.")
    put_in_form(notebook, "05_a")
    assert notebook.cells[0].source.split("\n") == lines


@every_chapter
def test_chapter_begins_with_its_links(chapter):
    first = cells_of(chapter)[0].source.split("\n")
    assert first[2] == links(chapter.path.stem)
    assert sum(BADGE in cell.source for cell in cells_of(chapter) if cell.cell_type == "markdown") == 1


# --- code that is shown ---


@every_chapter
def test_no_line_of_shown_code_is_cut_off(chapter):
    """Also in the solutions, which stand in the text; folded code may be wider."""
    sources = [cell.source for cell in code_of(cells_of(chapter)) if FOLDED not in tags(cell)]
    text = "\n".join(cell.source for cell in cells_of(chapter) if cell.cell_type == "markdown")
    sources += re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert not [line for source in sources for line in source.splitlines() if len(line) > WIDEST]


def names_of(nodes: list[ast.stmt]) -> dict[str, str]:
    """What import statements bring: the name in the chapter -> where it comes from."""
    found = {}
    for node in nodes:
        for alias in node.names:
            origin = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            found[alias.asname or alias.name.partition(".")[0]] = origin + alias.name
    return found


def split_imports(source: str) -> tuple[dict[str, str], list[str]]:
    """(what its own import statements bring, all other statements)."""
    body = ast.parse(source).body
    imports = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    return names_of(imports), [ast.unparse(node) for node in body if node not in imports]


def common_setup() -> tuple[dict[str, str], list[str]]:
    """What CONTRIBUTING.md shows: the imports of every chapter, and all else."""
    shown = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return split_imports(re.search(r"```python\n(# @title Setup.*?)```", shown, re.DOTALL)[1])


def test_setup_cells_differ_in_their_imports_alone():
    common, rest = common_setup()
    for chapter in CHAPTERS:
        setups = [cell.source for cell in code_of(cells_of(chapter)) if "setup" in tags(cell)]
        assert setups == [code_of(cells_of(chapter))[0].source], f"{chapter.path.name}: one setup cell, the first"
        imports, others = split_imports(setups[0])
        assert others == rest, f"{chapter.path.name}: another setup cell than in CONTRIBUTING.md"
        assert common.items() <= imports.items(), f"{chapter.path.name}: an import is missing that all chapters have"


@every_chapter
def test_the_setup_cell_imports_what_the_chapter_uses(chapter):
    """And nothing else does; what an exercise asks to import is the reader's."""
    first, *others = [cell for cell in code_of(cells_of(chapter)) if "exercise" not in tags(cell)]
    imports, _ = split_imports(first.source)
    late = [name for cell in others for name in split_imports(cell.source)[0]]
    assert not late, f"import {late} in the setup cell"
    text = [cell.source for cell in cells_of(chapter) if cell.id != first.id]
    used = set(re.findall(r"\w+", "\n".join(text)))
    assert not {name for name in imports if name not in used and name not in common_setup()[0]}


# --- headings and words ---


def headings(cells: list[NotebookNode]) -> list[str]:
    """The headings of the second level, fences of code left out."""
    found, fence = [], ""
    for line in "\n".join(cell.source for cell in cells if cell.cell_type == "markdown").splitlines():
        mark = FENCE.match(line)
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
        match = None if fence else HEADING.fullmatch(line)
        if match and len(match[1]) == 2:
            found.append(match[2])
    return found


@every_chapter
def test_sections_are_numbered_and_the_closing_ones_are_those_of_every_chapter(chapter):
    found = headings(cells_of(chapter))
    numbered, closing = found[: -len(CLOSING)], found[-len(CLOSING) :]
    assert closing == CLOSING
    assert [title.partition(" ")[0] for title in numbered] == [
        f"{chapter.number}.{n}" for n in range(1, len(numbered) + 1)
    ]


def test_the_anchor_of_a_section_outlives_its_number():
    assert slug("5.1 Order, twice") == slug("5.12 Order, twice") == slug("Order, twice") == "order-twice"
    assert "52" in slug("Exercise 5.2 · Undo the patches")


@every_chapter
def test_sections_that_the_text_names_exist(chapter):
    """`section 9.4` in chapter 9 is its own; those of papers stand in other chapters' numbers."""
    cells = cells_of(chapter)
    own = {title.partition(" ")[0] for title in headings(cells)}
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    named = set(re.findall(rf"[Ss]ections? ({chapter.number}\.\d+)", text))
    assert named <= own


def words(markdown: str) -> str:
    """Prose: without code, formulas, addresses and tags."""
    text = re.sub(r"```.*?```|\$\$.*?\$\$|<!--.*?-->", " ", markdown, flags=re.DOTALL)
    return re.sub(r"`[^`]*`|\$[^$]+\$|\]\([^)]*\)|https?://\S+|<[^>]*>|\*[^*\n]+\*", " ", text)


PROSE = {path.name: path.read_text(encoding="utf-8") for path in [*ROOT.glob("*.md"), *ROOT.glob("book/*.md")]}
PROSE |= {chapter.path.name: "\n".join(section.text for section in chapter.sections) for chapter in CHAPTERS}


@pytest.mark.parametrize("name", PROSE)
def test_spelling_is_british(name):
    assert not SPELT_OTHERWISE.findall(words(PROSE[name]))


@pytest.mark.parametrize("word", ["colors", "normalized", "initialization", "learnt", "modeling", "behavior"])
def test_what_is_spelt_otherwise_is_seen(word):
    assert SPELT_OTHERWISE.search(word)


@pytest.mark.parametrize("word", ["colours", "size", "learned", "modelling", "prize", "seize", "labelled", "metre"])
def test_british_words_are_left_alone(word):
    assert not SPELT_OTHERWISE.search(word)


def test_notebooks_are_valid_json_of_the_stored_form():
    """nbformat writes them with one space of indentation and a line feed at the end."""
    for chapter in CHAPTERS:
        text = chapter.path.read_text(encoding="utf-8")
        assert text == json.dumps(json.loads(text), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
