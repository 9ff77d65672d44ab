"""The models that have a name: for `--model` on the command line, and for weights that ship and come back."""

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd

from torch import nn

from vitedu.models.cnn import CNNConfig, ResNet
from vitedu.models.cvt import CvT, CvTConfig
from vitedu.models.deit import DistilledViT
from vitedu.models.detr import DETR, DETRConfig
from vitedu.models.hybrid import HybridViT, small_stem
from vitedu.models.swin import Swin, SwinConfig
from vitedu.patch import pair
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


def small_cvt(vit: ViTConfig) -> CvTConfig:
    """A `CvT` for the same images and classes as a `ViT`, and about as much to compute.

    Stages of half, once and twice its width. The second has as many tokens as the ViT; a block of any stage then costs
    about what one of the ViT's does, and the third stage gets the blocks that the first two, of one each, leave.
    """
    D, h, stride = vit.dim, vit.num_heads, max(1, min(pair(vit.patch_size)) // 2)
    same = "image_size in_channels num_classes pool init norm mlp_ratio dropout attention_dropout drop_path"
    return CvTConfig(
        dims=(D // 2, D, 2 * D),
        depths=(1, 1, max(1, vit.depth - 2)),
        num_heads=(gcd(D // 2, max(1, h // 2)), h, 2 * h),
        kernels=(max(3, 2 * stride - 1), 3, 3),
        strides=(stride, 2, 2),
        **{name: getattr(vit, name) for name in same.split()},
    )


def small_swin(vit: ViTConfig) -> SwinConfig:
    """A Swin of two stages for the images, classes, last width and depth of a `ViTConfig`; windows fit small maps."""
    grid, width = vit.grid, vit.dim // 2
    heads = max(1, width // 32)  # d = 32, as in the paper
    fitting = (side for side in (7, 6, 5, 4) if all(length % side == 0 for length in grid))
    return SwinConfig(
        image_size=vit.image_size,
        patch_size=vit.patch_size,
        in_channels=vit.in_channels,
        num_classes=vit.num_classes,
        dim=width,
        depths=(max(1, vit.depth // 3), max(1, vit.depth - vit.depth // 3)),
        num_heads=(heads, 2 * heads),
        window=next(fitting, 4),
        **vit.block_options | {"norm": "pre", "eps": SwinConfig.eps},
    )


MODELS: dict[str, Entry] = {
    "vit": Entry(ViT, {"config": ViTConfig}, ViT),
    "hybrid": Entry(
        HybridViT,
        {"config": ViTConfig, "cnn": CNNConfig},
        lambda c: HybridViT(c, small_stem(c.image_size, c.in_channels, c.dim)),
    ),
    "resnet": Entry(
        ResNet,
        {"config": CNNConfig},
        lambda c: ResNet(CNNConfig(in_channels=c.in_channels, num_classes=c.num_classes)),
        transformer=False,
    ),
    "cvt": Entry(CvT, {"config": CvTConfig}, lambda c: CvT(small_cvt(c))),
    "deit": Entry(DistilledViT, {"config": ViTConfig}, DistilledViT),  # without a teacher, their mean learns
    "swin": Entry(Swin, {"config": SwinConfig}, lambda c: Swin(small_swin(c))),
    "detr": Entry(DETR, {"config": DETRConfig}),
}
CLASSIFIERS = [name for name, entry in MODELS.items() if entry.classifier]
