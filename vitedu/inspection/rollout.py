"""Attention rollout: how much of every patch has reached the output, if attention and residuals were all there is.

Abnar and Zuidema, "Quantifying Attention Flow in Transformers", 2020, section 3, arXiv:2005.00928.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from vitedu.initialise import one_of, probability
from vitedu.vit import POOLS

FUSIONS = ("mean", "max", "min")


def fuse_heads(attention: Tensor, fusion: str = "mean") -> Tensor:
    """One map of h: (B, h, N, N) -> (B, N, N), by mean, largest or smallest weight. ValueError for another fusion.

    Only the mean keeps rows that sum to one.
    """
    one_of("fusion", fusion, FUSIONS)
    return attention.mean(dim=1) if fusion == "mean" else getattr(attention, f"a{fusion}")(dim=1)


def discard_lowest(weights: Tensor, share: float) -> Tensor:
    """Set the lowest weights of every row to zero: that share of the N, rounded down. (B, N, N) -> (B, N, N).

    ValueError if the share is not in [0, 1): at 1 nothing would be left.
    """
    probability("discard", share)
    count = int(share * weights.shape[-1])
    lowest = weights.topk(count, dim=-1, largest=False).indices  # (B, N, count)
    return weights.scatter(-1, lowest, 0.0)


def rollout(maps: Sequence[Tensor], fusion: str = "mean", discard: float = 0.0) -> Tensor:
    """Multiply the layers' maps, each mixed half and half with the residual: L maps (B, h, N, N) -> (B, N, N).

    Entry (i, j) says how much of input token j is in output token i; each row sums to one. Row 0 is that of CLS.

    Args:
        maps: from `capture_attention`, first layer first; also stacked, (L, B, h, N, N).
        fusion: how h heads become one, "mean", "max" or "min".
        discard: share of the lowest weights of each row that are set to zero before.

    Raises:
        ValueError: there are no maps, they are not of the same tokens, an unknown fusion, or a share outside [0, 1).

    >>> uniform = torch.full((1, 2, 4, 4), 1 / 4)  # one image, two heads, four tokens
    >>> rollout([uniform])[0, 0]  # half of a token is its own residual, the other half comes from all four
    tensor([0.6250, 0.1250, 0.1250, 0.1250])
    """
    maps = [torch.as_tensor(attention) for attention in maps]
    _check_maps(maps)
    identity = torch.eye(maps[0].shape[-1], device=maps[0].device)
    result = identity.expand(len(maps[0]), -1, -1)  # (B, N, N)
    for attention in maps:
        fused = discard_lowest(fuse_heads(attention.float(), fusion), discard)
        mixed = (fused + identity) / 2  # A = 0.5 W + 0.5 I, section 3
        # rows sum to one already with the mean of the heads; other fusions and discarding break that
        result = mixed / mixed.sum(dim=-1, keepdim=True) @ result
    return result


def _check_maps(maps: list[Tensor]) -> None:
    """ValueError, with what is wanted, if the maps cannot be multiplied."""
    if not maps:
        raise ValueError("0 maps; run the model inside `with capture_attention(model) as maps`, then pass them")
    B, N = len(maps[0]), maps[0].shape[-1]
    for number, attention in enumerate(maps):
        wrong = f"map {number} has shape {tuple(attention.shape)}, expected (B, h, N, N)"
        if attention.ndim != 4:
            raise ValueError(f"{wrong} of each layer; pass [maps] for one layer, or map[:, None] for one head")
        if (len(attention), *attention.shape[2:]) != (B, N, N):
            reason = "rollout follows the same tokens through all layers, without windows, stages or cross-attention"
            raise ValueError(f"{wrong} with B = {B} and N = {N} as in map 0; {reason}")


def relevance(weights: Tensor, grid: tuple[int, int], pool: str, num_prefix: int | None = None) -> Tensor:
    """What the classifier's vector draws from each patch: (B, N, N), a rollout or one map -> pictures (B, gh, gw).

    With `pool` "cls" that is the row of CLS without its own column; with "mean" the mean of the patches' rows, because
    the classifier then reads the mean of all patches. The columns of other tokens before the patches are left out too;
    `num_prefix` counts them all, None for CLS alone with "cls" and none with "mean".

    ValueError if the pool is another one, or the number of tokens does not fit.
    """
    one_of("pool", pool, POOLS)
    if num_prefix is None:
        num_prefix = 1 if pool == "cls" else 0
    if weights.ndim != 3:
        raise ValueError(f"weights have shape {tuple(weights.shape)}, expected (B, N, N); fuse_heads makes one of h")
    if weights.shape[-1] != num_prefix + grid[0] * grid[1]:
        raise ValueError(
            f"{weights.shape[-1]} tokens, expected {num_prefix} + {grid[0]}·{grid[1]} with pool {pool!r}; check both"
        )
    row = weights[:, 0] if pool == "cls" else weights[:, num_prefix:].mean(dim=1)  # (B, N)
    return row[:, num_prefix:].unflatten(1, grid)
