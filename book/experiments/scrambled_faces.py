"""Can a model tell a face from its scrambled parts? MLP, CNNs of four receptive fields, ViTs (about 15 min).

Half of the test pictures are faces, half their scrambled twins: who sees only the parts is right half of the time.
"""

from _record import or_smoke, spread, start
from torch import nn

from vitedu.data.faces import load_faces
from vitedu.train import TrainConfig, evaluate
from vitedu.vit import ViT, ViTConfig

FEW, MANY, SHORT, LONG = or_smoke((3_000, 9_000, 4, 8), (6, 12, 1, 1))  # pairs, twice; epochs, twice
HELD_OUT = or_smoke((300, 1_000), (6, 6))  # pairs to validate and to test on
SETTINGS = {  # name: pairs to learn from, parts in whole cells or anywhere, epochs
    "whole cells": (FEW, True, SHORT),
    "anywhere": (FEW, False, LONG),
    "anywhere, three times the data": (MANY, False, LONG),
}


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
    "MLP": mlp,
    "CNN, sees 3 pixels": lambda: cnn(1),
    "CNN, sees 7 pixels": lambda: cnn(2),
    "CNN, sees 15 pixels": lambda: cnn(3),
    "CNN, sees 31 pixels": lambda: cnn(4),
    "ViT with positions": lambda: vit("learned"),
    "ViT without positions": lambda: vit("none"),
}
WITH_MORE_DATA = ("MLP", "CNN, sees 31 pixels", "ViT with positions", "ViT without positions")


def main() -> None:
    run, found, sources = start(__doc__), {}, []
    for setting, (pairs, aligned, epochs) in SETTINGS.items():
        for seed in run.seeds:
            data = load_faces((pairs, *HELD_OUT), seed=seed, aligned=aligned)
            sources += [data.describe()]
            for name in MODELS if pairs < MANY else WITH_MORE_DATA:
                config = TrainConfig(epochs=epochs, lr=3e-3, label_smoothing=0.0)
                accuracy = evaluate(run.train(MODELS[name], data, config, seed)[0], data.test, data).accuracy
                found.setdefault((setting, name), []).append(accuracy)
                print(f"{setting}, seed {seed}, {name}: {100 * accuracy:.1f} %", flush=True)
    rows = [{"setting": setting, "model": name, "accuracy": spread(v)} for (setting, name), v in found.items()]
    run.record("test accuracy, faces against their scrambled twins", sources, rows)


if __name__ == "__main__":
    main()
