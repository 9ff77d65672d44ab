"""A small residual network: the book's convolutional net, wherever a chapter needs one.

He et al., "Deep Residual Learning for Image Recognition", 2015, arXiv:1512.03385. Batch normalisation after each
convolution, as there: Ioffe and Szegedy 2015, arXiv:1502.03167.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from vitedu.initialise import count, one_of
from vitedu.patch import Size, check_images, pair

STEM_STRIDES = (1, 2, 4)
EXPANSION = {"basic": 1, "bottleneck": 4}  # output channels of a block over those of its 3×3 convolutions

Attention = Callable[[int], nn.Module]  # channels C -> a module (B, C, H, W) -> (B, C, H, W)


@dataclass(frozen=True, kw_only=True)
class CNNConfig:
    """Everything that decides the shape of a `ResNet`; `ValueError` if the numbers do not fit together.

    A block is "basic", two 3×3 convolutions, or a "bottleneck", a 3×3 one between two of 1×1 at a quarter of the width.
    With `stem_stride` 4 and widths (256, 512, 1024, 2048), depths (3, 4, 6, 3), bottlenecks: ResNet-50.
    """

    in_channels: int = 3  # C
    num_classes: int = 10  # K
    widths: tuple[int, ...] = (32, 64, 128)  # channels that leave each stage
    depths: tuple[int, ...] = (1, 1, 1)  # blocks of each stage
    block: str = "basic"
    stem_stride: int = 1  # 1 or 2: one 3×3 convolution; 4: 7×7 of stride 2, then a max pool of stride 2 (for ImageNet)

    def __post_init__(self) -> None:
        one_of("block", self.block, EXPANSION)
        one_of("stem_stride", self.stem_stride, STEM_STRIDES)
        if len(self.widths) != len(self.depths) or not self.widths:
            raise ValueError(f"{len(self.widths)} widths but {len(self.depths)} depths; each stage needs one of both")
        numbers = {"in_channels": [self.in_channels], "num_classes": [self.num_classes]}
        for name, values in (numbers | {"widths": self.widths, "depths": self.depths}).items():
            for value in values:
                count(name, value)
        for width in self.widths:
            if width % EXPANSION[self.block]:
                raise ValueError(
                    f"width {width} is not divisible by 4; the inside of a bottleneck is a quarter as wide"
                )

    @property
    def stride(self) -> int:
        """Pixels of the image from one position of the last feature map to the next; each later stage doubles it."""
        return self.stem_stride * 2 ** (len(self.widths) - 1)

    def feature_size(self, image_size: Size, stage: int = -1) -> tuple[int, int]:
        """Height and width of the feature map that leaves a stage, for images of a side or (height, width) in pixels.

        Stages count from 0, or from -1 backwards as in a list. Halves round up.
        """
        stride = self.stem_stride * 2 ** range(len(self.widths))[stage]
        height, width = pair(image_size)
        return -(-height // stride), -(-width // stride)


def conv_norm(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """A convolution that keeps the size but for its stride, and its batch norm, whose shift makes a bias needless."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return [conv, nn.BatchNorm2d(out_channels)]


class ResidualBlock(nn.Module):
    """relu(shortcut(x) + attention(branch(x))): what both kinds of block share. (B, C, H, W) -> (B, C', H/s, W/s).

    The shortcut is the identity where the shape stays, else a 1×1 convolution of the same stride.

    Args:
        in_channels, out_channels: C and C'.
        stride: s, 1 or 2.
        attention: builds a module for C' channels that is applied to the branch before the addition; None for none.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, attention: Attention | None = None):
        super().__init__()
        same = stride == 1 and in_channels == out_channels
        self.shortcut = nn.Sequential() if same else nn.Sequential(*conv_norm(in_channels, out_channels, 1, stride))
        self.attention = attention(out_channels) if attention else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H/s, W/s), halves rounded up."""
        return F.relu(self.shortcut(x) + self.attention(self.branch(x)))

    def branch(self, x: Tensor) -> Tensor:
        """The convolutions beside the shortcut, up to the last batch norm."""
        raise NotImplementedError


