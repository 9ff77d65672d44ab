"""A small residual network on `shapes`, plain, with squeeze-and-excitation, with CBAM, and as BoTNet (about 20 min).

Each network has the same stem, stages and widths, and is trained at each of a few rates on the same pictures in the
same order. A seed draws pictures, first weights and order anew. The rate of each network is chosen by its mean
accuracy on the validation pictures; what is reported is the accuracy on the test pictures at that rate.
"""

import statistics
from collections.abc import Callable

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
    "plain": lambda: ResNet(CONFIG),
    "SE": lambda: ResNet(CONFIG, lambda channels: SqueezeExcite(channels, REDUCTION)),
    "CBAM": lambda: ResNet(CONFIG, lambda channels: CBAM(channels, REDUCTION)),
    "BoTNet": lambda: botnet(CONFIG, IMAGE_SIZE),
}
RATES = or_smoke((0.0025, 0.005, 0.01, 0.02), (0.01,))
COUNTS = or_smoke((1_200, 500, 2_000), (12, 12, 12))  # pictures to train on, to choose the rate by, and to report
EPOCHS, BATCH_SIZE = or_smoke(16, 1), 32


def train(run: Run, name: str, rate: float, seed: int) -> dict:
    """One run: validation and test accuracy, and the seconds per epoch."""
    data = load("shapes", image_size=IMAGE_SIZE, counts=COUNTS, seed=seed, quiet=True)
    training = TrainConfig(epochs=EPOCHS, batch_size=BATCH_SIZE, lr=rate, augment=Augment(crop=4, flip=True))
    begin = run.clock()
    model, history = run.train(MODELS[name], data, training, seed)
    seconds = (run.clock() - begin) / EPOCHS
    return {"val": history[-1]["accuracy"], "test": evaluate(model, data.test, data).accuracy, "seconds": seconds}


def summarise(name: str, runs: dict[float, list[dict]]) -> dict:
    """One row: what a network costs, and what it reaches at the rate that the validation pictures chose."""
    val = {rate: spread([run["val"] for run in of_rate]) for rate, of_rate in runs.items()}
    best = max(val, key=lambda rate: val[rate]["mean"])
    model = MODELS[name]()
    return {
        "model": name,
        "parameters": count_parameters(model),
        "mmacs": multiply_adds(model, IMAGE_SIZE) / 1e6,
        "rate": best,
        "accuracy": spread([run["test"] for run in runs[best]]),
        "seconds_per_epoch": statistics.median(run["seconds"] for of_rate in runs.values() for run in of_rate),
        "val_accuracy_by_rate": {str(rate): values for rate, values in val.items()},
    }


def main() -> None:
    run, rows = start(__doc__), []
    for name in MODELS:
        runs = {rate: [train(run, name, rate, seed) for seed in run.seeds] for rate in RATES}
        rows.append(summarise(name, runs))
        accuracy, rate, seconds = (rows[-1][key] for key in ("accuracy", "rate", "seconds_per_epoch"))
        print(f"{name:7} {per_cent(accuracy)} at {rate}, {seconds:.1f} s per epoch", flush=True)
    shown = ", ".join(f"{count:,} {split}" for count, split in zip(COUNTS, ("train", "val", "test"), strict=True))
    sources = [f"shapes (embedded: drawn anew for each of the seeds {run.seeds}): {shown}; {EPOCHS} epochs"]
    run.record("test accuracy on shapes of a small residual network with attention", sources, rows)


if __name__ == "__main__":
    main()
