"""BoTNet: self-attention in place of the 3×3 convolutions in the last stage of a residual network.

Srinivas et al., "Bottleneck Transformers for Visual Recognition", 2021, section 3 and figure 4, arXiv:2101.11605.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitedu.attention import Attention
from vitedu.models.cnn import EXPANSION, Bottleneck, CNNConfig, ResNet
from vitedu.patch import Size, pair


class RelativePositions2d(nn.Module):
    """What a query makes of how far away a position is: q · (R_h[rows between] + R_w[columns between]).

    One learned vector for each difference of rows and one for each difference of columns, shared by all heads.

    Args:
        size: side, or (height, width), of the feature map, in positions.
        dim: width d of a head.
    """

    def __init__(self, size: Size, dim: int):
        super().__init__()
        self.size = pair(size)
        height, width = self.size
        self.rel_h = nn.Parameter(torch.randn(2 * height - 1, dim) * dim**-0.5)  # from height - 1 rows above to below
        self.rel_w = nn.Parameter(torch.randn(2 * width - 1, dim) * dim**-0.5)
        self.register_buffer("rows", differences(height), persistent=False)  #    (H, H)
        self.register_buffer("columns", differences(width), persistent=False)  #  (W, W)

    def forward(self, q: Tensor) -> Tensor:
        """Queries (B, h, N, d), N = H·W in raster order -> logits (B, h, N, N)."""
        q = q.unflatten(2, self.size)  #                                         (B, h, H, W, d)
        by_row = torch.einsum("bhrcd,rRd->bhrcR", q, self.rel_h[self.rows])  #       (B, h, H, W, H)
        by_column = torch.einsum("bhrcd,cCd->bhrcC", q, self.rel_w[self.columns])  # (B, h, H, W, W)
        logits = by_row[..., :, None] + by_column[..., None, :]  #               (B, h, H, W, H, W)
        return logits.flatten(4).flatten(2, 3)  #                                (B, h, N, N)


def differences(side: int) -> Tensor:
    """Where the vector for key j lies, seen from query i: j - i, counted from 0. Shape (side, side)."""
    place = torch.arange(side)
    return place[None, :] - place[:, None] + side - 1


class SelfAttention2d(Attention):
    """All-to-all attention between the positions of a feature map: (B, C, H, W) -> (B, C, H, W).

    The logits are q·k + q·r, with r from `RelativePositions2d`. There is no projection of the output: the 1×1
    convolution that follows in the block is one.

    Args:
        channels: C.
        size: side, or (height, width), of the feature map; the learned positions fix it.
        num_heads: heads h; must divide C. The paper has 4.

    Raises:
        ValueError: C is not divisible by h; or, in `forward`, the feature map has another size.
    """

    def __init__(self, channels: int, size: Size, num_heads: int = 4):
        super().__init__()
        if num_heads < 1 or channels % num_heads:
            raise ValueError(f"{channels} channels are not divisible by {num_heads} heads; choose channels of h·d")
        self.num_heads = num_heads
        self.q_proj = nn.Conv2d(channels, channels, 1, bias=False)
        self.k_proj = nn.Conv2d(channels, channels, 1, bias=False)
        self.v_proj = nn.Conv2d(channels, channels, 1, bias=False)
        self.positions = RelativePositions2d(size, channels // num_heads)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        self.check_size(x)
        q, k, v = (self.split_heads(project(x)) for project in (self.q_proj, self.k_proj, self.v_proj))  # (B, h, N, d)
        bias = self.positions(q * q.shape[-1] ** -0.5)  # (B, h, N, N), scaled as q·k is
        # One call for softmax(q·k / √d + bias) v: a float mask is added to the logits. It depends on the queries and so
        # has to be stored, N² numbers a head: the linear memory of fused attention is lost here.
        heads = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)  # (B, h, N, d)
        return heads.transpose(2, 3).flatten(1, 2).unflatten(2, self.positions.size)  # (B, C, H, W)

    def weights(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> what each position gives to each, (B, h, N, N)."""
        self.check_size(x)
        q, k = (self.split_heads(project(x)) for project in (self.q_proj, self.k_proj))  # (B, h, N, d)
        q = q * q.shape[-1] ** -0.5
        return (q @ k.mT + self.positions(q)).softmax(dim=-1)  # (B, h, N, N)

    def split_heads(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, h, N, d): head i gets the i-th slice of the channels."""
        return x.flatten(2).unflatten(1, (self.num_heads, -1)).transpose(2, 3)  # (B, h, N, d)

    def check_size(self, x: Tensor) -> None:
        """ValueError for a feature map of another size than the layer was built for."""
        if tuple(x.shape[-2:]) != self.positions.size:
            raise ValueError(
                f"feature map is {tuple(x.shape[-2:])}, built for {self.positions.size}; rebuild, or resize"
            )


class BoTBlock(Bottleneck):
    """The bottleneck with attention for its 3×3 convolution; for stride 2 a 2×2 average pool follows the attention.

    (B, C, H, W) -> (B, C', H/s, W/s), halves rounded up. `size` is that of the map that comes in, (H, W).
    The other arguments are those of `Bottleneck` and `SelfAttention2d`; C' must be divisible by 4·h.
    """

    def __init__(self, in_channels: int, out_channels: int, size: Size, stride: int = 1, num_heads: int = 4):
        super().__init__(in_channels, out_channels, stride)
        attention = SelfAttention2d(out_channels // EXPANSION["bottleneck"], size, num_heads)
        pool = nn.AvgPool2d(2, stride=2, ceil_mode=True)  # an odd side rounds up, as it does on the shortcut
        self.conv2 = attention if stride == 1 else nn.Sequential(attention, pool)


def botnet(config: CNNConfig, image_size: Size, num_heads: int = 4) -> ResNet:
    """The residual network of `config`, the blocks of its last stage (three in the paper) being `BoTBlock`s.

    `image_size` is the side, or (height, width), of the images in pixels: attention with positions has a fixed size.
    ValueError if the network has no bottlenecks, or its last width is not divisible by 4·h.
    """
    if config.block != "bottleneck":
        raise ValueError(f"block is {config.block!r}; attention replaces the 3×3 convolution of a 'bottleneck'")
    model = ResNet(config)
    last = model.stages[-1]
    for index, block in enumerate(last):
        out_channels, in_channels = block.conv3.out_channels, block.conv1.in_channels
        stride = block.conv2.stride[0]
        size = config.feature_size(image_size, stage=-1 if stride == 1 else -2)
        last[index] = BoTBlock(in_channels, out_channels, size, stride, num_heads)
    return model


def convolution_macs(channels: int, size: Size, kernel: int = 3) -> int:
    """Multiply-adds of a k×k convolution from C to C channels on an (H, W) map: k² C² HW. Linear in the positions."""
    height, width = pair(size)
    return kernel**2 * channels**2 * height * width


def attention_macs(channels: int, size: Size) -> int:
    """Multiply-adds of `SelfAttention2d` on an (H, W) map of N = HW positions: 3 C² N + C N (H + W) + 2 C N².

    The projections to q, k and v; q·r; then q·k and the weighted sum of v, quadratic in the positions. The number of
    heads does not matter; the softmax is not counted.
    """
    height, width = pair(size)
    N = height * width
    return 3 * channels**2 * N + channels * N * (height + width) + 2 * channels * N**2
