"""Recipes compared after equal time on one thread, whatever each of them makes of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from _record import Run, compute, or_smoke, spread
from torch import nn

from vitedu.cost import count_parameters
from vitedu.data import Dataset
from vitedu.train import TrainConfig, TrainingLoop, evaluate
from vitedu.train.budget import steps_for

BUDGETS = or_smoke((60, 300), (0.01,))  # seconds of one thread, evaluation not counted


@dataclass(frozen=True)
class Contender:
    """A model and its recipe."""

    build: Callable[[], nn.Module]
    training: TrainConfig


def compare_all(
    run: Run, data: Dataset, contenders: dict[str, Contender], budgets: tuple[float, ...] = BUDGETS
) -> None:
    """Record every contender after every budget, as "NAME, SECONDS s"."""
    rows = {
        f"{who}, {budget} s": lambda seeds, contender=contender, budget=budget: measure(
            run, contender, data, seeds, budget
        )
        for budget in budgets
        for who, contender in contenders.items()
    }
    about = f"validation accuracy on {data.name} after equal processor time on one thread"
    compute(run, about, [data.describe()], rows)


def measure(run: Run, contender: Contender, data: Dataset, seeds: list[int], budget: float) -> dict:
    """Accuracy over the seeds, which may run side by side, and how many images were seen in the time."""
    runs = run.each(lambda seed: train(run, contender, data, seed, budget), seeds)
    return {
        "accuracy": spread([accuracy for accuracy, _ in runs]),
        "images_seen": spread([float(images) for _, images in runs]),
        "budget_seconds": budget,
        "parameters": count_parameters(contender.build()),
    }


def train(run: Run, contender: Contender, data: Dataset, seed: int, budget: float) -> tuple[float, int]:
    """Validation accuracy after `budget` seconds of training, and the images seen until then."""
    torch.manual_seed(seed)
    model, config, images = contender.build().to(run.device), replace(contender.training, seed=seed), data.train
    loop = TrainingLoop(model, data, config, len(images), run.device)
    steps = sum(1 for _ in steps_for(loop, images.to(run.device), budget, clock=run.clock))
    return evaluate(loop.eval_model, data.val, data).accuracy, steps * config.batch_size
