"""How fast a ViT learns from few pictures, on raw patches and on the feature map of a small CNN (6 min on one core).

On `shapes`, 1,200 training pictures: which texture has the object (with a deeper ViT as a second control), and which
shape. All models read 4 × 4 tokens: raw patches of 8 × 8 pixels, or the positions of a CNN's last feature map, whose
stride is 8. Validation accuracy after each epoch.

How the setting was chosen: the first question tried was shape, with one seed and eight epochs; there the two models lay
within a few per cent of one another. Texture was tried next, showed a difference, and became the first question; shape
stayed as the second. The first record had six epochs, in which raw patches hardly left chance, so this one has twenty.
"""

from dataclasses import replace

from _record import Run, in_each_split, multiply_adds, or_smoke, per_cent, spread, start

from vitedu.cost import count_parameters
from vitedu.data import Dataset, Split
from vitedu.data.shapes import load_shapes
from vitedu.models.hybrid import SMALL_STEM, HybridViT
from vitedu.train import TrainConfig
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
    return in_each_split(shapes, lambda split: Split(split.images, split.cues["texture"]))


def curve(run: Run, build, data: Dataset, seed: int) -> tuple[list[float], float]:
    """Validation accuracy after each epoch, and the seconds it took."""
    began = run.clock()
    _, history = run.train(build, data, TRAIN, seed)
    return [epoch["accuracy"] for epoch in history], run.clock() - began


def main() -> None:
    run, shapes = start(__doc__), load_shapes(counts=COUNTS)
    rows, data = [], {"texture": about_texture(shapes), "shape": shapes}
    for task, name in RUNS:
        build = MODELS[name]
        curves, seconds = zip(*(curve(run, build, data[task], seed) for seed in run.seeds), strict=True)
        size = {"parameters": count_parameters(build()), "macs": multiply_adds(build(), 32)}
        accuracy = [spread(list(values)) for values in zip(*curves, strict=True)]
        rows.append({"task": task, "model": name, **size, "cpu_seconds": spread(list(seconds)), "accuracy": accuracy})
        print(f"{task} {name:25} {size} {per_cent(accuracy[-1])}", flush=True)
    about = "validation accuracy after each epoch on few pictures: raw patches, and a CNN's feature map as tokens"
    run.record(about, [shapes.describe()], rows)


if __name__ == "__main__":
    main()
