"""What each chapter used when `make notebooks` last ran it: book/run_times.json, written there, shown on a page."""

import hashlib
import io
import json
import os
import platform
import re
import tempfile
import tokenize
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from book.tools.usage import Meter

FILE = Path(__file__).resolve().parents[1] / "run_times.json"
INSTALLED = re.compile(r"git\+https://github\.com/[\w.-]+/[\w.-]+(?:@v[\w.]+)?")  # what a setup cell installs
PACKAGES = ("torch", "torchvision", "numpy", "matplotlib", "scikit-learn")


@dataclass(frozen=True)
class Run:
    """One run of one chapter, from top to bottom."""

    seconds: float  # wall-clock: the start of the kernel and all cells
    processor_seconds: float  # of the kernel and its children
    mib: float  # the most anonymous memory the kernel held
    date: str
    processor: str
    cores: int
    threads: str  # OMP_NUM_THREADS: how many of the cores PyTorch may use
    device: str
    versions: Mapping[str, str]
    code: str  # fingerprint of the code that was run


def fingerprint(notebook: Mapping) -> str:
    """Changes when a code cell changes, and not when text, comments, blank lines, outputs or the book's address do."""
    sources = [bare("".join(cell["source"])) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    sources = [INSTALLED.sub("", source) for source in sources]  # `make publish` writes it, no run here reads it
    return hashlib.sha256(json.dumps(sources, ensure_ascii=False).encode()).hexdigest()[:16]


def bare(code: str) -> str:
    """The lines of a cell without its comments and without blank ones."""
    lines = code.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def describe_run(notebook: Mapping, seconds: float, used: "Meter", device: str) -> Run:
    """A run that has just ended on this machine."""
    from vitedu.device import processor  # it brings torch, which a build of the site can do without

    versions = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    return Run(
        seconds=round(seconds, 1),
        processor_seconds=round(used.seconds, 1),
        mib=round(used.mib),
        date=date.today().isoformat(),
        processor=processor(),
        cores=os.cpu_count() or 1,
        threads=os.environ.get("OMP_NUM_THREADS", "all"),
        device=device,
        versions=versions,
        code=fingerprint(notebook),
    )


def read_runs(file: Path = FILE) -> dict[str, Run]:
    """Name of the chapter -> its last run. Empty where nothing has been recorded."""
    if not file.exists():
        return {}
    return {name: Run(**run) for name, run in json.loads(file.read_text(encoding="utf-8")).items()}


def write_run(name: str, run: Run, file: Path = FILE) -> None:
    """Put one chapter's run in the place of its last one; of two that end at the same time none is lost."""
    from filelock import FileLock  # a build of the site reads the runs and has neither this nor torch

    from vitedu.files import write_whole

    with FileLock(Path(tempfile.gettempdir()) / f"vitedu-run-times-{os.getuid()}.lock"):
        runs = {**read_runs(file), name: run}
        text = json.dumps({key: asdict(runs[key]) for key in sorted(runs)}, indent=1, ensure_ascii=False) + "\n"
        write_whole(file, text.encode())
