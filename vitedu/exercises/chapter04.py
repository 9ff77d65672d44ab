"""The exercises of chapter 4, why convolution works."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from vitedu.exercises import compare
from vitedu.exercises.exercise import Answer, Case, exercise, formulas, image_traits, on


def _normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Random numbers with one decimal, the same at every call."""
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float32).round(decimals=1).to(dtype)


# 4.1 -----------------------------------------------------------------------------------------------------------------


def pixels_seen(kernels: list[int], strides: list[int], paddings: list[int], place: int) -> tuple[int, int]:
    """Back through the layers: place n of a layer reads n·s - p up to n·s - p + k - 1 of the one before."""
    first = last = place
    for kernel, stride, padding in reversed(list(zip(kernels, strides, paddings, strict=True))):
        first, last = first * stride - padding, last * stride - padding + kernel - 1
    return first, last


@formulas([1], [1], [0], 0)
def _intervals(kernels: list[int], strides: list[int], paddings: list[int], place: int) -> dict[str, tuple[int, int]]:
    layers, total = range(len(kernels)), math.prod(strides)
    steps = [math.prod(strides[:n]) for n in layers]  # pixels between two places of what a layer reads
    own = [math.prod(strides[: n + 1]) for n in layers]
    first, last = pixels_seen(kernels, strides, paddings, place)
    side, less = last - first, [kernel - 1 for kernel in kernels]

    def dot(numbers: list[int], steps: list[int]) -> int:
        return sum(number * step for number, step in zip(numbers, steps, strict=True))

    def forwards() -> tuple[int, int]:
        low = high = place
        for kernel, stride, padding in zip(kernels, strides, paddings, strict=True):
            low, high = low * stride - padding, high * stride - padding + kernel - 1
        return low, high

    def padded_first() -> tuple[int, int]:
        low = high = place
        for kernel, stride, padding in reversed(list(zip(kernels, strides, paddings, strict=True))):
            low, high = (low - padding) * stride, (high - padding) * stride + kernel - 1
        return low, high

    bare = pixels_seen(kernels, strides, [0] * len(kernels), place)
    half = [kernel // 2 for kernel in kernels]
    middle = place * total
    return {
        "the layers are walked from the first to the last; begin with the last": forwards(),
        "the paddings are missing: place 0 begins `padding` places before the first": bare,
        "the paddings are added; they move the window to the left, below 0": (
            pixels_seen(kernels, strides, [-padding for padding in paddings], place)
        ),
        "the padding is multiplied by its own layer's stride; subtract it afterwards": padded_first(),
        "each layer adds k instead of k - 1; the first place of its window is counted already": (
            first,
            first + dot(kernels, steps),
        ),
        "the last pixel is one too many: a range that ends *before* it is not what is asked for": (first, last + 1),
        "the strides are ignored": (place - sum(paddings), place - sum(paddings) + sum(less)),
        "the strides move the place and not the width: behind a stride of 2 a step is two pixels wide": (
            first,
            first + sum(less),
        ),
        "the kernel's width is multiplied by its own layer's stride; only the strides before it widen the window": (
            first,
            first + dot(less, own),
        ),
        "the strides widen the window and do not move it": (first - middle + place, last - middle + place),
        "the paddings are added up as they are; each counts in the steps of the map that it pads": (
            middle - sum(paddings),
            middle - sum(paddings) + side,
        ),
        "k // 2 on either side of the middle: that takes the padding for half of the kernel": (
            middle - dot(half, steps),
            middle + dot(half, steps),
        ),
        "the second number asked for is the last pixel, not how many there are": (first, side + 1),
        "places count from 0, so place 0 begins at minus the padding": (
            pixels_seen(kernels, strides, paddings, place - 1)
        ),
        "what lies before the picture is cut off at 0; leave numbers of the padding as they are": (max(first, 0), last),
        "the two are swapped: first, then last": (last, first),
    }


exercise(
    "4.1",
    reference=pixels_seen,
    cases=lambda: on(
        *[([3], [1], [1], 4), ([3, 3], [2, 1], [1, 1], 3), ([3, 3, 3, 3], [2, 2, 2, 2], [1, 1, 1, 1], 0)],
        *[([7, 3, 2], [2, 3, 1], [3, 0, 1], 5), ([16], [16], [0], 2), ([4, 3], [1, 2], [0, 2], 7), ([2], [2], [0], 1)],
        *[([5, 1, 3], [3, 1, 2], [1, 0, 0], 2), ([1, 1], [1, 1], [0, 0], 6)],
    ),
    difference=compare.integer_tuples,
    mistakes=_intervals,
)


# 4.2 -----------------------------------------------------------------------------------------------------------------


def _dense(
    reads: Callable[[int, int, int], slice] = lambda g, each, groups: slice(g * each, (g + 1) * each),
    group_of: Callable[[int, int, int], int] = lambda out, D, groups: out // (D // groups),
    inputs: Callable[[int, int], int] = lambda D, C: C,
) -> Answer:
    """(D, C / groups, k, k) -> (D, C, k, k): zeros where a group does not read; to replace: which channels it reads."""

    def answer(weight: Tensor, groups: int) -> Tensor:
        D, each = weight.shape[:2]
        dense = weight.new_zeros(D, inputs(D, each * groups), *weight.shape[2:])
        for out in range(D):
            dense[out, reads(group_of(out, D, groups), each, groups)] = weight[out]
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
            _dense(lambda g, each, groups: slice(each))
        ),
        "the output channels are dealt out one by one; a group is a block of D / groups neighbours": (
            _dense(group_of=lambda out, D, groups: out % groups)
        ),
        "the input channels are dealt out one by one; a group is a block of C / groups neighbours": (
            _dense(lambda g, each, groups: slice(g, None, groups))
        ),
        "the group of output o is o // groups here; a group has D / groups outputs, so it is o // (D // groups)": (
            _dense(group_of=lambda out, D, groups: out // groups)
        ),
        "group g begins at channel g here; it begins at g * each": _dense(lambda g, each, groups: slice(g, g + each)),
        "there are D input channels here, not groups * each": _dense(inputs=lambda D, C: D),
        "the kernels are flipped": lambda weight, groups: dense_weight(weight, groups).flip(2, 3),
        "only the first outputs have weights, one for each group; a group has D / groups outputs": (
            lambda weight, groups: F.pad(dense_weight(weight[:groups], groups), [0] * 7 + [len(weight) - groups])
        ),
        "this is still the grouped kernel; the dense one has all C input channels": (
            lambda weight, groups: weight.clone()
        ),
        "the groups are in reverse order": (
            _dense(lambda g, each, groups: slice((groups - 1 - g) * each, (groups - g) * each))
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


def _blurred(
    largest: Callable[[Tensor], Tensor] = lambda x: F.max_pool2d(_around(x, (0, 1, 0, 1)), 2, stride=1),
    taps: tuple[float, ...] = (1, 2, 1),
    total: float = 16,
    rim: Callable[[Tensor], Tensor] = lambda x: _around(x, (1, 1, 1, 1)),
    keep: Callable[[Tensor], Tensor] = lambda x: x[..., ::2, ::2],
) -> Answer:
    """(B, C, H, W) -> (B, C, H/2, W/2): largest of 2 × 2, blurred, every second place; any part may be replaced."""

    def answer(x: Tensor) -> Tensor:
        side = torch.tensor(taps).to(x)
        kernel = (side[:, None] * side / total).expand(x.shape[1], 1, -1, -1)
        return keep(F.conv2d(rim(largest(x)), kernel, groups=x.shape[1]))

    return answer


def _around(x: Tensor, sides: tuple[int, ...]) -> Tensor:
    return F.pad(x, sides, mode="circular")


def _largest(x: Tensor) -> Tensor:
    return F.max_pool2d(_around(x, (0, 1, 0, 1)), 2, stride=1)


def _blur_cases() -> list[Case]:
    shapes = [(2, 3, 4, 6), (1, 2, 6, 4), (2, 1, 4, 4), (1, 4, 8, 8)]
    cases = [Case((_normal(*shape),), traits=image_traits(*shape), gradient=shape[0] == 2) for shape in shapes]
    return [*cases, Case((_normal(1, 3, 4, 8, dtype=torch.float64),), traits=image_traits(1, 3, 4, 8))]


exercise(
    "4.3",
    reference=_blurred(),
    cases=_blur_cases,
    mistakes={
        "this is the max pool as it was, without a blur": lambda x: F.max_pool2d(x, 2),
        "the maximum already skips every second place, and the blur skips again; only the blur has stride 2": _blurred(
            lambda x: F.max_pool2d(x, 2)
        ),
        "the maximum skips every second place, and the blur comes behind it; blur *before* places are left out": (
            _blurred(lambda x: F.max_pool2d(x, 2), keep=lambda x: x)
        ),
        "nothing is left out: the blur has to move by two places": _blurred(keep=lambda x: x),
        "the maximum is missing; this blurs the input": _blurred(lambda x: x),
        "the mean of 2 × 2 stands in place of the maximum": _blurred(
            lambda x: F.avg_pool2d(_around(x, (0, 1, 0, 1)), 2, stride=1)
        ),
        "the blur comes before the maximum; it belongs between the maximum and the stride": lambda x: _largest(
            _blurred(lambda x: x, keep=lambda x: x)(x)
        )[..., ::2, ::2],
        "the kernel sums to 16; divide by it, or every layer makes the numbers 16 times as large": _blurred(total=1),
        "the kernel is divided by 4 once; it sums to 16": _blurred(total=4),
        "the kernel is divided by its 9 numbers; their sum is 16": _blurred(total=9),
        "nine equal weights; the kernel is [1, 2, 1] down times [1, 2, 1] across": _blurred(taps=(1, 1, 1), total=9),
        "the window of the maximum goes to the left and up; it goes one place to the right and below": _blurred(
            lambda x: F.max_pool2d(_around(x, (1, 0, 1, 0)), 2, stride=1)
        ),
        "the places kept are the odd ones; keep 0, 2, 4, …": _blurred(keep=lambda x: x[..., 1::2, 1::2]),
        "the edge of the blur is filled with zeros; it wraps around": _blurred(rim=lambda x: F.pad(x, [1] * 4)),
        "the edge of the blur repeats the outermost place; it wraps around": _blurred(
            rim=lambda x: F.pad(x, [1] * 4, mode="replicate")
        ),
        "the edge of the blur is a mirror; it wraps around": _blurred(rim=lambda x: F.pad(x, [1] * 4, mode="reflect")),
        "the maximum does not wrap around: its last windows see zeros": _blurred(
            lambda x: F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 2, stride=1)
        ),
        "the maximum does not wrap around: its last windows hold what is left of the picture": _blurred(
            lambda x: F.max_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), 2, stride=1)
        ),
        "nothing is padded, so the map is smaller than half of the picture": _blurred(
            lambda x: F.max_pool2d(x, 2, stride=1), rim=lambda x: x
        ),
        "the channels are added up; each is blurred by itself, with `groups` equal to their number": (
            lambda x: _blurred()(x).sum(dim=1, keepdim=True).expand(-1, x.shape[1], -1, -1)
        ),
        "the channels are averaged; each is blurred by itself": (
            lambda x: _blurred()(x).mean(dim=1, keepdim=True).expand(-1, x.shape[1], -1, -1)
        ),
        "the places are blurred along the rows only": lambda x: F.conv2d(
            _around(_largest(x), (1, 1, 0, 0)),
            (torch.tensor([[1.0, 2, 1]]).to(x) / 4).expand(x.shape[1], 1, -1, -1),
            groups=x.shape[1],
        )[..., ::2, ::2],
    },
)


