"""Chapters as Colab runs them: what `make colab` does with all of them, here with one, whose setup cell is that of all.

Without a network: the machine has all that vitedu needs, and the pinned setuptools builds it.
"""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from book.tools.colab import machine as colab
from book.tools.colab import run as runs

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
SHORT = next(path for path in CHAPTERS if path.name.startswith("02"))  # it takes least, and it reads recorded results
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NEEDS = {canonicalize_name(need.name): need for need in map(Requirement, PROJECT["dependencies"])}
T4_MIB = 12 * 1024  # of 15 GB on the GPU and 12.7 GB of main memory
OFFLINE = {
    "PIP_NO_INDEX": "1",
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_NO_BUILD_ISOLATION": "0",  # pip reads this switch as the value of `build_isolation`: 0 switches isolation off
}


def make_machine(folder: Path, *more: str) -> Path:
    return colab.make_machine(folder, {*colab.main_packages(), *more}, colab.newest_packages())


@pytest.fixture(scope="module")
def run_alone(tmp_path_factory) -> tuple[runs.Outcome, Path]:
    """The short chapter, run on a machine of its own, with vitedu as it is here and no network: outcome, packages."""
    folder = tmp_path_factory.mktemp("machine")
    (folder / "repository").mkdir()
    try:
        source = runs.snapshot(folder / "repository")
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: there is no repository to install vitedu from")
    python = make_machine(folder / "machine", *NEEDS, "setuptools")
    environment = colab.environment_of_a_machine(VITEDU_SOURCE=source, **OFFLINE)
    outcome = runs.run_alone(nbformat.read(SHORT, as_version=4), SHORT.name, python, folder / "empty", environment)
    return outcome, colab.site_of(folder / "machine")


# --- the chapters ---


def test_a_whole_chapter_runs_alone_and_its_setup_cell_installs_vitedu_and_nothing_else(run_alone):
    """And changes nothing that was there; run again, it is done at once."""
    outcome, _ = run_alone
    assert outcome.added == ["vitedu"]
    assert outcome.problems() == []


def test_what_is_installed_is_the_whole_package(run_alone):
    """Every file of `vitedu` as it is here, committed or not, the weights among them, and every recorded result."""
    wanted = {path.relative_to(ROOT) for path in (ROOT / "vitedu").rglob("*.*") if "__pycache__" not in path.parts}
    wanted |= {Path("vitedu", "results", path.name) for path in (ROOT / "book" / "results").glob("*.json")}
    _, site = run_alone
    assert {".safetensors", ".json", ".py"} <= {path.suffix for path in wanted}
    assert not sorted(str(path) for path in wanted if not (site / path).is_file())


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_fits_the_free_machine(path):
    """A T4 has no bfloat16 of its own: what may run on a GPU asks `vitedu.device` which precision to take.

    On the processor, by name, bfloat16 works everywhere, emulated if need be.
    """
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata.vitedu.budget.memory_mib <= T4_MIB
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    on_device = [source for source in code if re.search(r"\b(device|cuda)\b|\bautocast\((?!\"cpu\")", source)]
    assert not [source for source in on_device if re.search(r"bfloat16|bf16", source)]


def test_only_the_file_that_asks_the_hardware_names_bfloat16():
    naming = [path.name for path in (ROOT / "vitedu").rglob("*.py") if "bfloat16" in path.read_text(encoding="utf-8")]
    assert naming == ["device.py"]


# --- the lists of packages ---


def test_the_oldest_packages_satisfy_what_vitedu_asks_for():
    """Or its installation would upgrade them. PyTorch is the oldest that is promised, exactly."""
    oldest = colab.main_packages()
    assert not [str(need) for name, need in NEEDS.items() if name in oldest and oldest[name] not in need.specifier]
    assert [spec.version for spec in NEEDS["torch"].specifier] == [".".join(oldest["torch"].split(".")[:2])]
    assert [spec.version for spec in NEEDS["torchvision"].specifier] == [".".join(oldest["torchvision"].split(".")[:2])]


