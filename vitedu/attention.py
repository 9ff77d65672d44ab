"""Scaled dot-product attention and multi-head attention.

Vaswani et al., "Attention Is All You Need", 2017, section 3.2, arXiv:1706.03762.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Attention written out: softmax(q kᵀ / √d) v, and the weights it used.

    Args:
        q: queries, (..., N, d).
        k: keys, (..., S, d), S of them.
        v: values, (..., S, d_v), one for each key.
        mask: optional booleans with two axes or more that broadcast to (..., N, S); True where a query may look.

    Returns:
        The outputs (..., N, d_v) and the weights (..., N, S). Each row of weights sums to one, except that a query
        that may look nowhere gets a row of zeros, and so an output of zeros.

    Raises:
        ValueError: the widths of q and k, or the lengths of k and v, differ; or the mask has a single axis.
        TypeError: the mask is not boolean.

    >>> q, k, v = torch.zeros(2, 8), torch.zeros(3, 8), torch.eye(3)  # equal scores
    >>> scaled_dot_product_attention(q, k, v)[0][0]
    tensor([0.3333, 0.3333, 0.3333])
    """
    _check_shapes(q, k, v)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (..., N, S)   Eq. 1
    weights = masked_softmax(scores, mask)
    return weights @ v, weights  # (..., N, d_v), (..., N, S)


def masked_softmax(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scores (..., N, S) -> weights of the same shape, zero where the mask is False; each row sums to one.

    A query that may look nowhere gets a row of zeros. TypeError or ValueError if the mask is not boolean or has a
    single axis.
    """
    if mask is None:
        return scores.softmax(dim=-1)
    check_mask(mask)
    weights = scores.masked_fill(~mask, -math.inf).softmax(dim=-1)
    # a row of -inf has no softmax: 0/0 is nan. Nothing to look at means nothing returned.
    return weights.masked_fill(~mask.any(dim=-1, keepdim=True), 0.0)


def _check_shapes(q: Tensor, k: Tensor, v: Tensor) -> None:
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"queries have width {q.shape[-1]}, keys {k.shape[-1]}; project both to the same width d")
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(f"{k.shape[-2]} keys but {v.shape[-2]} values; every key needs exactly one value")


def check_mask(mask: Tensor | None) -> None:
    """TypeError if a mask is not boolean, ValueError if it has a single axis; None is a mask of True everywhere."""
    if mask is not None and mask.dtype != torch.bool:
        raise TypeError(f"mask has dtype {mask.dtype}; pass booleans, True where a query may look")
    if mask is not None and mask.ndim < 2:
        raise ValueError(f"mask has {mask.ndim} axis, expected at least 2 (N, S); add one with mask[None]")


class Attention(nn.Module):
    """A layer that tells its weights, for `vitedu.capture`: (B, h, N, S), from the arguments of `forward`."""

    def weights(self, *args: Tensor | None, **kwargs: Tensor | None) -> Tensor:
        """The weights that `forward` would use, by the explicit softmax and before dropout, (B, h, N, S)."""
        raise NotImplementedError


class MultiHeadAttention(Attention):
    """`h` attentions side by side on slices of width d = D / h, then one linear map that mixes them.

    Input (B, N, D), output (B, N, D). With `context` (B, S, D) keys and values come from there (cross-attention).

    Args:
        dim: width D.
        num_heads: heads h; must divide D.
        bias: whether the four projections have a bias (the released ViT weights do).
        dropout: probability of dropping an attention weight in training.

    Raises:
        ValueError: D is not divisible by h, or h is below 1.

    >>> attention = MultiHeadAttention(dim=8, num_heads=2)
    >>> x = torch.zeros(1, 5, 8)
    >>> attention(x).shape, attention.weights(x).shape
    (torch.Size([1, 5, 8]), torch.Size([1, 2, 5, 5]))
    """

    def __init__(self, dim: int, num_heads: int, bias: bool = True, dropout: float = 0.0):
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise ValueError(f"width {dim} is not divisible by {num_heads} heads; choose a width of h·d for whole d")
        self.num_heads = num_heads
        self.dropout = dropout
        self.q_proj = nn.Linear(dim, dim, bias=bias)
        self.k_proj = nn.Linear(dim, dim, bias=bias)
        self.v_proj = nn.Linear(dim, dim, bias=bias)
        self.out_proj = nn.Linear(dim, dim, bias=bias)

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """x (B, N, D), context (B, S, D) or None, boolean mask broadcasting to (B, h, N, S) or None -> (B, N, D).

        TypeError or ValueError if the mask is not boolean or has a single axis.
        """
        check_mask(mask)
        source = x if context is None else context
        q = self.split_heads(self.q_proj(x))  #      (B, h, N, d)
        k = self.split_heads(self.k_proj(source))  # (B, h, S, d)
        v = self.split_heads(self.v_proj(source))  # (B, h, S, d)
        dropout = self.dropout if self.training else 0.0
        # The fused kernel: the same numbers as `scaled_dot_product_attention` above, without storing (N, S) weights.
        heads = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)  # (B, h, N, d)
        return self.out_proj(heads.transpose(1, 2).flatten(2))  # (B, N, D)

    def weights(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """The same arguments -> what each query gives to each key, (B, h, N, S)."""
        q = self.split_heads(self.q_proj(x))  #                                 (B, h, N, d)
        k = self.split_heads(self.k_proj(x if context is None else context))  # (B, h, S, d)
        return scaled_dot_product_attention(q, k, k, mask)[1]  #                (B, h, N, S)

    def split_heads(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, h, N, d): head i sees the i-th slice of width d."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, h, N, d)
