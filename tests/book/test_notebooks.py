"""The chapters as they are stored (`make test` also re-runs each one), and the tool that runs and normalises them."""

import base64
import copy
import io
import json
import re
import statistics
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from book.tools import run_notebooks

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
IGNORED = "nbval-ignore-output"
LONGEST_CELL, LONGEST_EXERCISE, LONGEST_FOLDED, LONGEST_MEDIAN = 15, 20, 28, 9  # lines of at most 86 characters
COMPARED_SHARE = 0.75
MACHINE_PATH = re.compile(r"(?<![\w.:/])/(?:home|root|Users|tmp|work|mnt|content|private|var)/\w|[A-Z]:\\\\")
ADDRESS_IN_MEMORY = re.compile(r"\b0x[0-9a-f]{6,}")

every_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def has_image(cell: nbformat.NotebookNode) -> bool:
    return any(kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {}))


def prints(cell: nbformat.NotebookNode) -> bool:
    """The cell shows text to the reader. The line `<Figure size …>` that comes with an image is not shown."""
    kinds = {output.output_type for output in cell.outputs}
    return "stream" in kinds or (bool(kinds & {"execute_result", "display_data"}) and not has_image(cell))


def lines(cell: nbformat.NotebookNode) -> int:
    """The lines of code: blank ones and comments do not count."""
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in cell.source.splitlines())


def first_line(cell: nbformat.NotebookNode) -> str:
    return cell.source.strip().partition("\n")[0]


def test_file_names_leave_room_for_every_chapter():
    """NN_name.ipynb, with each number once."""
    numbers = [re.fullmatch(r"(\d\d)_[a-z0-9_]+\.ipynb", path.name)[1] for path in CHAPTERS]
    assert len(set(numbers)) == len(numbers)


@every_chapter
def test_notebook_is_valid(path):
    nbformat.validate(nbformat.read(path, as_version=nbformat.NO_CONVERT))


@every_chapter
def test_notebook_is_normalised(path):
    """Kernel python3, no timestamps, no widgets, no editor's leftovers: `make notebooks` would change none of these."""
    notebook = nbformat.read(path, as_version=4)
    assert notebook == run_notebooks.normalise(copy.deepcopy(notebook), path.stem), "run `make notebooks`"


@every_chapter
def test_title_carries_the_number_of_the_file(path):
    title = nbformat.read(path, as_version=4).cells[0].source.partition("\n")[0]
    assert re.fullmatch(rf"# {int(path.name[:2])} · \S.*", title), title


@every_chapter
def test_cells_were_run_once_from_top_to_bottom(path):
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1)), "run `make notebooks`"


@every_chapter
def test_no_error_is_stored(path):
    """But where the cell says that its error is the lesson."""
    failed = [
        first_line(cell)
        for cell in code_cells(path)
        if any(output.output_type == "error" for output in cell.outputs) and "raises-exception" not in tags(cell)
    ]
    assert not failed


@every_chapter
def test_every_image_has_alternative_text(path):
    """It says what the picture shows, in words; it does not repeat the caption, which stands below (test_form.py)."""
    cells = nbformat.read(path, as_version=4).cells
    for cell, following in zip(cells, [*cells[1:], new_markdown_cell()], strict=True):
        if cell.cell_type == "code" and has_image(cell):
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt.split()) >= 4, f"no alternative text at: {first_line(cell)}"
            assert alt not in following.source, f"the caption is used as alternative text at: {first_line(cell)}"


@every_chapter
def test_ignored_output_is_asserted_instead(path):
    for cell in code_cells(path):
        if IGNORED in tags(cell) and prints(cell):
            asserted = re.search(r"\bassert\b|\bassert_close\(|\bcheck\(", cell.source)
            assert asserted, f"nothing is asserted at: {first_line(cell)}"


@every_chapter
def test_three_quarters_of_printed_outputs_are_compared(path):
    printing = [cell for cell in code_cells(path) if prints(cell)]
    compared = [cell for cell in printing if not {IGNORED, "nbval-skip"} & set(tags(cell))]
    assert len(compared) >= COMPARED_SHARE * len(printing), f"{len(compared)} of {len(printing)} are compared"


@every_chapter
def test_code_cells_are_short(path):
    cells = [cell for cell in code_cells(path) if "setup" not in tags(cell)]
    for cell in cells:
        limit = LONGEST_FOLDED if "hide-input" in tags(cell) else LONGEST_CELL
        limit = LONGEST_EXERCISE if "exercise" in tags(cell) else limit
        assert lines(cell) <= limit, f"{lines(cell)} lines, at most {limit}: {first_line(cell)}"
    assert statistics.median(map(lines, cells)) <= LONGEST_MEDIAN


@every_chapter
def test_budget_is_stated(path):
    budget = nbformat.read(path, as_version=4).metadata.get("vitedu", {}).get("budget", {})
    assert set(budget) == {"seconds", "memory_mib"}
    assert all(isinstance(value, int | float) and value > 0 for value in budget.values())


@every_chapter
def test_outputs_name_no_machine(path):
    """No path of somebody's machine and no address in memory, which the next run could not repeat."""
    for cell in code_cells(path):
        text = json.dumps([output for output in cell.outputs if "data" not in output])
        data = [output.data for output in cell.outputs if "data" in output]
        text += " ".join(str(value) for kinds in data for kind, value in kinds.items() if kind.startswith("text/"))
        assert not MACHINE_PATH.search(text), f"a path in the output of: {first_line(cell)}"
        assert not ADDRESS_IN_MEMORY.search(text), f"an address in memory in the output of: {first_line(cell)}"
        assert not MACHINE_PATH.search(cell.source), f"a path in: {first_line(cell)}"


