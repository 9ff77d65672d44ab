"""Recipes compared after equal time on one thread, whatever each of them makes of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from _common import spread
from _rows import Rows, compute
from torch import nn

from vitedu.cost import count_parameters
from vitedu.data import Dataset
from vitedu.train import TrainConfig, TrainingLoop, evaluate
from vitedu.train.budget import steps_for

BUDGETS = (60, 300)  # seconds of one thread, evaluation not counted


@dataclass(frozen=True)
class Contender:
    """A model and its recipe."""

    build: Callable[[], nn.Module]
    training: TrainConfig


def compare_all(
    name: str,
    data: Dataset,
    contenders: dict[str, Contender],
    description: str | None,
    budgets: tuple[int, ...] = BUDGETS,
) -> None:
    """Record every contender after every budget, as "NAME, SECONDS s"."""
    torch.set_num_threads(1)
    rows: Rows = {
        f"{who}, {budget} s": lambda seeds, contender=contender, budget=budget: measure(contender, data, seeds, budget)
        for budget in budgets
        for who, contender in contenders.items()
    }
    about = f"validation accuracy on {data.name} after equal processor time on one thread"
    compute(name, about, [data.describe()], rows, description)


def measure(contender: Contender, data: Dataset, seeds: list[int], budget: float) -> dict:
    """Accuracy over the seeds, and how many images were seen in the time."""
    runs = [train(contender, data, seed, budget) for seed in seeds]
    return {
        "accuracy": spread([accuracy for accuracy, _ in runs]),
        "images_seen": spread([float(images) for _, images in runs]),
        "budget_seconds": budget,
        "parameters": count_parameters(contender.build()),
    }


def train(contender: Contender, data: Dataset, seed: int, budget: float) -> tuple[float, int]:
    """Validation accuracy after `budget` seconds of training, and the images seen until then."""
    torch.manual_seed(seed)
    model, config, cpu = contender.build(), replace(contender.training, seed=seed), torch.device("cpu")
    loop = TrainingLoop(model, data, config, len(data.train.labels), cpu)
    steps = sum(1 for _ in steps_for(loop, data.train, budget, clock=time.process_time))
    return evaluate(loop.eval_model, data.val, data).accuracy, steps * config.batch_size
