"""What a CNN, an MLP and a ViT take for granted: shuffled and shifted digits, and what each layer shows (about 10 min).

Digits on a canvas of 16×16 pixels: shuffled by one fixed order before training (anywhere on the canvas), and shifted
after training (trained in the middle). On `shapes` of 24×24 pixels: what a linear probe reads from each layer.
"""

from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from _record import Run, in_each_split, load, or_smoke, spread, start
from torch import Tensor, nn

from vitedu.data import Dataset, Split, normalise
from vitedu.data.shapes import load_shapes
from vitedu.patch import patchify, unpatchify
from vitedu.train import TrainConfig, evaluate
from vitedu.vit import ViT, ViTConfig

SIDE, DIGIT, PATCH = 16, 8, 4
SHIFTS = range(5)
COUNTS = or_smoke((5_000, 500, 2_000), (12, 12, 12))  # pictures of `shapes`
RECIPE = TrainConfig(epochs=or_smoke(8, 1), batch_size=64, lr=3e-3, label_smoothing=0.0)


def conv(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    """A 3×3 convolution, its norm, a ReLU: (B, C, H, W) -> (B, out, H/s, W/s)."""
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


def cnn(C: int, K: int, widths: tuple = (16, 32, 48, 48), strides: tuple = (1, 2, 2, 1)) -> nn.Sequential:
    """Convolutions, the mean over all places, a linear classifier."""
    inputs = (C, *widths[:-1])
    layers = [conv(a, b, s) for a, b, s in zip(inputs, widths, strides, strict=True)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], K))


