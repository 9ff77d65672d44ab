"""What one should get on CIFAR-10 with which model, in a minute, in ten, and in a hundred epochs.

    python book/experiments/what_to_expect.py minute --jobs 14                  on any machine: 40 min of one core
    python book/experiments/what_to_expect.py ten long pace --device cuda --jobs 8    on a GPU: 5 min

A minute is a minute of one thread of a CPU. Ten minutes are ten times the images that the minute saw; where they are
trained makes no difference to that, so a GPU may do it. `long` is a hundred epochs, but for patches of 2, the dearest,
which are a step of their own, `fine`. `pace` is how fast a GPU, or one thread of a CPU, trains each model by itself.
Each step puts its rows into book/results/what_to_expect.json as it ends, beside those of the others.

The five questions. *Converged?* Not asked: accuracy against time and images is what the table is about. *Tuned alike?*
It is no contest: one recipe for all, AdamW at 0.002 with warm-up, cosine, crops and mirror images; half and twice the
rate stand beside the minute's rows (one seed, validation). *One difference?* A model's rows differ in the images seen
and, to spare steps, in the batch, which is recorded. *Can it show?* Majority and logistic regression are the floor.
*Recognisable?* Plain ViTs from scratch are published at 80 to 94 %, larger and after hundreds of epochs. Test images
are looked at once for each seed; no choice rests on them.
"""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from _gpu import WAIT, finished, over
from _record import RESULTS, Run, load, or_smoke, per_cent, start
from cifar10 import CNN
from torch import nn

from vitedu.cost import count_parameters
from vitedu.data import Dataset
from vitedu.device import describe_device
from vitedu.models.cnn import ResNet
from vitedu.models.hybrid import HybridViT
from vitedu.recorded import recorded
from vitedu.train import TrainConfig, TrainingLoop, evaluate
from vitedu.train.augment import Augment
from vitedu.train.budget import steps_for
from vitedu.vit import ViT, preset

VIT = preset("tiny", image_size=32, num_classes=10, pool="mean")
MODELS: dict[str, Callable[[], nn.Module]] = {
    "logistic regression": lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10)),
    "small CNN": lambda: nn.Sequential(  # section 9.2's
        *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * 8 * 8, 10)),
    ),
    "ResNet": lambda: ResNet(CNN),
    "hybrid": lambda: HybridViT(VIT, CNN),
    "ViT, P = 16": lambda: ViT(replace(VIT, patch_size=16)),
    "ViT, P = 8": lambda: ViT(replace(VIT, patch_size=8)),
    "ViT, P = 4": lambda: ViT(VIT),
    "ViT, P = 2": lambda: ViT(replace(VIT, patch_size=2)),
}
STEPS = ("minute", "ten", "long", "fine", "pace")
BUDGETS = {"minute": "1 minute", "ten": "10 minutes", "long": "100 epochs", "fine": "100 epochs"}
RATE, OTHER_RATES = 2e-3, or_smoke((1e-3, 4e-3), (1e-3,))
MINUTE, EPOCHS = or_smoke(60.0, 0.01), or_smoke(100, 1)
BATCHES, ENOUGH = (125, 250, 500, 1000), 2_500  # the largest batch that leaves so many steps, or else the smallest
TRAIN = TrainConfig(epochs=EPOCHS, augment=Augment(crop=4, flip=True))


@dataclass(frozen=True)
class Case:
    """One training run: how many images it sees, None for as many as a minute of one thread allows."""

    model: str
    images: int | None
    seed: int
    rate: float = RATE

    @property
    def batch_size(self) -> int:
        """What is shown at a time."""
        return max((size for size in BATCHES if (self.images or 0) >= ENOUGH * size), default=BATCHES[0])


def looped(case: Case, data: Dataset, device: torch.device) -> TrainingLoop:
    """A fresh model, and what trains it."""
    torch.manual_seed(case.seed)
    convolves = case.model in ("small CNN", "ResNet", "hybrid")
    settings = {"lr": case.rate, "batch_size": case.batch_size, "seed": case.seed, "channels_last": convolves}
    return TrainingLoop(MODELS[case.model]().to(device), data, replace(TRAIN, **settings), len(data.train), device)


