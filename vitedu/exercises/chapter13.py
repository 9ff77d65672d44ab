"""The exercises of chapter 13, Swin, dense prediction and detection."""

import torch
from torch import Tensor

from vitedu.exercises.exercise import Case, exercise, formulas, on

# 13.1 ----------------------------------------------------------------------------------------------------------------


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Boxes (N, 4) and (M, 4) as centre x, centre y, width, height -> intersection over union, (N, M)."""
    return _iou(*_corners(a), *_corners(b))


def _corners(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Lower and upper ones, (N, 2) each."""
    return boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2


def _sides(low_a: Tensor, high_a: Tensor, low_b: Tensor, high_b: Tensor) -> Tensor:
    """Those of the intersections, (N, M, 2), negative for boxes apart."""
    return torch.minimum(high_a[:, None], high_b) - torch.maximum(low_a[:, None], low_b)


def _iou(low_a: Tensor, high_a: Tensor, low_b: Tensor, high_b: Tensor) -> Tensor:
    both = _sides(low_a, high_a, low_b, high_b).clamp(min=0).prod(-1)  # (N, M)
    return both / ((high_a - low_a).prod(-1)[:, None] + (high_b - low_b).prod(-1) - both)


def _box_cases() -> list[Case]:
    a = torch.tensor([[0.3, 0.3, 0.4, 0.2], [0.7, 0.6, 0.2, 0.4], [0.5, 0.5, 0.6, 0.6]])
    b = torch.tensor([[0.35, 0.3, 0.4, 0.3], [0.8, 0.8, 0.3, 0.2]])
    return [
        Case((a, b), gradient=True),
        *on((a[:1], a), (a, a)),
        Case((b[:1], torch.tensor([[0.85, 0.9, 0.1, 0.1]])), label="a (1, 4), b (1, 4), two boxes far apart"),
        Case((b.double(), a.double())),
    ]


@formulas(torch.ones(1, 4), torch.ones(1, 4))
def _ratios(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    (low_a, high_a), (low_b, high_b) = _corners(a), _corners(b)
    sides = _sides(low_a, high_a, low_b, high_b)
    both, product = sides.clamp(min=0).prod(-1), sides.prod(-1)  # (N, M)
    one, other = a[:, None, 2:].prod(-1), b[:, 2:].prod(-1)  # (N, 1), (M,)
    total, line = one + other, sides[..., 0].clamp(min=0)
    hull = (torch.maximum(high_a[:, None], high_b) - torch.minimum(low_a[:, None], low_b)).prod(-1)
    reach = ((a[:, None, 2:] + b[:, 2:]) / 2 - (a[:, None, :2] - b[:, :2]).abs()).clamp(min=0).prod(-1)
    least = torch.minimum(a[:, None, 2:], b[:, 2:]).prod(-1)
    iou = both / (total - both)
    return {
        "the four numbers are taken for two corners; they are centre x, centre y, width, height": (
            _iou(a[:, :2], a[:, 2:], b[:, :2], b[:, 2:])
        ),
        "the first two numbers are taken for the upper left corner; they are the centre": (
            _iou(a[:, :2], a[:, :2] + a[:, 2:], b[:, :2], b[:, :2] + b[:, 2:])
        ),
        "the corners are a whole side from the centre; they are half a side from it": (
            _iou(a[:, :2] - a[:, 2:], a[:, :2] + a[:, 2:], b[:, :2] - b[:, 2:], b[:, :2] + b[:, 2:])
        ),
        "width and height are swapped": box_iou(a[:, [0, 1, 3, 2]], b[:, [0, 1, 3, 2]]),
        "boxes apart in both directions have two negative sides, whose product is positive; clamp the sides at 0": (
            product / (total - product)
        ),
        "the union counts the intersection twice; subtract it once": both / total,
        "twice the intersection over the sum of both areas is the Dice score; divide by the union": 2 * both / total,
        "this is the intersection alone; divide it by the union": both,
        "the intersection is divided by the smaller box; the union holds both": both / torch.minimum(one, other),
        "the intersection is divided by the larger box; the union holds both": both / torch.maximum(one, other),
        "the intersection is divided by the box of a; the union holds both": both / one,
        "the intersection is divided by the box of b; the union holds both": both / other,
        "the intersection is divided by the root of both areas; divide by the union": both / (one * other).sqrt(),
        "only the widths are compared; the boxes have heights, too": line / (a[:, None, 2] + b[:, 2] - line),
        "the intersection is divided by the box around both, which is larger than the union": both / hull,
        "the intersection is taken as large as can be; where the boxes lie is left out": least / (total - least),
        "the overlap along an axis is no longer than either side; half of both minus the distance may be": (
            reach / (total - reach)
        ),
        "max and min are swapped, which gives the box around both": hull / (total - hull),
        "rows and columns are swapped: the result is (N, M), a row for each box of a": iou.T,
        "the area is clamped at 0, but two negative sides make a positive one; clamp the sides": (
            product.clamp(min=0) / (total - product.clamp(min=0))
        ),
        "the sides are made positive by `abs`; boxes that lie apart share nothing, so clamp the sides at 0": (
            product.abs() / (total - product.abs())
        ),
        "this is the generalised IoU, which falls below 0 for boxes apart; here it stays at 0": (
            iou - (hull - total + both) / hull
        ),
        "this is 1 minus the overlap, a distance; equal boxes have an overlap of 1": 1 - iou,
        "this is in per cent; the overlap goes from 0 to 1": 100 * iou,
        "only equal places are compared; every box of a meets every box of b": iou.diagonal(),
    }


exercise(
    "13.1",
    reference=box_iou,
    cases=_box_cases,
    mistakes=_ratios
    | {
        "place n meets place n here; `a[:, None]` and `b[None]` meet in all pairs": (
            lambda a, b: box_iou(*torch.broadcast_tensors(a, b)).diagonal()
        ),
    },
)