def mlp(C: int, K: int, side: int = SIDE) -> nn.Sequential:
    """Two hidden layers with weights for every pixel."""
    hidden = [nn.Linear(C * side**2, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(128, K))


def vit(C: int, K: int, side: int = SIDE, positions: str = "learned") -> ViT:
    """Two blocks, the mean over tokens, patches of 4×4 pixels."""
    size = {"image_size": side, "patch_size": PATCH, "in_channels": C, "num_classes": K}
    return ViT(ViTConfig(**size, dim=48, depth=2, num_heads=3, pool="mean", positions=positions))


def place(split: Split, top: Tensor, left: Tensor) -> Split:
    """Each 8×8 digit on its own place of the canvas; top and left (N,) in pixels."""
    canvas = F.pad(split.images, (0, SIDE - DIGIT, 0, SIDE - DIGIT))[:, 0]  # (N, SIDE, SIDE)
    rows, columns = ((torch.arange(SIDE) - start[:, None]) % SIDE for start in (top, left))
    index = torch.arange(len(canvas))[:, None, None]
    return replace(split, images=canvas[index, rows[:, :, None], columns[:, None, :]][:, None])


def centred(split: Split, right: int = 0) -> Split:
    """Every digit in the middle, `right` pixels further."""
    middle = torch.full((len(split),), (SIDE - DIGIT) // 2)
    return place(split, middle, middle + right)


def anywhere(split: Split, copies: int, seed: int) -> Split:
    """Each digit `copies` times, each time on a random place."""
    many = split.subset(torch.arange(len(split)).repeat(copies))
    generator = torch.Generator().manual_seed(seed)
    return place(many, *torch.randint(SIDE - DIGIT + 1, (2, len(many)), generator=generator))


def orders(seed: int) -> dict:
    """Three ways to show images: as they are, their patches in a fixed order, their pixels in a fixed order."""
    generator = torch.Generator().manual_seed(seed)
    patches = torch.randperm((SIDE // PATCH) ** 2, generator=generator)
    pixels = torch.randperm(SIDE**2, generator=generator)
    return {
        "as it is": lambda x: x,
        "patches shuffled": lambda x: unpatchify(patchify(x, PATCH)[:, patches], PATCH, SIDE),
        "pixels shuffled": lambda x: x.flatten(2)[:, :, pixels].view_as(x),
    }


def shown_as(change, split: Split) -> Split:
    """A split whose images are changed."""
    return replace(split, images=change(split.images))


def shuffle_rows(run: Run, digits: Dataset) -> list[dict]:
    """Test accuracy with and without a fixed order of patches or pixels."""
    models = {"CNN": lambda: cnn(1, 10), "MLP": lambda: mlp(1, 10), "ViT": lambda: vit(1, 10)}
    found = {}
    for seed in run.seeds:
        parts = [("train", 2), ("val", 5), ("test", 5)]
        moved = {name: anywhere(getattr(digits, name), n, 3 * seed + i) for i, (name, n) in enumerate(parts)}
        for order, change in orders(seed).items():
            data = in_each_split(replace(digits, **moved), partial(shown_as, change))
            for name, build in models.items():
                accuracy = evaluate(run.train(build, data, RECIPE, seed)[0], data.test, data).accuracy
                found.setdefault((name, order), []).append(accuracy)
                print(f"shuffle {name} {order} {100 * accuracy:.1f} %", flush=True)
    return [{"part": "shuffle", "model": m, "order": o, "accuracy": spread(v)} for (m, o), v in found.items()]


def shift_rows(run: Run, digits: Dataset) -> list[dict]:
    """Test accuracy on digits some pixels to the right of where they were in training."""
    models = {
        "CNN": lambda: cnn(1, 10),
        "CNN without strides": lambda: cnn(1, 10, (16, 16, 16, 32), (1, 1, 1, 1)),
        "MLP": lambda: mlp(1, 10),
        "ViT": lambda: vit(1, 10),
        "ViT without positions": lambda: vit(1, 10, positions="none"),
    }
    data = in_each_split(digits, centred)
    found = {(name, shift): [] for name in models for shift in SHIFTS}
    for seed in run.seeds:
        for name, build in models.items():
            model, _ = run.train(build, data, RECIPE, seed)
            for shift in SHIFTS:
                found[name, shift].append(evaluate(model, centred(digits.test, shift), data).accuracy)
            print(f"shift {name}", [round(100 * found[name, shift][-1]) for shift in SHIFTS], flush=True)
    return [{"part": "shift", "model": m, "pixels": p, "accuracy": spread(v)} for (m, p), v in found.items()]


@torch.no_grad()
def layers(model: nn.Module, images: Tensor) -> list[Tensor]:
    """What leaves each layer, one vector an image: the mean over places or tokens, or the hidden units, (N, D) each."""
    model.cpu().eval()
    if isinstance(model, ViT):
        tokens = model.positions(model.patch_embed(images))  # (N, T, D)
        outputs = [tokens]
        for block in model.encoder.blocks:
            outputs.append(block(outputs[-1]))
        return [tokens.mean(1) for tokens in outputs]
    outputs, x = [], images
    for layer in model[:-1]:
        x = layer(x)
        if isinstance(layer, nn.Sequential | nn.ReLU):
            outputs.append(x.mean((2, 3)) if x.ndim == 4 else x)
    return outputs


def probe(train: Tensor, labels: Tensor, test: Tensor, truth: Tensor, strength: float = 1e-2) -> float:
    """Accuracy of a linear classifier by ridge regression to one-hot targets, on standardised features."""
    mean, std = train.mean(0), train.std(0) + 1e-6
    a, b = ((x - mean) / std for x in (train, test))
    a, b = (F.pad(x, (0, 1), value=1.0) for x in (a, b))
    gram = a.T @ a + strength * len(a) * torch.eye(a.shape[1])
    weights = torch.linalg.solve(gram, a.T @ F.one_hot(labels).float())
    return ((b @ weights).argmax(1) == truth).float().mean().item()


def layer_rows(run: Run, shapes: Dataset) -> list[dict]:
    """How well colour, texture and shape can be read from each layer, trained and untrained."""
    builds = {"CNN": lambda: cnn(3, 6), "MLP": lambda: mlp(3, 6, 24), "ViT": lambda: vit(3, 6, 24)}
    x = {name: normalise(getattr(shapes, name).images, shapes.mean, shapes.std) for name in ("train", "test")}
    labels = {
        name: {"shape": part.labels, **part.cues} for name, part in [("train", shapes.train), ("test", shapes.test)]
    }
    found = {}
    for seed in run.seeds:
        for name, build in builds.items():
            torch.manual_seed(seed)
            for state, model in [("untrained", build()), ("trained", run.train(build, shapes, RECIPE, seed)[0])]:
                for depth, (a, b) in enumerate(
                    zip(layers(model, x["train"]), layers(model, x["test"]), strict=True), 1
                ):
                    for cue in ("colour", "texture", "shape"):
                        accuracy = probe(a, labels["train"][cue], b, labels["test"][cue])
                        found.setdefault((name, state, depth, cue), []).append(accuracy)
            print(f"layers {name}", {k[2:]: round(100 * v[-1]) for k, v in found.items() if k[:2] == (name, "trained")})
    keys = ("model", "state", "layer", "cue")
    return [{"part": "layers", **dict(zip(keys, key, strict=True)), "accuracy": spread(v)} for key, v in found.items()]


def main() -> None:
    run, digits, shapes = start(__doc__), load("digits"), load_shapes(24, COUNTS, clutter=0.0)
    rows = shuffle_rows(run, digits) + shift_rows(run, digits) + layer_rows(run, shapes)
    run.record("test accuracy", [digits.describe(), shapes.describe()], rows)


if __name__ == "__main__":
    main()
