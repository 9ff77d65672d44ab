"""One run that can be read at many ends: a rate that stays after its warm-up, and a moving average of the weights.

A schedule that falls to zero is made for one end: read half-way, it is a run that was not finished. Here every mark on
the way is as good an end as any, so that one run is compared with others both after equal steps and after equal time.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from _record import Run, or_smoke
from torch import nn

from vitedu.data import Dataset, Split, normalise
from vitedu.train import TrainConfig, TrainingLoop
from vitedu.train.budget import steps_for

NORMS, AT_ONCE = or_smoke((1_000, 250), (10, 10))  # images from which batch norms are measured anew, and in one pass


def steady(config: TrainConfig, steps: int, warmup: int, images: int) -> TrainConfig:
    """The same recipe with a rate that rises over `warmup` steps and stays, for runs of up to `steps`."""
    epochs = -(-steps * config.batch_size // images)
    total = epochs * -(-images // config.batch_size)
    return replace(config, schedule="constant", epochs=epochs, warmup=min(1.0, warmup / total))


def after_each_step(run: Run, loop: TrainingLoop, train: Split, steps: int) -> Iterator[tuple[int, float]]:
    """Up to `steps` steps; yields how many were taken, and the seconds they took, without those of the caller."""
    spent, began = 0.0, run.clock()
    counted = steps_for(loop, train, steps, itertools.count().__next__)  # a clock that is read twice a step
    for done, _ in enumerate(counted, start=1):
        spent += run.clock() - began
        yield done, spent
        began = run.clock()


@torch.no_grad()
def averaged(loop: TrainingLoop, train: Split) -> nn.Module:
    """The averaged model, the statistics of its batch norms measured anew under the averaged weights."""
    model = loop.eval_model
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    if norms:
        for layer in norms:
            layer.reset_running_stats()
            layer.momentum = None  # the mean over what is shown
        model.train()
        for images in train.images[:NORMS].split(AT_ONCE):
            model(normalise(images.to(loop.device), loop.mean, loop.std))
    return model.eval()


def readings(marks: list[int], run: Run, loop: TrainingLoop, train: Split, look: Callable[[nn.Module], dict]) -> list:
    """What `look` finds in the averaged model after each of these steps, with "steps" and "seconds"."""
    return [
        {"steps": done, "seconds": seconds, **look(averaged(loop, train))}
        for done, seconds in after_each_step(run, loop, train, max(marks))
        if done in marks
    ]


def start_loop(run: Run, build: Callable[[], nn.Module], data: Dataset, config: TrainConfig, images: int):
    """A fresh model, drawn with the recipe's seed, and what trains it."""
    torch.manual_seed(config.seed)
    return TrainingLoop(build().to(run.device), data, config, images, run.device)
