"""A model trained from scratch on a published set, over seeds; the first seed is shipped with its card."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from _common import spread
from _rows import Rows, compute
from _ship import command_line, round_to_half, write_card
from torch import nn

from vitedu.cost import count_parameters
from vitedu.data import Dataset
from vitedu.pretrained import save
from vitedu.train import TrainConfig, evaluate, fit

KEPT = Path("runs")  # what a seed has left, so that a script that was stopped goes on with the next


@dataclass(frozen=True)
class Shipped:
    """What a script trains and ships, and what its card says."""

    name: str  # of the weights
    result: str  # of the record, and of the script
    build: Callable[[], nn.Module]
    config: Callable[[int], TrainConfig]  # from a seed
    model: str  # class and paper
    pictures: str  # where they come from, with their licence
    limits: str


def train_and_ship(shipped: Shipped, data: Dataset, description: str | None) -> None:
    """Record accuracy over the seeds, on test and on validation images, and ship the first seed."""
    torch.set_num_threads(1)
    rows: Rows = {shipped.name: lambda seeds: measure(shipped, data, seeds)}
    about = (
        f"accuracy of {shipped.name} on the test images of {data.name}, over seeds, in the half precision that ships"
    )
    for row in compute(shipped.result, about, [data.describe()], rows, description):
        ship(shipped, data, row)


def measure(shipped: Shipped, data: Dataset, seeds: list[int]) -> dict:
    """Accuracy on test images ("accuracy") and on validation images, the processor time, and each seed's history."""
    runs = [train(shipped, data, seed) for seed in seeds]
    numbers = {key: spread([run[key] for run in runs]) for key in ("accuracy", "validation", "cpu_seconds")}
    size = {"parameters": count_parameters(shipped.build()), "epochs": shipped.config(0).epochs}
    return numbers | size | {"histories": [run["history"] for run in runs]}


def train(shipped: Shipped, data: Dataset, seed: int) -> dict:
    """One training run, or what an earlier one with this seed has left; the test images are looked at here, once."""
    path = kept(shipped, seed)
    if path.exists():
        print(f"seed {seed} was trained before; remove {path} to train it again")
    else:
        torch.manual_seed(seed)
        model, began = shipped.build(), time.process_time()
        history = fit(model, data, shipped.config(seed), device=torch.device("cpu"))
        found = {"cpu_seconds": time.process_time() - began, "history": history}
        round_to_half(model)
        found |= {"accuracy": evaluate(model, data.test, data).accuracy, "weights": model.state_dict()}
        found["validation"] = evaluate(model, data.val, data).accuracy
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(found, path)
    return torch.load(path)


def kept(shipped: Shipped, seed: int) -> Path:
    """Where a seed leaves what it has learnt."""
    return KEPT / shipped.result / f"{seed}.pt"


def in_words(c: TrainConfig) -> str:
    """A recipe as its card gives it."""
    pictures = {
        f"crops of {c.augment.crop} pixels": c.augment.crop,
        f"zooms to as little as {100 * (1 - c.augment.zoom):.0f} % of the area": c.augment.zoom,
        "mirror images": c.augment.flip,
    }
    optimizer = {"adamw": "AdamW", "sgd": "SGD"}[c.optimizer]
    parts = [
        f"{c.epochs} epochs, {optimizer}, batches of {c.batch_size}, peak rate {c.lr}, {c.schedule}",
        f"weight decay {c.weight_decay}, smoothing {c.label_smoothing}",
        *(text for text, used in pictures.items() if used),
    ]
    return ", ".join(parts)


def ship(shipped: Shipped, data: Dataset, row: dict) -> None:
    """Write the three files of the first seed."""
    model, command = shipped.build(), command_line(f"{shipped.result}.py")
    model.load_state_dict(torch.load(kept(shipped, seed=0))["weights"])
    accuracy, over_seeds = row["accuracy"]["values"][0], row["accuracy"]
    facts = {"class_names": data.class_names, "mean": data.mean.tolist(), "std": data.std.tolist(), "made_by": command}
    save(shipped.name, model, **facts, accuracy=accuracy)
    _, channels, height, width = data.test.images.shape
    write_card(
        shipped.name,
        what=f"A small model that names the object in a picture of {data.name}, trained on nothing else",
        model=shipped.model,
        source=shipped.pictures,
        facts={
            "Input": f"(B, {channels}, {height}, {width}), normalised with the `mean` and `std` of its JSON file",
            "Output": f"scores of {len(data.class_names)} classes: {', '.join(data.class_names)}",
            "Recipe": in_words(shipped.config(0)),
            "Cost": f"{row['cpu_seconds']['mean'] / 60:.0f} minutes of one processor core",
        },
        results=(
            f"Accuracy on the {len(data.test):,} test images, which no choice rests on: {100 * accuracy:.2f} %. Over "
            f"{len(over_seeds['values'])} seeds: {100 * over_seeds['mean']:.2f} ± {100 * over_seeds['std']:.2f} %."
        ),
        limits=shipped.limits,
        command=command,
        seed=0,
    )
