"""Where the time of a training step goes; what bfloat16, compiling and recomputing change (about 8 min on one core).

Two models on the CPU, one thread: `tiny` on images of 32 pixels, and four blocks of S/16 at 224. In every round each
variant takes one step, in an order drawn anew, and a product of large matrices is timed beside them as the machine's
peak; so whatever else the machine does hits all alike. Times are processor times of the working thread, ratios are
taken within a round, and the first two rounds, in which `torch.compile` compiles, are not counted. The spread is over
rounds. Compiling for the CPU needs a C++ compiler. Where there is a GPU, S/16 and B/16 are measured on it, on the
wall-clock; without one their rows say so. --seeds counts the rounds. One row: make results NAME=scaling ROW=tiny.

Of the five questions four apply, as nothing is learned. *Tuned alike?* One batch for each model, 64 and 4, and the
compiler as it comes. *One difference?* The variant, within a round. Between the models width, tokens and batch differ
at once, so which of these makes bfloat16 pay is not shown. *Can it show?* Recomputing can add a forward pass at most, a
third of the step, and adds a quarter. In `tiny`, compiling was faster than float32 in each of the seven recorded
rounds, and bfloat16 slower in six; on average both differ from it by less than a tenth. *Recognisable?* The ratios are
this processor's. What a GPU gains is another matter, and its rows say so where they were not measured.
"""

import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from _record import compute, or_smoke, spread, start
from torch import Tensor

from vitedu.cost import count_parameters, kept_bytes, training_flops, utilisation
from vitedu.device import autocast
from vitedu.train.optim import adamw
from vitedu.vit import ViT, ViTConfig, preset

WARM_UP = or_smoke(2, 0)  # rounds
COMPILER = or_smoke("inductor", "eager")  # the second only reads the model
PRODUCTS = ("float32", "bfloat16")
NAMES = ("float32", "bfloat16", "compiled", "bfloat16, compiled", "recomputed")


@dataclass(frozen=True)
class Task:
    """A model, a batch, and where they meet."""

    config: ViTConfig
    batch: int
    device: str
    square: int  # side of the matrices whose product is the machine's peak

    @property
    def clock(self) -> Callable[[], float]:
        """Processor time on a CPU that others use too, the wall-clock on a GPU."""
        return time.thread_time if self.device == "cpu" else time.perf_counter


SQUARE, GPU_SQUARE, SIDE = or_smoke((1536, 8192, 224), (64, 64, 32))
TASKS = {
    "tiny": Task(preset("tiny", image_size=32, patch_size=4, num_classes=10), or_smoke(64, 2), "cpu", SQUARE),
    "S/16, four blocks": Task(preset("S/16", depth=4, image_size=SIDE), or_smoke(4, 2), "cpu", SQUARE),
    "S/16": Task(preset("S/16", image_size=SIDE), or_smoke(256, 2), "cuda", GPU_SQUARE),
    "B/16": Task(preset("B/16", image_size=SIDE), or_smoke(128, 2), "cuda", GPU_SQUARE),
}


class Trainer:
    """One model with its optimiser, and a step of it that tells when each of its three parts ended."""

    def __init__(self, task: Task, name: str):
        torch.manual_seed(0)
        self.task = task
        self.model = ViT(task.config).to(task.device)
        self.model.encoder.recompute = name == "recomputed"
        self.network = torch.compile(self.model, backend=COMPILER) if "compiled" in name else self.model
        self.dtype = torch.bfloat16 if kind_of(name) == "bfloat16" else None
        self.optimizer = adamw(self.model, 1e-4, 0.05)
        C, side = task.config.in_channels, task.config.image_size
        self.images = torch.randn(task.batch, C, side, side, device=task.device)
        self.labels = torch.arange(task.batch, device=task.device) % task.config.num_classes

    def loss(self) -> Tensor:
        """Forward."""
        with autocast(self.images.device, self.dtype):
            return F.cross_entropy(self.network(self.images), self.labels)

    def step(self) -> list[float]:
        """Seconds of forward, backward and the optimiser."""
        moments = [now(self.task)]
        loss = self.loss()
        moments.append(now(self.task))
        loss.backward()
        moments.append(now(self.task))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        moments.append(now(self.task))
        return [after - before for before, after in pairwise(moments)]


