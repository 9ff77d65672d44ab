"""`set_loss`: boxes and overlaps as torchvision has them, the matching by brute force, order without effect."""

import itertools
import re

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import box_convert, box_iou, generalized_box_iou

from vitedu.models.detr import Predictions
from vitedu.models.set_loss import (
    assign,
    from_corners,
    generalised_iou,
    iou,
    match,
    score,
    set_loss,
    to_corners,
)

CLASSES = 4


def some_boxes(*shape: int, seed: int = 0) -> torch.Tensor:
    """Boxes inside the image, (..., 4)."""
    random = torch.rand(*shape, 4, generator=torch.Generator().manual_seed(seed))
    size = 0.05 + 0.45 * random[..., 2:]
    return torch.cat([size / 2 + (1 - size) * random[..., :2], size], dim=-1)


def some_predictions(B: int = 3, Q: int = 5, seed: int = 1) -> Predictions:
    logits = 2 * torch.randn(B, Q, CLASSES + 1, generator=torch.Generator().manual_seed(seed))
    return Predictions(logits, some_boxes(B, Q, seed=seed))


def some_objects(B: int = 3, M: int = 3, seed: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels with "no object" among them, and boxes that are zero there; the first image is full."""
    labels = torch.randint(CLASSES + 1, (B, M), generator=torch.Generator().manual_seed(seed))
    labels[0] = labels[0] % CLASSES
    return labels, some_boxes(B, M, seed=seed) * (labels < CLASSES)[..., None]


def perfect(labels: torch.Tensor, boxes: torch.Tensor, Q: int = 5) -> Predictions:
    """Predictions of Q queries that say exactly what is there."""
    more = Q - labels.shape[1]
    padded = F.pad(labels, (0, more), value=CLASSES)
    return Predictions(F.one_hot(padded, CLASSES + 1) * 60.0, F.pad(boxes, (0, 0, 0, more), value=0.5))


# --- boxes ---


def test_corners_and_centres_are_inverse_and_torchvisions():
    boxes = some_boxes(20)
    torch.testing.assert_close(to_corners(boxes), box_convert(boxes, "cxcywh", "xyxy"))
    torch.testing.assert_close(from_corners(to_corners(boxes)), boxes)


@pytest.mark.parametrize(("ours", "theirs"), [(iou, box_iou), (generalised_iou, generalized_box_iou)])
def test_overlaps_of_all_pairs_equal_torchvisions(ours, theirs):
    a, b = some_boxes(30), some_boxes(20, seed=1)
    expected = theirs(to_corners(a), to_corners(b))
    torch.testing.assert_close(ours(a[:, None], b), expected)
    assert (expected == 0).any() or (expected < 0).any()  # some pairs do not touch


def test_overlaps_in_closed_form():
    """Two unit squares, moved apart along a side: IoU (1-t)/(1+t) up to t = 1, then GIoU -(t-1)/(t+1)."""
    t = torch.tensor([0.0, 0.5, 1.0, 3.0])
    a, b = torch.tensor([0.0, 0, 1, 1]), torch.stack([t, 0 * t, 1 + 0 * t, 1 + 0 * t], dim=-1)
    torch.testing.assert_close(iou(a, b), torch.tensor([1, 1 / 3, 0, 0]))
    torch.testing.assert_close(generalised_iou(a, b), torch.tensor([1, 1 / 3, 0, -1 / 2]))


def test_only_the_generalised_iou_pulls_boxes_together_that_do_not_touch():
    far, b = torch.tensor([0.1, 0.5, 0.1, 0.1], requires_grad=True), torch.tensor([0.8, 0.5, 0.1, 0.1])
    assert torch.autograd.grad(iou(far, b), far)[0].abs().sum() == 0
    assert torch.autograd.grad(generalised_iou(far, b), far)[0][0] > 0


def test_boxes_without_area_give_finite_numbers():
    point = torch.tensor([0.5, 0.5, 0.0, 0.0])
    assert iou(point, point) == 0
    assert generalised_iou(point, point) == 0


# --- the matching ---


def pair_cost(predictions: Predictions, b: int, q: int, label: int, box: torch.Tensor) -> float:
    """The cost of one query for one object, by torchvision's overlap."""
    mine = predictions.boxes[b, q]
    overlap = generalized_box_iou(to_corners(mine)[None], to_corners(box)[None])[0, 0]
    probability = predictions.logits[b, q].softmax(0)[label]
    return (-probability + 5 * (mine - box).abs().sum() - 2 * overlap).item()


@pytest.mark.parametrize("seed", range(4))
def test_the_matching_is_the_cheapest_of_all(seed):
    predictions, (labels, boxes) = some_predictions(seed=10 + seed), some_objects(seed=20 + seed)
    chosen = match(predictions, labels, boxes)
    for b in range(len(labels)):
        real = [m for m in range(3) if labels[b, m] < CLASSES]

        def total(queries, b=b, real=real):
            return sum(
                pair_cost(predictions, b, q, labels[b, m], boxes[b, m]) for q, m in zip(queries, real, strict=True)
            )

        best = min(itertools.permutations(range(5), len(real)), key=total)
        assert chosen[b, real].tolist() == list(best)


@pytest.mark.parametrize("shape", [(1, 1), (4, 2), (4, 4)])
def test_an_assignment_equals_brute_force_over_permutations(shape):
    cost = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    Q, M = shape
    for matrix, rows in zip(cost, assign(cost), strict=True):
        choices = list(itertools.permutations(range(Q), M))
        best = min(choices, key=lambda choice: matrix[list(choice), range(M)].sum())
        assert rows.tolist() == list(best)


def test_no_query_takes_two_objects_even_if_it_fits_both_best():
    labels, boxes = torch.tensor([[1, 1]]), some_boxes(1, 1).expand(1, 2, 4)
    predictions = Predictions(
        torch.zeros(1, 3, CLASSES + 1), torch.cat([boxes[:, :1], some_boxes(1, 2, seed=5)], dim=1)
    )
    assert len(set(match(predictions, labels, boxes)[0].tolist())) == 2


def test_more_objects_than_queries_are_refused():
    labels, boxes = some_objects(B=1, M=6)
    expected = "6 objects but 5 queries; a query takes one object, so give the model 6"
    with pytest.raises(ValueError, match=re.escape(expected)):
        match(some_predictions(B=1), labels, boxes)


# --- the loss ---


def loss_by_hand(predictions: Predictions, labels: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """The loss written out with loops, given the matching."""
    chosen, classes, weights, box_losses = match(predictions, labels, boxes), 0.0, 0.0, []
    for b, (row, logits) in enumerate(zip(chosen.tolist(), predictions.logits, strict=True)):
        objects = {q: m for m, q in enumerate(row) if labels[b, m] < CLASSES}
        for q in range(logits.shape[0]):
            label = labels[b, objects[q]] if q in objects else CLASSES
            weight = 1.0 if q in objects else 0.1
            classes, weights = classes - weight * logits[q].log_softmax(0)[label], weights + weight
        for q, m in objects.items():
            mine, theirs = predictions.boxes[b, q], boxes[b, m]
            overlap = generalized_box_iou(to_corners(mine)[None], to_corners(theirs)[None])[0, 0]
            box_losses.append(5 * (mine - theirs).abs().sum() + 2 * (1 - overlap))
    return classes / weights + sum(box_losses) / len(box_losses)


def test_the_loss_equals_loops_and_is_the_sum_of_its_parts():
    predictions, (labels, boxes) = some_predictions(), some_objects()
    loss = set_loss(predictions, labels, boxes)
    torch.testing.assert_close(loss.total, loss_by_hand(predictions, labels, boxes))
    torch.testing.assert_close(loss.total, loss.classes + 5 * loss.l1 + 2 * loss.giou)


def test_neither_the_order_of_the_objects_nor_of_the_queries_matters():
    predictions, (labels, boxes) = some_predictions(), some_objects()
    loss = set_loss(predictions, labels, boxes)
    for seed in range(5):
        torch.manual_seed(seed)
        objects, queries = torch.randperm(3), torch.randperm(5)
        shuffled = Predictions(predictions.logits[:, queries], predictions.boxes[:, queries])
        torch.testing.assert_close(set_loss(shuffled, labels[:, objects], boxes[:, objects]), loss)


def test_empty_slots_change_nothing():
    predictions, (labels, boxes) = some_predictions(), some_objects()
    loss = set_loss(predictions, labels, boxes)
    padded = F.pad(labels, (0, 2), value=CLASSES), F.pad(boxes, (0, 0, 0, 2), value=0.3)
    torch.testing.assert_close(set_loss(predictions, *padded), loss)


def test_a_perfect_answer_costs_nothing_and_a_mistake_of_each_kind_something():
    labels, boxes = some_objects()
    good = perfect(labels, boxes)
    torch.testing.assert_close(torch.stack(set_loss(good, labels, boxes)), torch.zeros(4), atol=1e-5, rtol=0)
    moved = Predictions(good.logits, good.boxes + 0.05)
    turned = Predictions(good.logits.roll(1, dims=-1), good.boxes)
    assert set_loss(moved, labels, boxes).l1 > 0.1
    assert set_loss(moved, labels, boxes).giou > 0.1
    assert set_loss(turned, labels, boxes).classes > 1


def test_images_without_any_object_have_a_loss_and_a_gradient():
    predictions = some_predictions()
    logits = predictions.logits.requires_grad_()
    labels, boxes = torch.full((3, 2), CLASSES), torch.zeros(3, 2, 4)
    loss = set_loss(Predictions(logits, predictions.boxes), labels, boxes)
    assert loss.l1 == loss.giou == 0
    assert torch.autograd.grad(loss.total, logits)[0].abs().sum() > 0


def test_going_down_the_gradient_reaches_the_objects():
    """The whole loss as a learner sees it: free predictions find all objects and report nothing else."""
    labels, boxes = some_objects()
    torch.manual_seed(0)
    logits, places = torch.zeros(3, 5, CLASSES + 1, requires_grad=True), torch.randn(3, 5, 4, requires_grad=True)
    optimizer = torch.optim.Adam([logits, places], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        set_loss(Predictions(logits, places.sigmoid()), labels, boxes).total.backward()
        optimizer.step()
    result = score(Predictions(logits, places.sigmoid()), labels, boxes)
    assert result.iou.min() > 0.8
    assert result.right_class.all()
    assert result.right_count.all()


# --- the score ---


def test_a_perfect_answer_has_a_perfect_score_in_any_order():
    labels, boxes = some_objects()
    order = torch.tensor([3, 0, 4, 2, 1])
    good = perfect(labels, boxes)
    result = score(Predictions(good.logits[:, order], good.boxes[:, order]), labels, boxes)
    torch.testing.assert_close(result.iou, torch.ones((labels < CLASSES).sum()))
    assert result.right_class.all()
    assert result.right_count.all()


def test_what_is_missed_misplaced_misnamed_or_invented_counts_against():
    labels, boxes = torch.tensor([[0, 1], [2, CLASSES]]), torch.zeros(2, 2, 4)
    boxes[0, 0], boxes[0, 1], boxes[1, 0] = torch.tensor(
        [[0.2, 0.2, 0.2, 0.2], [0.8, 0.8, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2]]
    )
    good = perfect(labels, boxes, Q=3)
    said = good.labels.clone()
    said[0, 1] = CLASSES  # the second object of the first image is missed
    said[1, 0], said[1, 1] = 3, 2  # that of the second is misnamed, and another is reported beside it
    found = good.boxes.clone()
    found[0, 0, 0] += 0.1  # half a width: IoU 1/3
    found[1, 1] = torch.tensor([0.1, 0.1, 0.1, 0.1])
    result = score(Predictions(F.one_hot(said, CLASSES + 1).float(), found), labels, boxes)
    torch.testing.assert_close(result.iou, torch.tensor([1 / 3, 0, 1]))
    assert result.right_class.tolist() == [True, False, False]
    assert result.right_count.tolist() == [False, False]
