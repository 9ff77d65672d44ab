"""Accuracy on Fashion-MNIST after equal time: the book's models beside the d2l.ai recipe, in the same run.

    python -m book.tools.bench.equal_time               60 seconds for each
    python -m book.tools.bench.equal_time --seconds 5

The clock is that of the processor, on one thread, and for a GPU that of the wall; it counts steps of training alone.
Whoever has used least time so far takes the next step, so that whatever else the machine does hits all of them.
Validation images; nothing is said of what more time would give. The recorded experiment, with its spread, is
book/experiments/d2l_recipe.py.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments"))
from _equal_time import Contender
from d2l_recipe import contenders

from vitedu.data import Dataset, DatasetUnavailable, load
from vitedu.device import describe_device, pick_device
from vitedu.train import TrainingLoop, evaluate
from vitedu.train.budget import Clock, train_in_turns, undisturbed


@dataclass(frozen=True)
class Outcome:
    """What a contender made of its time: share right on the validation images, steps, seconds."""

    accuracy: float
    steps: int
    seconds: float


def compete(
    entrants: dict[str, Contender],
    data: Dataset,
    seconds: float,
    device: torch.device,
    clock: Clock,
) -> dict[str, Outcome]:
    """Train all of them, a step of one after a step of another, until each has had `seconds`."""
    train, loops = data.train.to(device), []
    for entrant in entrants.values():
        torch.manual_seed(0)
        loops.append(TrainingLoop(entrant.build().to(device), data, entrant.training, len(train), device))
    used = train_in_turns(loops, train, seconds, clock)
    return {
        name: Outcome(evaluate(loop.eval_model, data.val, data).accuracy, *steps_and_seconds)
        for name, loop, steps_and_seconds in zip(entrants, loops, used, strict=True)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="for each of them")
    options = parser.parse_args()
    try:
        data = load("fashion-mnist", quiet=True)
    except DatasetUnavailable as error:
        print(f"skipped accuracy after equal time: {error}")
        return
    device, entrants = pick_device(), contenders(data)
    with undisturbed(device) as clock:
        print(f"Fashion-MNIST, validation accuracy after {options.seconds:.0f} s: {describe_device(device)}")
        found = compete(entrants, data, options.seconds, device, clock)
    for name, outcome in found.items():
        seen = outcome.steps * entrants[name].training.batch_size
        print(f"{name:14} {100 * outcome.accuracy:5.2f} %, {seen:,} images in {outcome.seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
