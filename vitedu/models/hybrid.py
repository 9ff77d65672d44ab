"""The hybrid: a Vision Transformer that reads the feature map of a small residual network instead of raw patches.

Dosovitskiy et al., "An Image Is Worth 16x16 Words", 2020, section 3.1, "Hybrid Architecture", arXiv:2010.11929.
"""

from dataclasses import replace

from torch import Tensor, nn

from vitedu.block import Stack
from vitedu.models.cnn import CNNConfig, ResNet
from vitedu.patch import Size, pair
from vitedu.vit import ViT, ViTConfig

# Three stages of one block each and a stride of 8: about as much to compute as two blocks of the `tiny` Transformer.
SMALL_STEM = CNNConfig(widths=(16, 32, 64), stem_stride=2)
DIGIT_STEM = CNNConfig(widths=(32, 64), depths=(1, 1))  # a stride of 2, for images too small for the other one


def small_stem(image_size: Size, in_channels: int, dim: int = 64) -> CNNConfig:
    """A CNN for C channels that leaves 4×4 positions or more of images with this size, at least 8 pixels a side.

    In front of a Transformer wider than D = 64 each of its stages is wider in proportion, so that the last has D.

    >>> small_stem(32, 3, dim=128).widths
    (32, 64, 128)
    """
    stem, times = SMALL_STEM if min(pair(image_size)) > 24 else DIGIT_STEM, max(dim, 64) / 64
    return replace(stem, in_channels=in_channels, widths=tuple(round(times * width) for width in stem.widths))


class HybridViT(nn.Module):
    """Images (B, C, H, W) in, class scores (B, K) out; each position of the CNN's last feature map is a token.

    The Transformer is the plain `ViT`, with patches of 1×1 cut from that map: flatten and multiply by E, as before.

    Args:
        config: of the Transformer. Its image size is that of the images, in pixels; its patch side is not used, since
            the stride of the CNN decides how many pixels a token stands for.
        cnn: of the CNN in front; `SMALL_STEM` for images of about 28 to 64 pixels a side.

    Raises:
        ValueError: the two were built for different numbers of channels C.

    >>> import torch
    >>> config = ViTConfig(image_size=28, patch_size=7, dim=64, depth=2, num_heads=2, num_classes=10)
    >>> model = HybridViT(config, SMALL_STEM)
    >>> model.grid, model(torch.zeros(2, 3, 28, 28)).shape
    ((4, 4), torch.Size([2, 10]))
    """

    def __init__(self, config: ViTConfig, cnn: CNNConfig):
        super().__init__()
        if config.in_channels != cnn.in_channels:
            raise ValueError(
                f"the Transformer is for {config.in_channels} channels, the CNN for {cnn.in_channels}; "
                "give both the number that the images have"
            )
        self.config, self.width, self.grid = config, config.dim, cnn.feature_size(config.image_size)
        self.cnn = ResNet(cnn)
        self.cnn.head = nn.Identity()  # the Transformer's head does the classifying
        self.vit = ViT(replace(config, image_size=self.grid, patch_size=1, in_channels=cnn.widths[-1]))

    @property
    def stages(self) -> list[Stack]:
        """The Transformer's one stack of blocks."""
        return self.vit.stages

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> class scores before the softmax, (B, K)."""
        return self.vit(self.cnn.features(images))  # (B, C', gh, gw) -> (B, K)
