"""Comparing a set of predictions with a set of objects: boxes, their overlap, the matching, the loss, the score.

Carion et al., "End-to-End Object Detection with Transformers", 2020, section 3.1 and appendix A.2, arXiv:2005.12872.
Generalised IoU: Rezatofighi et al. 2019, arXiv:1902.09630. The matching: Kuhn 1955, solved by SciPy.

Objects come as `labels` (B, M) and `boxes` (B, M, 4): up to M for each image, in any order, and where there are fewer
the label is K, "no object". Boxes are centre x, centre y, width, height unless a name says corners.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from vitedu.models.detr import Predictions

BOX_WEIGHT, GIOU_WEIGHT = 5.0, 2.0  # λ_L1 and λ_iou of the paper's appendix A.4, in the matching and in the loss
NO_OBJECT_WEIGHT = 0.1  # of a query without an object in the cross-entropy: most queries have none (section 3.1)


def to_corners(boxes: Tensor) -> Tensor:
    """Centre x, centre y, width, height -> left, top, right, bottom: (..., 4) -> (..., 4)."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)  # (..., 4)


def from_corners(corners: Tensor) -> Tensor:
    """The inverse of `to_corners`: (..., 4) -> (..., 4)."""
    low, high = corners[..., :2], corners[..., 2:]
    return torch.cat([(low + high) / 2, high - low], dim=-1)  # (..., 4)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes, 0 to 1: (..., 4) and (..., 4), which broadcast -> (...).

    All pairs of N and M boxes: `iou(a[:, None], b)`, (N, M). Two boxes without any area have 0.
    """
    intersection, union = _overlap(to_corners(a), to_corners(b))
    return _ratio(intersection, union)


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU minus the empty share of the smallest box around both, -1 to 1: (..., 4) and (..., 4) -> (...).

    Unlike IoU it still has a slope where the boxes do not touch: the nearer, the higher.
    """
    a, b = to_corners(a), to_corners(b)
    intersection, union = _overlap(a, b)
    hull = _area(torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:]))
    return _ratio(intersection, union) - _ratio(hull - union, hull)


def _overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The areas of intersection and of union of boxes given by corners."""
    intersection = _area(torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:]))
    return intersection, _area(a[..., :2], a[..., 2:]) + _area(b[..., :2], b[..., 2:]) - intersection


def _area(low: Tensor, high: Tensor) -> Tensor:
    """The area between two corners (..., 2), zero where they are the wrong way round: (...)."""
    return (high - low).clamp(min=0).prod(-1)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return part / whole.clamp(min=torch.finfo(whole.dtype).tiny)


@torch.no_grad()
def match(predictions: Predictions, labels: Tensor, boxes: Tensor) -> Tensor:
    """Give each object a query of its own, so that the total cost is the smallest possible (Eq. 1).

    A pair costs -p(class) + 5·L1 + 2·(-GIoU); "no object" costs nothing, whoever is left for it.

    Args:
        predictions: logits (B, Q, K + 1) and boxes (B, Q, 4).
        labels, boxes: the objects, (B, M) and (B, M, 4).

    Returns:
        The query of each object, (B, M); no query twice in a row.

    Raises:
        ValueError: more objects than queries.
    """
    queries, most, no_object = predictions.logits.shape[1], labels.shape[1], predictions.logits.shape[2] - 1
    if most > queries:
        raise ValueError(f"{most} objects but {queries} queries; a query takes one object, so give the model {most}")
    mine, theirs = predictions.boxes[:, :, None], boxes[:, None]  # (B, Q, 1, 4), (B, 1, M, 4)
    chosen = labels[:, None].expand(-1, queries, -1)  # (B, Q, M)
    cost = -predictions.logits.softmax(-1).gather(2, chosen)  # (B, Q, M)
    cost = cost + BOX_WEIGHT * (mine - theirs).abs().sum(-1) - GIOU_WEIGHT * generalised_iou(mine, theirs)
    return assign(cost.masked_fill(chosen == no_object, 0.0))  # (B, M)


def assign(cost: Tensor) -> Tensor:
    """For each image the cheapest way to give every column a row of its own: cost (B, Q, M), M ≤ Q -> rows (B, M)."""
    matrices = cost.detach().transpose(1, 2).cpu().double().numpy()  # (B, M, Q): SciPy gives each row its column
    rows = [torch.from_numpy(linear_sum_assignment(matrix)[1]) for matrix in matrices]
    return torch.stack(rows).to(cost.device)  # (B, M)


class SetLoss(NamedTuple):
    """`total` = `classes` + 5·`l1` + 2·`giou`, scalars; the last two are means over the objects of the batch."""

    total: Tensor
    classes: Tensor
    l1: Tensor
    giou: Tensor


def set_loss(predictions: Predictions, labels: Tensor, boxes: Tensor) -> SetLoss:
    """Match, then compare: the class of every query, the box of every object (Eq. 2 and appendix A.2).

    The order of the objects and that of the queries make no difference. Arguments and errors are those of `match`.
    """
    logits, found = predictions
    query = match(predictions, labels, boxes)  # (B, M)
    wanted = torch.full(logits.shape[:2], logits.shape[2] - 1, device=logits.device).scatter(1, query, labels)  # (B, Q)
    weight = torch.ones(logits.shape[2], device=logits.device)  # (K + 1,)
    weight[-1] = NO_OBJECT_WEIGHT
    classes = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), weight)
    real = labels != logits.shape[2] - 1  # (B, M)
    mine, theirs = _take(found, query)[real], boxes[real]  # (objects, 4) each
    l1 = (mine - theirs).abs().sum() / real.sum().clamp(min=1)
    giou = (1 - generalised_iou(mine, theirs)).sum() / real.sum().clamp(min=1)
    return SetLoss(classes + BOX_WEIGHT * l1 + GIOU_WEIGHT * giou, classes, l1, giou)


def _take(values: Tensor, query: Tensor) -> Tensor:
    """The rows of values (B, Q, ...) at query (B, M): (B, M, ...)."""
    return values[torch.arange(len(values), device=values.device)[:, None], query]


class Score(NamedTuple):
    """`iou` and `right_class` for each object of the batch, `right_count` for each image, (B,).

    An object that no query found has an IoU of 0 and not the right class.
    """

    iou: Tensor
    right_class: Tensor
    right_count: Tensor


def score(predictions: Predictions, labels: Tensor, boxes: Tensor) -> Score:
    """How good the answer is, counting only queries that report an object, matched to the objects by IoU alone."""
    found, no_object = predictions.found, predictions.logits.shape[2] - 1
    real = labels != no_object  # (B, M)
    overlap = iou(predictions.boxes[:, :, None], boxes[:, None])  # (B, Q, M)
    overlap = overlap * (found[:, :, None] & real[:, None])
    query = assign(-overlap)  # (B, M)
    reached = overlap.gather(1, query[:, None])[:, 0]  # (B, M)
    right = (_take(predictions.labels, query) == labels) & (reached > 0)
    return Score(reached[real], right[real], found.sum(1) == real.sum(1))
