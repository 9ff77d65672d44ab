"""Patch tokens as colours: what they differ in most, by their principal components.

As in Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", 2023, Figure 1, arXiv:2304.07193.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class TokenComponents(NamedTuple):
    """Where each patch token lies along the strongest directions (B, N, R), and their shares of the variance (R,)."""

    values: Tensor
    share: Tensor


def token_components(tokens: Tensor, count: int = 3, num_prefix: int = 1) -> TokenComponents:
    """The first principal components of the patch tokens of all images together: (B, num_prefix + N, D).

    The directions are common to all images, so one colour means the same in each. A direction has no sign of its own;
    its largest number is made positive.

    Args:
        tokens: those of one depth, from `capture_tokens`.
        count: how many components.
        num_prefix: tokens before the patches, which are left out: 1 with CLS, 0 without.

    Raises:
        ValueError: there are fewer patch tokens, or fewer numbers in each, than components.

    >>> values, share = token_components(torch.randn(2, 5, 8))
    >>> values.shape, share.shape
    (torch.Size([2, 4, 3]), torch.Size([3]))
    """
    patches = tokens[:, num_prefix:].detach().cpu().double()  # (B, N, D)
    flat = patches.flatten(0, 1)  # (B·N, D)
    if not 1 <= count <= min(flat.shape):
        raise ValueError(f"{count} components of {len(flat)} tokens with {flat.shape[1]} numbers each; ask for fewer")
    centred = flat - flat.mean(dim=0)
    _, strengths, directions = torch.linalg.svd(centred, full_matrices=False)
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))  # (R, 1)
    values = centred @ (directions * largest.sign())[:count].T  # (B·N, count)
    share = strengths**2 / (strengths**2).sum()
    return TokenComponents(values.unflatten(0, patches.shape[:2]).float(), share[:count].float())


def components_to_pictures(values: Tensor, grid: tuple[int, int]) -> Tensor:
    """Three components (B, N, 3) -> red, green and blue in [0, 1], (B, 3, gh, gw): each stretched from least to most.

    ValueError if there are not three, or if the grid does not hold N patches.
    """
    if values.shape[1:] != (grid[0] * grid[1], 3):
        raise ValueError(f"components have shape {tuple(values.shape)}, expected (B, {grid[0]}·{grid[1]}, 3)")
    low, high = values.amin(dim=(0, 1)), values.amax(dim=(0, 1))  # (3,), over all images
    return ((values - low) / (high - low).clamp(min=1e-12)).mT.unflatten(2, grid)  # (B, 3, gh, gw)
