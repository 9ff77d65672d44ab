"""What every shipped model shares: rounding to half precision, its three files, and training over seeds before that."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch
from _record import Run, compute, per_cent, spread
from torch import Tensor, nn

from vitedu.cost import count_parameters
from vitedu.data import Dataset
from vitedu.device import describe_device
from vitedu.files import write_whole
from vitedu.pretrained import WEIGHTS, describe, load, save
from vitedu.train import TrainConfig, evaluate, fit

CARD = """# {name}

{what}: `vitedu.pretrained.load("{name}")`.

Licence: MIT. Made on {date} by `{command}` (seed 0) from {source}.

| | |
| --- | --- |
| Model | {paper}, {parameters:,} parameters |
{rows}
| Tensors | half precision, SHA-256 `{sha256}` |

{results}

{limits}
"""


def round_to_half(model: nn.Module) -> nn.Module:
    """Give a model the numbers it will have once it is shipped, so that what is measured is what a reader gets."""
    weights = model.state_dict()
    model.load_state_dict({key: t.half().float() if t.is_floating_point() else t for key, t in weights.items()})
    return model


def ship(
    run: Run,
    name: str,
    model: nn.Module,
    *,
    class_names: Sequence[str],
    mean: Tensor,
    std: Tensor,
    accuracy: float | dict[str, float],
    what: str,
    paper: str,
    source: str,
    facts: Mapping[str, str],
    results: str,
    limits: str,
) -> None:
    """Write the three files of a model: its weights, NAME.json for `vitedu.pretrained.load`, and NAME.md, the card.

    Args:
        class_names, mean, std, accuracy: what NAME.json says besides; mean and std of its pictures (C,).
        what: one line, what the model does.
        paper: its class and the paper.
        source: the pictures it learnt from, with their licence where they are of others.
        facts: further lines of the card's table, such as "Input" and "Recipe".
        results: what was measured, Markdown.
        limits: what the figures do not hold for.
    """
    folder, moments = run.folder(WEIGHTS), {"mean": mean.tolist(), "std": std.tolist()}
    save(name, model, folder, class_names=class_names, **moments, made_by=run.command, accuracy=accuracy)
    text = CARD.format(
        name=name,
        what=what,
        date=date.today().isoformat(),
        command=run.command,
        source=source,
        paper=paper,
        parameters=count_parameters(load(name, folder)),
        rows="\n".join(f"| {key} | {value} |" for key, value in facts.items()),
        sha256=describe(name, folder)["sha256"],
        results=results,
        limits=limits,
    )
    write_whole(folder / f"{name}.md", text.encode())


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# --- a model trained from scratch on a published set, over seeds, of which the first is shipped ---


@dataclass(frozen=True)
class Shipped:
    """What a script trains and ships, and what its card says."""

    name: str  # of the weights
    build: Callable[[], nn.Module]
    config: Callable[[int], TrainConfig]  # from a seed
    paper: str  # class and paper
    pictures: str  # where they come from, with their licence
    limits: str
    trained: str = "trained on nothing else"


def train_and_ship(run: Run, shipped: Shipped, data: Dataset) -> None:
    """Record accuracy over the seeds, on test and on validation images, and ship the first seed."""
    about = (
        f"accuracy of {shipped.name} on the test images of {data.name}, over seeds, in the half precision that ships"
    )
    rows = {shipped.name: lambda seeds: measure(run, shipped, data, seeds)}
    for row in compute(run, about, [data.describe()], rows):
        ship_first(run, shipped, data, row)


def measure(run: Run, shipped: Shipped, data: Dataset, seeds: list[int]) -> dict:
    """Accuracy on test images ("accuracy") and on validation images, the processor time, and each seed's history."""
    runs = [train(run, shipped, data, seed) for seed in seeds]
    numbers = {key: spread([one[key] for one in runs]) for key in ("accuracy", "validation", "cpu_seconds")}
    size = {"parameters": count_parameters(shipped.build()), "epochs": shipped.config(0).epochs}
    return numbers | size | {"histories": [one["history"] for one in runs]}


def train(run: Run, shipped: Shipped, data: Dataset, seed: int) -> dict:
    """One training run, or what an earlier one with this seed has left; the test images are looked at here, once."""
    path = kept(run, seed)
    if path.exists():
        print(f"seed {seed} was trained before; remove {path} to train it again")
    else:
        torch.manual_seed(seed)
        model, began = shipped.build(), run.clock()
        history = fit(model, data, shipped.config(seed), device=run.device)
        found = {"cpu_seconds": run.clock() - began, "history": history}
        round_to_half(model)
        found |= {"accuracy": evaluate(model, data.test, data).accuracy, "weights": model.state_dict()}
        found["validation"] = evaluate(model, data.val, data).accuracy
        torch.save(found, path)
    return torch.load(path)


def kept(run: Run, seed: int | str) -> Path:
    """Where a seed leaves what it has learnt, so that a script that was stopped goes on with the next."""
    folder = run.folder(Path("runs")) / run.name
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{seed}.pt"


def in_words(c: TrainConfig) -> str:
    """A recipe as its card gives it."""
    pictures = {
        f"crops of {c.augment.crop} pixels": c.augment.crop,
        f"zooms to as little as {100 * (1 - c.augment.zoom):.0f} % of the area": c.augment.zoom,
        "mirror images": c.augment.flip,
        f"rectangles erased from {100 * c.augment.erase:.0f} % of the pictures": c.augment.erase,
        f"mixup {c.mixup}": c.mixup,
        f"weights averaged with a decay of {c.ema}": c.ema,
    }
    optimizer = {"adamw": "AdamW", "sgd": "SGD", "muon": "Muon"}[c.optimizer]
    parts = [
        f"{c.epochs} epochs, {optimizer}, batches of {c.batch_size}, peak rate {c.lr}, {c.schedule}",
        f"weight decay {c.weight_decay}, smoothing {c.label_smoothing}",
        *(text for text, used in pictures.items() if used),
    ]
    return ", ".join(parts)


def ship_first(run: Run, shipped: Shipped, data: Dataset, row: dict) -> None:
    """Write the three files of the first seed."""
    model = shipped.build()
    model.load_state_dict(torch.load(kept(run, 0))["weights"])
    _, channels, height, width = data.test.images.shape
    accuracy, over_seeds = row["accuracy"]["values"][0], row["accuracy"]
    took = row["cpu_seconds"]["mean"]
    others = f" Over {len(over_seeds['values'])} seeds: {per_cent(over_seeds).partition(' (')[0]}."
    where = "of one processor core" if run.device.type == "cpu" else f"on {describe_device(run.device)}"
    ship(
        run,
        shipped.name,
        model,
        class_names=data.class_names,
        mean=data.mean,
        std=data.std,
        accuracy=accuracy,
        what=f"A small model that names the object in a picture of {data.name}, {shipped.trained}",
        paper=shipped.paper,
        source=shipped.pictures,
        facts={
            "Input": f"(B, {channels}, {height}, {width}), normalised with the `mean` and `std` of its JSON file",
            "Output": f"scores of {len(data.class_names)} classes: {', '.join(data.class_names)}",
            "Recipe": in_words(shipped.config(0)),
            "Cost": f"{f'{took:.0f} seconds' if took < 90 else f'{took / 60:.0f} minutes'} {where}",
        },
        results=(
            f"Accuracy on the {len(data.test):,} test images, which no choice rests on: {100 * accuracy:.2f} %."
            + (others if len(over_seeds["values"]) > 1 else " One seed was trained.")
        ),
        limits=shipped.limits,
    )