# 4.4 -----------------------------------------------------------------------------------------------------------------


def squeeze_excite(x: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
    """(B, C, H, W), (R, C), (C, R) -> x times sigmoid(w2 relu(w1 mean(x))), one number for each channel."""
    return x * _gate(x.mean(dim=(2, 3)), w1, w2)[:, :, None, None]


def _gate(s: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
    return (F.relu(s @ w1.T) @ w2.T).sigmoid()  # (…, C)


def _gate_case(B: int, C: int, R: int, H: int, W: int, dtype=torch.float32, **options) -> Case:
    x = _normal(B, C, H, W, dtype=dtype) + torch.arange(C).view(-1, 1, 1).to(dtype) / 2
    w1, w2 = _normal(R, C, dtype=dtype), _normal(C, R, seed=1, dtype=dtype)
    return Case((x, w1, w2), traits=image_traits(B, C, H, W), **options)


def _gate_cases() -> list[Case]:
    sizes = [(1, 4, 2, 3, 7), (3, 3, 2, 4, 4), (2, 4, 4, 4, 4), (2, 8, 2, 2, 3, torch.float64)]
    return [_gate_case(2, 6, 3, 4, 5, gradient=True), *(_gate_case(*size) for size in sizes)]


@formulas(torch.ones(1, 1, 1, 1), *torch.ones(2, 1, 1))
def _gated(x: Tensor, w1: Tensor, w2: Tensor) -> dict[str, Tensor]:
    s = x.mean(dim=(2, 3))  # (B, C)
    down, up = s @ w1.T, F.relu(s @ w1.T) @ w2.T  # (B, R), (B, C)
    gate, wide = up.sigmoid()[:, :, None, None], x.movedim(1, 3)  # (B, C, 1, 1), (B, H, W, C)
    gates = {
        "softmax makes the channels compete for a total of 1; each gate is a sigmoid of its own": up.softmax(1),
        "the ReLU between the two layers is missing": (down @ w2.T).sigmoid(),
        "a GELU stands between the two layers; there a ReLU belongs": (F.gelu(down) @ w2.T).sigmoid(),
        "the sigmoid is missing: the gate has to lie between 0 and 1": up,
        "a ReLU stands in place of the sigmoid; the gate has to lie between 0 and 1": F.relu(up),
        "each channel is squeezed to its maximum; take its mean": _gate(x.amax(dim=(2, 3)), w1, w2),
        "each channel is squeezed to its sum; take its mean": _gate(x.sum(dim=(2, 3)), w1, w2),
        "one bug is left: the mean runs over the batch too; every image gets gates of its own": (
            _gate(s.mean(0, True), w1, w2)
        ),
        "the mean comes after the ReLU; it comes first": (F.relu(wide @ w1.T).mean((1, 2)) @ w2.T).sigmoid(),
        "a second ReLU stands before the sigmoid, so no gate can fall below one half": F.relu(up).sigmoid(),
        "one bug is left: the ReLU stands behind the second layer, where a sigmoid makes at least one half of it": (
            F.relu(down @ w2.T).sigmoid()
        ),
        "this is the given cell as it stands, with both bugs": F.relu(s.mean(0, True) @ w1.T @ w2.T).sigmoid(),
        "the ReLU behind the second layer is gone, but none stands between the two; and the mean runs over the batch": (
            (s.mean(0, True) @ w1.T @ w2.T).sigmoid()
        ),
        "a sigmoid stands between the two layers; there a ReLU belongs, and the sigmoid behind the second": (
            (down.sigmoid() @ w2.T).sigmoid()
        ),
        "tanh goes from -1 to 1; a gate between 0 and 1 is a sigmoid": up.tanh(),
    }
    return {hint: x * wrong[:, :, None, None] for hint, wrong in gates.items()} | {
        "nothing is squeezed; take the mean over the places first": x * _gate(wide, w1, w2).movedim(3, 1),
        "the gate is added; it has to multiply": x + gate,
        "this is the gate itself; multiply x by it": gate[:, :, 0, 0],
        "x is added once more; the residual connection belongs to the block, not to the gate": x + x * gate,
    }


exercise(
    "4.4",
    reference=squeeze_excite,
    cases=_gate_cases,
    mistakes=_gated | {"w1 is (R, C), so it acts as `s @ w1.T`": lambda x, w1, w2: squeeze_excite(x, w1.T, w2.T)},
)


# 4.5 -----------------------------------------------------------------------------------------------------------------


def _score(delta: Tensor, offset: Tensor, alpha: float) -> Tensor:
    return -alpha * (delta - offset).square().sum(dim=-1)


def _nine(
    kernel: Callable[[Tensor], Tensor] = lambda weight: weight,
    score: Callable[[Tensor, Tensor, float], Tensor] = _score,
    share: Callable[[Tensor], Tensor] = lambda scores: scores.softmax(dim=-1),
    grid: Callable[[Tensor, tuple[int, int]], Tensor] = lambda tokens, size: tokens.mT.unflatten(2, size),
    pad: int = 1,
    fill: str = "constant",
    rim: int = 1,
) -> Answer:
    """Nine heads with scores -α‖(key - query) - Δ‖² and values w[:, :, Δ]; any part may be replaced."""

    def answer(images: Tensor, weight: Tensor, alpha: float) -> Tensor:
        padded = F.pad(images, [pad] * 4, fill)
        height, width = padded.shape[-2:]
        places = torch.cartesian_prod(torch.arange(height), torch.arange(width)).to(images)  # (M, 2)
        delta = places[None] - places[:, None]  # (M, M, 2): key - query
        offsets = torch.cartesian_prod(*[torch.arange(-1, 2)] * 2).to(images)  # (9, 2)
        attention = share(score(delta, offsets[:, None, None], alpha))  # (9, M, M)
        heads = (attention @ padded.flatten(2).mT[:, None]).movedim(1, 2).flatten(2)  # (B, M, 9 · C)
        total = heads @ kernel(weight).permute(2, 3, 1, 0).flatten(0, 2)  # (B, M, D)
        return grid(total, (height, width))[:, :, rim : height - rim, rim : width - rim]

    return answer


def _heads_case(B: int, C: int, D: int, H: int, W: int, alpha: float, dtype=torch.float32, **options) -> Case:
    args = _normal(B, C, H, W, dtype=dtype), _normal(D, C, 3, 3, dtype=dtype), alpha
    return Case(args, traits=image_traits(B, C, H, W), **options)


def _heads_cases() -> list[Case]:
    """Large and small α with every number of channels and every shape, so that no trait stands for the size of α."""
    sizes = [(1, 3, 2, 4, 3, 15.0), (2, 2, 2, 4, 4, 1.0), (1, 1, 3, 3, 4, 0.3), (2, 2, 3, 2, 5, 15.0, torch.float64)]
    sizes += [(1, 3, 2, 3, 3, 0.5)]
    return [_heads_case(2, 3, 4, 3, 5, 15.0, gradient=True), *(_heads_case(*size) for size in sizes)]


exercise(
    "4.5",
    reference=_nine(),
    cases=_heads_cases,
    mistakes={
        "the heads look to the opposite side: the difference is key minus query, or the kernel comes out flipped": (
            _nine(lambda w: w.flip(2, 3))
        ),
        "rows and columns are swapped: kernel entry [i, j] belongs to the offset of i - 1 rows and j - 1 columns": (
            _nine(lambda w: w.mT)
        ),
        "the values need `weight[:, :, i, j].T`: tokens have C numbers, and get D": _nine(lambda w: w.transpose(0, 1)),
        "the offsets run from 0 to 2; around the middle of the kernel they run from -1 to 1": (
            _nine(score=lambda d, o, a: _score(d, o + 1, a))
        ),
        "Δ has no effect, every head looks at the query's own place": _nine(score=lambda d, o, a: _score(d, 0 * o, a)),
        "the softmax runs over the queries; each query's weights over the keys have to sum to 1": (
            _nine(share=lambda scores: scores.softmax(dim=-2))
        ),
        "the sign of the scores is wrong: they have to be highest where the distance to the offset is 0": (
            _nine(score=lambda d, o, a: _score(d, o, -a))
        ),
        "α is squared; it multiplies the squared distance": _nine(score=lambda d, o, a: _score(d, o, a * a)),
        "no root of d divides the scores here": _nine(score=lambda d, o, a: _score(d, o, a / math.sqrt(2))),
        "the heads are averaged; here they are summed, as the nine terms of a convolution are": _nine(lambda w: w / 9),
        "only the last head is left; add up all nine": _nine(lambda w: F.pad(w[:, :, 2:, 2:], (2, 0, 2, 0))),
        "the distance is not squared; the scores are -α times the squared distance": (
            _nine(score=lambda d, o, a: -a * (d - o).norm(dim=-1))
        ),
        "‖·‖² is not the sum of absolute values": _nine(score=lambda d, o, a: -a * (d - o).abs().sum(dim=-1)),
        "the squares are averaged; ‖·‖² is their sum": _nine(score=lambda d, o, a: _score(d, o, a / 2)),
        "α is missing, so the weights stay soft": _nine(score=lambda d, o, a: _score(d, o, 1)),
        "the image is not padded: at the border a head that looks outside has to find zeros": _nine(pad=0, rim=0),
        "the image is not padded, so the cut takes its own border off": _nine(pad=0),
        "this is the convolution itself; for a small α the nine heads look around softly, and differ from it": (
            lambda images, weight, alpha: F.conv2d(images, weight, padding=1)
        ),
        "the rim is still there: the result has the size of the padded map; cut one place off on each side": (
            _nine(rim=0)
        ),
        "the rim is two places wide; for a small α every zero more takes a share of the softmax": _nine(pad=2, rim=2),
        "a `reshape` of the tokens (B, N, D) to a map mixes places and channels; D has to move before N": (
            _nine(grid=lambda tokens, size: tokens.reshape(len(tokens), -1, *size))
        ),
        "the border is padded with copies of the edge; a head that looks outside has to find zeros": (
            _nine(fill="replicate")
        ),
        "the padding wraps around; a head that looks outside has to find zeros": _nine(fill="circular"),
        "the padding mirrors the image; a head that looks outside has to find zeros": _nine(fill="reflect"),
        "the weights are exponentials that do not sum to 1; divide by their sum, as the softmax does": (
            _nine(share=torch.exp)
        ),
    },
)
