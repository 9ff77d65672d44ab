"""500 pictures with and without augmentation; and the rows of ablations.py that matter, at ten times the steps.

"few": 500 training pictures of Fashion-MNIST for as many steps as a row of ablations.py, which has 8,000, so that each
is seen 160 times instead of 10; augmentation one upon the other (8 min on one core). "few-long": the same with ten
times the steps (60 min). "long": the same 8,000 pictures, 100 epochs instead of 10, one change at a time from the same
recipe (4 h). Validation accuracy on 5,000 pictures, three seeds; a gain is the mean of the differences between runs of
the same seed. The test split is not looked at. On a GPU all models of one shape are trained at once, see
`_together.py`: with --jobs 6 all of it should take two or three minutes on an H100 (not yet measured).

The five questions. *Converged?* "few" says what happens at equal steps, and each row has its course in ten points.
"long" is ten times "change" of ablations.py, row by row. *Tuned alike?* The short record chose the rate, and all rows
but two keep it: halved, it costs the long recipe 0.7 ± 0.3; the start at 0.02 at half the rate is not recorded yet.
*One difference?* One per row. Between "few" and ablations.py it is the number of pictures at equal steps. *Can it
show?* With 500 pictures augmentation has to pay, or this set-up could not show that it does. *Recognisable?* Long runs
on few pictures gain from augmentation (Steiner et al. 2021, arXiv:2106.10270), and DeiT fails without (Touvron et al.
2020, arXiv:2012.12877, table 8).

A group alone replaces the record: python book/experiments/ablations_long.py few. One row more: add --row NAME --update.
"""

import time
from dataclasses import replace

import torch
from _record import Run, compute, load, or_smoke, spread, start
from _together import Together
from ablations import FEW, NAIVE_START, NO_DECAY, NO_SMOOTHING, OFTEN, STEADY, STILL, WATCHED, Change, build, first

from vitedu.data import Dataset
from vitedu.train import evaluate

LONG, LOOKS = or_smoke((100, 10), (2, 2))  # epochs, and how often in a run the validation pictures are looked at
LOWER = {"lr": 1e-3}
CROPS, BOTH = {"crop": 2}, {"mixup": 0.8, "cutmix": 1.0}  # of these two each batch draws one
ROWS = {
    "the book's recipe": Change(),
    "no mirror images": Change(augment=STILL),
    "crops of 2 pixels": Change(augment=CROPS),
    "erasing 0.25": Change(augment={"erase": 0.25}),
    "mixup 0.8": Change(train={"mixup": 0.8}),
    "CutMix 1.0": Change(train={"cutmix": 1.0}),
    "no warm-up": Change(train={"warmup": 0.0}),
    "constant rate": Change(train=STEADY),
    "no weight decay": Change(train=NO_DECAY),
    "weight decay 1": Change(train={"weight_decay": 1.0}),
    "no label smoothing": Change(train=NO_SMOOTHING),
    "rate 0.001": Change(train=LOWER),
    "initialisation and positions at 0.02": Change(model=NAIVE_START),
    "initialisation and positions at 0.02, rate 0.001": Change(model=NAIVE_START, train=LOWER),
    "CLS token instead of mean": Change(model={"pool": "cls"}),
    "patches of 4 pixels": Change(model={"patch_size": 4}),
    "patches of 14 pixels": Change(model={"patch_size": 14}),
}
FEW_ROWS = {
    "as they are": Change(augment=STILL),
    "+ mirror images": Change(),
    "+ crops of 2 pixels": Change(augment=CROPS),
    "+ erasing, mixup or CutMix": Change(augment=CROPS | {"erase": 0.25}, train=BOTH),
}


def lasting(change: Change, group: str, epochs: int, images: int) -> Change:
    """The same change in a run of so many epochs over so many pictures."""
    return replace(change, group=group, train=change.train | {"epochs": epochs}, images=images)


