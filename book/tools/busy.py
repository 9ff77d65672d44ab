"""Run the chapters on a busy machine: each alone, and again beside two programs that never stop computing.

    python -m book.tools.busy              every chapter, on a machine that does nothing else
    python -m book.tools.busy 02 05        these
    python -m book.tools.busy --loops 6    beside more of them

Prints a row for each chapter and writes all of them to _build/busy.json. Fails if an output is not the stored one, if
an assertion does not hold, or if a chapter takes more than four times as long as alone.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from book.tools.run_notebooks import RERUN
from book.tools.site.chapters import ROOT, notebooks
from vitedu.device import processor

FILE = ROOT / "_build" / "busy.json"
LONGEST = 4  # times what it takes alone
ROW = re.compile(r"\.ipynb +([\d.]+) / .* MiB +([\d.]+) s$", re.MULTILINE)  # of the table of tests/notebook_budget.py


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """So many processes beside this one that compute without a pause, until this one ends at the latest."""
    code = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(10_000))"
    loops = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def rerun(chapter: Path) -> dict:
    """Run one chapter as `make test` does: processor time, wall-clock, and the last lines of a run that fails."""
    done = subprocess.run([*RERUN, chapter], cwd=ROOT, capture_output=True, text=True, check=False)
    used = ROW.search(done.stdout)
    seconds, wall = map(float, used.groups()) if used else (0.0, 0.0)
    return {"processor": seconds, "wall": wall, "failed": done.stdout[-2000:] if done.returncode else ""}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run the chapters alone and on a busy machine.")
    parser.add_argument("chapter", nargs="*", help="how a file name starts, for example 05; default: every chapter")
    parser.add_argument("--loops", type=int, default=2, help="programs beside it (default: 2)")
    options = parser.parse_args(arguments)
    rows, good, load = {}, True, os.getloadavg()[0]
    print(f"{processor()}, {os.cpu_count()} cores, load {load:.1f}: that of other programs, which should be near 0")
    print(f"{'':28}alone: processor    wall     beside {options.loops} loops: processor    wall   times")
    for chapter in notebooks(options.chapter):
        alone = rerun(chapter)
        with busy_loops(options.loops):
            beside = rerun(chapter)
        times = beside["wall"] / max(alone["wall"], 0.1)
        figures = f"{alone['processor']:8.0f} s {alone['wall']:6.0f} s {beside['processor']:27.0f} s"
        print(f"{chapter.stem:35}{figures} {beside['wall']:6.0f} s {times:7.1f}", flush=True)
        for run in (alone, beside):
            print(run["failed"], end="")
        good &= not alone["failed"] and not beside["failed"] and times <= LONGEST
        rows[chapter.stem] = {"alone": alone, "beside": beside}
    FILE.parent.mkdir(exist_ok=True)
    machine = {"processor": processor(), "cores": os.cpu_count(), "load": load, "loops": options.loops}
    FILE.write_text(json.dumps(machine | {"chapters": rows}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print("all right" if good else f"FAILED: something did not hold, or took more than {LONGEST} times as long")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
