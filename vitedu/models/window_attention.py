"""Attention inside windows of a map: cutting, the bias for distance, and the mask of a shifted map.

Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", 2021, section 3.2,
arXiv:2103.14030. Maps are (B, H, W, C); M is the side of a window, in positions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitedu.attention import Attention

MASKED = -100.0  # added to the logit of a key from another piece: e^-100 is nothing beside 1, and no row is left empty


def partition(x: Tensor, window: int) -> Tensor:
    """Cut a map (B, H, W, C) into windows of M×M, in raster order: (B, windows, M·M, C). M must divide H and W."""
    x = x.unflatten(2, (-1, window)).unflatten(1, (-1, window))  # (B, H/M, M, W/M, M, C)
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)  #         (B, windows, M·M, C)


def reverse(windows: Tensor, window: int, width: int) -> Tensor:
    """The inverse of `partition`, for a map that is `width` positions wide: (B, windows, M·M, C) -> (B, H, W, C)."""
    x = windows.unflatten(2, (window, window)).unflatten(1, (-1, width // window))  # (B, H/M, W/M, M, M, C)
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)  #                           (B, H, W, C)


def relative_index(window: int) -> Tensor:
    """Which row of the bias table stands for each pair of positions in a window, (M·M, M·M): queries down, keys across.

    A table has (2M - 1)² rows, one for each difference of rows and columns, from -(M - 1) to M - 1.
    """
    place = torch.arange(window)
    rows, columns = place.repeat_interleave(window), place.repeat(window)  # (M·M,) each, in raster order
    down = rows[:, None] - rows[None] + window - 1  #          (M·M, M·M), query minus key, from 0 to 2M - 2
    across = columns[:, None] - columns[None] + window - 1  #  (M·M, M·M)
    return down * (2 * window - 1) + across


def shift_mask(size: tuple[int, int], window: int, shift: tuple[int, int]) -> Tensor:
    """0 where a query may look in a rolled map, `MASKED` where the key came from the other edge: (windows, M·M, M·M).

    Rolling brings the first rows and columns to the end, so the last windows hold up to four pieces of the picture that
    are not neighbours. Positions get a number for their piece, and look at those of the same number.
    """
    height, width = (
        torch.arange(side).ge(side - window).long() + torch.arange(side).ge(side - moved).long()
        for side, moved in zip(size, shift, strict=True)
    )
    pieces = partition((3 * height[:, None] + width[None])[None, :, :, None], window)[0, :, :, 0]  # (windows, M·M)
    return torch.where(pieces[:, :, None] == pieces[:, None], 0.0, MASKED)  #                       (windows, M·M, M·M)


class WindowAttention(Attention):
    """Multi-head attention inside each window: softmax(q kᵀ / √d + bias) v (Eq. 4). (B, windows, M·M, C) -> the same.

    Args:
        dim: C.
        num_heads: heads h; must divide C.
        window: M.
        relative_bias: whether each head has a learned bias for each distance between query and key.
        dropout: probability of dropping an attention weight in training.
    """

    def __init__(self, dim: int, num_heads: int, window: int, relative_bias: bool = True, dropout: float = 0.0):
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(dim, dim) for _ in range(4))
        self.bias_table = None
        if relative_bias:
            table = torch.empty((2 * window - 1) ** 2, num_heads)
            self.bias_table = nn.Parameter(nn.init.trunc_normal_(table, std=0.02))
            self.register_buffer("index", relative_index(window), persistent=False)  # (M·M, M·M)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, windows, M·M, C), mask (windows, M·M, M·M) added to the logits, or None -> (B, windows, M·M, C)."""
        q, k, v = (self.split_heads(project(x)) for project in (self.q_proj, self.k_proj, self.v_proj))
        dropout = self.dropout if self.training else 0.0
        # Windows stand beside the heads, so that one call of the fused kernel does them all: (B, windows·h, M·M, d).
        heads = F.scaled_dot_product_attention(q, k, v, self.offsets(x.shape[1], mask), dropout_p=dropout)
        heads = heads.unflatten(1, (-1, self.num_heads)).transpose(2, 3).flatten(3)  # (B, windows, M·M, C)
        return self.out_proj(heads)

    def weights(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The same arguments -> what each position gives to each of its window, (B·windows, h, M·M, M·M)."""
        q, k = (self.split_heads(project(x)) for project in (self.q_proj, self.k_proj))
        logits, offsets = q @ k.mT * q.shape[-1] ** -0.5, self.offsets(x.shape[1], mask)
        weights = (logits if offsets is None else logits + offsets).softmax(dim=-1)  # (B, windows·h, M·M, M·M)
        return weights.unflatten(1, (-1, self.num_heads)).flatten(0, 1)

    def split_heads(self, x: Tensor) -> Tensor:
        """(B, windows, M·M, C) -> (B, windows·h, M·M, d): the heads of the first window, of the second, …"""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(2, 3).flatten(1, 2)

    def offsets(self, windows: int, mask: Tensor | None) -> Tensor | None:
        """What is added to the logits, (1, windows·h, M·M, M·M): the bias of each head and the mask of each window."""
        if self.bias_table is None:
            return None if mask is None else mask.repeat_interleave(self.num_heads, dim=0)[None]
        bias = self.bias_table[self.index].permute(2, 0, 1)  # (h, M·M, M·M)
        if mask is None:
            return bias.repeat(windows, 1, 1)[None]
        return (bias + mask.to(bias.dtype)[:, None]).flatten(0, 1)[None]