def now(task: Task) -> float:
    """The time, once everything that was ordered is done."""
    if task.device != "cpu":
        torch.accelerator.synchronize(task.device)
    return task.clock()


def product(task: Task, dtype: torch.dtype) -> Callable[[], list[float]]:
    """What multiplies two large matrices, and returns the seconds in a list of one."""
    a, b = torch.randn(2, task.square, task.square, device=task.device, dtype=dtype)

    def run() -> list[float]:
        began = now(task)
        a @ b
        return [now(task) - began]

    return run


def rounds(task: Task, names: list[str], count: int) -> dict[str, list[list[float]]]:
    """The seconds of every variant and of both products, `count` times each."""
    calls = {name: Trainer(task, name).step for name in names}
    calls |= {f"product torch.{kind}": product(task, getattr(torch, kind)) for kind in PRODUCTS}
    order, draw, times = list(calls), random.Random(0), {name: [] for name in calls}
    for number in range(WARM_UP + count):
        draw.shuffle(order)
        for name in order:
            taken = calls[name]()
            if number >= WARM_UP:
                times[name].append(taken)
        print(f"  round {number + 1} of {WARM_UP + count}", flush=True)
    return times


def kind_of(name: str) -> str:
    """The number format of a variant's matrix products."""
    return "bfloat16" if "bfloat16" in name else "float32"


def used_share(task: Task, seconds: list[float], peaks: list[float]) -> list[float]:
    """Utilisation in every round, by the peak of the same round."""
    return [utilisation(task.config, task.batch / s, peak) for s, peak in zip(seconds, peaks, strict=True)]


def measure(task: Task, count: int) -> dict:
    """One row, over so many rounds."""
    names = [name for name in NAMES if "compiled" not in name or task.device != "cpu" or shutil.which("g++")]
    times = rounds(task, names, count)
    whole = {name: [sum(taken) for taken in times[name]] for name in times}
    peaks = {kind: [2 * task.square**3 / s for s in whole[f"product torch.{kind}"]] for kind in PRODUCTS}
    used = {name: used_share(task, whole[name], peaks[kind_of(name)]) for name in names}
    plain, again = Trainer(task, "float32"), Trainer(task, "recomputed")
    kept = {"whole": kept_bytes(plain.model, plain.images), "recomputed": kept_bytes(again.model, again.images)}
    return {
        "batch": task.batch,
        "parameters": count_parameters(plain.model),
        "flops": task.batch * training_flops(task.config),
        "seconds": {name: spread(whole[name]) for name in names},
        "ratio": {n: spread([a / b for a, b in zip(whole[n], whole["float32"], strict=True)]) for n in names[1:]},
        "share": {
            part: spread([taken[index] / sum(taken) for taken in times["float32"]])
            for index, part in enumerate(("forward", "backward", "optimiser"))
        },
        "peak": {dtype: spread(values) for dtype, values in peaks.items()},
        "utilisation": {name: spread(values) for name, values in used.items()},
        "kept_bytes": kept,
    }


def in_words(row: dict) -> str:
    """What a row says: the time of every variant over that in float32."""
    ratios = {name: f"{ratio['mean']:.2f} ± {ratio['std']:.2f}" for name, ratio in row.get("ratio", {}).items()}
    return ", ".join(f"{name} {ratio}" for name, ratio in ratios.items()) or row["note"]


def main() -> None:
    run = start(__doc__, seeds=7, rows=True)

    def row(task: Task, seeds: list[int]) -> dict:
        there = task.device == "cpu" or run.device.type != "cpu"
        on = task if task.device == "cpu" else replace(task, device=str(run.device))
        found = measure(on, len(seeds)) if there else {"utilisation": None, "note": "not measured: no GPU"}
        return {"device": task.device, **found}

    rows = {name: partial(row, task) for name, task in TASKS.items()}
    about = "time of a training step by part and by variant, and how much of the machine's peak it uses"
    compute(run, about, ["random"], rows, in_words)


if __name__ == "__main__":
    main()
