"""Two levels: a chapter's main line is short, what lies beside it is folded, and the reader is asked to predict."""

import re

import nbformat
import pytest

from book.tools.site.chapters import all_chapters

REVISED = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}  # chapters held to this
MOST = 3_500  # words before the exercises
LEAST = 6  # predictions

NOT_READ_IN_LINE = re.compile(
    r"<details>.*?</details>"  # folded
    r"|<!--.*?-->|```.*?```|\$\$.*?\$\$"
    r"|^\*\*Figure \d+\.\d+\.\*\* .*?(?=\n\n|\Z)"  # captions belong to their figures
    r"|\[?!\[[^]]*\]\([^)]*\)(?:\]\([^)]*\))?",  # pictures and badges
    re.DOTALL | re.MULTILINE,
)


def words_of_the_main_line(cells: list[nbformat.NotebookNode]) -> int:
    """Words of the text before the exercises; a formula and a piece of code in it count as one."""
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    text = re.split(r"^## Exercises$", text, maxsplit=1, flags=re.MULTILINE)[0]
    text = NOT_READ_IN_LINE.sub(" ", text)
    text = re.sub(r"\$[^$]+\$|`[^`]*`", " x ", re.sub(r"\]\([^)]*\)", "]", text))
    return sum(bool(re.search(r"\w", word)) for word in re.sub(r"<[^>]*>", " ", text).split())


def predictions(cells: list[nbformat.NotebookNode]) -> int:
    """Paragraphs before the exercises that set *predict* off in bold."""
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown").split("\n## Exercises\n")[0]
    return len(re.findall(r"\*\*Predict\b", text))


CHAPTERS = [chapter for chapter in all_chapters() if chapter.number in REVISED]
every_revised_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.path.stem)


@every_revised_chapter
def test_main_line_is_short(chapter):
    words = words_of_the_main_line(nbformat.read(chapter.path, as_version=4).cells)
    assert 1_000 < words <= MOST, f"{words} words: fold what lies beside the way, or link what another chapter shows"


@every_revised_chapter
def test_reader_predicts_at_least_six_times(chapter):
    assert predictions(nbformat.read(chapter.path, as_version=4).cells) >= LEAST


def test_what_is_counted():
    markdown = nbformat.v4.new_markdown_cell
    cells = [
        markdown("# 1 · A title\n\n[![Badge](a.svg)](b) One $x + y$, `a b` and [two words](c.md). **Predict.** Three?")
    ]
    assert words_of_the_main_line(cells) == 11
    folded = markdown("<details>\n<summary>Beside</summary>\n\nfive words that are folded\n\n</details>\n\nmore")
    caption = markdown("**Figure 1.1.** A caption.")
    late = markdown("## Exercises\n\n**Predict.** Words that come late.")
    assert words_of_the_main_line([*cells, folded, caption, nbformat.v4.new_code_cell("print(1)"), late]) == 12
    assert predictions([*cells, late]) == 1
