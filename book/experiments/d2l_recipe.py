"""The d2l.ai book's ViT and ours on Fashion-MNIST after equal time, 60 and 300 s (45 min on one core).

d2l.ai's, from its description (Zhang et al., "Dive into Deep Learning", section 11.8): images enlarged to 96 × 96,
patches of 16, width 512, MLP 2048, 8 heads without biases, 2 blocks, dropout 0.1, SGD without momentum at 0.1, batches
of 128. It trains for 10 epochs, which two cores need hours for; here it gets 60 and 300 s of one thread, like ours,
and nothing is said of what it reaches at its end. What differs: our attention has biases, which start at zero, and the
images are normalised.

Ours: the plain ViT, and the hybrid with a small CNN in front, both with the rate following the time to zero. Three
seeds, validation images; the test split is not looked at.

One row: make results NAME=d2l_recipe ROW="ours, plain, 60 s".
"""

from dataclasses import replace

from _equal_time import Contender, compare_all
from torch import nn

from vitedu.data import Dataset, load
from vitedu.hybrid import HybridViT, small_stem
from vitedu.recipes import recipe
from vitedu.train import TrainConfig
from vitedu.vit import ViT, ViTConfig

SIDE = 96
D2L_MODEL = ViTConfig(
    image_size=SIDE,
    patch_size=16,
    in_channels=1,
    num_classes=10,
    dim=512,
    depth=2,
    num_heads=8,
    dropout=0.1,
    attention_dropout=0.1,
    init="torch",
)
D2L_TRAIN = TrainConfig(
    epochs=10,
    batch_size=128,
    optimizer="sgd",
    momentum=0.0,
    lr=0.1,
    schedule="constant",
    warmup=0.0,
    weight_decay=0.0,
    label_smoothing=0.0,
    clip_norm=0.0,
)


def d2l_model() -> nn.Module:
    """Theirs: the images are enlarged first."""
    return nn.Sequential(nn.Upsample(size=SIDE, mode="bilinear"), ViT(D2L_MODEL))


def contenders(data: Dataset) -> dict[str, Contender]:
    """Theirs, and two of ours."""
    plain, training = recipe(data, train={"epochs": 20}, augment={"flip": True})
    small = replace(plain, depth=2)
    return {
        "d2l.ai": Contender(d2l_model, lambda seed: replace(D2L_TRAIN, seed=seed)),
        "ours, plain": Contender(lambda: ViT(plain), lambda seed: replace(training, seed=seed)),
        "ours, hybrid": Contender(
            lambda: HybridViT(small, small_stem(small.image_size, small.in_channels)),
            lambda seed: replace(training, seed=seed),
        ),
    }


if __name__ == "__main__":
    fashion = load("fashion-mnist")
    compare_all("d2l_recipe", fashion, contenders(fashion), __doc__)
