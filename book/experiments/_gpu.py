"""What the steps of gpu.py share: a time limit, a record that grows row by row, and training for a time on a GPU."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
from _record import SMOKE, Run, or_smoke, per_cent, spread
from torch import Tensor, nn

from vitedu.cost import count_parameters
from vitedu.data import Dataset, Split
from vitedu.train import TrainConfig, TrainingLoop, evaluate
from vitedu.train.budget import steps_for
from vitedu.train.progress import Progress

WAIT = 20  # steps that the GPU may be behind: reading the clock after each would leave it idle in between
COMPILE = not SMOKE  # compiling takes longer than all else that a trial run does


@dataclass
class Step:
    """One step while it runs: its record, and the time it has left."""

    run: Run
    limit: float  # seconds
    about: str
    sources: list[str] = field(default_factory=list)
    rows: list[dict] = field(default_factory=list)

    def left(self) -> float:
        """Seconds until the limit."""
        return self.limit - (time.perf_counter() - self.run.began)

    def put(self, row: dict, in_words: str) -> None:
        """Put a row into the record in place of one of its name, and write it: what comes later may not end in time."""
        self.rows = list(({one["name"]: one for one in self.rows} | {row["name"]: row}).values())
        print(f"{row['name']:28} {in_words}", flush=True)
        self.run.record(self.about, self.sources, self.rows)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """TimeoutError inside, once the time is up."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"stopped at its limit of {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    waiting = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *waiting)
        signal.signal(signal.SIGALRM, before)


@dataclass(frozen=True)
class Contender:
    """A model, its recipe, whether each round begins with RandAugment, and what is done to the trained weights."""

    build: Callable[[], nn.Module]
    training: TrainConfig
    rand_augment: bool = False
    finish: Callable[[nn.Module], object] = nn.Module.eval


def rand_augment(images: Tensor) -> Tensor:
    """Two random changes of strength 9 to each group of 250 images, bytes (N, C, H, W) (Cubuk et al. 2019)."""
    from torchvision.transforms import v2  # importing torchvision takes seconds

    change = v2.RandAugment(num_ops=2, magnitude=9)
    return torch.cat([change(group) for group in images.split(250)])


def compiled(run: Run, contender: Contender, data: Dataset, seed: int) -> TrainingLoop:
    """A fresh model with its loop, after one backward pass, in which it is compiled; no weight has moved."""
    torch.manual_seed(seed)
    config = replace(contender.training, seed=seed)
    loop = TrainingLoop(contender.build().to(run.device), data, config, len(data.train), run.device)
    count, (_, C, H, W) = min(config.batch_size, len(data.train)), data.train.images.shape
    images = torch.randn(count, C, H, W, device=run.device)
    images = images.to(memory_format=torch.channels_last) if config.channels_last else images
    images, targets = loop.mix(images, torch.arange(count, device=run.device) % len(data.class_names))
    loop.model.train()
    loop.backward(images, targets)
    finished(run)
    return loop


def finished(run: Run) -> None:
    """Wait until a GPU has done what it was told."""
    if run.device.type == "cuda":
        torch.cuda.synchronize(run.device)


def by_the_clock(loop: TrainingLoop, contender: Contender, train: Split, seconds: float) -> int:
    """Train for so many seconds; returns the images seen."""
    size, change, steps = min(loop.batch_size, len(train)), rand_augment if contender.rand_augment else None, 0
    whole = len(train) // size * size  # a smaller last batch would be compiled anew; fewer than a batch stay unseen
    train = train if whole == len(train) else train.subset(torch.arange(whole, device=train.labels.device))
    for steps, used in enumerate(steps_for(loop, train, seconds, time.perf_counter, or_smoke(WAIT, 1), change), 1):
        if steps == 2 * WAIT:  # a wrong batch or a graph that breaks shows at once
            print(f"  {steps * size / used:,.0f} images/s, {seconds:.0f} s in all", flush=True)
    return steps * size


def by_epochs(loop: TrainingLoop, train: Split) -> int:
    """Train for the epochs of the recipe; returns the images seen."""
    for number in range(1, loop.config.epochs + 1):
        loop.epoch(train, number, Progress(loop.config.epochs, shown=False))
    return loop.config.epochs * len(train)


def train(
    step: Step, contender: Contender, data: Dataset, seed: int, seconds: Callable[[], float] | None, test: bool
) -> dict:
    """Train for the seconds that it gets once it is compiled; accuracies, images seen, and the time."""
    moments = [time.perf_counter()]
    loop = compiled(step.run, contender, data, seed)
    images = data.train.to(step.run.device)
    moments.append(time.perf_counter())
    seen = by_the_clock(loop, contender, images, or_smoke(seconds(), 0.01)) if seconds else by_epochs(loop, images)
    finished(step.run)
    moments.append(time.perf_counter())
    contender.finish(loop.eval_model)
    numbers = {"validation": evaluate(loop.eval_model, data.val, data).accuracy}
    if test:  # once for each seed, and no choice rests on it
        numbers["accuracy"] = evaluate(loop.eval_model, data.test, data).accuracy
    prepared, used = (after - before for before, after in pairwise(moments))
    numbers |= {"images_seen": float(seen), "seconds": used, "compile_seconds": prepared}
    return numbers | {"model": loop.eval_model}


def over(values: list[float]) -> dict:
    """Mean and values over the seeds, and their spread where there is one: minutes of a GPU often buy one seed only."""
    found = spread(values)
    return found if len(values) > 1 else {key: found[key] for key in ("mean", "values")}


def measure(
    step: Step,
    name: str,
    contender: Contender,
    data: Dataset,
    seeds: list[int],
    seconds: Callable[[], float] | None,
    test: bool = True,
) -> nn.Module:
    """Train over the seeds, without `seconds` for the recipe's epochs, and record the row; the last seed's model."""
    return measure_all(step, {name: (contender, data)}, seeds, seconds, test)


def measure_all(
    step: Step,
    entries: dict[str, tuple[Contender, Dataset]],
    seeds: list[int],
    seconds: Callable[[], float] | None,
    test: bool = True,
) -> nn.Module:
    """The same for many rows, all of them with one seed before any gets the next: what a limit cuts off are seeds."""
    runs: dict[str, list[dict]] = {name: [] for name in entries}
    for seed in seeds:
        for name, (contender, data) in entries.items():
            found = train(step, contender, data, seed, seconds, test)
            model = found.pop("model")
            runs[name].append(found)
            numbers = {key: over([one[key] for one in runs[name]]) for key in found}
            shown = {"validation": numbers["validation"]} | ({"test": numbers["accuracy"]} if test else {})
            words = ", ".join(f"{split} {per_cent({'std': 0.0} | values)}" for split, values in shown.items())
            step.put({"name": name, **numbers, "parameters": count_parameters(model)}, words)
    return model
