"""The smallest ViT that ships: digits of 8 × 8 pixels from scratch on one core, three seeds; ships digits-vit (1 min).

Sixteen patches of 2 × 2 pixels and CLS, two blocks of width 48: small enough to be sent along with a page, where it
reads what a reader draws. Images are shifted by up to a pixel, because a hand does not draw in the middle. The test
images are looked at once per seed.
"""

from _record import load, or_smoke, start
from _ship import Shipped, train_and_ship

from vitedu.data import Dataset
from vitedu.train import recipe
from vitedu.vit import ViT


def shipped(data: Dataset) -> Shipped:
    """The model, its recipe and its card."""

    def settings(seed: int):
        model = {"dim": 48, "depth": 2, "num_heads": 4, "mlp_ratio": 2.0, "position_std": 0.02}
        train = {"epochs": or_smoke(60, 1), "lr": 3e-3, "seed": seed}
        return recipe(data, model=model, train=train, augment={"crop": 1})

    return Shipped(
        name="digits-vit",
        build=lambda: ViT(settings(0)[0]),
        config=lambda seed: settings(seed)[1],
        paper="`vitedu.vit.ViT`, Dosovitskiy et al. 2020, arXiv:2010.11929",
        pictures="handwritten digits of the UCI repository (Alpaydin and Kaynak 1998, CC BY 4.0), from scikit-learn",
        limits="It knows ten digits, scanned, scaled and counted into 8 × 8 pixels, and answers with one of them "
        "whatever it is shown.",
    )


if __name__ == "__main__":
    run, digits = start(__doc__, device="cpu", rows=True), load("digits")
    train_and_ship(run, shipped(digits), digits)
