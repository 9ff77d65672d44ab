"""BiT: a residual network for transfer, without batch normalisation: GroupNorm, and filters that are standardised.

Kolesnikov et al., "Big Transfer (BiT): General Visual Representation Learning", 2019, section 3.1, arXiv:1912.11370.
The order of norm and convolution, "version 2": He et al., "Identity Mappings in Deep Residual Networks", 2016,
arXiv:1603.05027. GroupNorm: Wu and He 2018, arXiv:1803.08494. Weight standardisation: Qiao et al. 2019,
arXiv:1903.10520. Under the same weights equal to timm's `resnetv2_*_bit`.

The published weights expect images with mean and standard deviation 0.5 in each channel, not ImageNet's.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from vitedu.initialise import count, one_of
from vitedu.patch import check_images

GROUPS = 32  # of channels, in every GroupNorm
WIDTHS = (256, 512, 1024, 2048)  # channels that leave each stage, times the factor


@dataclass(frozen=True, kw_only=True)
class BiTConfig:
    """Everything that decides the shape of a `BiT`; `ValueError` if the numbers do not fit together."""

    in_channels: int = 3  # C
    num_classes: int = 1000  # K
    depths: tuple[int, ...] = (3, 4, 6, 3)  # blocks of each stage, of which there are four at most
    factor: int = 1  # by which all widths are multiplied
    zero_head: bool = False  # whether the classifier starts at zero, as the paper fine-tunes

    def __post_init__(self) -> None:
        one_of("number of stages", len(self.depths), range(1, len(WIDTHS) + 1))
        for name in ("in_channels", "num_classes", "factor"):
            count(name, getattr(self, name))
        for depth in self.depths:
            count("depths", depth)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels that leave each stage."""
        return tuple(width * self.factor for width in WIDTHS[: len(self.depths)])


class StandardConv2d(nn.Conv2d):
    """A convolution whose every filter is brought to mean 0 and variance 1 before it is used.

    (B, C, H, W) -> (B, C', H/s, W/s), halves rounded up. Learned is the filter before that; it has no bias.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, eps: float = 1e-8):
        super().__init__(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
        self.eps = eps
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H/s, W/s)."""
        return F.conv2d(x, self.standardised(), None, self.stride, self.padding)

    def standardised(self) -> Tensor:
        """The filters that are used, (C', C, k, k)."""
        mean = self.weight.mean(dim=(1, 2, 3), keepdim=True)  #                       (C', 1, 1, 1)
        var = self.weight.var(dim=(1, 2, 3), correction=0, keepdim=True)  #           (C', 1, 1, 1)
        return (self.weight - mean) / (var + self.eps).sqrt()


class PreActBottleneck(nn.Module):
    """x + branch(a), with a = relu(norm(x)) before the first convolution: (B, C, H, W) -> (B, C', H/s, W/s).

    Where the shape changes, a 1×1 convolution of a, not of x, is the shortcut. Nothing follows the addition.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__()
        inner, same = out_channels // 4, stride == 1 and in_channels == out_channels
        self.shortcut = None if same else StandardConv2d(in_channels, out_channels, 1, stride)
        self.norm1, self.conv1 = nn.GroupNorm(GROUPS, in_channels), StandardConv2d(in_channels, inner, 1)
        self.norm2, self.conv2 = nn.GroupNorm(GROUPS, inner), StandardConv2d(inner, inner, 3, stride)
        self.norm3, self.conv3 = nn.GroupNorm(GROUPS, inner), StandardConv2d(inner, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H/s, W/s), halves rounded up."""
        active = F.relu(self.norm1(x))  #                       (B, C, H, W)
        shortcut = x if self.shortcut is None else self.shortcut(active)
        x = self.conv1(active)  #                               (B, C'/4, H, W)
        x = self.conv2(F.relu(self.norm2(x)))  #                (B, C'/4, H/s, W/s)
        return shortcut + self.conv3(F.relu(self.norm3(x)))  #  (B, C', H/s, W/s)


class BiT(nn.Module):
    """Images (B, C, H, W) in, class scores (B, K) out.

    >>> import torch
    >>> model = BiT(BiTConfig(depths=(1, 1), num_classes=10))
    >>> model.features(torch.zeros(2, 3, 64, 48)).shape, model(torch.zeros(2, 3, 64, 48)).shape
    (torch.Size([2, 512, 8, 6]), torch.Size([2, 10]))
    """

    def __init__(self, config: BiTConfig):
        super().__init__()
        self.config, self.width, width = config, config.widths[-1], 64 * config.factor
        self.stem = StandardConv2d(config.in_channels, width, 7, 2)
        self.stages = nn.Sequential()
        for index, (out, depth) in enumerate(zip(config.widths, config.depths, strict=True)):
            first = PreActBottleneck(width, out, 2 if index else 1)
            self.stages.append(nn.Sequential(first, *(PreActBottleneck(out, out) for _ in range(depth - 1))))
            width = out
        self.norm = nn.GroupNorm(GROUPS, width)
        self.head = nn.Linear(width, config.num_classes)
        fill = nn.init.zeros_ if config.zero_head else lambda weight: nn.init.normal_(weight, std=0.01)
        fill(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> class scores before the softmax, (B, K)."""
        return self.head(self.features(images).mean(dim=(2, 3)))  # (B, K)

    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> the last feature map, after its norm and ReLU, (B, widths[-1], H/s, W/s); s = 32 usually."""
        check_images(images, self.config.in_channels, self.stem.weight)
        x = self.stem(images)  # (B, 64, H/2, W/2), times the factor
        # the border is zero, as in the authors' code, and not less than everything, as in a max pool's own padding:
        # nothing was normalised or rectified yet, and numbers below zero lose against it
        x = F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, stride=2)  # (B, 64, H/4, W/4)
        return F.relu(self.norm(self.stages(x)))


# The depths of ResNet-50, 101 and 152, and how many times as wide; with the number of parameters at K = 1000.
PRESETS: dict[str, dict[str, object]] = {
    "R50x1": {"depths": (3, 4, 6, 3), "factor": 1},  #   25,549,352
    "R50x3": {"depths": (3, 4, 6, 3), "factor": 3},  #   217,319,080
    "R101x1": {"depths": (3, 4, 23, 3), "factor": 1},  # 44,541,480
    "R152x4": {"depths": (3, 8, 36, 3), "factor": 4},  # 936,533,224
}


def preset(name: str, **changes) -> BiTConfig:
    """The configuration called `name`, with `changes` to any field of `BiTConfig`. ValueError for an unknown name."""
    one_of("preset", name, PRESETS)
    return BiTConfig(**PRESETS[name] | changes)
