"""Imagenette at 96 pixels from scratch on one core, three seeds; ships imagenette-small (40 min on one core).

A plain ViT, the `tiny` preset on patches of 8 pixels: 12 × 12 tokens. Sixteen epochs of zooms and mirror images over
fewer than 9,000 pictures: far too few for a plain ViT, which is what makes it a yardstick. The setting was not tuned;
the test images (the set's own validation part) are looked at once per seed.
"""

from _record import load, or_smoke, start
from _ship import Shipped, train_and_ship

from vitedu.data import Dataset
from vitedu.train import recipe
from vitedu.vit import ViT


def shipped(data: Dataset) -> Shipped:
    """The model, its recipe and its card."""

    def settings(seed: int):
        model = {"patch_size": 8, "pool": "mean"}
        train = {"epochs": or_smoke(16, 1), "lr": 2e-3, "batch_size": 64, "seed": seed}
        return recipe(data, model=model, train=train, augment={"flip": True, "zoom": 0.6})

    return Shipped(
        name="imagenette-small",
        build=lambda: ViT(settings(0)[0]),
        config=lambda seed: settings(seed)[1],
        paper="`vitedu.vit.ViT`, Dosovitskiy et al. 2020, arXiv:2010.11929",
        pictures="Imagenette (fast.ai; ten classes of ImageNet, whose terms allow non-commercial research), "
        f"{data.source}",
        limits="It knows ten classes and answers with one of them whatever it is shown.",
    )


if __name__ == "__main__":
    run, imagenette = start(__doc__, device="cpu", rows=True), load("imagenette", image_size=96)
    train_and_ship(run, shipped(imagenette), imagenette)
