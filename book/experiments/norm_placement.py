"""LayerNorm before or after the sum, at depth 2, 8 and 24, with and without warm-up (about 21 min on one core).

A narrow ViT (D = 32, 2 heads, 16 patches, mean pooling) on `digits`, 8 epochs of 20 steps, AdamW with a cosine
schedule, without gradient clipping, which would hide what is compared. At depth 24 also 32 epochs, with warm-up.
Validation split; the test split is not looked at.

The five questions. *Converged?* No: 160 steps say what gets going; at depth 24 four times as many, at all three rates,
say whether the order stays. *Tuned alike?* Both orders have the same rates, two at depth 2 and 8 and three at depth 24,
and all are shown: nothing is chosen. *One difference?* The place of the LayerNorm (with pre-norm's last one, 64
numbers) or the warm-up. *Can it show?* Depth 2 is the negative control: there the order should hardly matter.
*Recognisable?* That deep post-norm needs a warm-up and small steps is arXiv:2002.04745; 24 blocks of it have been
trained, with a warm-up, on far more steps (arXiv:1810.04805).
"""

from _record import load, or_smoke, per_cent, spread, start

from vitedu.block import NORMS
from vitedu.train import TrainConfig
from vitedu.vit import ViT, ViTConfig

SHORT, LONG = or_smoke((8, 32), (1, 2))  # epochs
WARMUPS = (0.0, 0.25)
RATES = or_smoke({24: (1e-4, 5e-4, 2e-3), 8: (5e-4, 2e-3), 2: (5e-4, 2e-3)}, {2: (2e-3,)})  # by depth
DEEP = max(RATES)
MODEL = {"image_size": 8, "patch_size": 2, "in_channels": 1, "num_classes": 10, "dim": 32, "num_heads": 2}
TRAINING = {"batch_size": 64, "clip_norm": 0.0, "label_smoothing": 0.0}


def settings() -> list[dict]:
    """What is trained with every seed; the runs that take longest first, as they may go side by side."""
    long = [(DEEP, lr, norm, WARMUPS[-1], LONG) for lr in RATES[DEEP] for norm in NORMS]
    short = [
        (depth, lr, norm, warmup, SHORT)
        for depth, rates in RATES.items()
        for lr in rates
        for norm in NORMS
        for warmup in WARMUPS
    ]
    return [dict(zip(("depth", "lr", "norm", "warmup", "epochs"), one, strict=True)) for one in long + short]


def row(setting: dict, histories: list[list[dict]]) -> dict:
    """One setting over all seeds: final accuracy and loss with their spread, and the curves behind them."""
    curves = {key: [[record[key] for record in history] for history in histories] for key in ("train_loss", "accuracy")}
    last = {key: spread([curve[-1] for curve in values]) for key, values in curves.items()}
    print(f"{setting}: {per_cent(last['accuracy'])}", flush=True)
    return {**setting, **TRAINING, **last, "curves": curves}


def main() -> None:
    run, digits = start(__doc__), load("digits")

    def history(case: tuple[dict, int]) -> list[dict]:
        """One run, epoch by epoch."""
        (setting, seed), training = case, TRAINING | {key: case[0][key] for key in ("lr", "warmup", "epochs")}
        model = ViTConfig(depth=setting["depth"], norm=setting["norm"], pool="mean", **MODEL)
        return run.train(lambda: ViT(model), digits, TrainConfig(**training), seed)[1]

    found = iter(run.each(history, [(setting, seed) for setting in settings() for seed in run.seeds]))
    rows = [row(setting, [next(found) for _ in run.seeds]) for setting in settings()]
    about = "validation accuracy and training loss of a narrow ViT, by depth, place of the LayerNorm, warm-up and rate"
    run.record(about, [digits.describe()], rows)


if __name__ == "__main__":
    main()
