"""Telling tokens where they are: learned positions, fixed sines and cosines, and interpolation to another grid.

Learned: Dosovitskiy et al. 2020, section 3.1 and appendix D.4, arXiv:2010.11929.
Sin-cos: Vaswani et al. 2017, section 3.5, arXiv:1706.03762; in two dimensions as in Chen et al. 2021, arXiv:2104.02057.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitedu.initialise import at_least, one_of

KINDS = ("learned", "sincos1d", "sincos2d", "none", "learned2d")
CONVENTIONS = ("torchvision", "timm")


def sincos_1d(positions: Tensor, dim: int, base: float = 10_000.0) -> Tensor:
    """Sines and cosines of geometrically spaced frequencies: positions (N,) -> (N, D), sines first, then cosines.

    Every row has length √(D/2), and the dot product of two rows depends only on their distance.
    ValueError if D is odd.

    >>> sincos_1d(torch.arange(2), 4)
    tensor([[0.0000, 0.0000, 1.0000, 1.0000],
            [0.8415, 0.0100, 0.5403, 0.9999]])
    """
    if dim % 2:
        raise ValueError(f"width {dim} is not divisible by 2; a sine and a cosine need one column each")
    frequencies = base ** (-torch.arange(dim // 2, dtype=torch.float64) / (dim // 2))  # (D/2,)
    angles = positions.to(torch.float64)[:, None] * frequencies  #                       (N, D/2)
    # differs from the paper: sines and cosines in two halves instead of alternating, a permutation of the columns
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()  #                     (N, D)


def sincos_2d(grid: tuple[int, int], dim: int, base: float = 10_000.0) -> Tensor:
    """Half of the columns encode the row, half the column of each patch, in raster order: -> (gh·gw, D).

    ValueError if D is not divisible by 4.

    >>> sincos_2d((2, 3), 8).shape
    torch.Size([6, 8])
    """
    if dim % 4:
        raise ValueError(f"width {dim} is not divisible by 4; row and column each need sines and cosines")
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    halves = [sincos_1d(index.flatten(), dim // 2, base) for index in (rows, columns)]
    return torch.cat(halves, dim=1)  # (N, D)


def interpolate_positions(
    table: Tensor,
    old_grid: tuple[int, int],
    new_grid: tuple[int, int],
    num_prefix: int = 1,
    convention: str = "torchvision",
) -> Tensor:
    """Carry a position table to another grid by 2-D interpolation (section 3.2), bicubic; the CLS row is kept as it is.

    Args:
        table: (num_prefix + N, D) with N = old_grid[0] · old_grid[1].
        old_grid, new_grid: patches down and across.
        num_prefix: rows before the patches (1 with CLS, 0 without).
        convention: "torchvision" aligns the corners of the two grids; "timm" does not, and antialiases when shrinking.

    Returns:
        (num_prefix + N', D); the table itself if the grids are equal.

    Raises:
        ValueError: the table has not num_prefix + N rows, or the convention is unknown.

    >>> interpolate_positions(torch.zeros(1 + 14 * 14, 768), (14, 14), (24, 24)).shape
    torch.Size([577, 768])
    """
    if table.shape[0] != num_prefix + old_grid[0] * old_grid[1]:
        raise ValueError(
            f"table has {table.shape[0]} rows, expected {num_prefix} + {old_grid[0]}·{old_grid[1]}; check the old grid"
        )
    one_of("convention", convention, CONVENTIONS)
    if old_grid == new_grid:
        return table
    prefix, patches = table[:num_prefix], table[num_prefix:]
    picture = patches.T.unflatten(1, old_grid)[None]  # (1, D, gh, gw)
    options = {"align_corners": True} if convention == "torchvision" else {"align_corners": False, "antialias": True}
    resized = F.interpolate(picture, size=new_grid, mode="bicubic", **options)  # (1, D, gh', gw')
    return torch.cat([prefix, resized[0].flatten(1).T])  # (num_prefix + N', D)


class PositionEmbedding(nn.Module):
    """Add a vector for the position to each token: (B, num_prefix + N, D) -> the same shape.

    Args:
        grid: patches down and across.
        dim: D.
        kind: "learned" (one free vector per index), "learned2d" (one per row and one per column, D/2 numbers each, laid
            end to end: appendix D.4), "sincos1d", "sincos2d" (fixed), or "none".
        num_prefix: tokens before the patches; fixed tables give them zeros.
        std: standard deviation at which a learned table starts, and to which a fixed one is scaled.

    Raises:
        ValueError: the kind is unknown, or D does not allow it.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        dim: int,
        kind: str = "learned",
        num_prefix: int = 1,
        std: float = 1.0,
    ):
        super().__init__()
        one_of("positions", kind, KINDS)
        at_least("position_std", std, 0)
        self.grid, self.kind, self.num_prefix = grid, kind, num_prefix
        tokens = grid[0] * grid[1]
        if kind == "learned":
            self.table = nn.Parameter(torch.randn(num_prefix + tokens, dim) * std)
        elif kind == "learned2d":
            self._learn_axes(dim, std)
        elif kind != "none":
            fixed = sincos_2d(grid, dim) if kind == "sincos2d" else sincos_1d(torch.arange(tokens), dim)
            scaled = fixed * (std * 2**0.5)  # sines and cosines have a root mean square of 1/√2
            self.register_buffer("table", torch.cat([torch.zeros(num_prefix, dim), scaled]), persistent=False)

    def _learn_axes(self, dim: int, std: float) -> None:
        if dim % 2:
            raise ValueError(f"width {dim} is not divisible by 2; row and column take half of it each")
        self.prefix = nn.Parameter(torch.randn(self.num_prefix, dim) * std)
        self.rows, self.columns = (nn.Parameter(torch.randn(side, dim // 2) * std) for side in self.grid)

    def vectors(self) -> Tensor:
        """What is added to each token, (num_prefix + N, D); ValueError if the kind is "none"."""
        if self.kind == "none":
            raise ValueError("there are no vectors to look at with positions 'none'; choose another kind")
        if self.kind != "learned2d":
            return self.table
        halves = self.rows[:, None].expand(*self.grid, -1), self.columns.expand(*self.grid, -1)
        return torch.cat([self.prefix, torch.cat(halves, dim=2).flatten(0, 1)])  # (num_prefix + N, D)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, num_prefix + N, D) -> (B, num_prefix + N, D), one vector added to each token."""
        return tokens if self.kind == "none" else tokens + self.vectors()  # ViT Eq. 1: + E_pos
