"""The UvA tutorial's ViT and ours on CIFAR-10 after equal time, 60 and 300 s (40 min on one core).

The tutorial's, from its description (Lippe, "UvA Deep Learning Tutorials", tutorial 15): width 256, MLP 512, 8 heads, 6
blocks, patches of 4, dropout 0.2, torch's own initialisation, AdamW at 3e-4, divided by ten after epochs 100 and 150 of
180 (which no run here comes near, so the rate stays), mirror images and zooms to 80 % of the area. It reports 75.6 % on
the test images at its end; here it gets 60 and 300 s of one thread, like ours, and nothing is said of more. What
differs: torch's default decay of 0.01 acts on the matrices alone.

Ours: the hybrid with a small CNN in front of the `tiny` ViT, its rate following the time down to zero. Three
seeds, validation images; the test split is not looked at.

One row: make results NAME=uva_recipe ROW="ours, 60 s".
"""

from _equal_time import Contender, compare_all
from _record import load, start

from vitedu.data import Dataset
from vitedu.models.hybrid import HybridViT, small_stem
from vitedu.train import TrainConfig, recipe
from vitedu.train.augment import Augment
from vitedu.vit import ViT, ViTConfig

UVA_MODEL = ViTConfig(
    image_size=32,
    patch_size=4,
    num_classes=10,
    dim=256,
    depth=6,
    num_heads=8,
    mlp_ratio=2.0,
    dropout=0.2,
    init="torch",
)
UVA_TRAIN = TrainConfig(
    epochs=180,
    batch_size=128,
    lr=3e-4,
    schedule="constant",
    warmup=0.0,
    weight_decay=0.01,
    label_smoothing=0.0,
    clip_norm=0.0,
    augment=Augment(flip=True, zoom=0.2),
)


def contenders(data: Dataset) -> dict[str, Contender]:
    """Theirs and ours."""
    config, training = recipe(data, train={"epochs": 20, "lr": 2e-3}, augment={"flip": True, "crop": 2})
    return {
        "UvA": Contender(lambda: ViT(UVA_MODEL), UVA_TRAIN),
        "ours": Contender(lambda: HybridViT(config, small_stem(config.image_size, config.in_channels)), training),
    }


if __name__ == "__main__":
    run, cifar10 = start(__doc__, device="cpu", rows=True), load("cifar10")
    compare_all(run, cifar10, contenders(cifar10))