class BasicBlock(ResidualBlock):
    """Two 3×3 convolutions (He et al., figure 5, left). Arguments and shapes are those of `ResidualBlock`."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, attention: Attention | None = None):
        super().__init__(in_channels, out_channels, stride, attention)
        self.conv1, self.bn1 = conv_norm(in_channels, out_channels, 3, stride)
        self.conv2, self.bn2 = conv_norm(out_channels, out_channels, 3)

    def branch(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H/s, W/s)."""
        x = F.relu(self.bn1(self.conv1(x)))  # (B, C', H/s, W/s)
        return self.bn2(self.conv2(x))


class Bottleneck(ResidualBlock):
    """1×1, 3×3 and 1×1 convolutions, the first two with C'/4 channels (He et al., figure 5, right).

    Arguments and shapes are those of `ResidualBlock`.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, attention: Attention | None = None):
        super().__init__(in_channels, out_channels, stride, attention)
        inner = out_channels // EXPANSION["bottleneck"]
        self.conv1, self.bn1 = conv_norm(in_channels, inner, 1)
        self.conv2, self.bn2 = conv_norm(inner, inner, 3, stride)  # differs from the authors, whose first 1×1 strides
        self.conv3, self.bn3 = conv_norm(inner, out_channels, 1)

    def branch(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H/s, W/s)."""
        x = F.relu(self.bn1(self.conv1(x)))  # (B, C'/4, H, W)
        x = F.relu(self.bn2(self.conv2(x)))  # (B, C'/4, H/s, W/s)
        return self.bn3(self.conv3(x))  #      (B, C', H/s, W/s)


class ResNet(nn.Module):
    """A stem, stages of residual blocks, the mean over all positions, and a linear classifier.

    `attention` puts a module into every block, just before the residual addition; see `ResidualBlock`.

    >>> import torch
    >>> model = ResNet(CNNConfig(num_classes=6))
    >>> model.features(torch.zeros(2, 3, 32, 48)).shape, model(torch.zeros(2, 3, 32, 48)).shape
    (torch.Size([2, 128, 8, 12]), torch.Size([2, 6]))
    """

    def __init__(self, config: CNNConfig, attention: Attention | None = None):
        super().__init__()
        self.config = config
        width = config.widths[0] // EXPANSION[config.block]
        self.stem = build_stem(config.in_channels, width, config.stem_stride)
        self.stages = nn.Sequential()
        for index, (out, depth) in enumerate(zip(config.widths, config.depths, strict=True)):
            self.stages.append(build_stage(config.block, width, out, depth, 2 if index else 1, attention))
            width = out
        self.head = nn.Linear(width, config.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> class scores before the softmax, (B, K)."""
        return self.head(self.features(images).mean(dim=(2, 3)))  # (B, K)

    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> the last feature map, (B, widths[-1], H/s, W/s) for s = config.stride, rounded up."""
        check_images(images, self.config.in_channels, self.stem[0].weight)
        return self.stages(self.stem(images))


def build_stem(in_channels: int, width: int, stride: int) -> nn.Sequential:
    """The first convolution, (B, C, H, W) -> (B, width, H/s, W/s), with a max pool behind it at stride 4."""
    if stride == 4:
        return nn.Sequential(*conv_norm(in_channels, width, 7, 2), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1))
    return nn.Sequential(*conv_norm(in_channels, width, 3, stride), nn.ReLU())


def build_stage(
    block: str, in_channels: int, out_channels: int, depth: int, stride: int, attention: Attention | None = None
) -> nn.Sequential:
    """`depth` blocks of a kind; the first changes the channels and strides."""
    kind = {"basic": BasicBlock, "bottleneck": Bottleneck}[block]
    first = kind(in_channels, out_channels, stride, attention)
    return nn.Sequential(first, *(kind(out_channels, out_channels, 1, attention) for _ in range(depth - 1)))
