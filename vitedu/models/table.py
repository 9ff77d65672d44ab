"""The models that have a name: for `--model` on the command line, and for weights that ship and come back."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from vitedu.models.cnn import CNNConfig, ResNet
from vitedu.models.detr import DETR, DETRConfig
from vitedu.models.hybrid import HybridViT, small_stem
from vitedu.vit import ViT, ViTConfig


@dataclass(frozen=True)
class Entry:
    """A model's class and how it is built.

    Args:
        model: the class.
        configs: the classes of the configs it is built from, by the names of its arguments.
        classifier: the untrained model for the images and classes of a `ViTConfig`; None if it does not classify.
        transformer: whether the other fields of that config, such as the depth, mean something to it.
    """

    model: type[nn.Module]
    configs: dict[str, type]
    classifier: Callable[[ViTConfig], nn.Module] | None = None
    transformer: bool = True


MODELS: dict[str, Entry] = {
    "vit": Entry(ViT, {"config": ViTConfig}, ViT),
    "hybrid": Entry(
        HybridViT,
        {"config": ViTConfig, "cnn": CNNConfig},
        lambda c: HybridViT(c, small_stem(c.image_size, c.in_channels)),
    ),
    "resnet": Entry(
        ResNet,
        {"config": CNNConfig},
        lambda c: ResNet(CNNConfig(in_channels=c.in_channels, num_classes=c.num_classes)),
        transformer=False,
    ),
    "detr": Entry(DETR, {"config": DETRConfig}),
}
CLASSIFIERS = [name for name, entry in MODELS.items() if entry.classifier]
