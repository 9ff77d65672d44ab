"""Imagenette at 96 pixels, a convolutional stem and averaged weights; ships imagenette-hybrid (10 min on one core).

A hybrid: a residual CNN of four stages makes 6 × 6 tokens of a photograph, one for 16 × 16 pixels as in ViT-B/16, which
four blocks of width 128 read. Nine epochs of zooms and mirror images. It is there to be started from (chapter 14). The
setting was not tuned, one seed was trained, and the test images (the set's own validation part) are looked at once. It
differs from imagenette-small in the stem, the width, the number of epochs and the augmentation, so the difference
between the two says nothing about any one of these.
"""

from _record import load, or_smoke, start
from _ship import Shipped, train_and_ship

from vitedu.data import Dataset
from vitedu.models.cnn import CNNConfig
from vitedu.models.hybrid import HybridViT
from vitedu.train import recipe

CNN = CNNConfig(widths=(24, 48, 96, 128), depths=(1, 1, 1, 1), stem_stride=2)
WIDTH = {"patch_size": 16, "dim": 128, "num_heads": 4, "pool": "mean"}


def shipped(data: Dataset) -> Shipped:
    """The model, its recipe and its card."""

    def settings(seed: int):
        train = {"epochs": or_smoke(9, 1), "lr": 2e-3, "batch_size": 64, "ema": 0.99, "seed": seed}
        changes = {"flip": True, "zoom": 0.5}
        return recipe(data, model=WIDTH, train=train | {"channels_last": True}, augment=changes)

    return Shipped(
        name="imagenette-hybrid",
        build=lambda: HybridViT(settings(0)[0], CNN),
        config=lambda seed: settings(seed)[1],
        paper="`vitedu.models.hybrid.HybridViT`, Dosovitskiy et al. 2020, arXiv:2010.11929, section 3.1",
        pictures="Imagenette (fast.ai; ten classes of ImageNet, whose terms allow non-commercial research), "
        f"{data.source}",
        limits="It knows ten classes and answers with one of them whatever it is shown. It is meant as a start for "
        "pictures of your own: `--start-from imagenette-hybrid`.",
    )


if __name__ == "__main__":
    run, imagenette = start(__doc__, device="cpu", seeds=1, rows=True), load("imagenette", image_size=96)
    train_and_ship(run, shipped(imagenette), imagenette)