def test_the_newest_packages_are_newer():
    oldest, site = colab.main_packages(), colab.newest_packages()
    newest = {canonicalize_name(p.name): p.version for p in colab.packages_below(set(oldest), site)}
    assert not [name for name, version in oldest.items() if Version(newest[name]) < Version(version)]


# --- the machine ---


def test_a_machine_has_colab_s_packages_and_no_other_of_this_folder(tmp_path):
    machine = make_machine(tmp_path / "machine")
    there = colab.installed(machine)
    assert colab.main_packages().keys() <= there.keys()
    assert not there.keys() & {"vitedu", "einops", "safetensors", "timm", "pytest", "jupyter-book"}
    asked = "import importlib.util as u; print([n for n in ('vitedu', 'einops', 'timm') if u.find_spec(n)])"
    own = colab.environment_of_a_machine()
    found = subprocess.run([machine, "-c", asked], cwd="/", env=own, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_package_that_is_replaced_is_noticed_and_the_lender_keeps_its_own(tmp_path):
    machine = make_machine(tmp_path / "machine")
    before = colab.installed(machine)
    other = colab.site_of(tmp_path / "machine") / "tqdm-0.0.1.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: tqdm\nVersion: 0.0.1\n")
    after = colab.installed(machine)
    assert colab.changes(before, after) == [f"tqdm {before['tqdm']} -> 0.0.1"]
    assert colab.changes({"a": "1", "b": "2"}, {"b": "2", "c": "3"}) == ["a 1 -> gone"]
    assert not (colab.newest_packages() / other.name).exists()


def test_an_extra_brings_what_it_asks_for(tmp_path):
    """`a` needs `b[fast]`, and only `fast` needs `c`; nobody needs `d`."""
    needs = {"a": "Requires-Dist: b[fast]\n", "b": 'Requires-Dist: c ; extra == "fast"\n', "c": "", "d": ""}
    for name, line in needs.items():
        folder = tmp_path / f"{name}-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n{line}")
    assert [package.name for package in colab.packages_below({"a"}, tmp_path)] == ["a", "b", "c"]
    assert [package.name for package in colab.packages_below({"b"}, tmp_path)] == ["b"]
    with pytest.raises(ValueError, match="has no e"):
        colab.packages_below({"a", "e"}, tmp_path)


# --- what is said about a run ---


def test_a_chapter_that_fails_is_said_to_fail(tmp_path, capsys):
    chapter = tmp_path / "99_broken.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1 / 0", metadata={"tags": ["setup"]})]), chapter)
    wanted, site = set(colab.main_packages()), colab.newest_packages()
    assert runs.report(chapter, wanted, site, colab.environment_of_a_machine()) is False
    said = capsys.readouterr().out
    assert said.startswith("99_broken.ipynb: FAILED")
    assert "ZeroDivisionError" in said


@pytest.mark.parametrize(
    ("changed", "second_run", "said"),
    [
        ([], (0.01, 0.2), "passed; 5 s; added vitedu; changed nothing"),
        (["numpy 2.0 -> 2.4"], (0.01, 0.2), "FAILED: the setup cell changed what was there before: numpy 2.0 -> 2.4"),
        ([], (0.01, 1.2), "FAILED: the setup cell, run again, took 1.2 s, not under 1 s"),
        ([], (3.0, 0.2), "FAILED: the setup cell, run again, took 3.0 s, not under 1 s"),
    ],
)
def test_what_a_run_showed_is_judged(changed, second_run, said):
    outcome = runs.Outcome(5.0, ["vitedu"], changed, second_run)
    assert runs.line(outcome).startswith(said)
    assert bool(outcome.problems()) == said.startswith("FAILED")


def test_a_chapter_that_does_not_exist_is_said_to_be_missing():
    with pytest.raises(SystemExit, match="no chapter starts with '98'; there are: 01_"):
        runs.main(["98"])
