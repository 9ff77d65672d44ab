"""LayerNorm before or after the sum, at depth 2, 8 and 24, with and without warm-up (about 11 min on one core).

A narrow ViT (D = 32, 2 heads, 16 patches, mean pooling) on `digits`, 8 epochs of 20 steps, at two learning rates,
AdamW with a cosine schedule, without gradient clipping, which would hide what is compared. Validation split; the test
split is not looked at.
"""

import torch
from _common import Start, read_seeds, record, spread

from vitedu.block import NORMS
from vitedu.data import Dataset, load
from vitedu.train import TrainConfig, fit
from vitedu.vit import ViT, ViTConfig

DEPTHS, WARMUPS, RATES = (2, 8, 24), (0.0, 0.25), (5e-4, 2e-3)
MODEL = {"image_size": 8, "patch_size": 2, "in_channels": 1, "num_classes": 10, "dim": 32, "num_heads": 2}
TRAINING = {"epochs": 8, "batch_size": 64, "clip_norm": 0.0, "label_smoothing": 0.0}


def train(data: Dataset, depth: int, norm: str, warmup: float, lr: float, seed: int) -> list[dict]:
    """The history of one run, epoch by epoch; the model's start and the order of the images follow the seed."""
    torch.manual_seed(seed)
    model = ViT(ViTConfig(depth=depth, norm=norm, pool="mean", **MODEL))
    return fit(model, data, TrainConfig(lr=lr, warmup=warmup, seed=seed, **TRAINING), shown=False)


def row(data: Dataset, seeds: list[int], **setting) -> dict:
    """One setting over all seeds: final accuracy and loss with their spread, and the curves behind them."""
    histories = [train(data, seed=seed, **setting) for seed in seeds]
    curves = {key: [[record[key] for record in history] for history in histories] for key in ("train_loss", "accuracy")}
    last = {key: spread([curve[-1] for curve in values]) for key, values in curves.items()}
    print(f"{setting}: {100 * last['accuracy']['mean']:5.1f} ± {100 * last['accuracy']['std']:.1f} %", flush=True)
    return {**setting, **TRAINING, **last, "curves": curves}


def main() -> None:
    start, seeds = Start.now(), read_seeds(__doc__, 3)
    digits = load("digits")
    rows = [
        row(digits, seeds, depth=depth, norm=norm, warmup=warmup, lr=lr)
        for depth in DEPTHS
        for lr in RATES
        for norm in NORMS
        for warmup in WARMUPS
    ]
    about = "validation accuracy and training loss of a narrow ViT, by depth, place of the LayerNorm, warm-up and rate"
    record("norm_placement", about, [digits.describe()], rows, start)


if __name__ == "__main__":
    main()
