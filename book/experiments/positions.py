"""What position embeddings are for, and from which token to read: small ViTs (5 min on one core).

On `shapes`, five kinds of positions on two questions: in which quarter of the picture the object's centre lies, and
which colour it has. On `digits`, the CLS token against the mean of the patches at three learning rates, and CLS tokens
that start at three sizes. Accuracies are those on validation images.

The five questions. *Converged?* No: 304 steps for where, 114 for colour, 200 on `digits`; nothing was run longer.
*Tuned alike?* The five kinds have one rate, 0.003, and one size, a standard deviation of 1, tuned for none. CLS and
mean have three rates each: the best of CLS lies inside, that of the mean is the highest, 0.008, by 0.2 points. The
starts of CLS have one rate, 0.002. *One difference?* The kind, the reader or the start; the mean also does without the
token. *Can it show?* Without positions, where has to stay at chance, and colour has to succeed; both do. Of the other
four three lie within their spread; learned2d is ahead of them by 4 points, hardly more than the spread of the next. One
of the 180 validation pictures of `digits` is 0.6 points. *Recognisable?* Any positions instead of none matter, which
kind hardly does, and CLS and mean each need their own rate: all three are so in the ViT paper (arXiv:2010.11929, table
8 and appendix D.3).
"""

from dataclasses import replace

import torch
from _record import Run, in_each_split, load, or_smoke, per_cent, spread, start
from torch import Tensor, nn

from vitedu.data import Dataset, Split
from vitedu.data.shapes import COLOURS, load_shapes
from vitedu.train import TrainConfig, recipe
from vitedu.vit import ViT, ViTConfig

KINDS = ("none", "learned", "learned2d", "sincos1d", "sincos2d")
QUARTERS = ("top left", "top right", "bottom left", "bottom right")
COUNTS = or_smoke(
    (2_400, 1_200, 120), (12, 12, 12)
)  # training, validation and test pictures; the last are not looked at
VIT = ViTConfig(image_size=32, patch_size=4, dim=32, depth=2, num_heads=2)
TRAIN = TrainConfig(batch_size=64, lr=3e-3)
EPOCHS = or_smoke({"where": 8, "colour": 3, "digits": 10}, {"where": 1, "colour": 1, "digits": 1})
RATES = (5e-4, 2e-3, 8e-3)
CLS_STDS = (0.0, 0.02, 1.0)


def quarter(masks: Tensor) -> Tensor:
    """In which quarter of the picture the centre of each object lies, in raster order: (N, H, W) -> (N,)."""
    (row, column), (height, width) = centres(masks), masks.shape[1:]
    return 2 * (row > (height - 1) / 2).long() + (column > (width - 1) / 2).long()


def centres(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of each object's centre of mass, 0 for the middle of the first: (N, H, W) -> two of (N,)."""
    (height, width), area = masks.shape[1:], masks.sum(dim=(1, 2))
    row = (masks.sum(dim=2) * torch.arange(height)).sum(dim=1) / area
    return row, (masks.sum(dim=1) * torch.arange(width)).sum(dim=1) / area


def questions(shapes: Dataset) -> dict[str, Dataset]:
    """The same pictures with other labels: where the object is, and which colour it has."""
    where = in_each_split(shapes, lambda split: Split(split.images, quarter(split.masks)))
    colour = in_each_split(shapes, lambda split: Split(split.images, split.cues["colour"]))
    return {"where": replace(where, class_names=QUARTERS), "colour": replace(colour, class_names=COLOURS)}


def of_kinds(run: Run) -> list[dict]:
    """Five kinds of positions on both questions."""
    rows = []
    for task, data in questions(load_shapes(counts=COUNTS)).items():
        for kind in KINDS:
            config = replace(VIT, num_classes=len(data.class_names), positions=kind)
            training = replace(TRAIN, epochs=EPOCHS[task])
            rows.append({"part": "positions", "task": task, "kind": kind, **measure(run, config, data, training)})
            show(rows[-1])
    return rows


def of_readers(run: Run) -> list[dict]:
    """CLS against mean pooling by learning rate, and the size at which CLS starts."""
    rows, data = [], load("digits")
    for lr in RATES:
        for pool in ("cls", "mean"):
            config, training = recipe(data, "tiny", {"depth": 2, "pool": pool}, {"lr": lr, "epochs": EPOCHS["digits"]})
            rows.append({"part": "reading", "lr": lr, "pool": pool, **measure(run, config, data, training)})
            show(rows[-1])
    config, training = recipe(data, "tiny", {"depth": 2}, {"epochs": EPOCHS["digits"]})
    for std in CLS_STDS:
        rows.append({"part": "start", "cls_std": std, **measure(run, config, data, training, std)})
        show(rows[-1])
    return rows


def measure(run: Run, config: ViTConfig, data: Dataset, training: TrainConfig, cls_std: float | None = None) -> dict:
    """{"accuracy": mean, std and values over the seeds}; CLS starts at `cls_std` if that is given."""

    def build() -> ViT:
        model = ViT(config)
        if cls_std is not None:
            nn.init.normal_(model.cls_token, std=cls_std)
        return model

    return {"accuracy": spread([run.train(build, data, training, seed)[1][-1]["accuracy"] for seed in run.seeds])}


def show(row: dict) -> None:
    """One line for a row."""
    setting = ", ".join(f"{key} {value}" for key, value in row.items() if key != "accuracy")
    print(f"{setting:45} {per_cent(row['accuracy'])}", flush=True)


def main() -> None:
    run = start(__doc__)
    rows = of_kinds(run) + of_readers(run)
    sources = [load_shapes(counts=COUNTS).describe(), load("digits").describe()]
    run.record("validation accuracy by kind of position, by pooling and by start of CLS", sources, rows)


if __name__ == "__main__":
    main()
