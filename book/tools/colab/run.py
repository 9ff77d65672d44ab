"""Run chapters as Colab does: the notebook file alone, in an empty folder, where vitedu is not installed yet.

    python -m book.tools.colab.run                     every chapter, with the oldest and with the newest packages
    python -m book.tools.colab.run --torch oldest 05   the chapters that start with 05, with the oldest alone

Each chapter gets a machine of its own: a virtual environment that holds Colab's main packages and nothing else. The
oldest are those of oldest.txt, installed once into _build/colab and kept there; the newest are the pinned ones,
borrowed from the environment that runs this. The chapter's setup cell installs vitedu as it is in this folder, changes
that are not committed included, from a git repository on disk. A chapter passes if

- every cell runs,
- no package that was there before has another version afterwards,
- the setup cell, run again, takes less than a second: in a new kernel the part that installs (to import PyTorch takes
  its seconds in every new kernel), in the same kernel all of it.
"""

import argparse
import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook
from packaging.utils import canonicalize_name

from book.tools.colab.machine import (
    ROOT,
    changes,
    environment_of_a_machine,
    installed,
    main_packages,
    make_machine,
    newest_packages,
    oldest_packages,
    packages_below,
)
from book.tools.site.chapters import notebooks

CELL_TIMEOUT = 900  # seconds; a chapter's own budget is far below
LONGEST_SECOND_RUN = 1.0  # seconds
FAILURES = (CellExecutionError, CellTimeoutError, DeadKernelError)


def snapshot(folder: Path, root: Path = ROOT) -> str:
    """Put vitedu as it is in `root` into a git repository; returns the address that pip installs it from."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listing, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (root / name).is_file():  # a file that was deleted is listed until that is committed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, folder / name)
    who = ["-c", "user.name=vitedu", "-c", "user.email=vitedu@localhost", "-c", "commit.gpgsign=false"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    for command in (["init"], ["add", "--all", "--force"], [*who, "commit", "--message=as it is now"]):
        subprocess.run(["git", *command], cwd=folder, env=environment, check=True, capture_output=True)
    return f"git+file://{folder}"


def run(notebook: NotebookNode, python: Path, folder: Path, environment: dict[str, str]) -> None:
    """Run all cells, in place, in a new kernel of `python` that works in `folder`. The exceptions of FAILURES pass."""
    with tempfile.TemporaryDirectory() as specs:
        spec = {"argv": [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "alone"}
        (Path(specs) / "alone").mkdir()
        (Path(specs) / "alone" / "kernel.json").write_text(json.dumps(spec))
        finder = KernelSpecManager(kernel_dirs=[specs], ensure_native_kernel=False)
        client = NotebookClient(
            notebook,
            km=AsyncKernelManager(kernel_name="alone", kernel_spec_manager=finder),
            timeout=CELL_TIMEOUT,
            resources={"metadata": {"path": str(folder)}},
            record_timing=False,
            extra_arguments=["--log-level=40"],  # errors only
        )
        client.execute(env=environment, cleanup_kc=True)


def setup_of(notebook: NotebookNode) -> str:
    """The source of the setup cell."""
    found = [cell.source for cell in notebook.cells if "setup" in cell.metadata.get("tags", [])]
    if len(found) != 1:
        raise ValueError(f"{len(found)} cells are tagged `setup`; tag the one that installs vitedu")
    return found[0]


def part_that_installs(setup: str) -> str:
    """The setup cell up to the end of its first `if`, which installs vitedu where it is missing."""
    statements = ast.parse(setup).body
    end = next(statement.end_lineno for statement in statements if isinstance(statement, ast.If))
    return "\n".join(setup.splitlines()[:end])


def second_run(setup: str, python: Path, folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Seconds the setup cell takes where it has run before: the part that installs in a new kernel, then all again."""

    def timed(source: str) -> NotebookNode:
        clock = "__import__('time').perf_counter()"
        return new_code_cell(f"_started = {clock}\n{source}\nprint('seconds', {clock} - _started)")

    notebook = new_notebook(cells=[timed(part_that_installs(setup)), new_code_cell(setup), timed(setup)])
    run(notebook, python, folder, environment)
    first, again = (notebook.cells[index].outputs[-1].text.split()[-1] for index in (0, 2))
    return float(first), float(again)


