"""Can a model tell a face from its scrambled parts? MLP, CNNs of four receptive fields, ViTs (about 20 min).

Half of the test pictures are faces, half their scrambled twins: who sees only the parts is right half of the time.

The five questions. *Converged?* With faces anywhere each model has 423 steps and three times as many, from 3,000 pairs
and from three times as many: four cells that tell data from steps. *Tuned alike?* One rate for all, 0.003; a ViT is
compared with itself, and for the two ViTs a third and three times that rate are tried on the first seed, in the cell of
few pairs and many steps, and recorded. *One difference?* Yes: pairs or steps. *Can it show?* The CNN that sees 3 pixels
cannot tell, nor can, on whole cells, the ViT without positions: both have to stay at one half. *Recognisable?* CNNs
that see far enough learn arrangements; that some of those trained on ImageNet do not need them is about ImageNet.
"""

from _record import Run, or_smoke, spread, start
from torch import nn

from vitedu.data.faces import load_faces
from vitedu.train import TrainConfig, evaluate
from vitedu.vit import ViT, ViTConfig

FEW, MANY = or_smoke((3_000, 9_000), (6, 18))  # pairs
SHORT, LONG = or_smoke((9, 27), (3, 9))  # epochs over few pairs; over many a third of them are as many steps
HELD_OUT = or_smoke((300, 1_000), (6, 6))  # pairs to validate and to test on
SETTINGS = {  # name: pairs to learn from, parts in whole cells or anywhere, epochs
    "anywhere, 3 × the pairs, 3 × the steps": (MANY, False, LONG // 3),
    "anywhere, 3 × the steps": (FEW, False, LONG),
    "anywhere, 3 × the pairs": (MANY, False, SHORT // 3),
    "anywhere": (FEW, False, SHORT),
    "whole cells": (FEW, True, SHORT // 3),
}
RATE, OTHER_RATES, BATCH_SIZE = 3e-3, (1e-3, 9e-3), 128


def conv(channels: int, out: int, kernel: int, stride: int) -> list[nn.Module]:
    """A convolution that keeps the size but for its stride, its norm, a ReLU."""
    return [nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU()]


def cnn(wide: int) -> nn.Sequential:
    """Four convolutions, the first `wide` of them 3×3 with stride 2, the others 1×1: it sees 2·2^wide - 1 pixels."""
    layers, C = [], 3
    for index, out in enumerate((16, 32, 32, 32)):
        layers += conv(C, out, 3, 2) if index < wide else conv(C, out, 1, 1)
        C = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(C, 2))


def mlp() -> nn.Sequential:
    """Two hidden layers with weights for every pixel."""
    hidden = [nn.Linear(3 * 32 * 32, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(64, 2))


def vit(positions: str) -> ViT:
    """Three blocks on the 16 patches of 8×8 pixels, which are the cells of the aligned faces."""
    size = {"image_size": 32, "patch_size": 8, "num_classes": 2}
    return ViT(ViTConfig(**size, dim=48, depth=3, num_heads=3, pool="mean", positions=positions))


MODELS = {
    "ViT without positions": lambda: vit("none"),  # the slowest first, so that processes side by side end together
    "ViT with positions": lambda: vit("learned"),
    "CNN, sees 31 pixels": lambda: cnn(4),
    "CNN, sees 15 pixels": lambda: cnn(3),
    "CNN, sees 7 pixels": lambda: cnn(2),
    "CNN, sees 3 pixels": lambda: cnn(1),
    "MLP": mlp,
}
TWO_BY_TWO = ("ViT without positions", "ViT with positions", "CNN, sees 31 pixels", "MLP")  # in all settings
TRIED = "anywhere, 3 × the steps"  # where the ViTs are trained at other rates, too

Case = tuple[str, str, float, int]  # setting, model, rate, seed


def train(run: Run, case: Case) -> dict:
    """Validation and test accuracy of one model after training."""
    setting, name, rate, seed = case
    pairs, aligned, epochs = SETTINGS[setting]
    data = load_faces((pairs, *HELD_OUT), seed=seed, aligned=aligned)
    config = TrainConfig(epochs=epochs, batch_size=BATCH_SIZE, lr=rate, label_smoothing=0.0)
    model, history = run.train(MODELS[name], data, config, seed)
    test = evaluate(model, data.test, data).accuracy
    print(f"{setting}, rate {rate}, seed {seed}, {name}: {100 * test:.1f} %", flush=True)
    return {"val": history[-1]["accuracy"], "test": test, "train_loss": history[-1]["train_loss"]}


def steps(setting: str) -> int:
    """How many steps a model takes in a setting; a pair is two pictures."""
    pairs, _, epochs = SETTINGS[setting]
    return -(-2 * pairs // BATCH_SIZE) * epochs


def size(setting: str, rate: float) -> dict:
    """What a setting means in numbers."""
    return {"pairs": SETTINGS[setting][0], "steps": steps(setting), "rate": rate}


def row_of(setting: str, name: str, runs: list[dict]) -> dict:
    """What is recorded of a model in a setting."""
    measured = {"accuracy": spread([run["test"] for run in runs])}
    measured["train_loss"] = spread([run["train_loss"] for run in runs])
    return {"part": "accuracy", "setting": setting, "model": name, **size(setting, RATE), **measured}


def main() -> None:
    run = start(__doc__)
    arms = [(s, m) for s in SETTINGS for m in MODELS if m in TWO_BY_TWO or s in ("anywhere", "whole cells")]
    tried = [(TRIED, name, rate) for name in TWO_BY_TWO[:2] for rate in OTHER_RATES]
    cases = [(*arm, RATE, seed) for arm in arms for seed in run.seeds] + [(*other, run.seeds[0]) for other in tried]
    found = dict(zip(cases, run.each(lambda case: train(run, case), cases), strict=True))
    rows = [row_of(*arm, [found[(*arm, RATE, seed)] for seed in run.seeds]) for arm in reversed(arms)]
    for setting, name, rate in [*tried, *((TRIED, name, RATE) for name in TWO_BY_TWO[:2])]:
        one_seed = found[setting, name, rate, run.seeds[0]]
        rows.append({"part": "rates", "setting": setting, "model": name, **size(setting, rate), **one_seed})
    held_out = " and ".join(f"{count:,}" for count in HELD_OUT)
    sources = [f"faces (drawn anew for each of the seeds {run.seeds}), {held_out} pairs to validate and to test on"]
    run.record("test accuracy, faces against their scrambled twins", sources, rows)


if __name__ == "__main__":
    main()
