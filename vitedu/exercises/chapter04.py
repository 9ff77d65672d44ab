"""The exercises of chapter 4, why convolution works."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from vitedu.exercises import compare
from vitedu.exercises.exercise import Case, Exercise, Mistake

Layer = Callable[[Tensor], Tensor]


def _normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Random numbers with one decimal, the same at every call."""
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float32).round(decimals=1).to(dtype)


# 4.1 -----------------------------------------------------------------------------------------------------------------


def receptive_field(kernels: list[int], strides: list[int]) -> int:
    """r = 1 + Σ (k_l - 1) · (product of the strides before layer l)."""
    seen, jump = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        seen += (kernel - 1) * jump
        jump *= stride
    return seen


def _field_cases() -> list[Case]:
    layers = [([3], [1]), ([3, 3, 3], [1, 1, 1]), ([3, 3], [2, 1]), ([3, 3, 3, 3], [2, 2, 2, 2])]
    return [Case(args) for args in [*layers, ([5, 3, 1], [1, 2, 1]), ([7, 3, 3, 3], [2, 2, 1, 2]), ([1, 1], [1, 1])]]


def _field_with(first: int, grow: Callable[[int, int, int], int], stride_first: bool = False):
    """The recursion with one part replaced; `grow(kernel, jump, stride)` is what a layer adds."""

    def answer(kernels: list[int], strides: list[int]) -> int:
        seen, jump = first, 1
        for kernel, stride in zip(kernels, strides, strict=True):
            if stride_first:
                jump *= stride
            seen += grow(kernel, jump, stride)
            if not stride_first:
                jump *= stride
        return seen

    return answer


def _product_of_kernels(kernels: list[int], strides: list[int]) -> int:
    product = 1
    for kernel in kernels:
        product *= kernel
    return product


def _reversed_order(kernels: list[int], strides: list[int]) -> int:
    return receptive_field(kernels[::-1], strides[::-1])