@every_chapter
def test_every_paper_that_is_linked_is_in_the_bibliography(path):
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    linked = re.findall(r"https://(?:arxiv\.org/|openreview\.net/|doi\.org/|proceedings\.)[^)\s>]+", "\n".join(cells))
    listed = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    assert not [link for link in linked if f"{{{link}}}" not in listed]


# --- the tool that runs and normalises ---


def gradient() -> Image.Image:
    """A picture of 64 × 64 pixels with more than 256 colours."""
    red, green = np.meshgrid(np.arange(0, 256, 4), np.arange(0, 256, 4))
    return Image.fromarray(np.stack([red, green, np.full_like(red, 99)], axis=-1).astype(np.uint8))


def png(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_a_palette_makes_a_picture_smaller_and_hardly_changes_it():
    noise = np.random.default_rng(0).integers(0, 8, (64, 64, 3), dtype=np.uint8)
    picture = Image.fromarray(np.asarray(gradient()) // 8 * 8 + noise)
    small = run_notebooks.with_palette(png(picture))
    assert len(small) < len(png(picture)) / 2
    back = np.asarray(Image.open(io.BytesIO(base64.b64decode(small))).convert("RGB")).astype(int)
    assert abs(back - np.asarray(picture)).mean() < 8
    assert run_notebooks.with_palette(small) == small


def test_a_picture_of_few_colours_keeps_them_all():
    flat = Image.new("RGB", (30, 20), "white")
    flat.paste((0, 114, 178), (5, 5, 20, 10))
    back = Image.open(io.BytesIO(base64.b64decode(run_notebooks.with_palette(png(flat))))).convert("RGB")
    assert back.tobytes() == flat.tobytes()


@pytest.fixture
def untidy() -> nbformat.NotebookNode:
    """What an editor and a progress bar leave behind."""
    cell = new_code_cell(
        "work()",
        execution_count=3,
        metadata={
            "execution": {"iopub.execute_input": "2026-01-01T00:00:00Z"},
            "collapsed": True,
            "jupyter": {"source_hidden": True},
            "cellView": "form",
            "colab": {"height": 100},
            "tags": ["exercise"],
            "mystnb": {"image": {"alt": "a line"}},
        },
        outputs=[
            new_output("stream", name="stderr", text="  0%\r 50%"),
            new_output("stream", name="stdout", text="a\n"),
            new_output("stream", name="stderr", text="\r100%\n"),
            new_output("display_data", data={"application/vnd.jupyter.widget-view+json": {}, "text/plain": "HBox()"}),
            new_output(
                "display_data",
                data={"image/png": png(gradient()), "text/plain": "<Figure>"},
                metadata={"needs_background": "light", "image/png": {"width": 300}},
            ),
        ],
    )
    metadata = {
        "kernelspec": {"name": "my-env", "display_name": "mine"},
        "language_info": {"name": "python", "version": "3.13.1"},
        "widgets": {"application/vnd.jupyter.widget-state+json": {"state": {"a": 1}}},
        "colab": {"provenance": []},
        "accelerator": "GPU",
        "vitedu": {"budget": {"seconds": 1, "memory_mib": 1}},
    }
    return new_notebook(cells=[new_markdown_cell("# 1 · A"), cell], metadata=metadata)


def test_normalising_keeps_what_the_book_uses_and_drops_the_rest(untidy):
    notebook = run_notebooks.normalise(untidy)
    assert set(notebook.metadata) == {"kernelspec", "language_info", "accelerator", "vitedu"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert "version" not in notebook.metadata.language_info
    assert notebook.cells[1].metadata == {"tags": ["exercise"], "mystnb": {"image": {"alt": "a line"}}}
    assert notebook.cells[1].execution_count == 3
    nbformat.validate(notebook)


def test_normalising_leaves_the_last_frame_of_a_progress_bar_and_no_widget(untidy):
    outputs = run_notebooks.normalise(untidy).cells[1].outputs
    assert [(o.get("name"), o.get("text")) for o in outputs[:2]] == [("stderr", "100%\n"), ("stdout", "a\n")]
    assert [sorted(o.data) for o in outputs[2:]] == [["image/png", "text/plain"]]
    assert outputs[2].metadata == {"image/png": {"width": 300}}


def test_notebook_that_fails_is_left_as_it_was(tmp_path, capsys):
    path = tmp_path / "01_a.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("print('ran')"), new_code_cell("1 / 0")]), path)
    before = path.read_bytes()
    assert run_notebooks.process(path, run=True) is False
    assert path.read_bytes() == before
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


def test_notebook_is_run_in_its_own_folder_and_stored(tmp_path):
    path = tmp_path / "01_a.ipynb"
    (tmp_path / "word.txt").write_text("patch")
    cells = [new_code_cell("word = open('word.txt').read()"), new_code_cell("word + '!'")]
    nbformat.write(new_notebook(cells=cells), path)
    assert run_notebooks.process(path, run=True) is True
    stored = nbformat.read(path, as_version=4)
    assert stored.cells[1].outputs[0].data["text/plain"] == "'patch!'"
    assert [cell.execution_count for cell in stored.cells] == [1, 2]
    assert stored == run_notebooks.normalise(copy.deepcopy(stored), path.stem)
