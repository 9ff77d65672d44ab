"""LayerNorm before or after the sum, at depth 2, 8 and 24, with and without warm-up (about 11 min on one core).

A narrow ViT (D = 32, 2 heads, 16 patches, mean pooling) on `digits`, 8 epochs of 20 steps, at two learning rates,
AdamW with a cosine schedule, without gradient clipping, which would hide what is compared. Validation split; the test
split is not looked at.
"""

from _record import Run, load, or_smoke, per_cent, spread, start

from vitedu.block import NORMS
from vitedu.data import Dataset
from vitedu.train import TrainConfig
from vitedu.vit import ViT, ViTConfig

DEPTHS, WARMUPS, RATES = or_smoke((2, 8, 24), (2,)), (0.0, 0.25), (5e-4, 2e-3)
MODEL = {"image_size": 8, "patch_size": 2, "in_channels": 1, "num_classes": 10, "dim": 32, "num_heads": 2}
TRAINING = {"epochs": or_smoke(8, 1), "batch_size": 64, "clip_norm": 0.0, "label_smoothing": 0.0}


def train(run: Run, data: Dataset, depth: int, norm: str, warmup: float, lr: float, seed: int) -> list[dict]:
    """The history of one run, epoch by epoch."""
    model = ViTConfig(depth=depth, norm=norm, pool="mean", **MODEL)
    return run.train(lambda: ViT(model), data, TrainConfig(lr=lr, warmup=warmup, **TRAINING), seed)[1]


def row(run: Run, data: Dataset, **setting) -> dict:
    """One setting over all seeds: final accuracy and loss with their spread, and the curves behind them."""
    histories = [train(run, data, seed=seed, **setting) for seed in run.seeds]
    curves = {key: [[record[key] for record in history] for history in histories] for key in ("train_loss", "accuracy")}
    last = {key: spread([curve[-1] for curve in values]) for key, values in curves.items()}
    print(f"{setting}: {per_cent(last['accuracy'])}", flush=True)
    return {**setting, **TRAINING, **last, "curves": curves}


def main() -> None:
    run, digits = start(__doc__), load("digits")
    rows = [
        row(run, digits, depth=depth, norm=norm, warmup=warmup, lr=lr)
        for depth in DEPTHS
        for lr in RATES
        for norm in NORMS
        for warmup in WARMUPS
    ]
    about = "validation accuracy and training loss of a narrow ViT, by depth, place of the LayerNorm, warm-up and rate"
    run.record(about, [digits.describe()], rows)


if __name__ == "__main__":
    main()
