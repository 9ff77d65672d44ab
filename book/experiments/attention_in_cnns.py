"""A small residual network on `shapes`, plain, with SE, with CBAM, and as BoTNet: how soon each learns (about 30 min).

Every network has the same stem, stages and widths. 300 or 1,200 pictures are shown 16 or 64 times. A seed draws
pictures, first weights and order anew. What is reported is the accuracy on test pictures.

The five questions. *Converged?* At 16 epochs nothing has: so the length is varied, the accuracy on validation pictures
is kept on the way, and the page asks how soon, not whether. 300 pictures × 64 epochs are about as many steps as 1,200 ×
16. *Tuned alike?* Each network in each cell has its own rate, chosen on the validation pictures of the first seed, with
a worse one on either side in 15 of 16; BoTNet with 300 pictures and 16 epochs took the highest tried, 0.04. All have
the same crops and mirror images. *One difference?* The module; the sizes differ by it and are recorded. *Can it show?*
One object offers little to relate: no gain has to appear here; `far_apart.py` has tasks where one must. *Recognisable?*
The papers' gains are on ImageNet and in detection.
"""

import statistics
from collections.abc import Callable

from _rates import sparsely, tuned, val_by_rate
from _record import Run, multiply_adds, or_smoke, per_cent, spread, start
from torch import nn

from vitedu.cost import count_parameters
from vitedu.data import load
from vitedu.models.botnet import botnet
from vitedu.models.channel_attention import CBAM, SqueezeExcite
from vitedu.models.cnn import CNNConfig, ResNet
from vitedu.train import TrainConfig, evaluate
from vitedu.train.augment import Augment

IMAGE_SIZE, REDUCTION = 32, 8
CONFIG = CNNConfig(num_classes=6, widths=(32, 64, 128), depths=(1, 1, 3), block="bottleneck", stem_stride=2)
MODELS: dict[str, Callable[[], nn.Module]] = {
    "BoTNet": lambda: botnet(CONFIG, IMAGE_SIZE),  # the slowest first, so that processes side by side end together
    "CBAM": lambda: ResNet(CONFIG, lambda channels: CBAM(channels, REDUCTION)),
    "SE": lambda: ResNet(CONFIG, lambda channels: SqueezeExcite(channels, REDUCTION)),
    "plain": lambda: ResNet(CONFIG),
}
RATES = (0.00125, 0.0025, 0.005, 0.01, 0.02, 0.04)
CELLS = or_smoke(((1_200, 64), (1_200, 16), (300, 64), (300, 16)), ((12, 2),))  # pictures to train on, epochs
HELD_OUT = or_smoke((500, 2_000), (12, 12))  # pictures to choose the rate by, and to report
BATCH_SIZE, MARKS = 32, or_smoke(8, 2)  # the curve has that many points

Arm = tuple[str, int, int]  # model, pictures, epochs


def train(run: Run, arm: Arm, rate: float, seed: int) -> dict:
    """One run: validation accuracy on the way and at the end, test accuracy, and the seconds per epoch."""
    name, pictures, epochs = arm
    data = load("shapes", image_size=IMAGE_SIZE, counts=(pictures, *HELD_OUT), seed=seed, quiet=True)
    training = TrainConfig(
        epochs=epochs, batch_size=BATCH_SIZE, lr=rate, channels_last=True, augment=Augment(crop=4, flip=True)
    )
    begin = run.clock()
    model, history = run.train(MODELS[name], data, training, seed, measure=sparsely(epochs, MARKS))
    seconds, test = (run.clock() - begin) / epochs, evaluate(model, data.test, data).accuracy
    curve = [epoch["accuracy"] for epoch in history if "accuracy" in epoch]
    print(f"{name:7} {pictures} pictures, {epochs} epochs, rate {rate}, seed {seed}: {100 * test:.1f} %", flush=True)
    return {
        "val": curve[-1],
        "test": test,
        "curve": curve,
        "train_loss": history[-1]["train_loss"],
        "seconds": seconds,
    }


def summarise(arm: Arm, runs: dict[float, list[dict]], rate: float) -> dict:
    """One row: what a network costs, and what it reaches, and when, at the rate that the validation pictures chose."""
    name, pictures, epochs = arm
    model, at_rate, steps = MODELS[name](), runs[rate], -(-pictures // BATCH_SIZE) * epochs
    return {
        "model": name,
        "pictures": pictures,
        "epochs": epochs,
        "steps": steps,
        "parameters": count_parameters(model),
        "mmacs": multiply_adds(model, IMAGE_SIZE) / 1e6,
        "rate": rate,
        "accuracy": spread([run["test"] for run in at_rate]),
        "train_loss": spread([run["train_loss"] for run in at_rate]),
        "curve_steps": [steps * (mark + 1) // MARKS for mark in range(MARKS)],
        "val_curve": [spread(list(values)) for values in zip(*(run["curve"] for run in at_rate), strict=True)],
        "seconds_per_epoch": statistics.median(run["seconds"] for of_rate in runs.values() for run in of_rate),
        "val_accuracy_by_rate": val_by_rate(runs),
    }


def main() -> None:
    run = start(__doc__)
    arms = [(name, *cell) for cell in CELLS for name in MODELS]
    runs, rates = tuned(run, lambda arm, rate, seed: train(run, arm, rate, seed), arms, RATES)
    rows = [summarise(arm, runs[arm], rates[arm]) for arm in reversed(arms)]
    for row in rows:
        print(*(row[key] for key in ("pictures", "epochs", "model")), per_cent(row["accuracy"]), "at", row["rate"])
    val, test = HELD_OUT
    sources = [f"shapes (embedded: drawn anew for each of the seeds {run.seeds}): {val:,} val, {test:,} test"]
    run.record("test accuracy on shapes of a small residual network with attention", sources, rows)


if __name__ == "__main__":
    main()
