"""What each part of a recipe is worth on 8,000 pictures of Fashion-MNIST, one change at a time (75 min on one core).

Several tables in one. "ladder": from a recipe that somebody might write first to the book's, one step upon the other.
"change": the book's recipe with one thing changed. "rate": batch size against learning rate. "curve": runs that go
wrong in a way of their own, for reading their curves, and what augmentation does for one of them. "decay": SGD with a
decay that is not its own. All with the `tiny` ViT and patches of 7 pixels unless the row says otherwise; 10 epochs over
the same 8,000 training pictures; validation accuracy on 5,000, three seeds. A gain is the mean of the differences
between runs of the same seed. The test split is not looked at.

The five questions. *Converged?* No: 630 steps, in which each picture is seen ten times. What lasts is a question for
ablations_long.py, which repeats rows with ten times the steps. *Tuned alike?* No: with AdamW all rows but those of
"rate" have 0.002, the best of three for the whole recipe (0.008 is as good); the start at 0.02, the other shapes and
the augmentations have no rate of their own. SGD has the best of three, 0.1, in "change"; in the ladder it has the same,
untuned. In "rate" the best for batches of 512 is the highest tried. *One difference?* One per row of "change", with SGD
a rate and a decay besides; other patches and shapes change the cost, which is recorded. Rows of "rate" have equal
epochs, so small batches have more steps. The ladder is one order of many. *Can it show?* Faults have to do harm, and
do: softmax twice, a rate of 0.05, SGD with AdamW's decay. What guards against memorising cannot gain in ten epochs; 500
pictures seen 160 times are the control, in which crops and mirror images do gain. *Recognisable?* That augmentation and
small patches bring nothing holds for runs as short as these: DeiT loses six points without mixup and CutMix
(arXiv:2012.12877, table 8), and B/16 is ahead of B/32 (arXiv:2010.11929). That a start at 0.02 costs most may be due to
the steps, the one rate or the small width: see initialisation.py.

One row: make results NAME=ablations ROW="no warm-up".
"""

from dataclasses import dataclass, field, replace

import torch
from _record import Run, compute, load, or_smoke, spread, start
from torch import nn

from vitedu.data import Dataset, Split
from vitedu.train import TrainConfig, TrainingLoop, evaluate, recipe
from vitedu.train.progress import Progress
from vitedu.vit import ViT

# Pictures for training, how often each is seen, and validation pictures looked at after each epoch
IMAGES, EPOCHS, WATCHED = or_smoke((8_000, 10, 1_000), (20, 1, 10))
FEW, OFTEN = or_smoke((500, 160), (10, 2))  # pictures, and epochs, of a run that learns by heart


@dataclass(frozen=True)
class Change:
    """What a row does differently from the book's recipe (fields by name), and which table it belongs to."""

    group: str = "change"
    model: dict = field(default_factory=dict)
    train: dict = field(default_factory=dict)
    augment: dict = field(default_factory=dict)
    images: int = IMAGES
    everything_decays: bool = False
    softmax: bool = False  # the bug: the model's scores go through a softmax, and then through that of the loss


NAIVE_START = {"init": "normal", "position_std": 0.02}
NO_SMOOTHING, NO_DECAY = {"label_smoothing": 0.0}, {"weight_decay": 0.0}
STEADY = {"schedule": "constant"}
# AdamW shrinks the weights by rate times decay at each step, and so does SGD, at a rate fifty times as high
SGD = {"optimizer": "sgd", "lr": 0.1, "weight_decay": 0.001}
BARE = NO_SMOOTHING | NO_DECAY | STEADY | {"warmup": 0.0}
STILL = {"flip": False}

