"""CIFAR-10 from scratch on one core, three seeds; ships cifar10-small (40 min on one core).

A hybrid: a small residual CNN with channels 32, 64 and 128 makes 4 × 4 tokens of an image, which the `tiny` Transformer
reads. Ten epochs of crops and mirror images. The setting was not tuned; the test images are looked at once per seed.
"""

from _record import load, or_smoke, start
from _ship import Shipped, train_and_ship

from vitedu.data import Dataset
from vitedu.models.cnn import CNNConfig
from vitedu.models.hybrid import HybridViT
from vitedu.train import recipe

CNN = CNNConfig(widths=(32, 64, 128), stem_stride=2)


def shipped(data: Dataset) -> Shipped:
    """The model, its recipe and its card."""

    def settings(seed: int):
        train = {"epochs": or_smoke(10, 1), "lr": 2e-3, "seed": seed}
        return recipe(data, model={"pool": "mean"}, train=train, augment={"flip": True, "crop": 4})

    return Shipped(
        name="cifar10-small",
        build=lambda: HybridViT(settings(0)[0], CNN),
        config=lambda seed: settings(seed)[1],
        paper="`vitedu.models.hybrid.HybridViT`, Dosovitskiy et al. 2020, arXiv:2010.11929, section 3.1",
        pictures=f"CIFAR-10 (Krizhevsky 2009; published without a licence, free for research), here {data.source}",
        limits="It knows ten classes and answers with one of them whatever it is shown.",
    )


if __name__ == "__main__":
    run, cifar10 = start(__doc__, device="cpu", rows=True), load("cifar10")
    train_and_ship(run, shipped(cifar10), cifar10)
