"""How alike the position embeddings of two places are, and two numbers for the structure in it.

Dosovitskiy et al., "An Image Is Worth 16x16 Words", 2020, section 4.5 and Figure 7 (centre), arXiv:2010.11929.
"""

import torch
import torch.nn.functional as F
from scipy.fft import dctn
from torch import Tensor

from vitedu.position import PositionEmbedding


def patch_positions(positions: PositionEmbedding) -> Tensor:
    """The vectors added to the patches, (N, D) without those of the class token.

    ValueError if there are none, TypeError for the positions of another library.
    """
    if not isinstance(positions, PositionEmbedding):
        kind = type(positions).__name__
        raise TypeError(f"a {kind} is no PositionEmbedding of vitedu; load_timm or load_torchvision makes one")
    return positions.vectors()[positions.num_prefix :].detach().cpu()


def position_similarity(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """Cosine similarity of every position with every other: (N, D) -> (gh, gw, gh, gw).

    `result[r, c]` is the picture of the place in row r and column c: its similarity with every place of the grid.
    ValueError if the grid does not hold N places.
    """
    _check_grid(table, grid)
    unit = F.normalize(table, dim=1)
    return (unit @ unit.T).unflatten(1, grid).unflatten(0, grid)  # (gh, gw, gh, gw)


def line_score(similarity: Tensor, no_nearer: bool = False) -> float:
    """How often a place of the same row or column is more alike than one outside of both: 0.5 is a coin's toss.

    For every place, each place of its row or column is compared with each of the others; a tie counts half.

    Args:
        similarity: (gh, gw, gh, gw) from `position_similarity`.
        no_nearer: compare only where the place in the row or column is at least as far away as the other one, so that
            mere nearness speaks against it.

    Raises:
        ValueError: the grid has a single row or column, so nothing lies outside.
    """
    gh, gw = similarity.shape[:2]
    if min(gh, gw) < 2:
        raise ValueError(f"a grid of {gh}×{gw} has no place outside the row and column; it takes 2×2 at least")
    alike, (down, across) = similarity.flatten(2).flatten(0, 1), offsets((gh, gw))
    far = torch.hypot(down, across)  # (N, N), in patches
    wins = total = 0.0
    for n in range(gh * gw):
        on_line = (down[n] == 0) ^ (across[n] == 0)  # the place itself is on both and counts as neither
        outside = (down[n] != 0) & (across[n] != 0)
        counts = far[n, on_line, None] >= far[n, None, outside] - 1e-6 if no_nearer else torch.tensor(True)
        gap = alike[n, on_line, None] - alike[n, None, outside]  # (on the line, outside)
        wins += (((gap > 0) + 0.5 * (gap == 0)) * counts).sum().item()
        total += counts.expand(gap.shape).sum().item()
    return wins / total


def wave_share(table: Tensor, grid: tuple[int, int], waves: int = 8) -> float:
    """The share of the positions' variance that the strongest few cosine waves of the grid hold, from 0 to 1.

    The D columns of the table are D pictures of the grid. Each is a sum of gh·gw waves, cos(πk(r + ½)/gh) ·
    cos(πl(c + ½)/gw), by the discrete cosine transform; the power of a wave is summed over the D pictures, so that
    turning the table in its D dimensions changes nothing. The flat wave, k = l = 0, is left out.
    ValueError if the grid does not hold N places.
    """
    _check_grid(table, grid)
    pictures = table.detach().cpu().double().T.unflatten(1, grid)  # (D, gh, gw)
    power = torch.from_numpy(dctn(pictures.numpy(), axes=(1, 2), norm="ortho")).square().sum(dim=0).flatten()[1:]
    return (power.topk(waves).values.sum() / power.sum()).item()


def offsets(grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Rows down and columns across from every place to every other: two of (N, N), in patches."""
    rows, columns = (index.flatten() for index in torch.meshgrid(*map(torch.arange, grid), indexing="ij"))
    return (rows - rows[:, None]).float(), (columns - columns[:, None]).float()


def _check_grid(table: Tensor, grid: tuple[int, int]) -> None:
    if len(table) != grid[0] * grid[1]:
        raise ValueError(f"{len(table)} positions do not fill a grid of {grid[0]}×{grid[1]}; leave out that of CLS")
