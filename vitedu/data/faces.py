"""Faces made of four parts, beside the same parts in each other's places: does a model see the arrangement?

Two rings, a triangle and half a ring, drawn with the outlines of `shapes`. Every face comes with a scrambled twin of
the same parts, the same colours and the same four places, so that only *which part stands where* tells them apart.
"""

from itertools import permutations

import torch
from torch import Tensor

from vitedu.data import Dataset, Split
from vitedu.data import shapes as drawing

CLASSES = ("scrambled", "face")
PLACES = ((-1, -1), (-1, 1), (0, 0), (1, 0))  # row and column of each place, in cells from the face's centre
EYE, NOSE, MOUTH = range(3)
FACE = (EYE, EYE, NOSE, MOUTH)  # which part stands in which place
ARRANGEMENTS = sorted(set(permutations(FACE)), key=lambda parts: parts != FACE)  # 12, the face first


def draw_faces(pairs: int, *, seed: int, side: int = 32, aligned: bool = True) -> Split:
    """Draw `pairs` faces, each followed by its scrambled twin: images (2·pairs, 3, side, side), labels 1, 0, 1, 0, …

    `aligned` puts each part in the middle of a cell of a 4×4 grid, so that twins are made of the same cells; without it
    a face may have any place and size. ValueError if `side` is below 16 or, with aligned parts, not divisible by 4.
    """
    if side < 16 or (aligned and side % 4):
        raise ValueError(f"side {side} has to be at least 16 and, with aligned parts, divisible by 4; use 32")
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(pairs, 10, generator=generator).repeat_interleave(2, dim=0)  # (N, 10): twins share all of it
    other = torch.randint(1, len(ARRANGEMENTS), (pairs,), generator=generator)
    chosen = torch.stack([torch.zeros_like(other), other], dim=1).flatten()  # (N,): 0, x, 0, y, …
    cell, top, left = _placing(uniform, side, aligned)
    coverage = torch.zeros(2 * pairs, side, side)
    for place, (row, column) in enumerate(PLACES):
        part = torch.tensor(ARRANGEMENTS)[chosen, place]  # (N,)
        centre_y, centre_x = top + (1.5 + row) * cell, left + (1.5 + column) * cell
        coverage += _cover(part, centre_y, centre_x, cell * (0.8 + 0.2 * uniform[:, 3]), side)
    ground, paint = (drawing.rgb(*u.T) for u in _colours(uniform[:, 4:]))  # (N, 3, 1, 1)
    picture = ground + coverage[:, None] * (paint - ground)  # (N, 3, H, W)
    return Split((picture * 255).round().to(torch.uint8), (chosen == 0).long())


def _placing(uniform: Tensor, side: int, aligned: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Side of a cell, and top and left of the 3×3 cells that hold a face, in pixels, (N,) each."""
    if aligned:
        cell = torch.full_like(uniform[:, 0], side / 4)
        return cell, cell * (uniform[:, 1] * 2).floor(), cell * (uniform[:, 2] * 2).floor()
    cell = side * (0.2 + 0.08 * uniform[:, 0])
    return cell, (side - 3 * cell) * uniform[:, 1], (side - 3 * cell) * uniform[:, 2]


def _cover(part: Tensor, centre_y: Tensor, centre_x: Tensor, scale: Tensor, side: int) -> Tensor:
    """How much of each pixel a part covers, 0 to 1: (N, H, W). Nothing reaches out of the part's own cell."""
    pixel = torch.arange(side) + 0.5
    y = ((pixel - centre_y[:, None]) / scale[:, None])[:, :, None].expand(-1, -1, side)  # (N, H, W)
    x = ((pixel - centre_x[:, None]) / scale[:, None])[:, None, :].expand(-1, side, -1)  # (N, H, W)
    distance = torch.empty_like(x)
    for kind, (shape, size) in enumerate([("ring", 0.3), ("triangle", 0.27), ("ring", 0.36)]):
        of = part == kind
        up = -y[of] - (0.18 if kind == MOUTH else 0)
        distance[of] = size * drawing.distance_to(shape, up / size, x[of] / size)  # a triangle's tip points up
        if kind == MOUTH:  # the lower half of a ring: a smile
            distance[of] = torch.maximum(distance[of], up)
    return (0.5 - distance * scale[:, None, None]).clamp(0, 1)


def _colours(uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Hue, saturation and value (N, 3) of a dark ground and of bright parts, from six numbers for each picture."""
    low, high = torch.tensor([0.0, 0.1, 0.1]), torch.tensor([0.0, 0.2, 0.75])
    return low + uniform[:, :3] * torch.tensor([1.0, 0.4, 0.3]), high + uniform[:, 3:] * torch.tensor([1.0, 0.6, 0.25])


def load_faces(counts: tuple[int, int, int] = (4_000, 500, 1_000), seed: int = 0, aligned: bool = True) -> Dataset:
    """Training, validation and test pictures, `counts` pairs of each, from the seeds 3·seed, 3·seed + 1, 3·seed + 2."""
    splits = [draw_faces(count, seed=3 * seed + i, aligned=aligned) for i, count in enumerate(counts)]
    kind = "parts in whole cells" if aligned else "parts anywhere"
    return Dataset("faces", f"embedded: drawn with seed {seed}, {kind}", CLASSES, *splits, flip=True, drawn=True)
