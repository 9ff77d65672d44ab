"""How far attention reaches: the mean distance in the picture between a query and what it attends to.

Dosovitskiy et al., "An Image Is Worth 16x16 Words", 2020, section 4.5, Figure 7 (right) and appendix D.7,
arXiv:2010.11929.
"""

import torch
from torch import Tensor

from vitedu.inspection.positions import offsets
from vitedu.patch import Size, pair


def patch_distances(grid: tuple[int, int], patch_size: Size) -> Tensor:
    """Distances between the centres of all patches, (N, N), in pixels."""
    (down, across), (height, width) = offsets(grid), pair(patch_size)
    return torch.hypot(down * height, across * width)


def attention_distance(attention: Tensor, grid: tuple[int, int], patch_size: Size, num_prefix: int = 1) -> Tensor:
    """Mean distance in pixels, weighted by attention: maps (B, h, N, N) -> (h,), over all images and patch queries.

    The class token has no place in the picture. So its row, what it attends to, is left out, and so is its column: what
    a patch gives to it is taken away, and the rest of its row is scaled to sum to one again.

    Args:
        attention: the weights of one layer; N counts the `num_prefix` tokens before the patches.
        grid, patch_size: patches down and across; pixels of one.
        num_prefix: tokens before the patches: 1 with CLS, 0 without.

    Raises:
        ValueError: the map is not of so many tokens.
    """
    tokens = num_prefix + grid[0] * grid[1]
    if attention.shape[-2:] != (tokens, tokens):
        raise ValueError(
            f"maps of {attention.shape[-2]}×{attention.shape[-1]} tokens, expected {tokens}: {num_prefix} + "
            f"{grid[0]}·{grid[1]}; check num_prefix and the grid"
        )
    among = attention[..., num_prefix:, num_prefix:].float()  # (B, h, N, N), N without CLS
    among = among / among.sum(dim=-1, keepdim=True).clamp(min=1e-12)
    distances = patch_distances(grid, patch_size).to(among.device)
    return (among * distances).sum(dim=-1).mean(dim=(0, 2))  # (h,)


def uniform_distance(grid: tuple[int, int], patch_size: Size) -> float:
    """The distance in pixels of attention that looks everywhere alike, in closed form.

    Two patches lie a rows and b columns apart in (gh - |a|)(gw - |b|) of the N² pairs. The more patches there are, the
    nearer this comes to the mean distance of two points in a rectangle: 0.5214 times the side if it is a square.
    """
    (gh, gw), (height, width) = grid, pair(patch_size)
    a, b = torch.arange(1 - gh, gh).double()[:, None], torch.arange(1 - gw, gw).double()
    pairs = (gh - a.abs()) * (gw - b.abs())  # (2·gh - 1, 2·gw - 1)
    return ((pairs * torch.hypot(a * height, b * width)).sum() / (gh * gw) ** 2).item()
