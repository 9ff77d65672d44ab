"""From CIFAR-10 to Imagenette at 64 pixels, three seeds; ships imagenette-hybrid (12 min on one core).

`cifar10-small`, a hybrid that has learned CIFAR-10's ten classes at 32 pixels, is trained further on Imagenette at 64:
its positions are interpolated from 4 × 4 to 8 × 8 tokens, and its classifier starts at zero. Seven epochs of zooms and
mirror images, with averaged weights. It is there to be started from (chapter 14). The setting was not tuned, and
the test images (the set's own validation part) are looked at once for each seed. It differs from imagenette-small in
nearly everything, the pictures that it has seen among them, so the difference between the two measures nothing alone.
"""

from dataclasses import replace

import torch
from _record import load, or_smoke, start
from _ship import Shipped, train_and_ship
from torch import nn

from vitedu.data import Dataset
from vitedu.models.hybrid import HybridViT
from vitedu.pretrained import describe
from vitedu.pretrained import load as load_weights
from vitedu.train import TrainConfig
from vitedu.train.augment import Augment
from vitedu.train.run import take_weights

BEFORE = "cifar10-small"


def started(side: int, classes: int) -> nn.Module:
    """The pre-trained model for pictures of this side and for other classes."""
    parent = load_weights(BEFORE)
    model = HybridViT(replace(parent.config, image_size=side, num_classes=classes), parent.cnn.config)
    take_weights(model, parent, parent.state_dict(), same_classes=False)
    return model


def shipped(data: Dataset) -> Shipped:
    """The model, its recipe and its card."""

    def config(seed: int) -> TrainConfig:
        changes = Augment(flip=True, zoom=0.5)
        steps = {"epochs": or_smoke(7, 1), "lr": 2e-3, "batch_size": 64, "ema": 0.99, "channels_last": True}
        return TrainConfig(**steps, augment=changes, seed=seed)

    return Shipped(
        name="imagenette-hybrid",
        build=lambda: started(data.test.images.shape[-1], len(data.class_names)),
        config=config,
        paper="`vitedu.models.hybrid.HybridViT`, Dosovitskiy et al. 2020, arXiv:2010.11929, section 3.1",
        pictures="Imagenette (fast.ai; ten classes of ImageNet, whose terms allow non-commercial research), "
        f"{data.source}; before that, CIFAR-10, as the card of {BEFORE} says",
        limits="It knows ten classes and answers with one of them whatever it is shown. It is meant as a start for "
        "pictures of your own: `--start-from imagenette-hybrid`.",
        trained=f"trained further from `{BEFORE}`",
    )


if __name__ == "__main__":
    run, imagenette, card = start(__doc__, device="cpu", rows=True), load("imagenette", 64), describe(BEFORE)
    imagenette = imagenette.normalised_by(torch.tensor(card["mean"]), torch.tensor(card["std"]))
    train_and_ship(run, shipped(imagenette), imagenette)