RECEPTIVE_FIELD = Exercise(
    id="4.1",
    title="How far does a unit see?",
    reference=receptive_field,
    cases=_field_cases,
    difference=compare.integers,
    mistakes=(
        Mistake(
            "the strides are ignored; behind a stride of 2 a step of one place is a step of two pixels",
            _field_with(1, lambda kernel, jump, stride: kernel - 1),
        ),
        Mistake(
            "each layer adds k instead of k - 1; the middle of the window was seen already",
            _field_with(1, lambda kernel, jump, stride: kernel * jump),
        ),
        Mistake(
            "a layer's own stride is counted for itself; it widens only the steps of the layers after it",
            _field_with(1, lambda kernel, jump, stride: (kernel - 1) * jump, stride_first=True),
        ),
        Mistake(
            "the sum starts at 0; before the first layer a unit sees one pixel, itself",
            _field_with(0, lambda kernel, jump, stride: (kernel - 1) * jump),
        ),
        Mistake("the kernels are multiplied; the windows overlap, so they add up", _product_of_kernels),
        Mistake(
            "only the stride of the layer itself counts here; the strides of all layers before it multiply",
            _field_with(1, lambda kernel, jump, stride: (kernel - 1) * stride),
        ),
        Mistake(
            "the layers are read from the last to the first; strides act on the layers that follow", _reversed_order
        ),
        Mistake(
            "this is the area in pixels; the receptive field is asked for as the side of the square",
            lambda kernels, strides: receptive_field(kernels, strides) ** 2,
        ),
        Mistake(
            "the kernels are added up, and nothing else; a layer adds k - 1, times the strides before it, to the 1 of "
            "the start",
            lambda kernels, strides: sum(kernels),
        ),
        Mistake(
            "the strides of all layers multiply every kernel; a layer feels only those before it",
            lambda kernels, strides: 1 + sum(kernel - 1 for kernel in kernels) * math.prod(strides),
        ),
        Mistake(
            "the strides are added up; two strides of 2 make steps of 4 pixels, so they multiply",
            lambda kernels, strides: 1 + sum((k - 1) * sum(strides[:n] or [1]) for n, k in enumerate(kernels)),
        ),
        Mistake(
            "a layer adds k - 1 steps, half of them on either side; here only one side is counted",
            _field_with(1, lambda kernel, jump, stride: kernel // 2 * jump),
        ),
    ),
)


# 4.2 -----------------------------------------------------------------------------------------------------------------


def dense_weight(weight: Tensor, groups: int) -> Tensor:
    """(D, C / groups, k, k) -> (D, C, k, k): the same numbers where a group reads, zeros where it does not."""
    return _dense(weight, groups, lambda out, group, each: range(group * each, (group + 1) * each))


def _dense(weight: Tensor, groups: int, reads: Callable[[int, int, int], range], group_of=None) -> Tensor:
    """The dense kernel if output channel `out` of `group` reads the input channels `reads(out, group, each)`."""
    group_of = group_of or (lambda out, outputs: out // (outputs // groups))
    outputs, each = weight.shape[:2]
    dense = weight.new_zeros(outputs, each * groups, *weight.shape[2:])  # (D, C, k, k)
    for out in range(outputs):
        dense[out, list(reads(out, group_of(out, outputs), each))] = weight[out]
    return dense


def _group_cases() -> list[Case]:
    shapes = [(4, 2, 3, 2), (3, 1, 3, 3), (6, 1, 3, 3), (2, 3, 1, 1), (4, 3, 5, 2), (6, 2, 3, 3)]
    cases = [Case((_normal(D, each, k, k), groups), gradient=D == 6) for D, each, k, groups in shapes]
    return [*cases, Case((_normal(4, 1, 3, 3, dtype=torch.float64), 4))]


DENSE_WEIGHT = Exercise(
    id="4.2",
    title="Which channels does it read?",
    reference=dense_weight,
    cases=_group_cases,
    mistakes=(
        Mistake(
            "the kernels are repeated, so every output reads every group; outside its own group the weights are zero",
            lambda weight, groups: weight.repeat(1, groups, 1, 1),
        ),
        Mistake(
            "every output channel reads the first group; those of group g read the g-th block of input channels",
            lambda weight, groups: _dense(weight, groups, lambda out, group, each: range(each)),
        ),
        Mistake(
            "the output channels are dealt out one by one; a group is a block of D / groups neighbours",
            lambda weight, groups: _dense(
                weight,
                groups,
                lambda out, group, each: range(group * each, (group + 1) * each),
                lambda out, outputs: out % groups,
            ),
        ),
        Mistake(
            "the input channels are dealt out one by one; a group is a block of C / groups neighbours",
            lambda weight, groups: _dense(
                weight, groups, lambda out, group, each: range(group, group + (each - 1) * groups + 1, groups)
            ),
        ),
        Mistake(
            "this is still the grouped kernel; the dense one has all C input channels",
            lambda weight, groups: weight.clone(),
        ),
        Mistake(
            "the groups are in reverse order",
            lambda weight, groups: _dense(
                weight, groups, lambda out, group, each: range((groups - 1 - group) * each, (groups - group) * each)
            ),
        ),
        Mistake(
            "the kernel is spread over all groups and divided; a grouped convolution averages nothing",
            lambda weight, groups: weight.repeat(1, groups, 1, 1) / groups,
        ),
        Mistake(
            "each weight is repeated for several input channels, so every output reads every group; outside its own "
            "group the weights are zero",
            lambda weight, groups: weight.repeat_interleave(groups, dim=1),
        ),
        Mistake(
            "outputs and inputs are swapped: the first axis counts the outputs, the second the inputs",
            lambda weight, groups: dense_weight(weight, groups).transpose(0, 1),
        ),
    ),
)


# 4.3 -----------------------------------------------------------------------------------------------------------------


def equivariance_error(layer: Layer, images: Tensor, pixels: int, stride: int) -> float:
    """‖f(T x) - T' f(x)‖ / ‖f(x)‖ for a circular shift T to the right, and T' by `pixels // stride` places."""
    features = layer(images)  # (B, C, H', W')
    moved = torch.roll(features, pixels // stride, dims=3)
    return ((layer(torch.roll(images, pixels, dims=3)) - moved).norm() / features.norm()).item()


def _layer(name: str) -> Layer:
    """The layers of the cases: each maps (B, 2, H, W) to a feature map."""
    kernel = _normal(3, 2, 3, 3)
    layers: dict[str, Layer] = {
        "zeros": lambda x: F.conv2d(x, kernel, padding=1),
        "circular": lambda x: F.conv2d(F.pad(x, (1, 1, 1, 1), mode="circular"), kernel),
        "strided": lambda x: F.conv2d(x, kernel, padding=1, stride=2),
        "pooled": lambda x: F.max_pool2d(x, 2),
        "places": lambda x: x * torch.linspace(1, 2, x.shape[3]),
    }
    return layers[name]


def _error_cases() -> list[Case]:
    names = {
        "zeros": "a convolution with zero padding",
        "circular": "a convolution that wraps around",
        "strided": "a convolution with stride 2",
        "pooled": "a max pool of 2×2",
        "places": "a layer that multiplies each column by its own number",
    }
    cases = [("zeros", 2, 1, 1), ("strided", 2, 2, 2), ("pooled", 1, 2, 2), ("places", 1, 3, 1), ("strided", 1, 3, 2)]
    cases += [("circular", 2, 1, 1), ("zeros", 3, -2, 1)]
    return [
        Case(
            (_layer(name), _normal(batch, 2, 6, 8), pixels, stride),
            label=f"{names[name]}, images ({batch}, 2, 6, 8), pixels = {pixels}, stride = {stride}",
        )
        for name, batch, pixels, stride in cases
    ]


def _error_with(move=None, change=None, scale=None):
    """The error with one part replaced: how images move, how features move, what the norm is divided by."""
    move = move or (lambda x, pixels: torch.roll(x, pixels, dims=3))
    change = change or (lambda f, pixels, stride: torch.roll(f, pixels // stride, dims=3))
    scale = scale or (lambda difference, features: difference.norm() / features.norm())

    def answer(layer: Layer, images: Tensor, pixels: int, stride: int) -> float:
        features = layer(images)
        return scale(layer(move(images, pixels)) - change(features, pixels, stride), features).item()

    return answer


def _forgiving_floats(got: object, expected: float) -> str | None:
    """As `compare.floats`, but float32 sums differ a little: four digits, and 1e-5 counts as zero."""
    if compare.is_number(got) and abs(got - expected) <= 1e-5 + 1e-4 * abs(expected):
        return None
    return compare.floats(got, expected)


EQUIVARIANCE_ERROR = Exercise(
    id="4.3",
    title="Measure equivariance",
    reference=equivariance_error,
    cases=_error_cases,
    difference=_forgiving_floats,
    mistakes=(
        Mistake(
            "the features are not moved, so this measures invariance; equivariance allows them to move with the image",
            _error_with(change=lambda f, pixels, stride: f),
        ),
        Mistake(
            "the features move by as many places as the image by pixels; one place of a map with stride s is s pixels",
            _error_with(change=lambda f, pixels, stride: torch.roll(f, pixels, dims=3)),
        ),
        Mistake(
            "the features move the other way; image and features go to the right together",
            _error_with(change=lambda f, pixels, stride: torch.roll(f, -(pixels // stride), dims=3)),
        ),
        Mistake(
            "the image moves down; to the right is along the last axis",
            _error_with(
                lambda x, pixels: torch.roll(x, pixels, dims=2),
                lambda f, pixels, stride: torch.roll(f, pixels // stride, dims=2),
            ),
        ),
        Mistake(
            "the norm is not divided by that of the features, so it grows with their size",
            _error_with(scale=lambda difference, features: difference.norm()),
        ),
        Mistake(
            "this is the largest difference, not the norm of all of them over the norm of the features",
            _error_with(scale=lambda difference, features: difference.abs().max()),
        ),
        Mistake(
            "the norms are squared; take the root, or `.norm()`",
            _error_with(scale=lambda difference, features: difference.square().sum() / features.square().sum()),
        ),
        Mistake(
            "the mean of the squared differences is not a relative error; divide the norm by that of the features",
            _error_with(scale=lambda difference, features: difference.square().mean()),
        ),
        Mistake(
            "image and features move to the left; `torch.roll` moves to the right by a positive number",
            _error_with(
                lambda x, pixels: torch.roll(x, -pixels, dims=3),
                lambda f, pixels, stride: torch.roll(f, -(pixels // stride), dims=3),
            ),
        ),
        Mistake(
            "each image gets an error of its own, and these are averaged; take one norm over the whole batch",
            _error_with(scale=lambda d, f: (d.flatten(1).norm(dim=1) / f.flatten(1).norm(dim=1)).mean()),
        ),
        Mistake(
            "the norm runs over the images only, so every place gets an error of its own; take one over all numbers",
            _error_with(scale=lambda difference, features: (difference.norm(dim=0) / features.norm(dim=0)).mean()),
        ),
        Mistake(
            "`roll` without `dims` flattens first, so columns run over into the next row",
            _error_with(
                lambda x, pixels: torch.roll(x, pixels),
                lambda f, pixels, stride: torch.roll(f, pixels // stride),
            ),
        ),
        Mistake(
            "the features move by `pixels / stride` rounded to the nearest; `//` rounds down",
            _error_with(change=lambda f, pixels, stride: torch.roll(f, round(pixels / stride), dims=3)),
        ),
        Mistake(
            "these are means of absolute values; the norm is the root of the sum of squares",
            _error_with(scale=lambda difference, features: difference.abs().mean() / features.abs().mean()),
        ),
    ),
)


# 4.4 -----------------------------------------------------------------------------------------------------------------


def squeeze_excite(x: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
    """(B, C, H, W), (R, C), (C, R) -> x times sigmoid(w2 relu(w1 mean(x))), one number for each channel."""
    squeezed = x.mean(dim=(2, 3))  # (B, C)
    gate = (F.relu(squeezed @ w1.T) @ w2.T).sigmoid()  # (B, C)
    return x * gate[:, :, None, None]  # (B, C, H, W)


def _gate_case(batch: int, channels: int, hidden: int, height: int, width: int, dtype=torch.float32, **options) -> Case:
    x = _normal(batch, channels, height, width, dtype=dtype) + torch.arange(channels).view(-1, 1, 1).to(dtype) / 2
    w1, w2 = _normal(hidden, channels, dtype=dtype), _normal(channels, hidden, seed=1, dtype=dtype)
    traits = [t for t, yes in {"square": height == width, "B = 1": batch == 1, "C = 3": channels == 3}.items() if yes]
    return Case((x, w1, w2), traits=tuple(traits), **options)


def _gate_cases() -> list[Case]:
    return [
        _gate_case(2, 6, 3, 4, 5, gradient=True),
        _gate_case(1, 4, 2, 3, 7),
        _gate_case(3, 3, 2, 4, 4),
        _gate_case(2, 4, 4, 4, 4),
        _gate_case(2, 8, 2, 2, 3, torch.float64),
    ]


def _gated(squeeze=None, excite=None, apply=None):
    """Squeeze-and-excitation with one part replaced."""
    squeeze = squeeze or (lambda x: x.mean(dim=(2, 3)))
    excite = excite or (lambda s, w1, w2: (F.relu(s @ w1.T) @ w2.T).sigmoid())
    apply = apply or (lambda x, gate: x * gate[:, :, None, None])
    return lambda x, w1, w2: apply(x, excite(squeeze(x), w1, w2))


SQUEEZE_EXCITE = Exercise(
    id="4.4",
    title="A gate for every channel",
    reference=squeeze_excite,
    cases=_gate_cases,
    mistakes=(
        Mistake(
            "softmax makes the channels compete for a total of 1; each gate is a sigmoid of its own",
            _gated(excite=lambda s, w1, w2: (F.relu(s @ w1.T) @ w2.T).softmax(dim=1)),
        ),
        Mistake(
            "the ReLU between the two layers is missing", _gated(excite=lambda s, w1, w2: (s @ w1.T @ w2.T).sigmoid())
        ),
        Mistake(
            "the sigmoid is missing: the gate has to lie between 0 and 1",
            _gated(excite=lambda s, w1, w2: F.relu(s @ w1.T) @ w2.T),
        ),
        Mistake("each channel is squeezed to its maximum; take its mean", _gated(squeeze=lambda x: x.amax(dim=(2, 3)))),
        Mistake("each channel is squeezed to its sum; take its mean", _gated(squeeze=lambda x: x.sum(dim=(2, 3)))),
        Mistake(
            "the mean runs over the batch too; every image gets gates of its own",
            _gated(squeeze=lambda x: x.mean(dim=(0, 2, 3)).expand(len(x), -1)),
        ),
        Mistake("the gate is added; it has to multiply", _gated(apply=lambda x, gate: x + gate[:, :, None, None])),
        Mistake("this is the gate itself; multiply x by it", _gated(apply=lambda x, gate: gate)),
        Mistake(
            "x is added once more; the residual connection belongs to the block, not to the gate",
            _gated(apply=lambda x, gate: x + x * gate[:, :, None, None]),
        ),
        Mistake(
            "a second ReLU stands before the sigmoid, so no gate can fall below one half",
            _gated(excite=lambda s, w1, w2: F.relu(F.relu(s @ w1.T) @ w2.T).sigmoid()),
        ),
        Mistake(
            "the ReLU stands behind the second layer; it belongs between the two",
            _gated(excite=lambda s, w1, w2: F.relu(s @ w1.T @ w2.T).sigmoid()),
        ),
        Mistake(
            "a sigmoid stands between the two layers; there a ReLU belongs, and the sigmoid behind the second",
            _gated(excite=lambda s, w1, w2: ((s @ w1.T).sigmoid() @ w2.T).sigmoid()),
        ),
        Mistake(
            "tanh goes from -1 to 1; a gate between 0 and 1 is a sigmoid",
            _gated(excite=lambda s, w1, w2: (F.relu(s @ w1.T) @ w2.T).tanh()),
        ),
    ),
)


# 4.5 -----------------------------------------------------------------------------------------------------------------


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Boxes (N, 4) and (M, 4) as centre x, centre y, width, height -> intersection over union, (N, M)."""
    return _overlap(a, b)


def _corners(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Lower and upper corners, (..., 2) each."""
    return boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2


def _overlap(a: Tensor, b: Tensor, corners=_corners, sides=None, ratio=None) -> Tensor:
    """The ratio of all pairs; `corners`, `sides` and `ratio` replace a step, to make known mistakes."""
    sides = sides or (lambda low, high: (high - low).clamp(min=0))
    ratio = ratio or (lambda both, one, other, hull: both / (one + other - both))
    (low_a, high_a), (low_b, high_b) = corners(a[:, None]), corners(b[None])  # (N, 1, 2) and (1, M, 2)
    both = sides(torch.maximum(low_a, low_b), torch.minimum(high_a, high_b)).prod(-1)  # (N, M)
    hull = (torch.maximum(high_a, high_b) - torch.minimum(low_a, low_b)).prod(-1)  # (N, M)
    return ratio(both, (high_a - low_a).prod(-1), (high_b - low_b).prod(-1), hull)


def _box_cases() -> list[Case]:
    a = torch.tensor([[0.3, 0.3, 0.4, 0.2], [0.7, 0.6, 0.2, 0.4], [0.5, 0.5, 0.6, 0.6]])
    b = torch.tensor([[0.35, 0.3, 0.4, 0.3], [0.8, 0.8, 0.3, 0.2]])
    return [
        Case((a, b), gradient=True),
        Case((a[:1], a)),
        Case((a, a)),
        Case((b[:1], torch.tensor([[0.85, 0.9, 0.1, 0.1]])), label="a (1, 4), b (1, 4), two boxes far apart"),
        Case((b.double(), a.double())),
    ]


def _as_corners(boxes: Tensor) -> tuple[Tensor, Tensor]:
    return boxes[..., :2], boxes[..., 2:]


def _from_corner(boxes: Tensor) -> tuple[Tensor, Tensor]:
    return boxes[..., :2], boxes[..., :2] + boxes[..., 2:]


def _whole_side(boxes: Tensor) -> tuple[Tensor, Tensor]:
    return boxes[..., :2] - boxes[..., 2:], boxes[..., :2] + boxes[..., 2:]


def _clamped(both: Tensor, one: Tensor, other: Tensor, hull: Tensor) -> Tensor:
    return both.clamp(min=0) / (one + other - both.clamp(min=0))


def _generalised(both: Tensor, one: Tensor, other: Tensor, hull: Tensor) -> Tensor:
    union = one + other - both
    return both / union - (hull - union) / hull


BOX_IOU = Exercise(
    id="4.5",
    title="How much do two boxes overlap?",
    reference=box_iou,
    cases=_box_cases,
    mistakes=(
        Mistake(
            "the four numbers are taken for two corners; they are centre x, centre y, width, height",
            lambda a, b: _overlap(a, b, corners=_as_corners),
        ),
        Mistake(
            "the first two numbers are taken for the upper left corner; they are the centre",
            lambda a, b: _overlap(a, b, corners=_from_corner),
        ),
        Mistake(
            "the corners are a whole side from the centre; they are half a side from it",
            lambda a, b: _overlap(a, b, corners=_whole_side),
        ),
        Mistake(
            "boxes apart in both directions have two negative sides, whose product is positive; clamp the sides at 0",
            lambda a, b: _overlap(a, b, sides=lambda low, high: high - low),
        ),
        Mistake(
            "the union counts the intersection twice; subtract it once",
            lambda a, b: _overlap(a, b, ratio=lambda both, one, other, hull: both / (one + other)),
        ),
        Mistake(
            "this is the intersection alone; divide it by the union",
            lambda a, b: _overlap(a, b, ratio=lambda both, one, other, hull: both),
        ),
        Mistake(
            "the intersection is divided by the smaller box; the union holds both",
            lambda a, b: _overlap(a, b, ratio=lambda both, one, other, hull: both / torch.minimum(one, other)),
        ),
        Mistake(
            "the intersection is divided by the box around both, which is larger than the union",
            lambda a, b: _overlap(a, b, ratio=lambda both, one, other, hull: both / hull),
        ),
        Mistake(
            "rows and columns are swapped: the result is (N, M), a row for each box of a", lambda a, b: box_iou(b, a)
        ),
        Mistake(
            "the area is clamped at 0, but two negative sides make a positive one; clamp the sides",
            lambda a, b: _overlap(a, b, sides=lambda low, high: high - low, ratio=_clamped),
        ),
        Mistake(
            "the sides are made positive by `abs`; boxes that lie apart share nothing, so clamp the sides at 0",
            lambda a, b: _overlap(a, b, sides=lambda low, high: (high - low).abs()),
        ),
        Mistake(
            "this is the generalised IoU, which falls below 0 for boxes apart; here it stays at 0",
            lambda a, b: _overlap(a, b, ratio=_generalised),
        ),
        Mistake(
            "this is 1 minus the overlap, a distance; equal boxes have an overlap of 1", lambda a, b: 1 - box_iou(a, b)
        ),
        Mistake("this is in per cent; the overlap goes from 0 to 1", lambda a, b: 100 * box_iou(a, b)),
        Mistake(
            "only equal places are compared; every box of a meets every box of b", lambda a, b: box_iou(a, b).diagonal()
        ),
    ),
)


# 4.6 -----------------------------------------------------------------------------------------------------------------


def attention_convolution(images: Tensor, weight: Tensor, alpha: float) -> Tensor:
    """(B, C, H, W), (D, C, 3, 3) -> (B, D, H, W): nine heads with scores -α‖(key - query) - Δ‖², values w[:, :, Δ]."""
    return _nine_heads(images, weight, alpha)


def _nine_heads(images: Tensor, weight: Tensor, alpha: float, **parts) -> Tensor:
    """The nine heads; `parts` replaces a step, to make known mistakes."""
    options = {"padding": 1, "score": _score, "dim": -1, "start": -1, "kernel": weight, "scale": 1.0} | parts
    options = {"fill": "constant", "share": lambda scores, dim: scores.softmax(dim), "rim": 0} | options
    padded = F.pad(images, [options["padding"]] * 4, options["fill"])
    height, width = padded.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack([y.flatten(), x.flatten()], dim=1).to(images)  # (M, 2)
    delta = places[None] - places[:, None]  #                             (M, M, 2): key - query
    tokens = padded.flatten(2).transpose(1, 2)  #                         (B, M, C)
    total = 0.0
    for i in range(3):
        for j in range(3):
            offset = places.new_tensor([i + options["start"], j + options["start"]])
            attention = options["share"](options["score"](delta, offset, alpha), options["dim"])  # (M, M)
            total = total + attention @ tokens @ options["kernel"][:, :, i, j].T  #           (B, M, D)
    grid = (options["scale"] * total).transpose(1, 2).unflatten(2, (height, width))
    return grid[:, :, 1:-1, 1:-1] if options["padding"] and not options["rim"] else grid


def _score(delta: Tensor, offset: Tensor, alpha: float) -> Tensor:
    return -alpha * (delta - offset).square().sum(dim=-1)


def _heads_case(
    batch: int, channels: int, out: int, height: int, width: int, alpha: float, dtype=torch.float32, **more
):
    images, weight = _normal(batch, channels, height, width, dtype=dtype), _normal(out, channels, 3, 3, dtype=dtype)
    traits = [t for t, yes in {"square": height == width, "B = 1": batch == 1, "C = 3": channels == 3}.items() if yes]
    return Case((images, weight, alpha), traits=tuple(traits), **more)


def _heads_cases() -> list[Case]:
    return [
        _heads_case(2, 3, 4, 3, 5, 15.0, gradient=True),
        _heads_case(1, 3, 2, 4, 3, 15.0),
        _heads_case(2, 2, 2, 4, 4, 1.0),
        _heads_case(1, 1, 3, 3, 4, 0.3),
        _heads_case(2, 2, 3, 2, 5, 15.0, torch.float64),
    ]


def _heads_with(**parts):
    return lambda images, weight, alpha: _nine_heads(images, weight, alpha, **parts)


def _rearranged_kernel(change: Callable[[Tensor], Tensor]):
    return lambda images, weight, alpha: _nine_heads(images, weight, alpha, kernel=change(weight))


ATTENTION_CONVOLUTION = Exercise(
    id="4.6",
    title="Nine heads make a convolution",
    reference=attention_convolution,
    cases=_heads_cases,
    mistakes=(
        Mistake(
            "the heads look to the opposite side: the difference is key minus query, or the kernel comes out flipped",
            _rearranged_kernel(lambda weight: weight.flip(2, 3)),
        ),
        Mistake(
            "rows and columns are swapped: kernel entry [i, j] belongs to the offset of i - 1 rows and j - 1 columns",
            _rearranged_kernel(lambda weight: weight.transpose(2, 3)),
        ),
        Mistake(
            "the offsets run from 0 to 2; around the middle of the kernel they run from -1 to 1",
            _heads_with(start=0),
        ),
        Mistake(
            "the softmax runs over the queries; each query's weights over the keys have to sum to 1",
            _heads_with(dim=0),
        ),
        Mistake(
            "the sign of the scores is wrong: they have to be highest where the distance to the offset is 0",
            _heads_with(score=lambda delta, offset, alpha: -_score(delta, offset, alpha)),
        ),
        Mistake(
            "the heads are averaged; here they are summed, as the nine terms of a convolution are",
            _heads_with(scale=1 / 9),
        ),
        Mistake(
            "the distance is not squared; the scores are -α times the squared distance",
            _heads_with(score=lambda delta, offset, alpha: -alpha * (delta - offset).square().sum(dim=-1).sqrt()),
        ),
        Mistake(
            "α is missing, so the weights stay soft",
            _heads_with(score=lambda delta, offset, alpha: _score(delta, offset, 1.0)),
        ),
        Mistake(
            "the image is not padded: at the border a head that looks outside has to find zeros",
            _heads_with(padding=0),
        ),
        Mistake(
            "this is the convolution itself; for a small α the nine heads look around softly, and differ from it",
            lambda images, weight, alpha: F.conv2d(images, weight, padding=1),
        ),
        Mistake(
            "the rim is still there: the result has the size of the padded map; cut one place off on each side",
            _heads_with(rim=1),
        ),
        Mistake(
            "the border is padded with copies of the edge; a head that looks outside has to find zeros",
            _heads_with(fill="replicate"),
        ),
        Mistake(
            "the weights are exponentials that do not sum to 1; divide by their sum, as the softmax does",
            _heads_with(share=lambda scores, dim: scores.exp()),
        ),
    ),
)

EXERCISES = {
    exercise.id: exercise
    for exercise in (
        RECEPTIVE_FIELD,
        DENSE_WEIGHT,
        EQUIVARIANCE_ERROR,
        SQUEEZE_EXCITE,
        BOX_IOU,
        ATTENTION_CONVOLUTION,
    )
}
