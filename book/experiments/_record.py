"""What every script shares: its command line, a trial run that takes seconds, and the record of what was found."""

import argparse
import json
import math
import multiprocessing
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vitedu import data as sets
from vitedu.data import Dataset, Split
from vitedu.device import describe_device, pick_device, processor
from vitedu.recorded import recorded
from vitedu.train import TrainConfig, fit

RESULTS = Path(__file__).resolve().parents[1] / "results"
SMOKE = "--smoke" in sys.argv
STAND_INS = {"digits": (1, 8), "fashion-mnist": (1, 28), "cifar10": (3, 32)}  # channels and sides

T = TypeVar("T")
Case = TypeVar("Case")
Rows = dict[str, Callable[[list[int]], dict]]  # what computes the row of a name, given the seeds


_work: list[Callable] = []  # the function that a pool of processes is working on


def _call(case: Case) -> object:
    """The function at hand, for one case; at the front of what is there, in the process that was forked for it."""
    return _work[-1](case)


def or_smoke(real: T, small: T) -> T:
    """`real`; or `small` if the script was called with --smoke, to see within seconds whether it runs."""
    return small if SMOKE else real


def load(name: str, image_size: int | None = None) -> Dataset:
    """`vitedu.data.load`; with --smoke 20 random pictures in each split instead, so that nothing has to be on disk."""
    if not SMOKE:
        return sets.load(name, image_size=image_size)
    channels, side = STAND_INS.get(name, (3, image_size))
    labels = torch.arange(20) % 10
    images = torch.randint(256, (20, channels, side, side), generator=torch.Generator().manual_seed(0))
    split = Split(images.to(torch.uint8), labels)
    return Dataset(name, "random pictures", tuple("0123456789"), split, split, split, flip=True)


