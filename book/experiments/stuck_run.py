"""A run that stays near 50 %, and what sets it free, one change a row (20 min on one core; "full": minutes of a GPU).

The case that people report: a ViT with patches of 16 on the 32 × 32 pixels of CIFAR-10 stands at 51 % of the test
images after 198 epochs, and at 49 % of the training images (github.com/lucidrains/vit-pytorch/issues/12). So it has
not memorised its images: it does not even fit them. The log does not name the optimiser; here it is SGD with momentum
at a constant learning rate of 0.1, which is what such training loops have for ResNets, and the model is the `tiny` one,
not the 100 million weights there.

"small" (what is run unless told otherwise): 10,000 training images, 10 epochs, batches of 125; rows that cost most have
one seed. "full": all 45,000 training images, 40 epochs, every row all seeds, and two rows more.

The five questions. *Converged?* No, in small: the stuck run also gets four times the steps, and so does the cured one,
at patches of 16, 8 and 4.
*Tuned alike?* In small nothing is tuned: SGD keeps its learning rate under the schedule, and AdamW has the book's. In
full, where a row brings another schedule or optimiser, its learning rate is chosen on validation with the first seed.
*One difference?* Each row names the row it changes, and what; an optimiser comes with its own learning rate and decay.
*Can it show?* The first row has to be stuck: its training accuracy must not lead its test accuracy by much.
*Recognisable?* The advice given there, smaller patches, is a row by itself. Test images are looked at once for each run
that is reported.
"""

from dataclasses import dataclass, field, replace

import torch
from _gpu import over
from _rates import Runs, tuned, val_by_rate
from _record import Run, load, or_smoke, per_cent, start

from vitedu.data import Dataset
from vitedu.train import TrainConfig, evaluate, recipe
from vitedu.train.augment import Augment
from vitedu.vit import ViT

TIMES = 4  # the steps of the longer rows over those of the others
SEEN = 5_000  # training images on which accuracy is measured, without augmentation
SCALES = {"small": (10_000, 10, 125), "full": (45_000, 40, 500)}  # training images, epochs, batch size
STUCK = TrainConfig(
    optimizer="sgd",
    lr=0.1,
    schedule="constant",
    warmup=0.0,
    weight_decay=5e-4,
    label_smoothing=0.0,
    clip_norm=0.0,
    augment=Augment(crop=4, flip=True),
)
SCHEDULED = {"schedule": "cosine", "warmup": 0.1}
CURED = SCHEDULED | {"optimizer": "adamw", "weight_decay": 0.05}
RATES = {"sgd": 0.1, "adamw": 2e-3}  # in small
LADDERS = {"sgd": (0.01, 0.03, 0.1, 0.3), "adamw": (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)}


@dataclass(frozen=True)
class Row:
    """A row: what it changes, in which other row, and what it then is."""

    name: str
    changes: str  # the name of the row that it differs from
    patch: int
    training: dict = field(default_factory=dict, hash=False)
    times: int = 1  # how many times the steps
    tuned: bool = False  # whether its rate is chosen on validation
    once: bool = False  # whether it has one seed in small
    full: bool = False  # whether it is for the full size alone


ROWS = [
    Row("the stuck run", "", 16),
    Row("four times the steps", "the stuck run", 16, times=TIMES, once=True),
    Row("patches of 8", "the stuck run", 8, once=True),
    Row("patches of 4", "the stuck run", 4, full=True),
    Row("warm-up and cosine", "the stuck run", 16, SCHEDULED, tuned=True),
    Row("AdamW", "warm-up and cosine", 16, CURED, tuned=True),
    Row("AdamW, four times the steps", "AdamW", 16, CURED, TIMES, once=True),
    Row("AdamW, patches of 8", "AdamW", 8, CURED, once=True),
    Row("AdamW, patches of 8, four times the steps", "AdamW, patches of 8", 8, CURED, TIMES, once=True),
    Row("AdamW, patches of 4", "AdamW", 4, CURED, once=True),
    Row("AdamW, patches of 4, four times the steps", "AdamW, patches of 4", 4, CURED, TIMES, once=True),
    Row("the same without augmentation", "AdamW, patches of 4", 4, CURED | {"augment": Augment()}, full=True),
]