@dataclass
class Outcome:
    """What running one notebook on a machine of its own showed."""

    seconds: float
    added: list[str]  # packages that were missing
    changed: list[str]  # packages that were there before and are not as they were
    second_run: tuple[float, float]  # seconds of the setup cell: its installing part in a new kernel, all of it again

    def problems(self) -> list[str]:
        found = [f"the setup cell changed what was there before: {what}" for what in self.changed]
        if max(self.second_run) >= LONGEST_SECOND_RUN:
            found.append(
                f"the setup cell, run again, took {max(self.second_run):.1f} s, not under {LONGEST_SECOND_RUN:g} s"
            )
        return found


def run_alone(notebook: NotebookNode, name: str, python: Path, folder: Path, environment: dict[str, str]) -> Outcome:
    """Put the notebook alone into the new folder `folder`, run it there and look at what it left on the machine."""
    folder.mkdir()
    nbformat.write(notebook, folder / name)
    before = installed(python)
    started = time.perf_counter()
    run(notebook, python, folder, environment)
    seconds = time.perf_counter() - started
    after = installed(python)
    again = second_run(setup_of(notebook), python, folder, environment)
    return Outcome(seconds, sorted(after.keys() - before.keys()), changes(before, after), again)


def line(outcome: Outcome) -> str:
    """What a run showed, in one line."""
    new, again = outcome.second_run
    return "; ".join(
        (
            f"FAILED: {', '.join(outcome.problems())}" if outcome.problems() else "passed",
            f"{outcome.seconds:.0f} s",
            f"added {', '.join(outcome.added) or 'nothing'}",
            f"changed {', '.join(outcome.changed) or 'nothing'}",
            f"setup again: {new:.3f} s to find vitedu in a new kernel, {again:.3f} s for all of it in the same one",
        )
    )


def report(chapter: Path, wanted: set[str], site: Path, environment: dict[str, str]) -> bool:
    """Run one chapter on a machine of its own and print a line about it. False if it does not pass."""
    with tempfile.TemporaryDirectory() as temporary:
        python = make_machine(Path(temporary) / "machine", wanted, site)
        notebook = nbformat.read(chapter, as_version=4)
        try:
            outcome = run_alone(notebook, chapter.name, python, Path(temporary) / "empty", environment)
        except FAILURES as error:
            print(f"{chapter.name}: FAILED\n{error}", flush=True)
            return False
    print(f"{chapter.name}: {line(outcome)}", flush=True)
    return not outcome.problems()


def run_all(chapters: list[Path], age: str, source: str) -> list[bool]:
    """Run the chapters with the oldest or the newest packages and vitedu from `source`; whether each passed."""
    site = oldest_packages() if age == "oldest" else newest_packages()
    wanted = main_packages()
    versions = {canonicalize_name(package.name): package.version for package in packages_below(set(wanted), site)}
    print(f"The {age} packages:", ", ".join(f"{name} {versions[name]}" for name in wanted), flush=True)
    return [report(chapter, set(wanted), site, environment_of_a_machine(VITEDU_SOURCE=source)) for chapter in chapters]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run the chapters as Colab does.")
    parser.add_argument("chapter", nargs="*", help="how a file name starts, for example 05; default: every chapter")
    parser.add_argument("--torch", choices=("oldest", "newest", "both"), default="both", help="default: both")
    options = parser.parse_args(arguments)
    chapters = notebooks(options.chapter)
    ages = ("oldest", "newest") if options.torch == "both" else (options.torch,)
    with tempfile.TemporaryDirectory() as repository:
        source = snapshot(Path(repository))
        passed = [good for age in ages for good in run_all(chapters, age, source)]
    print(f"{sum(passed)} of {len(passed)} runs passed")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
