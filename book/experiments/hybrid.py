"""How fast a ViT learns from few pictures, on raw patches and on the feature map of a small CNN (6 min on one core).

On `shapes`, 1,200 training pictures: which texture has the object (with a deeper ViT as a second control), and which
shape. All models read 4 × 4 tokens: raw patches of 8 × 8 pixels, or the positions of a CNN's last feature map, whose
stride is 8. Validation accuracy after each epoch.

How the setting was chosen: the first question tried was shape, with one seed and eight epochs; there the two models lay
within a few per cent of one another. Texture was tried next, showed a difference, and became the first question; shape
stayed as the second. The first record had six epochs, in which raw patches hardly left chance, so this one has twenty.
"""

from dataclasses import replace

import torch
from _record import Run, or_smoke, spread, start
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vitedu.cost import count_parameters
from vitedu.data import Dataset, Split
from vitedu.data.shapes import load_shapes
from vitedu.models.hybrid import SMALL_STEM, HybridViT
from vitedu.train import TrainConfig, fit
from vitedu.vit import ViT, ViTConfig

COUNTS = or_smoke((1_200, 600, 120), (12, 12, 12))  # training, validation and test pictures; the last are not looked at
VIT = ViTConfig(image_size=32, patch_size=8, num_classes=6, dim=64, depth=2, num_heads=2)
TRAIN = TrainConfig(epochs=or_smoke(20, 1), batch_size=64, lr=2e-3)
MODELS = {
    "raw patches, 2 blocks": lambda: ViT(VIT),
    "raw patches, 6 blocks": lambda: ViT(replace(VIT, depth=6)),
    "hybrid, CNN and 2 blocks": lambda: HybridViT(VIT, SMALL_STEM),
}
RUNS = [("texture", name) for name in MODELS] + [("shape", name) for name in MODELS if "6 blocks" not in name]


def about_texture(shapes: Dataset) -> Dataset:
    """The same pictures, labelled by the texture of the object."""
    splits = {name: getattr(shapes, name) for name in ("train", "val", "test")}
    return replace(shapes, **{name: Split(part.images, part.cues["texture"]) for name, part in splits.items()})


def operations(model: nn.Module, images: Tensor) -> int:
    """Multiply–adds of one forward pass."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(images)
    return counter.get_total_flops() // 2


def curve(run: Run, build, data: Dataset, seed: int) -> tuple[list[float], float]:
    """Validation accuracy after each epoch, and the seconds it took."""
    torch.manual_seed(seed)
    began = run.clock()
    history = fit(build(), data, replace(TRAIN, seed=seed), device=run.device, shown=False)
    return [epoch["accuracy"] for epoch in history], run.clock() - began


def main() -> None:
    run, shapes = start(__doc__), load_shapes(counts=COUNTS)
    torch.set_num_threads(1)
    rows, data = [], {"texture": about_texture(shapes), "shape": shapes}
    for task, name in RUNS:
        build = MODELS[name]
        curves, seconds = zip(*(curve(run, build, data[task], seed) for seed in run.seeds), strict=True)
        size = {"parameters": count_parameters(build()), "macs": operations(build(), torch.zeros(1, 3, 32, 32))}
        accuracy = [spread(list(values)) for values in zip(*curves, strict=True)]
        rows.append({"task": task, "model": name, **size, "cpu_seconds": spread(list(seconds)), "accuracy": accuracy})
        last = accuracy[-1]
        print(f"{task} {name:25} {size} {100 * last['mean']:5.1f} ± {100 * last['std']:.1f} %", flush=True)
    about = "validation accuracy after each epoch on few pictures: raw patches, and a CNN's feature map as tokens"
    run.record(about, [shapes.describe()], rows)


if __name__ == "__main__":
    main()
