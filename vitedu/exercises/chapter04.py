"""The exercises of chapter 4, why convolution works."""

import math
from collections.abc import Callable
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from vitedu.exercises import compare
from vitedu.exercises.exercise import Answer, Case, exercise, image_traits, on

Layer = Callable[[Tensor], Tensor]


def _normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Random numbers with one decimal, the same at every call."""
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float32).round(decimals=1).to(dtype)


# 4.1 -----------------------------------------------------------------------------------------------------------------


def _field(grow=lambda k, s, jump: (k - 1) * jump, first: int = 1, own: bool = False) -> Answer:
    """r = 1 + Σ (k_l - 1) · (product of the strides before layer l); to replace: what a layer adds, and the start."""

    def answer(kernels: list[int], strides: list[int]) -> int:
        seen, jump = first, 1
        for kernel, stride in zip(kernels, strides, strict=True):
            seen += grow(kernel, stride, jump * stride if own else jump)
            jump *= stride
        return seen

    return answer


receptive_field = _field()

exercise(
    "4.1",
    reference=receptive_field,
    cases=lambda: on(
        *[([3], [1]), ([3, 3, 3], [1, 1, 1]), ([3, 3], [2, 1]), ([3, 3, 3, 3], [2, 2, 2, 2])],
        *[([5, 3, 1], [1, 2, 1]), ([7, 3, 3, 3], [2, 2, 1, 2]), ([1, 1], [1, 1])],
        *[([2], [2]), ([16], [16]), ([3, 4, 2], [2, 3, 1])],
    ),
    difference=compare.integers,
    mistakes={
        "the strides are ignored; behind a stride of 2 a step of one place is a step of two pixels": (
            _field(lambda k, s, jump: k - 1)
        ),
        "each layer adds k instead of k - 1; the middle of the window was seen already": (
            _field(lambda k, s, jump: k * jump)
        ),
        "a layer's own stride is counted for itself; it widens only the steps of the layers after it": (
            _field(own=True)
        ),
        "the sum starts at 0; before the first layer a unit sees one pixel, itself": _field(first=0),
        "the kernels are multiplied; the windows overlap, so they add up": lambda kernels, strides: math.prod(kernels),
        "only the stride of the layer itself counts here; the strides of all layers before it multiply": (
            _field(lambda k, s, jump: (k - 1) * s)
        ),
        "the layers are read from the last to the first; strides act on the layers that follow": (
            lambda kernels, strides: receptive_field(kernels[::-1], strides[::-1])
        ),
        "this is the area in pixels; the receptive field is asked for as the side of the square": (
            lambda kernels, strides: receptive_field(kernels, strides) ** 2
        ),
        "the kernels are added up, and nothing else; a layer adds k - 1, times the strides before it, to the 1 of "
        "the start": lambda kernels, strides: sum(kernels),
        "the strides of all layers multiply every kernel; a layer feels only those before it": (
            lambda kernels, strides: 1 + sum(k - 1 for k in kernels) * math.prod(strides)
        ),
        "the strides are added up; two strides of 2 make steps of 4 pixels, so they multiply": (
            lambda kernels, strides: 1 + sum((k - 1) * sum(strides[:n] or [1]) for n, k in enumerate(kernels))
        ),
        "a layer adds k - 1 steps, half of them on either side; here only one side is counted": (
            _field(lambda k, s, jump: k // 2 * jump)
        ),
    },
)


# 4.2 -----------------------------------------------------------------------------------------------------------------


def _dense(
    reads: Callable[[int, int, int], range] = lambda g, each, groups: range(g * each, (g + 1) * each),
    group_of: Callable[[int, int, int], int] = lambda out, D, groups: out // (D // groups),
) -> Answer:
    """(D, C / groups, k, k) -> (D, C, k, k): zeros where a group does not read; to replace: which channels it reads."""

    def answer(weight: Tensor, groups: int) -> Tensor:
        D, each = weight.shape[:2]
        dense = weight.new_zeros(D, each * groups, *weight.shape[2:])
        for out in range(D):
            dense[out, list(reads(group_of(out, D, groups), each, groups))] = weight[out]
        return dense

    return answer


dense_weight = _dense()


def _group_cases() -> list[Case]:
    shapes = [(4, 2, 3, 2), (3, 1, 3, 3), (6, 1, 3, 3), (2, 3, 1, 1), (4, 3, 5, 2), (6, 2, 3, 3)]
    cases = [Case((_normal(D, each, k, k), groups), gradient=D == 6) for D, each, k, groups in shapes]
    return [*cases, Case((_normal(4, 1, 3, 3, dtype=torch.float64), 4))]


exercise(
    "4.2",
    reference=dense_weight,
    cases=_group_cases,
    mistakes={
        "the kernels are repeated, so every output reads every group; outside its own group the weights are zero": (
            lambda weight, groups: weight.repeat(1, groups, 1, 1)
        ),
        "every output channel reads the first group; those of group g read the g-th block of input channels": (
            _dense(lambda g, each, groups: range(each))
        ),
        "the output channels are dealt out one by one; a group is a block of D / groups neighbours": (
            _dense(group_of=lambda out, D, groups: out % groups)
        ),
        "the input channels are dealt out one by one; a group is a block of C / groups neighbours": (
            _dense(lambda g, each, groups: range(g, each * groups, groups))
        ),
        "this is still the grouped kernel; the dense one has all C input channels": (
            lambda weight, groups: weight.clone()
        ),
        "the groups are in reverse order": (
            _dense(lambda g, each, groups: range((groups - 1 - g) * each, (groups - g) * each))
        ),
        "the kernel is spread over all groups and divided; a grouped convolution averages nothing": (
            lambda weight, groups: weight.repeat(1, groups, 1, 1) / groups
        ),
        "each weight is repeated for several input channels, so every output reads every group; outside its own "
        "group the weights are zero": lambda weight, groups: weight.repeat_interleave(groups, dim=1),
        "outputs and inputs are swapped: the first axis counts the outputs, the second the inputs": (
            lambda weight, groups: dense_weight(weight, groups).transpose(0, 1)
        ),
    },
)


# 4.3 -----------------------------------------------------------------------------------------------------------------


def _error(
    move: Callable[[Tensor, int], Tensor] = lambda x, pixels: x.roll(pixels, dims=3),
    change: Callable[[Tensor, int, int], Tensor] = lambda f, pixels, stride: f.roll(pixels // stride, dims=3),
    scale: Callable[[Tensor, Tensor], Tensor] = lambda difference, f: difference.norm() / f.norm(),
) -> Answer:
    """‖f(T x) - T' f(x)‖ / ‖f(x)‖; to replace: how images and features move, and how the difference is measured."""

    def answer(layer: Layer, images: Tensor, pixels: int, stride: int) -> float:
        features = layer(images)  # (B, C, H', W')
        return scale(layer(move(images, pixels)) - change(features, pixels, stride), features).item()

    return answer


