"""The budget plugin, on small notebooks of its own: what it measures, passes and fails, and pytest's exit code."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from book.tools.usage import Meter, anonymous_mib, processor_seconds
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
    """One run over a notebook inside its budget, which waits, one too slow, one too large and one without a budget."""
    folder = tmp_path_factory.mktemp("notebooks")
    work, grow = ["import time", "while time.process_time() < 4: pass"], ["block = bytearray(400 * 2**20)"]
    write_notebook(folder / "fine.ipynb", ["import time", "time.sleep(5)"], {**GENEROUS, "seconds": 2})
    write_notebook(folder / "slow.ipynb", work, {**GENEROUS, "seconds": 1.5})
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
    assert re.search(r"slow\.ipynb: took \d+\.\d s of the processor, more than 2 × its budget of 1\.5 s", report.stdout)
    assert re.search(r"large\.ipynb: used \d+ MiB, more than 2 × its budget of 200 MiB", report.stdout)
    assert "unlimited.ipynb: no budget; add" in report.stdout


def test_table_shows_use_beside_the_budget(report):
    """The sleep is in the wall-clock alone, the work in the processor time, the block of 400 MiB in the memory."""
    rows = re.findall(r"^\S*?(\w+)\.ipynb +([\d.]+) / +(\S+) s +(\d+) / +(\S+) MiB +([\d.]+) s$", report.stdout, re.M)
    rows = {name: row for name, *row in rows}
    assert set(rows) == {"fine", "slow", "large", "unlimited"}
    seconds, limit, mib, mib_limit, wall = rows["fine"]
    assert (limit, mib_limit) == ("2", "8192")
    assert float(seconds) < 4 < 5 <= float(wall)
    assert 4 <= float(rows["slow"][0]) < 6
    assert int(rows["large"][2]) >= int(mib) + 350


@pytest.mark.parametrize(
    ("seconds", "mib", "count"), [(20.0, 200.0, 0), (20.1, 200.0, 1), (20.0, 200.1, 1), (20.1, 200.1, 2)]
)
def test_limit_is_twice_the_budget(seconds, mib, count):
    assert len(Use(10, 100, seconds, mib).problems()) == count


def follow(code: str) -> Meter:
    """What a Python process of this code has used when it prints its last line, and waits to be ended."""
    process = subprocess.Popen([sys.executable, "-c", f"{code}\nprint()\ninput()"], stdin=-1, stdout=-1)
    meter = Meter(process.pid)
    process.stdout.readline()
    meter.read()
    process.communicate(b"\n")
    return meter


def test_peak_remembers_memory_that_was_given_back():
    """A block that is held for half a second, and then freed."""
    nothing = follow("")
    assert follow("import time\nblock = bytearray(200 * 2**20)\ntime.sleep(0.5)\ndel block").mib > nothing.mib + 150


def test_pages_of_a_file_are_no_memory_that_a_process_holds(tmp_path):
    """They can be taken back at any time; their resident size would count."""
    if not Path("/proc/self/status").exists():
        pytest.skip("which memory a file backs is read from /proc, which this system does not have")
    (tmp_path / "large").write_bytes(bytes(200 * 2**20))
    code = f"import mmap, time\nm = mmap.mmap(open({str(tmp_path / 'large')!r}).fileno(), 0, prot=mmap.PROT_READ)"
    assert follow(f"{code}\nmax(m[::4096])\ntime.sleep(0.3)").mib < follow("").mib + 50


def test_the_work_of_children_counts_while_they_live_and_afterwards():
    work = "import subprocess, sys\nwork = 'import time\\nwhile time.process_time() < 1: pass'"
    ended = follow(f"{work}\nsubprocess.run([sys.executable, '-c', work])")
    living = follow(
        f"{work}\nwork += '\\nprint(flush=True); time.sleep(60)'\n"
        "subprocess.Popen([sys.executable, '-c', work], stdout=-1).stdout.readline()"
    )
    ticks = 2 / os.sysconf("SC_CLK_TCK")  # /proc counts whole ticks of a process, and those of the system apart
    assert 1 - ticks <= ended.seconds < 3
    assert 1 - ticks <= living.seconds < 3


def test_process_that_has_ended_counts_nothing():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert anonymous_mib(process.pid) == processor_seconds(process.pid) == 0.0
