"""Fashion-MNIST from scratch on one core, three seeds; ships fashion-mnist-small (20 min on one core).

A hybrid: a small residual CNN makes 4 × 4 tokens of an image, which two blocks of the `tiny` Transformer read. Twelve
epochs with mirror images. The test images are looked at once per seed.
"""

from _record import load, or_smoke, start
from _ship import Shipped, train_and_ship

from vitedu.data import Dataset
from vitedu.models.hybrid import HybridViT, small_stem
from vitedu.train import recipe


def shipped(data: Dataset) -> Shipped:
    """The model, its recipe and its card."""

    def settings(seed: int):
        return recipe(data, model={"depth": 2}, train={"epochs": or_smoke(12, 1), "seed": seed}, augment={"flip": True})

    return Shipped(
        name="fashion-mnist-small",
        build=lambda: HybridViT(settings(0)[0], small_stem(28, 1)),
        config=lambda seed: settings(seed)[1],
        paper="`vitedu.models.hybrid.HybridViT`, Dosovitskiy et al. 2020, arXiv:2010.11929, section 3.1",
        pictures=f"Fashion-MNIST (Xiao et al. 2017, arXiv:1708.07747, MIT licence), {data.source}",
        limits="It knows ten classes of grey pictures of clothes and answers with one of them whatever it is shown.",
    )


if __name__ == "__main__":
    run, fashion = start(__doc__, device="cpu", rows=True), load("fashion-mnist")
    train_and_ship(run, shipped(fashion), fashion)