# name -> what messages call it, and the layer: (B, 2, H, W) to a feature map
LAYERS: dict[str, tuple[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "zeros": ("a convolution with zero padding", lambda x, w: F.conv2d(x, w, padding=1)),
    "circular": ("a convolution that wraps around", lambda x, w: F.conv2d(F.pad(x, [1] * 4, mode="circular"), w)),
    "strided": ("a convolution with stride 2", lambda x, w: F.conv2d(x, w, padding=1, stride=2)),
    "pooled": ("a max pool of 2×2", lambda x, w: F.max_pool2d(x, 2)),
    "places": (
        "a layer that multiplies each column by its own number",
        lambda x, w: x * torch.linspace(1, 2, x.shape[3]),
    ),
}


def _error_case(name: str, batch: int, pixels: int, stride: int) -> Case:
    text, layer = LAYERS[name]
    label = f"{text}, images ({batch}, 2, 6, 8), pixels = {pixels}, stride = {stride}"
    kernel = _normal(3, 2, 3, 3)
    return Case((lambda x: layer(x, kernel), _normal(batch, 2, 6, 8), pixels, stride), label=label)


def _error_cases() -> list[Case]:
    cases = [("zeros", 2, 1, 1), ("strided", 2, 2, 2), ("pooled", 1, 2, 2), ("places", 1, 3, 1), ("strided", 1, 3, 2)]
    return [_error_case(*case) for case in [*cases, ("circular", 2, 1, 1), ("zeros", 3, -2, 1)]]


def _forgiving_floats(got: object, expected: float) -> str | None:
    """As `compare.floats`, but float32 sums differ a little: four digits, and 1e-5 counts as zero."""
    if compare.is_number(got) and abs(got - expected) <= 1e-5 + 1e-4 * abs(expected):
        return None
    return compare.floats(got, expected)


exercise(
    "4.3",
    reference=_error(),
    cases=_error_cases,
    difference=_forgiving_floats,
    mistakes={
        "the features are not moved, so this measures invariance; equivariance allows them to move with the image": (
            _error(change=lambda f, pixels, stride: f)
        ),
        "the features move by as many places as the image by pixels; one place of a map with stride s is s pixels": (
            _error(change=lambda f, pixels, stride: f.roll(pixels, dims=3))
        ),
        "the features move the other way; image and features go to the right together": (
            _error(change=lambda f, pixels, stride: f.roll(-(pixels // stride), dims=3))
        ),
        "the image moves down; to the right is along the last axis": (
            _error(lambda x, pixels: x.roll(pixels, 2), lambda f, pixels, stride: f.roll(pixels // stride, 2))
        ),
        "the norm is not divided by that of the features, so it grows with their size": (
            _error(scale=lambda difference, f: difference.norm())
        ),
        "this is the largest difference, not the norm of all of them over the norm of the features": (
            _error(scale=lambda difference, f: difference.abs().max())
        ),
        "the norms are squared; take the root, or `.norm()`": (
            _error(scale=lambda difference, f: difference.square().sum() / f.square().sum())
        ),
        "the mean of the squared differences is not a relative error; divide the norm by that of the features": (
            _error(scale=lambda difference, f: difference.square().mean())
        ),
        "image and features move to the left; `torch.roll` moves to the right by a positive number": (
            _error(lambda x, pixels: x.roll(-pixels, 3), lambda f, pixels, stride: f.roll(-(pixels // stride), 3))
        ),
        "each image gets an error of its own, and these are averaged; take one norm over the whole batch": (
            _error(scale=lambda d, f: (d.flatten(1).norm(dim=1) / f.flatten(1).norm(dim=1)).mean())
        ),
        "the norm runs over the images only, so every place gets an error of its own; take one over all numbers": (
            _error(scale=lambda difference, f: (difference.norm(dim=0) / f.norm(dim=0)).mean())
        ),
        "`roll` without `dims` flattens first, so columns run over into the next row": (
            _error(lambda x, pixels: x.roll(pixels), lambda f, pixels, stride: f.roll(pixels // stride))
        ),
        "the features move by `pixels / stride` rounded to the nearest; `//` rounds down": (
            _error(change=lambda f, pixels, stride: f.roll(round(pixels / stride), dims=3))
        ),
        "these are means of absolute values; the norm is the root of the sum of squares": (
            _error(scale=lambda difference, f: difference.abs().mean() / f.abs().mean())
        ),
    },
)


# 4.4 -----------------------------------------------------------------------------------------------------------------


def _gated(
    squeeze: Callable[[Tensor], Tensor] = lambda x: x.mean(dim=(2, 3)),  #       (B, C)
    between: Callable[[Tensor], Tensor] = F.relu,
    behind: Callable[[Tensor], Tensor] = torch.sigmoid,
    apply: Callable[[Tensor, Tensor], Tensor] = lambda x, gate: x * gate,  #     (B, C, H, W), (B, C, 1, 1)
) -> Answer:
    """x times sigmoid(w2 relu(w1 mean(x))), one number for each channel; any part may be replaced."""

    def answer(x: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
        return apply(x, behind(between(squeeze(x) @ w1.T) @ w2.T)[:, :, None, None])

    return answer


def _gate_case(B: int, C: int, R: int, H: int, W: int, dtype=torch.float32, **options) -> Case:
    x = _normal(B, C, H, W, dtype=dtype) + torch.arange(C).view(-1, 1, 1).to(dtype) / 2
    w1, w2 = _normal(R, C, dtype=dtype), _normal(C, R, seed=1, dtype=dtype)
    return Case((x, w1, w2), traits=image_traits(B, C, H, W), **options)


def _gate_cases() -> list[Case]:
    sizes = [(1, 4, 2, 3, 7), (3, 3, 2, 4, 4), (2, 4, 4, 4, 4), (2, 8, 2, 2, 3, torch.float64)]
    return [_gate_case(2, 6, 3, 4, 5, gradient=True), *(_gate_case(*size) for size in sizes)]


exercise(
    "4.4",
    reference=_gated(),
    cases=_gate_cases,
    mistakes={
        "softmax makes the channels compete for a total of 1; each gate is a sigmoid of its own": (
            _gated(behind=lambda s: s.softmax(dim=1))
        ),
        "the ReLU between the two layers is missing": _gated(between=lambda s: s),
        "the sigmoid is missing: the gate has to lie between 0 and 1": _gated(behind=lambda s: s),
        "each channel is squeezed to its maximum; take its mean": _gated(lambda x: x.amax(dim=(2, 3))),
        "each channel is squeezed to its sum; take its mean": _gated(lambda x: x.sum(dim=(2, 3))),
        "the mean runs over the batch too; every image gets gates of its own": (
            _gated(lambda x: x.mean(dim=(0, 2, 3)).expand(len(x), -1))
        ),
        "the gate is added; it has to multiply": _gated(apply=lambda x, gate: x + gate),
        "this is the gate itself; multiply x by it": _gated(apply=lambda x, gate: gate[:, :, 0, 0]),
        "x is added once more; the residual connection belongs to the block, not to the gate": (
            _gated(apply=lambda x, gate: x + x * gate)
        ),
        "a second ReLU stands before the sigmoid, so no gate can fall below one half": (
            _gated(behind=lambda s: F.relu(s).sigmoid())
        ),
        "the ReLU stands behind the second layer; it belongs between the two": (
            _gated(between=lambda s: s, behind=lambda s: F.relu(s).sigmoid())
        ),
        "a sigmoid stands between the two layers; there a ReLU belongs, and the sigmoid behind the second": (
            _gated(between=torch.sigmoid)
        ),
        "tanh goes from -1 to 1; a gate between 0 and 1 is a sigmoid": _gated(behind=torch.tanh),
    },
)


# 4.5 -----------------------------------------------------------------------------------------------------------------


def _corners(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Lower and upper corners, (..., 2) each."""
    return boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2


def _overlap(
    ratio: Callable[..., Tensor] = lambda both, one, other, hull: both / (one + other - both),
    sides: Callable[[Tensor, Tensor], Tensor] = lambda low, high: (high - low).clamp(min=0),
    corners: Callable[[Tensor], tuple[Tensor, Tensor]] = _corners,
) -> Answer:
    """Intersection over union of all pairs; to replace: what is divided by what, how sides and corners are found."""

    def answer(a: Tensor, b: Tensor) -> Tensor:
        (low_a, high_a), (low_b, high_b) = corners(a[:, None]), corners(b[None])  # (N, 1, 2) and (1, M, 2)
        both = sides(torch.maximum(low_a, low_b), torch.minimum(high_a, high_b)).prod(-1)  # (N, M)
        hull = (torch.maximum(high_a, high_b) - torch.minimum(low_a, low_b)).prod(-1)  # (N, M)
        return ratio(both, (high_a - low_a).prod(-1), (high_b - low_b).prod(-1), hull)

    return answer


box_iou = _overlap()


def _box_cases() -> list[Case]:
    a = torch.tensor([[0.3, 0.3, 0.4, 0.2], [0.7, 0.6, 0.2, 0.4], [0.5, 0.5, 0.6, 0.6]])
    b = torch.tensor([[0.35, 0.3, 0.4, 0.3], [0.8, 0.8, 0.3, 0.2]])
    return [
        Case((a, b), gradient=True),
        *on((a[:1], a), (a, a)),
        Case((b[:1], torch.tensor([[0.85, 0.9, 0.1, 0.1]])), label="a (1, 4), b (1, 4), two boxes far apart"),
        Case((b.double(), a.double())),
    ]


exercise(
    "4.5",
    reference=box_iou,
    cases=_box_cases,
    mistakes={
        "the four numbers are taken for two corners; they are centre x, centre y, width, height": (
            _overlap(corners=lambda boxes: (boxes[..., :2], boxes[..., 2:]))
        ),
        "the first two numbers are taken for the upper left corner; they are the centre": (
            _overlap(corners=lambda boxes: (boxes[..., :2], boxes[..., :2] + boxes[..., 2:]))
        ),
        "the corners are a whole side from the centre; they are half a side from it": (
            _overlap(corners=lambda boxes: (boxes[..., :2] - boxes[..., 2:], boxes[..., :2] + boxes[..., 2:]))
        ),
        "boxes apart in both directions have two negative sides, whose product is positive; clamp the sides at 0": (
            _overlap(sides=lambda low, high: high - low)
        ),
        "the union counts the intersection twice; subtract it once": (
            _overlap(lambda both, one, other, hull: both / (one + other))
        ),
        "this is the intersection alone; divide it by the union": _overlap(lambda both, one, other, hull: both),
        "the intersection is divided by the smaller box; the union holds both": (
            _overlap(lambda both, one, other, hull: both / torch.minimum(one, other))
        ),
        "the intersection is divided by the box around both, which is larger than the union": (
            _overlap(lambda both, one, other, hull: both / hull)
        ),
        "rows and columns are swapped: the result is (N, M), a row for each box of a": lambda a, b: box_iou(b, a),
        "the area is clamped at 0, but two negative sides make a positive one; clamp the sides": _overlap(
            lambda both, one, other, hull: both.clamp(min=0) / (one + other - both.clamp(min=0)),
            sides=lambda low, high: high - low,
        ),
        "the sides are made positive by `abs`; boxes that lie apart share nothing, so clamp the sides at 0": (
            _overlap(sides=lambda low, high: (high - low).abs())
        ),
        "this is the generalised IoU, which falls below 0 for boxes apart; here it stays at 0": (
            _overlap(lambda both, one, other, hull: both / (one + other - both) - 1 + (one + other - both) / hull)
        ),
        "this is 1 minus the overlap, a distance; equal boxes have an overlap of 1": lambda a, b: 1 - box_iou(a, b),
        "this is in per cent; the overlap goes from 0 to 1": lambda a, b: 100 * box_iou(a, b),
        "only equal places are compared; every box of a meets every box of b": lambda a, b: box_iou(a, b).diagonal(),
    },
)


# 4.6 -----------------------------------------------------------------------------------------------------------------


def _score(delta: Tensor, offset: Tensor, alpha: float) -> Tensor:
    return -alpha * (delta - offset).square().sum(dim=-1)


def _nine(
    kernel: Callable[[Tensor], Tensor] = lambda weight: weight,
    score: Callable[[Tensor, Tensor, float], Tensor] = _score,
    share: Callable[[Tensor], Tensor] = lambda scores: scores.softmax(dim=-1),
    pad: Callable[[Tensor], Tensor] = lambda images: F.pad(images, [1] * 4),
    crop: Callable[[Tensor], Tensor] = lambda grid: grid[:, :, 1:-1, 1:-1],
    start: int = -1,
) -> Answer:
    """Nine heads with scores -α‖(key - query) - Δ‖² and values w[:, :, Δ]; any part may be replaced."""

    def answer(images: Tensor, weight: Tensor, alpha: float) -> Tensor:
        padded = pad(images)
        height, width = padded.shape[-2:]
        places = torch.cartesian_prod(torch.arange(height), torch.arange(width)).to(images)  # (M, 2)
        delta = places[None] - places[:, None]  # (M, M, 2): key - query
        tokens = padded.flatten(2).mT  #          (B, M, C)
        total = 0.0
        for i, j in product(range(3), range(3)):
            attention = share(score(delta, places.new_tensor([i + start, j + start]), alpha))  # (M, M)
            total = total + attention @ tokens @ kernel(weight)[:, :, i, j].T  #                 (B, M, D)
        return crop(total.mT.unflatten(2, (height, width)))

    return answer


def _heads_case(B: int, C: int, D: int, H: int, W: int, alpha: float, dtype=torch.float32, **options) -> Case:
    args = _normal(B, C, H, W, dtype=dtype), _normal(D, C, 3, 3, dtype=dtype), alpha
    return Case(args, traits=image_traits(B, C, H, W), **options)


def _heads_cases() -> list[Case]:
    """Large and small α with every number of channels and every shape, so that no trait stands for the size of α."""
    sizes = [(1, 3, 2, 4, 3, 15.0), (2, 2, 2, 4, 4, 1.0), (1, 1, 3, 3, 4, 0.3), (2, 2, 3, 2, 5, 15.0, torch.float64)]
    sizes += [(1, 2, 3, 2, 5, 15.0), (1, 3, 2, 3, 3, 0.5)]
    return [_heads_case(2, 3, 4, 3, 5, 15.0, gradient=True), *(_heads_case(*size) for size in sizes)]


exercise(
    "4.6",
    reference=_nine(),
    cases=_heads_cases,
    mistakes={
        "the heads look to the opposite side: the difference is key minus query, or the kernel comes out flipped": (
            _nine(lambda weight: weight.flip(2, 3))
        ),
        "rows and columns are swapped: kernel entry [i, j] belongs to the offset of i - 1 rows and j - 1 columns": (
            _nine(lambda weight: weight.mT)
        ),
        "the offsets run from 0 to 2; around the middle of the kernel they run from -1 to 1": _nine(start=0),
        "the softmax runs over the queries; each query's weights over the keys have to sum to 1": (
            _nine(share=lambda scores: scores.softmax(dim=0))
        ),
        "the sign of the scores is wrong: they have to be highest where the distance to the offset is 0": (
            _nine(score=lambda delta, offset, alpha: -_score(delta, offset, alpha))
        ),
        "the heads are averaged; here they are summed, as the nine terms of a convolution are": (
            _nine(lambda weight: weight / 9)
        ),
        "the distance is not squared; the scores are -α times the squared distance": (
            _nine(score=lambda delta, offset, alpha: -alpha * (delta - offset).norm(dim=-1))
        ),
        "α is missing, so the weights stay soft": _nine(score=lambda delta, offset, alpha: _score(delta, offset, 1)),
        "the image is not padded: at the border a head that looks outside has to find zeros": (
            _nine(pad=lambda images: images, crop=lambda grid: grid)
        ),
        "this is the convolution itself; for a small α the nine heads look around softly, and differ from it": (
            lambda images, weight, alpha: F.conv2d(images, weight, padding=1)
        ),
        "the rim is still there: the result has the size of the padded map; cut one place off on each side": (
            _nine(crop=lambda grid: grid)
        ),
        "the border is padded with copies of the edge; a head that looks outside has to find zeros": (
            _nine(pad=lambda images: F.pad(images, [1] * 4, "replicate"))
        ),
        "the weights are exponentials that do not sum to 1; divide by their sum, as the softmax does": (
            _nine(share=torch.exp)
        ),
    },
)
