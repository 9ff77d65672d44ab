"""The exercises printed in the chapters: every stub says so, every solution passes, and none is missing.

Without a chapter the checks of the chapters are skipped; those on a small notebook made here always run.
"""

import contextlib
import io
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import einops
import nbformat
import pytest
import torch
import torch.nn.functional as F
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from torch import nn

from vitedu.exercises import check
from vitedu.exercises.exercise import CHAPTERS, all_exercises, chapter_exercises

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "chapters").glob("*.ipynb"))
HEADING = re.compile(r"^### Exercise (\d+\.\d+) · (\S.*\S)  (●○○|●●○|●●●)  \((\d+) min\)$", re.MULTILINE)
DETAILS = re.compile(r"<details[^>]*>\s*<summary>(.*?)</summary>(.*?)</details>", re.DOTALL)
FENCE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@dataclass
class Printed:
    """One exercise as a notebook prints it."""

    id: str
    difficulty: str
    stubs: list[str] = field(default_factory=list)
    folded: list[tuple[str, str]] = field(default_factory=list)  # (summary, text)

    def texts(self, kind: str) -> list[str]:
        """The folded texts whose summary starts with "Hint" or "Solution"."""
        return [text for summary, text in self.folded if summary.startswith(kind)]


def read(path: Path) -> list[Printed]:
    """The exercises of a notebook; each reaches from its heading to the next heading of a section."""
    exercises: list[Printed] = []
    inside = False
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            heading = HEADING.search(cell.source)
            if heading:
                exercises.append(Printed(heading[1], heading[3]))
                inside = True
            elif re.search(r"^#{1,3} ", cell.source, re.MULTILINE):
                inside = False
            if inside:
                folded = DETAILS.findall(cell.source)
                exercises[-1].folded += [(re.sub("<.*?>", "", summary).strip(), text) for summary, text in folded]
        elif inside and "exercise" in cell.metadata.get("tags", []):
            exercises[-1].stubs.append(cell.source)
    return exercises


def tagged(path: Path) -> list[str]:
    """Every code cell tagged `exercise`, wherever it stands."""
    cells = nbformat.read(path, as_version=4).cells
    return [cell.source for cell in cells if "exercise" in cell.metadata.get("tags", [])]


def run(*sources: str) -> str:
    """Execute code as the chapter's setup cell would leave it, and return what it prints."""
    names = {"torch": torch, "nn": nn, "F": F, "math": math, "einops": einops, "check": check}
    names |= {name: getattr(einops, name) for name in ("rearrange", "reduce", "repeat")} | {"Tensor": torch.Tensor}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for source in sources:
            exec(compile(source, "<exercise>", "exec"), names)
    return printed.getvalue()


def check_line(exercise: Printed) -> str:
    """The last line of the stub."""
    return exercise.stubs[0].strip().splitlines()[-1]


# What has to hold in every notebook ----------------------------------------------------------------------------------


def every_exercise_has_its_parts(path: Path) -> None:
    """A heading, one stub that ends with its own check, a hint, and one solution with one python fence."""
    exercises = read(path)
    assert sorted(tagged(path)) == sorted(stub for one in exercises for stub in one.stubs), (
        "a cell tagged `exercise` without a heading `### Exercise 5.2 · Title  ●●○  (10 min)` above it"
    )
    for one in exercises:
        assert len(one.stubs) == 1, f"exercise {one.id} has {len(one.stubs)} cells tagged `exercise`"
        assert re.fullmatch(rf'check\("{one.id}", \w+\)', check_line(one)), f"exercise {one.id}: {check_line(one)}"
        assert one.texts("Hint"), f"exercise {one.id} has no hint"
        assert [len(FENCE.findall(text)) for text in one.texts("Solution")] == [1], f"solution of exercise {one.id}"


def ids_are_those_of_the_registry(path: Path) -> None:
    """One to one, in the same order."""
    chapter = int(path.name[:2])
    assert [one.id for one in read(path)] == list(chapter_exercises(chapter) if chapter in CHAPTERS else ())


def difficulty_rises(path: Path) -> None:
    """Three to six exercises, and none is easier than the one before."""
    levels = [one.difficulty.count("●") for one in read(path)]
    assert 3 <= len(levels) <= 6
    assert levels == sorted(levels)


def stubs_say_not_attempted_yet(path: Path) -> None:
    for one in read(path):
        assert run(one.stubs[0]) == f"Exercise {one.id}: not attempted yet\n"


def solutions_pass(path: Path) -> None:
    for one in read(path):
        (solution,) = FENCE.findall(one.texts("Solution")[0])
        printed = run(solution, check_line(one))
        assert re.fullmatch(rf"Exercise {one.id}: passed \(\d+ checks\)\n", printed), printed


RULES = [
    every_exercise_has_its_parts,
    ids_are_those_of_the_registry,
    difficulty_rises,
    stubs_say_not_attempted_yet,
    solutions_pass,
]