def trained(run: Run, data: Dataset, case: Case) -> dict:
    """One run: accuracies, images seen and seconds."""
    device = run.device if case.images else torch.device("cpu")
    loop, images, began = looped(case, data, device), data.train.to(device), time.perf_counter()
    size = min(case.batch_size, len(images))
    if case.images:  # a clock that is read before and after each step, and counts them: the schedule follows the steps
        steps = sum(1 for _ in steps_for(loop, images, -(-case.images // size), itertools.count().__next__, WAIT))
    else:
        steps = sum(1 for _ in steps_for(loop, images, MINUTE, time.process_time))
    finished(replace(run, device=device))
    found = {"images_seen": float(steps * size), "seconds": time.perf_counter() - began if case.images else MINUTE}
    found["validation"] = evaluate(loop.eval_model, data.val, data).accuracy
    if case.rate == RATE:
        found["accuracy"] = evaluate(loop.eval_model, data.test, data).accuracy
    return found | {"device": describe_device(device)}


def table(run: Run, data: Dataset, budget: str, images: dict[str, int | None]) -> list[dict]:
    """A row for each of these models, after seeing so many images."""
    cases = [Case(model, count, seed) for model, count in images.items() for seed in run.seeds]
    others = OTHER_RATES if budget == BUDGETS["minute"] else ()
    cases += [Case(model, count, run.seeds[0], rate) for model, count in images.items() for rate in others]
    dearest = list(MODELS)[::-1]
    cases.sort(key=lambda case: (-(case.images or 0) / case.batch_size, dearest.index(case.model)))  # long ones first
    runs, rows = dict(zip(cases, run.each(lambda case: trained(run, data, case), cases), strict=True)), []
    for model, count in images.items():
        mine = [runs[Case(model, count, seed)] for seed in run.seeds]
        numbers = {key: over([found[key] for found in mine]) for key in mine[0] if key != "device"}
        about = {"name": f"{model}, {budget}", "model": model, "budget": budget, "device": mine[0]["device"]}
        tried = {f"{rate:g}": runs[Case(model, count, run.seeds[0], rate)]["validation"] for rate in others}
        settings = {"batch_size": Case(model, count, 0).batch_size, "rate": RATE, "validation_of_rates": tried}
        size = {"parameters": count_parameters(MODELS[model]()), "processes": run.jobs}
        rows.append(about | settings | size | numbers)
        print(f"{rows[-1]['name']:32} {per_cent({'std': 0.0} | numbers['accuracy'])}", flush=True)
    return rows


def pace(run: Run, data: Dataset) -> list[dict]:
    """Images trained on in a second, by batch size, one model after the other."""

    def fastest(loop: TrainingLoop) -> float:
        count = 2 if run.device.type == "cpu" else or_smoke(20, 1)  # a GPU has to be kept busy for a while
        train = data.train.to(run.device)
        images, labels = train.images[: loop.batch_size], train.labels[: loop.batch_size]
        loop.model.train()
        loop.set_learning_rate(0)
        moments = []
        for _ in range(4):  # the first is the warm-up
            for _ in range(count):
                loop.step(images, labels)
            moments.append(run.clock())
        return count * len(images) / min(after - before for before, after in itertools.pairwise(moments))

    def rows(names: list[str]) -> list[dict]:
        found = []
        for name in names:
            loops = [looped(Case(name, ENOUGH * size, 0), data, run.device) for size in (BATCHES[0], BATCHES[-1])]
            speeds = {str(loop.config.batch_size): fastest(loop) for loop in loops}
            found.append({"name": f"pace, {name}", "device": describe_device(run.device), "images_per_second": speeds})
        return found

    alone = run if run.jobs == 1 else replace(run, jobs=2)  # a process for all, so that none is forked from its GPU
    return alone.each(rows, [list(MODELS), []])[0]


def known(run: Run) -> dict:
    """The record so far, if there is one."""
    return recorded(run.name) if run.scratch is None and (RESULTS / f"{run.name}.json").exists() else {"rows": []}


def put(run: Run, data: Dataset, rows: list[dict]) -> None:
    """Write the rows into the record beside the others, which keep what they said and where they are from."""
    before, now = known(run), run.provenance()
    keys = ("command", "date", "commit", "processor", "versions")
    new = {row["name"] for row in rows}
    kept = [
        {key: before[key] for key in keys if before[key] != now[key]} | row
        for row in before["rows"]
        if row["name"] not in new
    ]
    about = "test accuracy on CIFAR-10 after a minute of one thread, after ten times its images, and after 100 epochs"
    run.record(about, [data.describe()], kept + rows)


def main() -> None:
    run, data = start(__doc__, steps=STEPS), load("cifar10")
    commonest = data.train.labels.mode().values
    rows = [{"name": "majority class", "accuracy": over([(data.test.labels == commonest).float().mean().item()])}]
    whole, _ = EPOCHS * len(data.train), data.std  # counted once here, not in each process
    for step in run.steps or STEPS:
        if step == "minute":
            images = dict.fromkeys(MODELS)
        elif step == "ten":
            minutes = {row["model"]: row for row in known(run)["rows"] + rows if row.get("budget") == BUDGETS["minute"]}
            if missing := MODELS.keys() - minutes.keys():
                raise SystemExit(f"no minute is recorded of {', '.join(missing)}; run the step 'minute' first")
            seen = {model: round(10 * minutes[model]["images_seen"]["mean"]) for model in MODELS}
            images = {model: min(whole, count) for model, count in seen.items()}
        else:
            images = {model: whole for model in list(MODELS)[1:] if ("P = 2" in model) == (step == "fine")}
        rows += pace(run, data) if step == "pace" else table(run, data, BUDGETS[step], images)
        put(run, data, rows)


if __name__ == "__main__":
    main()