@dataclass(frozen=True)
class Run:
    """One call of a script: what it was asked for, where it writes, when it began, on which revision of the code."""

    name: str
    seeds: list[int]
    device: torch.device
    row: str | None
    update: bool
    scratch: Path | None  # of a trial run, which writes nothing into the book
    began: float
    commit: str  # "+" marks uncommitted changes
    steps: list[str]  # what it was asked for by name, of a script that has steps
    jobs: int  # how many of its training runs go on at once, in a process each

    def each(self, function: Callable[[Case], T], cases: Iterable[Case]) -> list[T]:
        """What `function` returns for each case, in their order; `--jobs` of them at a time.

        A process for each, so that one thread, one seed and one peak of memory belong to one run. Nothing before the
        call may have touched a GPU, which a forked process cannot take over.
        """
        cases = list(cases)
        if self.jobs == 1 or len(cases) < 2 or multiprocessing.parent_process():
            return [function(case) for case in cases]
        import_module("torch._dynamo")  # the first optimiser does: seconds, here once and not in each process
        _work.append(function)  # reaches the processes by forking, so that a lambda will do
        try:
            with multiprocessing.get_context("fork").Pool(self.jobs, maxtasksperchild=1) as pool:
                return pool.map(_call, cases, chunksize=1)
        finally:
            _work.pop()

    def clock(self) -> float:
        """Seconds: processor time on a CPU, which other programs leave alone; elsewhere the wall's, all work done."""
        if self.device.type == "cpu":
            return time.process_time()
        torch.accelerator.synchronize(self.device)
        return time.perf_counter()

    @property
    def command(self) -> str:
        """The command that is running, as a reader would type it."""
        return shlex.join(["python", f"book/experiments/{Path(sys.argv[0]).name}", *sys.argv[1:]])

    def train(
        self, build: Callable[[], nn.Module], data: Dataset, training: TrainConfig, seed: int, **options
    ) -> tuple[nn.Module, list[dict]]:
        """A fresh model after training, and its history; first weights and order of the pictures follow the seed.

        `options` are those of `fit`.
        """
        torch.manual_seed(seed)
        model = build()
        return model, fit(model, data, replace(training, seed=seed), device=self.device, shown=False, **options)

    def folder(self, real: Path) -> Path:
        """`real`, or for a trial run a folder of its own."""
        return self.scratch or real

    def described(self) -> str:
        """The device, in words; with --jobs by a process of its own, for the sake of those that are forked later."""
        if self.jobs == 1 or self.device.type == "cpu" or multiprocessing.parent_process():
            return describe_device(self.device)
        with multiprocessing.get_context("fork").Pool(1) as pool:
            return pool.apply(describe_device, [self.device])

    def provenance(self) -> dict:
        """The command that is running, when, on which revision, and what it runs on."""
        from torchvision import __version__ as tv_version  # importing torchvision takes a second

        return {
            "command": self.command,
            "date": date.today().isoformat(),
            "commit": self.commit,
            "device": self.described(),
            "processor": f"{processor()}, {os.cpu_count()} cores",
            "versions": {"python": platform.python_version(), "torch": torch.__version__, "torchvision": tv_version},
        }

    def record(self, about: str, sources: list[str], rows: list[dict]) -> None:
        """Write book/results/NAME.json: the rows, and everything needed to judge and repeat them."""
        seconds = round(time.perf_counter() - self.began)
        self.write({"about": about, **self.provenance(), "data": sources, "seconds": seconds, "rows": rows})

    def write(self, content: dict) -> None:
        """Write book/results/NAME.json, or for a trial run a file elsewhere, and show what is in it."""
        path = self.folder(RESULTS) / f"{self.name}.json"
        text = json.dumps(without_holes(content), indent=1, ensure_ascii=False, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")
        if self.scratch:
            print("would record:", *(str(row)[:118] for row in content["rows"]), sep="\n  ")
        print(f"wrote {path} after {time.perf_counter() - self.began:.0f} s")


def without_holes(node: object) -> object:
    """The same without the "std" of single values, which is no number and must not be mistaken for a spread."""
    if isinstance(node, dict):
        return {key: without_holes(value) for key, value in node.items() if key != "std" or not is_nan(value)}
    return [without_holes(one) for one in node] if isinstance(node, list) else node


def is_nan(value: object) -> bool:
    """Whether this is the number that is none."""
    return isinstance(value, float) and math.isnan(value)


def start(
    description: str | None, *, device: str = "auto", seeds: int = 3, rows: bool = False, steps: Sequence[str] = ()
) -> Run:
    """Read the command line that all scripts share, and note when they began.

    Args:
        description: the script's docstring, for --help.
        device: where it runs unless told otherwise, "auto" for the GPU if there is one.
        seeds: how many it takes unless told otherwise; one with --smoke.
        rows: whether a row can be run by itself, with --row and --update; see `compute`.
        steps: the names by which parts of it can be asked for.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    count, place = or_smoke(seeds, 1), f"auto (a GPU if there is one), cpu, cuda, cuda:1 or mps; without it {device}"
    parser.add_argument("--seeds", type=int, default=count, help="how many, from 0 on; a spread needs 3 or more")
    parser.add_argument("--device", default=device, help=place)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, where a script can; one core each")
    parser.add_argument("--smoke", action="store_true", help="whether it runs: seconds, tiny sizes, nothing recorded")
    if rows:
        parser.add_argument("--row", help="run this row alone and compare it with the record, which stays as it is")
        parser.add_argument("--update", action="store_true", help="with --row: put the new row into the record")
    if steps:
        parser.add_argument("steps", nargs="*", metavar="STEP", help=", ".join(steps))
    parser.set_defaults(row=None, update=False, steps=[])
    asked = parser.parse_args()
    if unknown := [name for name in asked.steps if name.split(":")[0] not in steps]:
        parser.error(f"no step is called {', '.join(unknown)}; there are: {', '.join(steps)}")
    torch.set_num_threads(1)  # so that figures depend neither on the number of cores nor on what else they do
    describe = ["git", "describe", "--always", "--dirty=+"]
    try:
        described = subprocess.run(describe, capture_output=True, text=True, check=False).stdout
    except OSError:  # no git on this machine; COMMIT says which revision was brought there
        described = ""
    return Run(
        name=Path(sys.argv[0]).stem,
        seeds=list(range(asked.seeds)),
        device=pick_device() if asked.device == "auto" else torch.device(asked.device),
        row=asked.row,
        update=asked.update,
        scratch=Path(tempfile.mkdtemp(prefix="vitedu-smoke-")) if asked.smoke else None,
        began=time.perf_counter(),
        commit=os.environ.get("COMMIT") or described.strip() or "unknown",
        steps=asked.steps,
        jobs=asked.jobs,
    )


def in_each_split(data: Dataset, change: Callable[[Split], Split]) -> Dataset:
    """The same data set, every split of it changed."""
    return replace(data, **{name: change(getattr(data, name)) for name in ("train", "val", "test")})


@torch.no_grad()
def multiply_adds(model: nn.Module, side: int) -> int:
    """Multiply-adds of one RGB picture of this side, forward, counted operator by operator."""
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, side, side))
    return counter.get_total_flops() // 2


def nothing(*_: object) -> dict[str, float]:
    """What `fit` measures after each epoch, where the time of a run is to be that of its training alone."""
    return {}


def spread(values: list[float]) -> dict:
    """Mean and sample standard deviation, with the values behind them."""
    std = statistics.stdev(values) if len(values) > 1 else math.nan  # one value has no spread
    return {"mean": statistics.fmean(values), "std": std, "values": values}


def per_cent(found: dict) -> str:
    """A spread of shares, such as `93.12 ± 0.30 % (3 seeds)`."""
    mean, std, count = 100 * found["mean"], 100 * found.get("std", math.nan), len(found["values"])
    return f"{mean:.2f} ± {std:.2f} % ({count} seeds)" if count > 1 else f"{mean:.2f} % (1 seed)"


def accuracy_of(row: dict) -> str:
    """The accuracy of a row, in words."""
    return per_cent(row["accuracy"])


def compute(
    run: Run, about: str, sources: list[str], rows: Rows, in_words: Callable[[dict], str] = accuracy_of
) -> list[dict]:
    """Run every row and record them, or with --row one of them, and show it beside the recorded one.

    Each row is a dict, to which its "name" is added; `in_words` says what is in it. With --jobs rows run side by side.

    Returns:
        The rows, none with --row.
    """
    if run.row:
        repeat(run, rows, in_words)
        return []

    def row(name: str) -> dict:
        found = {"name": name, **rows[name](run.seeds)}
        print(f"{name:34} {in_words(found)}", flush=True)
        return found

    done = run.each(row, rows)
    run.record(about, sources, done)
    return done


def repeat(run: Run, rows: Rows, in_words: Callable[[dict], str]) -> None:
    """Run one row and print it under what the record says of it; with --update put it there, and where it is from."""
    if run.row not in rows:
        near = get_close_matches(run.row, rows, n=1) or list(rows)
        raise SystemExit(f"{run.name} has no row {run.row!r}; did you mean {' or '.join(map(repr, near))}?")
    try:
        result = recorded(run.name)
    except ValueError:
        if run.update:
            raise
        result = {"rows": []}
    known = {row["name"]: row for row in result["rows"]}
    print(f"recorded: {in_words(known[run.row]) if run.row in known else 'not yet'}")
    row = {"name": run.row, **rows[run.row](run.seeds)}
    print(f"now:      {in_words(row)}")
    if run.update:
        origin = {key: value for key, value in run.provenance().items() if key not in row and result[key] != value}
        run.write(result | {"rows": list((known | {run.row: row | origin}).values())})
