"""A reader's model and recipe against the book's: equal time, the same images, and the error of the difference."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from vitedu.data import Dataset
from vitedu.device import pick_device
from vitedu.exercises.chapter09 import entry_problem
from vitedu.exercises.outcome import Outcome
from vitedu.exercises.trial import is_stub
from vitedu.exercises.wording import name_error
from vitedu.train import TrainConfig, TrainingLoop, evaluate, recipe
from vitedu.train.budget import train_in_turns
from vitedu.vit import ViT

Entry = Callable[[Dataset], tuple[nn.Module, TrainConfig]]
BEYOND = 2.0  # standard errors from which on a difference is called more than chance
NAMES = "your entry", "the book's recipe"


@dataclass(frozen=True)
class Score:
    """Share of right answers per validation image, averaged over the seeds: of the entry and of the book's, (n,)."""

    mine: Tensor
    theirs: Tensor

    @property
    def difference(self) -> float:
        """The entry's accuracy minus the book's, as a share."""
        return (self.mine - self.theirs).mean().item()

    @property
    def error(self) -> float:
        """Its standard error over the images. Both saw the same ones, so only those that they answer apart count."""
        return (self.mine - self.theirs).std().item() / math.sqrt(len(self.mine))

    @property
    def verdict(self) -> str:
        """Who is ahead, and whether another choice of images could well have turned it round."""
        if self.difference == 0:
            return "level"
        side = "ahead" if self.difference > 0 else "behind"
        return f"{side}, {'beyond' if abs(self.difference) > BEYOND * self.error else 'within'} chance"


def contest(
    entry: Entry,
    data: Dataset,
    seconds: float = 20.0,
    seeds: int = 1,
    device: torch.device | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Train the entry and the book's recipe for equal time, in turns, and print how they do on the validation images.

    For a stub it says so and trains nothing. What is wrong with an entry is said in one line, errors included.

    Args:
        entry: the reader's function, data -> (untrained model, TrainConfig).
        data: trained on `data.train`, compared on `data.val`. The test images are not touched.
        seconds: of training for each of the two and for each seed; evaluation is not counted.
        seeds: how many runs, each from another start.
        device: where to train; the GPU if there is one.
        clock: what tells the time, in seconds.
    """
    try:
        problem = entry_problem(entry(data), data)
        if not problem:
            print(
                f"training {NAMES[0]} and {NAMES[1]}, {seconds:g} s each, {seeds} seed{'s' * (seeds != 1)}", flush=True
            )
            report(run(entry, data, seconds, seeds, device or pick_device(), clock))
            return
    except Exception as error:
        problem = "" if is_stub(Outcome(error=error)) else name_error(error)
    print(f"Contest: {f'not held: {problem}' if problem else 'not attempted yet'}")


def report(score: Score) -> None:
    """Print both accuracies, their difference with its standard error, and the verdict."""
    for name, right in zip(NAMES, (score.mine, score.theirs), strict=True):
        print(f"{name:17} {100 * right.mean():6.2f} %")
    images = f"({len(score.mine):,} images)"
    print(f"{'difference':17} {100 * score.difference:+6.2f} ± {100 * score.error:.2f} points {images}")
    print(f"Contest: {score.verdict}")


def run(
    entry: Entry, data: Dataset, seconds: float, seeds: int, device: torch.device, clock: Callable[[], float]
) -> Score:
    """The score over the seeds. ValueError for less than one seed, or if the scores of a model are no numbers."""
    if seeds < 1:
        raise ValueError(f"{seeds} seeds; a contest needs at least 1")
    runs = [run_once(entry, data, seconds, seed, device, clock) for seed in range(seeds)]
    mine, theirs = (torch.stack(rights).mean(dim=0) for rights in zip(*runs, strict=True))  # (n,), (n,)
    return Score(mine, theirs)


def run_once(
    entry: Entry, data: Dataset, seconds: float, seed: int, device: torch.device, clock: Callable[[], float]
) -> list[Tensor]:
    """Train both from one seed; which validation images each answers right, 0 or 1, (n,)."""
    loops = [prepare(build, data, seed, device) for build in (entry, book_entry)]
    train_in_turns(loops, data.train.to(device), seconds, clock)
    return [right_answers(name, loop, data) for name, loop in zip(NAMES, loops, strict=True)]


def book_entry(data: Dataset) -> tuple[nn.Module, TrainConfig]:
    """The book's model and recipe for the data."""
    config, settings = recipe(data)
    return ViT(config), settings


def prepare(build: Entry, data: Dataset, seed: int, device: torch.device) -> TrainingLoop:
    """An untrained model with its recipe, both from one seed."""
    torch.manual_seed(seed)
    model, settings = build(data)
    return TrainingLoop(model.to(device), data, replace(settings, seed=seed), len(data.train), device)


def right_answers(name: str, loop: TrainingLoop, data: Dataset) -> Tensor:
    """1.0 for each validation image that the trained model answers right, else 0.0, (n,)."""
    logits = evaluate(loop.eval_model, data.val, data).logits
    if not logits.isfinite().all():
        raise ValueError(f"the scores of {name} are no longer finite numbers; its learning rate may be too high")
    return (logits.argmax(dim=1) == data.val.labels.cpu()).double()
