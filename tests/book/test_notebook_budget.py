"""The budget plugin, on small notebooks of its own: what it measures, passes and fails, and pytest's exit code."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from book.tools.peak import peak_mib
from tests.notebook_budget import Use

ROOT = Path(__file__).resolve().parents[2]
GENEROUS = {"seconds": 300, "memory_mib": 8192}


def write_notebook(path: Path, sources: list[str], budget: dict | None) -> None:
    cells = [new_code_cell(source, execution_count=1) for source in sources]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    if budget is not None:
        metadata["vitedu"] = {"budget": budget}
    nbformat.write(new_notebook(cells=cells, metadata=metadata), path)


def run_pytest(folder: Path) -> subprocess.CompletedProcess:
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.notebook_budget", "--nbval", "--nbval-current-env", "-rA"]
    command += ["-p", "no:cacheprovider", "-c", str(folder / "pytest.ini"), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> subprocess.CompletedProcess:
    """One run over a notebook inside its budget, one too slow, one too large and one without a budget."""
    folder = tmp_path_factory.mktemp("notebooks")
    sleep, grow = ["import time", "time.sleep(1)"], ["block = bytearray(400 * 2**20)"]
    write_notebook(folder / "fine.ipynb", sleep, GENEROUS)
    write_notebook(folder / "slow.ipynb", sleep, {**GENEROUS, "seconds": 0.25})
    write_notebook(folder / "large.ipynb", grow, {**GENEROUS, "memory_mib": 200})
    write_notebook(folder / "unlimited.ipynb", ["1"], None)
    return run_pytest(folder)


def outcome(report: subprocess.CompletedProcess, notebook: str) -> str:
    """How the budget test of a notebook ended, by pytest's own summary."""
    return re.search(rf"^(PASSED|FAILED|SKIPPED) .*{notebook}\.ipynb::budget", report.stdout, re.MULTILINE)[1]


@pytest.mark.parametrize(
    ("notebook", "expected"), [("fine", "PASSED"), ("slow", "FAILED"), ("large", "FAILED"), ("unlimited", "FAILED")]
)
def test_budget_test_passes_inside_twice_the_budget_alone(report, notebook, expected):
    assert outcome(report, notebook) == expected, report.stdout


def test_exceeded_budget_makes_pytest_fail(report):
    assert report.returncode == pytest.ExitCode.TESTS_FAILED


def test_failure_names_what_was_used_and_the_budget(report):
    assert re.search(r"slow\.ipynb: took \d+\.\d s, more than 2 × its budget of 0\.25 s", report.stdout)
    assert re.search(r"large\.ipynb: used \d+ MiB, more than 2 × its budget of 200 MiB", report.stdout)
    assert "unlimited.ipynb: no budget; add" in report.stdout


def test_table_shows_use_beside_the_budget(report):
    """The sleep of one second and the block of 400 MiB are both in the measured figures."""
    rows = dict(re.findall(r"^\S*?(\w+)\.ipynb +(\d+\.\d /.*MiB)$", report.stdout, re.MULTILINE))
    assert set(rows) == {"fine", "slow", "large", "unlimited"}
    seconds, limit, mib, mib_limit = re.fullmatch(r"([\d.]+) / +(\S+) s +(\d+) / +(\S+) MiB", rows["fine"]).groups()
    assert 1 <= float(seconds) < 100
    assert (limit, mib_limit) == ("300", "8192")
    large = re.fullmatch(r"[\d.]+ / +\S+ s +(\d+) / +200 MiB", rows["large"])
    assert int(large[1]) >= int(mib) + 350


@pytest.mark.parametrize(
    ("seconds", "mib", "count"), [(20.0, 200.0, 0), (20.1, 200.0, 1), (20.0, 200.1, 1), (20.1, 200.1, 2)]
)
def test_limit_is_twice_the_budget(seconds, mib, count):
    assert len(Use(10, 100, seconds, mib).problems()) == count


def test_peak_remembers_memory_that_was_given_back():
    """The high-water mark stays when the memory is freed (Linux; elsewhere the present use is all there is)."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the high-water mark is read from /proc, which this system does not have")
    code = (
        "import os; from book.tools.peak import peak_mib; before = peak_mib(os.getpid());"
        "block = bytearray(200 * 2**20); del block; print(peak_mib(os.getpid()) - before)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(result.stdout) > 100


def test_process_that_has_ended_counts_nothing():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert peak_mib(process.pid) == 0.0
