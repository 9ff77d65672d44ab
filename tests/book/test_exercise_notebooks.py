"""The exercises printed in the chapters: every stub says so, every solution passes, and none is missing."""

import contextlib
import io
import math
import re

import einops
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from book.tools.site.chapters import Chapter, Exercise, Section, all_chapters
from vitedu.exercises import check
from vitedu.exercises.exercise import chapter_exercises

CHAPTERS = all_chapters()
DETAILS = re.compile(r"<details>\s*<summary>(.*?)</summary>(.*?)</details>", re.DOTALL)
FENCE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def printed(chapter: Chapter) -> list[tuple[Exercise, Section]]:
    """The exercises with what stands between their heading and the next."""
    return [(one, chapter.within(one.anchor)[0]) for one in chapter.exercises]


def stubs(cells: list[dict]) -> list[str]:
    return ["".join(cell["source"]) for cell in cells if "exercise" in cell["metadata"].get("tags", [])]


def check_line(section: Section) -> str:
    """The last line of the stub."""
    return stubs(section.code)[0].strip().splitlines()[-1]


def folded(section: Section, kind: str) -> list[str]:
    """The folded texts whose summary starts with "Hint" or "Solution"."""
    return [text for summary, text in DETAILS.findall(section.text) if summary.startswith(kind)]


def run(*sources: str) -> str:
    """Execute code as the chapter's setup cell would leave it, and return what it prints."""
    names = {"torch": torch, "nn": nn, "F": F, "math": math, "einops": einops, "check": check}
    names |= {name: getattr(einops, name) for name in ("rearrange", "reduce", "repeat")} | {"Tensor": torch.Tensor}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        for source in sources:
            exec(compile(source, "<exercise>", "exec"), names)
    return said.getvalue()


# --- what has to hold in every chapter ---


def every_exercise_has_its_parts(chapter: Chapter) -> None:
    """A heading, one stub that ends with its own check, a hint, and one solution with one python fence."""
    inside = [stub for _, section in printed(chapter) for stub in stubs(section.code)]
    assert sorted(stubs(chapter.notebook["cells"])) == sorted(inside), (
        "a cell tagged `exercise` without a heading `### Exercise 5.2 · Title  ●●○  (10 min)` above it"
    )
    for one, section in printed(chapter):
        assert len(stubs(section.code)) == 1, f"exercise {one.number}: not one cell tagged `exercise`"
        assert re.fullmatch(rf'check\("{one.number}", \w+\)', check_line(section)), f"exercise {one.number}: no check"
        assert folded(section, "Hint"), f"exercise {one.number} has no hint"
        solutions = [len(FENCE.findall(text)) for text in folded(section, "Solution")]
        assert solutions == [1], f"solution of exercise {one.number}"


def each_has_its_checker(chapter: Chapter) -> None:
    """One to one, in the same order."""
    assert [one.number for one in chapter.exercises] == list(chapter_exercises(chapter.number))


def difficulty_rises(chapter: Chapter) -> None:
    """Three to six exercises, and none is easier than the one before."""
    levels = [one.stars.count("●") for one in chapter.exercises]
    assert 3 <= len(levels) <= 6
    assert levels == sorted(levels)


def stubs_say_not_attempted_yet(chapter: Chapter) -> None:
    for one, section in printed(chapter):
        assert run(*stubs(section.code)) == f"Exercise {one.number}: not attempted yet\n"


def solutions_pass(chapter: Chapter) -> None:
    for one, section in printed(chapter):
        (solution,) = FENCE.findall(folded(section, "Solution")[0])
        said = run(solution, check_line(section))
        assert re.fullmatch(rf"Exercise {one.number}: passed \(\d+ checks\)\n", said), said


RULES = [
    every_exercise_has_its_parts,
    each_has_its_checker,
    difficulty_rises,
    stubs_say_not_attempted_yet,
    solutions_pass,
]


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.path.stem)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_chapter(chapter, rule):
    rule(chapter)


@pytest.mark.parametrize(
    ("rule", "old", "new"),
    [
        (every_exercise_has_its_parts, "### Exercise 5.2 ·", "### Exercise 5.2:"),
        (every_exercise_has_its_parts, "  (10 min)", ""),
        (every_exercise_has_its_parts, "<summary>Hint", "<summary>Nothing"),
        (every_exercise_has_its_parts, "<summary>Solution", "<summary>Answer"),
        (every_exercise_has_its_parts, "```python", "```"),
        (every_exercise_has_its_parts, 'check(\\"5.2\\", my_unpatchify)', ""),
        (every_exercise_has_its_parts, 'check(\\"5.2\\"', 'check(\\"5.1\\"'),
        (each_has_its_checker, "Exercise 5.2", "Exercise 5.9"),
        (difficulty_rises, "●○○", "●●●"),
        (stubs_say_not_attempted_yet, "raise NotImplementedError", "return 0"),
        (solutions_pass, "height % patch or width % patch", "height % patch"),
    ],
)
def test_a_chapter_with_a_defect_breaks_the_rule(tmp_path, rule, old, new):
    """One defect at a time, in a copy of chapter 5."""
    original = next(chapter.path for chapter in CHAPTERS if chapter.number == 5)
    copy = tmp_path / original.name
    copy.write_text(original.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(AssertionError):
        rule(Chapter(copy))
