"""Machines that are not ours: without data, without a network, busy, or with another Jupyter Book."""

import json
import os
import shutil
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from book.tools import busy, offline
from book.tools.site.chapters import ROOT, notebooks
from tests.notebook_budget import Use

# --- without data and without a network ---


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (new_code_cell('data = load("cifar10")'), True),
        (new_code_cell("names = ['digits', 'imagenette']"), True),
        (new_code_cell('load("digits")  # not fashion-mnist'), False),
        (new_markdown_cell('`load("cifar10")` would do it, too'), False),
    ],
)
def test_a_chapter_that_can_download_is_one_whose_code_names_a_published_set(cell, expected, tmp_path):
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "a.ipynb")
    assert offline.can_download(tmp_path / "a.ipynb") is expected


def test_there_is_a_chapter_that_can_download():
    assert any(map(offline.can_download, notebooks()))


def test_a_set_is_out_of_reach_on_the_machine_that_is_made_up(tmp_path, monkeypatch):
    """Also where this one has a copy, or a network."""
    monkeypatch.setenv("VITEDU_DATA", str(tmp_path / "copies"))
    monkeypatch.setenv("no_proxy", "*")
    code = "from vitedu.data import load\nload('fashion-mnist')"
    command, environment = [sys.executable, "-c", code], offline.cut_off(tmp_path)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert "fashion-mnist is not on this disk and could not be downloaded" in done.stderr
    assert "Connection refused" in done.stderr
    assert f"now {tmp_path / '.cache' / 'vitedu'}" in done.stderr


# --- busy ---

TRAINING = """
import os, sys, time
if hasattr(os, "sched_setaffinity"):  # two cores, which two loops keep busy
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
exec(sys.argv[1])
assert torch.get_num_threads() == 2
from book.tools.busy import busy_loops
from vitedu.data import load
from vitedu.train import fit, recipe
from vitedu.vit import ViT

digits = load("digits", quiet=True)
config, settings = recipe(digits, "tiny", {"depth": 2}, {"epochs": 2})

def seconds():
    began = time.process_time()
    fit(ViT(config), digits, settings, shown=False, device=torch.device("cpu"))
    return time.process_time() - began

alone = min(seconds() for _ in range(2))
with busy_loops(2):
    print(alone, seconds())
"""


def test_a_training_of_chapter_6_does_no_more_work_on_a_busy_machine():
    """Threads that spin while they wait for each other took 491 s there for what takes 14 s alone."""
    cells = nbformat.read(notebooks(["06"])[0], as_version=4).cells
    setup = next(cell.source for cell in cells if "setup" in cell.metadata.get("tags", []))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    environment |= {"OMP_NUM_THREADS": "2", "MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", TRAINING, setup]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    alone, beside = map(float, done.stdout.split())
    assert beside < 2.5 * alone


def test_the_use_of_a_chapter_is_read_off_the_table_of_the_test_run():
    row = f"chapters/05_patch_partitioning.ipynb {Use(120, 2048, 46.25, 839.4, 108.3).row()}"
    assert busy.ROW.search(f"section\n{row}\n").groups() == ("46.2", "108.3")


@pytest.mark.parametrize(
    ("alone", "beside", "failed", "status"), [(10, 40, "", 0), (10, 41, "", 1), (10, 20, "1 failed", 1)]
)
def test_a_chapter_may_take_four_times_as_long_and_has_to_pass(alone, beside, failed, status, tmp_path, monkeypatch):
    runs = [{"processor": 9, "wall": alone, "failed": ""}, {"processor": 9, "wall": beside, "failed": failed}]
    left = iter(runs)
    monkeypatch.setattr(busy, "rerun", lambda chapter: next(left))
    monkeypatch.setattr(busy, "FILE", tmp_path / "_build" / "busy.json")
    assert busy.main(["05", "--loops", "1"]) == status
    assert json.loads(busy.FILE.read_text())["chapters"]["05_patch_partitioning"]["beside"] == runs[1]


# --- another Jupyter Book ---


def test_a_builder_that_makes_no_page_and_says_nothing_does_not_pass(tmp_path):
    """As Jupyter Book 2 does, which knows neither _config.yml nor _toc.yml."""
    for name in ("Makefile", "requirements.txt", "pyproject.toml", "book/tools/setup_venv.sh"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "jupyter-book").symlink_to(shutil.which("true"))
    (tmp_path / ".venv" / ".ready").touch()
    done = subprocess.run(["make", "book"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "jupyter-book made no index.html" in done.stderr