@every_notebook
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_notebook(path, rule):
    rule(path)


def test_no_registered_exercise_is_missing_from_the_chapters():
    """Each chapter of the registry has a notebook."""
    if not NOTEBOOKS:
        pytest.skip("no notebooks in chapters/ yet")
    assert set(CHAPTERS) <= {int(path.name[:2]) for path in NOTEBOOKS}


# The rules themselves, on a small notebook ---------------------------------------------------------------------------

SOLUTIONS = {
    "9.1": (
        "def learning_rate(step, total_steps, warmup_steps, peak):\n"
        "    if step < warmup_steps:\n"
        "        return peak * (step + 1) / warmup_steps\n"
        "    progress = (step - warmup_steps) / (total_steps - warmup_steps)\n"
        "    return peak * 0.5 * (1 + math.cos(math.pi * progress))\n"
    ),
    "9.2": (
        "def smoothed_cross_entropy(logits, labels, smoothing):\n"
        "    log_p = F.log_softmax(logits, dim=1)\n"
        "    true = log_p[torch.arange(len(labels)), labels]\n"
        "    return -((1 - smoothing) * true + smoothing * log_p.mean(dim=1)).mean()\n"
    ),
    "9.3": (
        "def split_parameters(model):\n"
        "    linear = {id(layer.weight) for layer in model.modules() if isinstance(layer, nn.Linear)}\n"
        "    parameters = list(model.parameters())\n"
        "    return [p for p in parameters if id(p) in linear], [p for p in parameters if id(p) not in linear]\n"
    ),
}
DIFFICULTY = dict(zip(SOLUTIONS, ["●○○", "●●○", "●●●"], strict=True))


def cells_of(exercise_id: str) -> list:
    """An exercise as a chapter prints it: task, stub, folded hints and solution."""
    solution = SOLUTIONS[exercise_id]
    signature = solution.partition("\n")[0]
    name = re.match(r"def (\w+)", signature)[1]
    stub = f'{signature}\n    """…"""\n    raise NotImplementedError\n\n\ncheck("{exercise_id}", {name})'
    folded = (
        "<details><summary>Hint 1</summary>\n\nLook up.\n</details>\n\n"
        f"<details>\n<summary><b>Solution</b></summary>\n\n```python\n{solution}```\n\nThat is why.\n</details>"
    )
    return [
        new_markdown_cell(f"### Exercise {exercise_id} · Title  {DIFFICULTY[exercise_id]}  (10 min)\n\nA task."),
        new_code_cell(stub, metadata={"tags": ["exercise"]}),
        new_markdown_cell(folded),
    ]


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a chapter 9 of those cells, with (old, new) replaced everywhere; the registry knows no others there."""
    registered = {exercise_id: all_exercises()[exercise_id] for exercise_id in SOLUTIONS}
    monkeypatch.setitem(ids_are_those_of_the_registry.__globals__, "chapter_exercises", lambda _: registered)

    def make(old: str = "", new: str = "") -> Path:
        cells = [cell for exercise_id in SOLUTIONS for cell in cells_of(exercise_id)]
        for cell in cells:
            cell.source = cell.source.replace(old, new) if old else cell.source
        path = tmp_path / "09_training.ipynb"
        nbformat.write(
            new_notebook(cells=[new_markdown_cell("## Exercises"), *cells, new_markdown_cell("## Summary")]), path
        )
        return path

    return make


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_good_notebook_keeps_every_rule(write, rule):
    rule(write())


@pytest.mark.parametrize(
    ("rule", "old", "new"),
    [
        (every_exercise_has_its_parts, "### Exercise 9.2 ·", "### Exercise 9.2:"),
        (every_exercise_has_its_parts, "  (10 min)", ""),
        (every_exercise_has_its_parts, "Hint 1", "Nothing"),
        (every_exercise_has_its_parts, "<b>Solution</b>", "Answer"),
        (every_exercise_has_its_parts, "```python", "```"),
        (every_exercise_has_its_parts, 'check("9.2", smoothed_cross_entropy)', ""),
        (every_exercise_has_its_parts, 'check("9.2", smoothed_cross_entropy)', 'check("9.1", smoothed_cross_entropy)'),
        (ids_are_those_of_the_registry, "Exercise 9.2", "Exercise 9.4"),
        (difficulty_rises, "●○○", "●●●"),
        (stubs_say_not_attempted_yet, "raise NotImplementedError", "return 0"),
        (solutions_pass, "(1 - smoothing)", "smoothing"),
        (solutions_pass, "isinstance(layer, nn.Linear)", "True"),
    ],
)
def test_a_bad_notebook_breaks_the_rule(write, rule, old, new):
    """One defect at a time."""
    with pytest.raises(AssertionError):
        rule(write(old, new))
