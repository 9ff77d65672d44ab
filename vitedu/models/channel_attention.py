"""Gates on a feature map: which channels matter (squeeze-and-excitation), and which places (CBAM).

Hu et al., "Squeeze-and-Excitation Networks", 2017, section 3, arXiv:1709.01507.
Woo et al., "CBAM: Convolutional Block Attention Module", 2018, section 3, arXiv:1807.06521.

Both multiply a feature map by numbers between 0 and 1 computed from it; no position looks up another one, as queries
and keys do. In a `vitedu.models.cnn.ResNet` they sit at the end of each residual branch, as in both papers:
`ResNet(config, attention=lambda channels: SqueezeExcite(channels, 8))`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SqueezeExcite(nn.Module):
    """One gate per channel, from the means of all channels: (B, C, H, W) -> the same shape.

    Args:
        channels: C.
        reduction: the hidden layer has C // reduction units; 16 in the paper.

    Raises:
        ValueError: the reduction leaves no hidden unit.
    """

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        if not 1 <= reduction <= channels:
            raise ValueError(
                f"{channels} channels reduced by {reduction} leave none; use a reduction of 1 to {channels}"
            )
        self.fc1 = nn.Linear(channels, channels // reduction)
        self.fc2 = nn.Linear(channels // reduction, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), each channel times its gate."""
        return x * self.gate(x)[:, :, None, None]  # (B, C, H, W)   Hu et al. Eq. 4

    def gate(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> a number between 0 and 1 for each channel, (B, C)."""
        squeezed = x.mean(dim=(2, 3))  # (B, C)   Hu et al. Eq. 2
        return self.excite(squeezed).sigmoid()  # Eq. 3

    def excite(self, squeezed: Tensor) -> Tensor:
        """(B, C) -> (B, C): the two layers in which the channels meet."""
        return self.fc2(F.relu(self.fc1(squeezed)))


class ChannelGate(SqueezeExcite):
    """CBAM's first half: squeeze-and-excitation that sees the maximum of each channel beside its mean."""

    def gate(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> a number between 0 and 1 for each channel, (B, C)."""
        mean, largest = x.mean(dim=(2, 3)), x.amax(dim=(2, 3))  #        (B, C) each
        return (self.excite(mean) + self.excite(largest)).sigmoid()  # (B, C)   Woo et al. Eq. 2


class SpatialGate(nn.Module):
    """CBAM's second half: one gate per position, from the mean and the maximum over channels around it.

    (B, C, H, W) -> the same shape, for any C. ValueError if `kernel_size` is not odd.
    """

    def __init__(self, kernel_size: int = 7):
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size {kernel_size} is not odd, so it has no middle; use {abs(kernel_size) + 1}")
        # differs from the released code, which has batch norm instead of the bias
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), each position times its gate."""
        return x * self.gate(x)

    def gate(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> a number between 0 and 1 for each position, (B, 1, H, W)."""
        mean, largest = x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)  # (B, 1, H, W) each
        return self.conv(torch.cat([mean, largest], dim=1)).sigmoid()  #            (B, 1, H, W)   Woo et al. Eq. 3


class CBAM(nn.Module):
    """First which channels, then where (Woo et al. Eq. 1): (B, C, H, W) -> the same shape.

    Args:
        channels: C.
        reduction: of the channel gate's hidden layer.
        kernel_size: of the spatial gate's convolution, odd; 7 in the paper.

    Raises:
        ValueError: the reduction leaves no hidden unit, or the kernel size is even.
    """

    def __init__(self, channels: int, reduction: int = 16, kernel_size: int = 7):
        super().__init__()
        self.channel = ChannelGate(channels, reduction)
        self.spatial = SpatialGate(kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return self.spatial(self.channel(x))
