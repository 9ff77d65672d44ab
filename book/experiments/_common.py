"""What every recorded result shares: the command, the date, the machine, the versions, and mean ± std over seeds."""

import argparse
import json
import math
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch
from torchvision import __version__ as tv_version

from vitedu.device import describe_device, pick_device, processor

RESULTS = Path(__file__).resolve().parents[1] / "results"


@dataclass(frozen=True)
class Start:
    """When an experiment began, and with which revision of the code; "+" marks uncommitted changes."""

    moment: float
    commit: str

    @classmethod
    def now(cls) -> "Start":
        done = subprocess.run(["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=False)
        return cls(time.perf_counter(), done.stdout.strip() or "unknown")


def spread(values: list[float]) -> dict:
    """Mean and sample standard deviation, with the values behind them."""
    std = statistics.stdev(values) if len(values) > 1 else math.nan  # one value has no spread
    return {"mean": statistics.fmean(values), "std": std, "values": values}


def record(name: str, about: str, data: list[str], rows: list[dict], start: Start) -> None:
    """Write book/results/NAME.json: the rows, and everything needed to judge and repeat them."""
    seconds = round(time.perf_counter() - start.moment)
    write_result(name, {"about": about, **provenance_of(name, start), "data": data, "seconds": seconds, "rows": rows})
    print(f"wrote book/results/{name}.json after {seconds} s")


def provenance_of(name: str, start: Start) -> dict:
    """The command that is running, when, on which revision, and what it runs on."""
    return {
        "command": shlex.join(["python", f"book/experiments/{name}.py", *sys.argv[1:]]),
        "date": date.today().isoformat(),
        "commit": start.commit,
        "device": describe_device(pick_device()),
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "torchvision": tv_version},
    }


def write_result(name: str, content: dict) -> None:
    """Write book/results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_seeds(description: str | None, default: int) -> list[int]:
    """The seeds 0 … N-1 from the command line's --seeds N."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seeds", type=int, default=default, help="how many; a spread worth recording needs 3 or more")
    return list(range(parser.parse_args().seeds))