@dataclass(frozen=True)
class Trial:
    """What every run of a call shares."""

    run: Run
    data: Dataset  # with as many training images as this scale has
    epochs: int
    batch: int

    def settings(self, row: Row, rate: float) -> TrainConfig:
        """The recipe of a row."""
        lasting = {"epochs": row.times * self.epochs, "batch_size": self.batch, "lr": rate}
        return replace(STUCK, **row.training | lasting)

    def trained(self, row: Row, rate: float, seed: int) -> dict:
        """The model at the end, its validation accuracy, the loss by epoch and the time."""
        data, settings = self.data, self.settings(row, rate)
        config = recipe(data, model={"patch_size": row.patch})[0]
        few = data.val.subset(torch.arange(min(500, len(data.val))))
        model, history = self.run.train(lambda: ViT(config), data, settings, seed, validate=few)
        found = {"model": model.cpu(), "val": evaluate(model, data.val, data).accuracy}
        print(f"  {row.name}, rate {rate:g}, seed {seed}: validation {100 * found['val']:.1f} %", flush=True)
        return found | {"course": [epoch["train_loss"] for epoch in history], "seconds": history[-1]["seconds"]}

    def tested(self, found: dict) -> dict:
        """What a run that is reported found, with the accuracies on test and on training images."""
        data, model = self.data, found["model"].to(self.run.device)
        seen = data.train.subset(torch.arange(min(SEEN, len(data.train))))
        shares = {"accuracy": data.test, "training": seen}
        shares = {name: evaluate(model, split, data).accuracy for name, split in shares.items()}
        return shares | {"validation": found["val"], "train_loss": found["course"][-1], "seconds": found["seconds"]}


def main() -> None:
    run, data = start(__doc__, steps=list(SCALES)), load("cifar10")
    scale = run.steps[0] if run.steps else "small"
    images, epochs, batch = or_smoke(SCALES[scale], (20, 1, 10))
    images = min(images, len(data.train))
    small = replace(data, train=data.train.subset(torch.arange(images)))
    _ = small.std  # counted once here, not in each process
    trial = Trial(run, small, epochs, batch)
    plan = [row for row in ROWS if scale == "full" or not row.full]
    runs: Runs = {}
    rates: dict[str, float] = {}
    tried = [row for row in plan if row.tuned and scale == "full"]
    for name, ladder in LADDERS.items():
        arms = [row for row in tried if trial.settings(row, 1.0).optimizer == name]
        found, chosen = tuned(run, trial.trained, arms, ladder) if arms else ({}, {})
        runs |= found
        rates |= {arm.name: rate for arm, rate in chosen.items()}
    for row in plan:
        usual = RATES[trial.settings(row, 1.0).optimizer]
        rates.setdefault(row.name, usual if row.tuned else rates.get(row.changes, usual))
    others = [row for row in plan if row not in tried]
    once = scale == "small"
    cases = [(row, seed) for row in others for seed in (run.seeds[:1] if once and row.once else run.seeds)]
    cases.sort(key=lambda case: -case[0].times / case[0].patch ** 2)  # the long ones begin first
    done = run.each(lambda case: trial.trained(case[0], rates[case[0].name], case[1]), cases)
    for (row, _), found in zip(cases, done, strict=True):
        runs.setdefault(row, {}).setdefault(rates[row.name], []).append(found)
    rows = []
    for row in plan:
        mine = [trial.tested(found) for found in runs[row][rates[row.name]]]
        numbers = {key: over([found[key] for found in mine]) for key in mine[0]}
        settings = trial.settings(row, rates[row.name])
        about = {"changes": row.changes, "patch_size": row.patch, "epochs": settings.epochs, "rate": settings.lr}
        size = {"images": images, "steps": settings.epochs * -(-images // batch)}
        tries = {"validation_of_rates": val_by_rate(runs[row]) if row in tried else {}}
        tries["course"] = runs[row][rates[row.name]][0]["course"]  # training loss by epoch, first seed
        rows.append({"name": row.name, **about, **size, **tries, **numbers})
        words = (f"{key} {per_cent(numbers[key])}" for key in ("accuracy", "training"))
        print(f"{row.name:42} rate {settings.lr:<6g} {', '.join(words)}", flush=True)
    run.record("CIFAR-10: a run that stays near half, and what helps it", [data.describe()], rows)


if __name__ == "__main__":
    main()