CHANGES = {
    f"{FEW} pictures, {epochs} epochs, {name}": lasting(change, group, epochs, FEW)
    for group, epochs in (("few", OFTEN), ("few-long", or_smoke(10 * OFTEN, 4)))
    for name, change in FEW_ROWS.items()
} | {name: lasting(change, "long", LONG, change.images) for name, change in ROWS.items()}
GROUPS = tuple(dict.fromkeys(change.group for change in CHANGES.values()))
Case = tuple[str, int]  # a row and a seed


def main() -> None:
    run, data = start(__doc__, device="cpu", rows=True, steps=GROUPS), load("fashion-mnist")
    groups = run.steps or GROUPS
    names = [name for name, change in CHANGES.items() if change.group in groups and run.row in (None, name)]
    stacks = in_stacks(run, data, [(name, seed) for name in names for seed in run.seeds])
    runs = {case: one for found in run.each(lambda cases: train(run, data, cases), stacks) for case, one in found}
    rows = {
        name: lambda seeds, name=name: row(CHANGES[name], [runs[name, seed] for seed in seeds])
        for name in (CHANGES if run.row else names)  # of an unknown row it is said which is near
    }
    about = "validation accuracy on Fashion-MNIST: 500 pictures, and 8,000 for ten times the steps of ablations.py"
    compute(run, about, [data.describe()], rows)


def in_stacks(run: Run, data: Dataset, cases: list[Case]) -> list[list[Case]]:
    """Cases that can be trained together, the largest stack first; on a CPU, where it saves nothing, seeds apart."""
    stacks: dict[tuple, list[Case]] = {}
    for name, seed in cases:
        change = CHANGES[name]
        model, config = build(change, data, seed)
        shapes = tuple(tuple(parameter.shape) for parameter in model.parameters())
        apart = seed if run.device.type == "cpu" else None
        stacks.setdefault((change.images, config.epochs, shapes, apart), []).append((name, seed))
    return sorted(stacks.values(), key=lambda stack: -len(stack))


def train(run: Run, data: Dataset, cases: list[Case]) -> list[tuple[Case, dict]]:
    """Train the models of some cases together; for each its accuracy, and its course."""
    torch.set_float32_matmul_precision("high")  # on a GPU that has them, products of numbers with 10 bits of mantissa
    images, models, configs = first(data.train, CHANGES[cases[0][0]].images).to(run.device), [], []
    for name, seed in cases:
        torch.manual_seed(seed)
        model, config = build(CHANGES[name], data, seed)
        models.append(model)
        configs.append(config)
    together, began = Together(models, configs, data, images, run.device), time.perf_counter()
    watched, epochs = first(data.val, WATCHED), configs[0].epochs
    courses: list[list[dict]] = [[] for _ in cases]
    for epoch in range(1, epochs + 1):
        losses = together.epoch(epoch)
        if epoch % max(1, epochs // LOOKS) == 0:
            for index, loss in enumerate(losses.tolist()):
                seen = evaluate(together.model(index), watched, data)
                point = {"epoch": epoch, "train_loss": loss, "loss": seen.loss, "accuracy": seen.accuracy}
                courses[index].append(point)
            print(f"  {len(cases)} models, {epoch}/{epochs} epochs: {time.perf_counter() - began:.0f} s", flush=True)
    ends = [evaluate(together.model(index), data.val, data).accuracy for index in range(len(cases))]
    return [(case, {"accuracy": a, "course": c}) for case, a, c in zip(cases, ends, courses, strict=True)]


def row(change: Change, runs: list[dict]) -> dict:
    """A row of the record: accuracy over the seeds at the end, and the course of the first seed."""
    return {
        "group": change.group,
        "accuracy": spread([one["accuracy"] for one in runs]),
        "images": change.images,
        "epochs": change.train["epochs"],
        "history": runs[0]["course"],
    }


if __name__ == "__main__":
    main()
