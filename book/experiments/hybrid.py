"""What a small CNN in front of a ViT is worth on few pictures (40 min on one core; --jobs 14: 4 min).

On `shapes`, 1,200 training pictures: which texture has the object, and which shape? Three models: a ViT of two blocks
on 4 × 4 raw patches, the same two blocks on the 4 × 4 positions of a CNN's last feature map (the hybrid), and that CNN
alone. Each without augmentation and with crops and mirror images.

The five questions. *Converged?* All train for 40 epochs and, with seed 0, four times as long; shape with augmentation,
which the claim is about, with all seeds. Raw patches, which still gain, get sixteen times as long besides; the loss at
the end is recorded. *Tuned alike?* Each model, task and augmentation has the best of three rates, by the validation
accuracy of seed 0 at 40 epochs. It often lies at an end of the range: that of the hybrid is the highest, 0.01, in all
four arms, that of the CNN alone in three, and that of raw patches is the lowest, 0.002, in three. *One difference?* Two
arms that are compared share pictures, order, epochs and all settings but the rate; the hybrid computes more for each
picture, and raw patches at four times its epochs compute more than it in all. *Can it show?* Texture is what
convolutions should help with, and with augmentation the CNN alone knows both answers. *Recognisable?* Convolutions that
help a ViT on few pictures are common experience (Xiao et al. 2021; Hassani et al. 2021). Accuracies are of the test
pictures, looked at once for each run that is reported; curves are of validation.
"""

from dataclasses import dataclass, replace

from _gpu import over
from _record import Run, in_each_split, multiply_adds, or_smoke, per_cent, start

from vitedu.cost import count_parameters
from vitedu.data import Dataset, Split
from vitedu.data.shapes import load_shapes
from vitedu.models.cnn import ResNet
from vitedu.models.hybrid import SMALL_STEM, HybridViT
from vitedu.train import TrainConfig, evaluate
from vitedu.train.augment import Augment
from vitedu.vit import ViT, ViTConfig

COUNTS = or_smoke((1_200, 600, 1_200), (12, 12, 12))  # training, validation and test pictures
VIT = ViTConfig(image_size=32, patch_size=8, num_classes=6, dim=64, depth=2, num_heads=2)
MODELS = {
    "raw patches": lambda: ViT(VIT),
    "hybrid": lambda: HybridViT(VIT, SMALL_STEM),
    "CNN alone": lambda: ResNet(replace(SMALL_STEM, num_classes=VIT.num_classes)),
}
AUGMENTATIONS = {"none": Augment(), "crops and mirror": Augment(crop=4, flip=True)}
RATES = or_smoke((2e-3, 5e-3, 1e-2), (2e-3, 5e-3))
SHORT, LONGER, LONGEST = or_smoke((40, 160, 640), (1, 2, 3))  # epochs
POINTS = 40  # of a recorded curve
TRAIN = TrainConfig(batch_size=60)


@dataclass(frozen=True)
class Arm:
    """What a row is about."""

    task: str
    model: str
    augmentation: str


@dataclass(frozen=True)
class Case:
    """One training run."""

    arm: Arm
    epochs: int
    rate: float
    seed: int


ARMS = [Arm(task, model, change) for task in ("texture", "shape") for model in MODELS for change in AUGMENTATIONS]


def about_texture(shapes: Dataset) -> Dataset:
    """The same pictures, labelled by the texture of the object."""
    return in_each_split(shapes, lambda split: Split(split.images, split.cues["texture"]))


def trained(run: Run, data: dict[str, Dataset], case: Case, test: bool) -> dict:
    """One run: validation accuracy after each epoch, the last training loss, the time, and maybe the test accuracy."""
    arm, began, asked = case.arm, run.clock(), data[case.arm.task]
    settings = replace(
        TRAIN,
        epochs=case.epochs,
        lr=case.rate,
        augment=AUGMENTATIONS[arm.augmentation],
        channels_last=arm.model != "raw patches",
    )
    model, history = run.train(MODELS[arm.model], asked, settings, case.seed)
    found = {
        "curve": [epoch["accuracy"] for epoch in history],
        "train_loss": history[-1]["train_loss"],
        "seconds": run.clock() - began,
    }
    return found | ({"accuracy": evaluate(model, asked.test, asked).accuracy} if test else {})


def lengths(arm: Arm, seeds: list[int]) -> dict[int, list[int]]:
    """For how many epochs an arm trains, with which seeds."""
    augmented = arm.augmentation != "none"
    found = {SHORT: seeds, LONGER: seeds if augmented and arm.task == "shape" else seeds[:1]}
    return found | ({LONGEST: seeds[:1]} if augmented and arm.model == "raw patches" else {})


def row(cases: list[Case], runs: list[dict], tried: dict[float, float]) -> dict:
    """What is recorded of the runs of one arm at one length."""
    arm, epochs = cases[0].arm, cases[0].epochs
    build, every = MODELS[arm.model], -(-epochs // POINTS)
    moments = range(epochs, 0, -every)[::-1]  # the last epoch is one of them
    curves = [[found["curve"][moment - 1] for moment in moments] for found in runs]
    numbers = {key: over([found[key] for found in runs]) for key in ("accuracy", "train_loss", "seconds")}
    return {
        "task": arm.task,
        "model": arm.model,
        "augmentation": arm.augmentation,
        "epochs": epochs,
        "steps": epochs * -(-COUNTS[0] // TRAIN.batch_size),
        "rate": cases[0].rate,
        "validation_of_rates": {f"{rate:g}": share for rate, share in tried.items()},
        "parameters": count_parameters(build()),
        "macs": multiply_adds(build(), 32),
        **numbers,
        "curve_epochs": list(moments),
        "curve": [round(sum(values) / len(values), 4) for values in zip(*curves, strict=True)],
    }


def main() -> None:
    run, shapes = start(__doc__), load_shapes(counts=COUNTS)
    data = {"texture": about_texture(shapes), "shape": shapes}
    search = [Case(arm, SHORT, rate, run.seeds[0]) for rate in RATES for arm in ARMS]
    found = run.each(lambda case: trained(run, data, case, test=False)["curve"][-1], search)
    tried: dict[Arm, dict[float, float]] = {arm: {} for arm in ARMS}
    for case, share in zip(search, found, strict=True):
        tried[case.arm][case.rate] = share
    best = {arm: max(shares, key=shares.get) for arm, shares in tried.items()}
    groups = [
        [Case(arm, epochs, best[arm], seed) for seed in seeds]
        for arm in ARMS
        for epochs, seeds in lengths(arm, run.seeds).items()
    ]
    cases = sorted((case for group in groups for case in group), key=lambda case: -case.epochs)  # the long ones first
    runs = dict(zip(cases, run.each(lambda case: trained(run, data, case, test=True), cases), strict=True))
    rows = [row(group, [runs[case] for case in group], tried[group[0].arm]) for group in groups]
    for one in rows:
        what = f"{one['task']:7} {one['model']:11} {one['augmentation']:16} {one['epochs']:3} epochs, {one['rate']:g}"
        print(f"{what}: {per_cent({'std': 0.0} | one['accuracy'])}, loss {one['train_loss']['mean']:.2f}", flush=True)
    about = "test accuracy on few pictures: raw patches, a CNN's feature map as tokens, and that CNN alone"
    run.record(about, [shapes.describe()], rows)


if __name__ == "__main__":
    main()