# Each step keeps all those before it; the book's recipe is the last.
LADDER = {
    "a first attempt": Change(model=NAIVE_START, train=SGD | BARE, augment=STILL),
    "+ initialisation": Change(train=SGD | BARE, augment=STILL),
    "+ AdamW": Change(train=BARE, augment=STILL),
    "+ warm-up": Change(train=NO_SMOOTHING | NO_DECAY | STEADY, augment=STILL),
    "+ cosine": Change(train=NO_SMOOTHING | NO_DECAY, augment=STILL),
    "+ weight decay": Change(train=NO_SMOOTHING, augment=STILL),
    "+ label smoothing": Change(augment=STILL),
    "+ mirror images": Change(),
}
CHANGES = {
    "initialisation and positions at 0.02": Change(model=NAIVE_START),
    "SGD, rate 0.03": Change(train=SGD | {"lr": 0.03}),
    "SGD, rate 0.1": Change(train=SGD),
    "SGD, rate 0.3": Change(train=SGD | {"lr": 0.3}),
    "SGD, rate 0.1, AdamW's decay": Change("decay", train=SGD | {"weight_decay": 0.05}),
    "no warm-up": Change(train={"warmup": 0.0}),
    "constant rate": Change(train=STEADY),
    "rate falls in two steps": Change(train={"schedule": "steps"}),
    "no clipping": Change(train={"clip_norm": 0.0}),
    "no weight decay": Change(train=NO_DECAY),
    "weight decay 1": Change(train={"weight_decay": 1.0}),
    "weight decay 1, on everything": Change(train={"weight_decay": 1.0}, everything_decays=True),
    "no label smoothing": Change(train=NO_SMOOTHING),
    "crops of 2 pixels": Change(augment={"crop": 2}),
    "erasing 0.25": Change(augment={"erase": 0.25}),
    "mixup 0.8": Change(train={"mixup": 0.8}),
    "CutMix 1.0": Change(train={"cutmix": 1.0}),
    "stochastic depth 0.1": Change(model={"drop_path": 0.1}),
    "average of weights, 0.99": Change(train={"ema": 0.99}),
    "CLS token instead of mean": Change(model={"pool": "cls"}),
    "patches of 4 pixels": Change(model={"patch_size": 4}),
    "patches of 14 pixels": Change(model={"patch_size": 14}),
    "1 block of width 128": Change(model={"depth": 1, "dim": 128, "num_heads": 4}),
    "16 blocks of width 32": Change(model={"depth": 16, "dim": 32, "num_heads": 1}),
}
RATES = {
    f"batch {batch}, rate {lr:g}": Change("rate", train={"batch_size": batch, "lr": lr})
    for batch in (32, 128, 512)
    for lr in (5e-4, 2e-3, 8e-3)
}
CURVES = {
    "rate 0.05, no clipping": Change("curve", train={"lr": 0.05, "clip_norm": 0.0}),
    "500 pictures, 160 epochs": Change("curve", train={"epochs": OFTEN} | NO_SMOOTHING, augment=STILL, images=FEW),
    "500 pictures, 160 epochs, crops and mirror images": Change(
        "curve", train={"epochs": OFTEN} | NO_SMOOTHING, augment={"crop": 2}, images=FEW
    ),
    "softmax twice": Change("curve", train=NO_SMOOTHING, softmax=True),
}


def main() -> None:
    run, data = start(__doc__, device="cpu", rows=True), load("fashion-mnist")
    ladder = {name: replace(change, group="ladder") for name, change in LADDER.items()}
    tables = ladder | CHANGES | RATES | CURVES
    rows = {name: lambda seeds, change=change: measure(run, change, data, seeds) for name, change in tables.items()}
    about = f"validation accuracy on Fashion-MNIST after {EPOCHS} epochs over {IMAGES:,} training pictures"
    compute(run, about, [data.describe()], rows)


def measure(run: Run, change: Change, data: Dataset, seeds: list[int]) -> dict:
    """Accuracy over the seeds, the processor time of a run, and the curves of the first seed."""
    runs = [train(run, change, data, seed) for seed in seeds]
    return {
        "group": change.group,
        "accuracy": spread([r["accuracy"] for r in runs]),
        "cpu_seconds": spread([r["cpu_seconds"] for r in runs]),
        "history": runs[0]["history"],
    }


def train(run: Run, change: Change, data: Dataset, seed: int) -> dict:
    """One training run; the time counts training alone."""
    torch.manual_seed(seed)
    images = first(data.train, change.images).to(run.device)
    model, config = build(change, data, seed)
    loop = TrainingLoop(model.to(run.device), data, config, len(images), run.device)
    if change.everything_decays:
        loop.optimizers = [torch.optim.AdamW(model.parameters(), weight_decay=config.weight_decay, fused=True)]
    history, seconds = [], 0.0
    for epoch in range(1, config.epochs + 1):
        began = run.clock()
        train_loss = loop.epoch(images, epoch, Progress(config.epochs, shown=False))
        seconds += run.clock() - began
        watched = evaluate(loop.eval_model, first(data.val, WATCHED), data)
        history.append({"train_loss": train_loss, "loss": watched.loss, "accuracy": watched.accuracy})
    return {"accuracy": evaluate(loop.eval_model, data.val, data).accuracy, "cpu_seconds": seconds, "history": history}


def build(change: Change, data: Dataset, seed: int) -> tuple[nn.Module, TrainConfig]:
    """The untrained model of a row, and its recipe."""
    settings = {"epochs": EPOCHS, "seed": seed} | change.train
    config, training = recipe(data, "tiny", change.model, settings, {"flip": True} | change.augment)
    model = ViT(config)
    return (nn.Sequential(model, nn.Softmax(dim=1)) if change.softmax else model), training


def first(split: Split, count: int) -> Split:
    """The first images of a split, which are in random order."""
    return split.subset(torch.arange(count))


if __name__ == "__main__":
    main()
