"""The exercises of chapter 4, why convolution works."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from vitedu.exercises import compare
from vitedu.exercises.exercise import Answer, Case, exercise, formulas, image_traits, on

Layer = Callable[[Tensor], Tensor]


def _normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Random numbers with one decimal, the same at every call."""
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float32).round(decimals=1).to(dtype)


# 4.1 -----------------------------------------------------------------------------------------------------------------


def receptive_field(kernels: list[int], strides: list[int]) -> int:
    """r = 1 + Σ (k_l - 1) · (product of the strides before layer l)."""
    return 1 + sum((kernel - 1) * math.prod(strides[:n]) for n, kernel in enumerate(kernels))


@formulas([1], [1])
def _fields(kernels: list[int], strides: list[int]) -> dict[str, int]:
    layers, total = range(len(kernels)), math.prod(strides)
    less = [kernel - 1 for kernel in kernels]
    steps, own = ([math.prod(strides[: n + more]) for n in layers] for more in (0, 1))
    after = [math.prod(strides[n:]) for n in layers]
    right = receptive_field(kernels, strides)

    def see(grow: list[int], steps: list[int]) -> int:
        return 1 + sum(places * step for places, step in zip(grow, steps, strict=True))

    return {
        "the strides are ignored; behind a stride of 2 a step of one place is a step of two pixels": 1 + sum(less),
        "each layer adds k instead of k - 1; the middle of the window was seen already": see(kernels, steps),
        "each layer adds k instead of k - 1, and the pixel of the start is missing": see(kernels, steps) - 1,
        "a layer's own stride is counted for itself; it widens only the steps of the layers after it": see(less, own),
        "the sum starts at 0; before the first layer a unit sees one pixel, itself": right - 1,
        "the kernels are multiplied; the windows overlap, so they add up": math.prod(kernels),
        "only the stride of the layer itself counts here; the strides of all layers before it multiply": (
            see(less, strides)
        ),
        "only the stride just before a layer counts here; all before it multiply": see(less, [1, *strides[:-1]]),
        "the layers are read from the last to the first; strides act on the layers that follow": (
            receptive_field(kernels[::-1], strides[::-1])
        ),
        "a layer feels the strides before it, not its own and those behind it": see(less, after),
        "this is the area in pixels; the receptive field is asked for as the side of the square": right**2,
        "this is the product of the strides, the step of the last map, not what a unit sees": total,
        "the kernels are added up, and nothing else; a layer adds k - 1, times the strides before it, to the 1 of "
        "the start": sum(kernels),
        "the strides of all layers multiply every kernel; a layer feels only those before it": 1 + sum(less) * total,
        "the strides are added up; two strides of 2 make steps of 4 pixels, so they multiply": (
            see(less, [sum(strides[:n] or [1]) for n in layers])
        ),
        "every layer adds 2 steps, as in the text; that is k - 1 of a 3 × 3 window": 1 + 2 * sum(steps),
        "a layer adds k - 1 steps, half of them on either side; here only one side is counted": (
            see([k // 2 for k in kernels], steps)
        ),
        "half of a layer's k - 1 steps is counted, those on one side": see([(k - 1) // 2 for k in kernels], steps),
        "k // 2 on either side is one too many for an even kernel": see([k // 2 * 2 for k in kernels], steps),
        "(k - 1) // 2 on either side loses one of an even kernel": see([(k - 1) // 2 * 2 for k in kernels], steps),
    }


exercise(
    "4.1",
    reference=receptive_field,
    cases=lambda: on(
        *[([3], [1]), ([3, 3, 3], [1, 1, 1]), ([3, 3], [2, 1]), ([3, 3, 3, 3], [2, 2, 2, 2]), ([5, 3, 1], [1, 2, 1])],
        *[([7, 3, 3, 3], [2, 2, 1, 2]), ([1, 1], [1, 1]), ([2], [2]), ([16], [16]), ([3, 4, 2], [2, 3, 1])],
    ),
    difference=compare.integers,
    mistakes=_fields,
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


def equivariance_error(layer: Layer, images: Tensor, pixels: int, stride: int) -> float:
    """‖f(T x) - T' f(x)‖ / ‖f(x)‖ for a circular shift T to the right, and T' by `pixels // stride` places."""
    features = layer(images)  # (B, C, H', W')
    moved = features.roll(pixels // stride, dims=3)
    return ((layer(images.roll(pixels, dims=3)) - moved).norm() / features.norm()).item()


@formulas(torch.clone, torch.ones(1, 1, 1, 1), 1, 1)
def _errors(layer: Layer, images: Tensor, pixels: int, stride: int) -> dict[str, float]:
    f, n = layer(images), pixels // stride
    right, d = layer(images.roll(pixels, 3)), layer(images.roll(pixels, 3)) - f.roll(n, 3)
    down, flat, left = layer(images.roll(pixels, 2)), layer(images.roll(pixels)), layer(images.roll(-pixels, 3))

    def relative(difference: Tensor) -> Tensor:
        return difference.norm() / f.norm()

    found = {
        "the features are not moved, so this measures invariance; equivariance allows them to move with the image": (
            relative(right - f)
        ),
        "the features move by as many places as the image by pixels; one place of a map with stride s is s pixels": (
            relative(right - f.roll(pixels, 3))
        ),
        "the features move the other way; image and features go to the right together": relative(right - f.roll(-n, 3)),
        "the features move to the left, the image to the right": relative(right - f.roll(-pixels // stride, 3)),
        "the image moves down; to the right is along the last axis": relative(down - f.roll(n, 2)),
        "the image moves down, the features to the right; both go along the last axis": relative(down - f.roll(n, 3)),
        "the norm is not divided by that of the features, so it grows with their size": d.norm(),
        "the norm is divided by that of the images; divide by that of the features": d.norm() / images.norm(),
        "this is the largest difference, not the norm of all of them over the norm of the features": d.abs().max(),
        "the norms are squared; take the root, or `.norm()`": relative(d).square(),
        "the mean of the squared differences is not a relative error; divide the norm by that of the features": (
            d.square().mean()
        ),
        "image and features move to the left; `torch.roll` moves to the right by a positive number": (
            relative(left - f.roll(-n, 3))
        ),
        "each image gets an error of its own, and these are averaged; take one norm over the whole batch": (
            (d.flatten(1).norm(dim=1) / f.flatten(1).norm(dim=1)).mean()
        ),
        "the norm runs over the images only, so every place gets an error of its own; take one over all numbers": (
            (d.norm(dim=0) / f.norm(dim=0)).mean()
        ),
        "`roll` without `dims` flattens first, so columns run over into the next row": relative(flat - f.roll(n)),
        "only the image is rolled flat, without `dims`; it has to move along rows": relative(flat - f.roll(n, 3)),
        "what leaves on the right is lost; it comes in again on the left, around the edge": (
            relative(layer(F.pad(images, (pixels, -pixels))) - F.pad(f, (n, -n)))
        ),
        "the features move by `pixels / stride` rounded to the nearest; `//` rounds down": (
            relative(right - f.roll(round(pixels / stride), 3))
        ),
        "`pixels / stride` is rounded up; `//` rounds down": relative(right - f.roll(-(-pixels // stride), 3)),
        "`int` rounds towards 0; `//` rounds down, also below 0": relative(right - f.roll(int(pixels / stride), 3)),
        "these are means of absolute values; the norm is the root of the sum of squares": (
            d.abs().mean() / f.abs().mean()
        ),
    }
    return {hint: error.item() for hint, error in found.items()}


# name -> what messages call it, and the layer: (B, 2, H, W) to a feature map
LAYERS: dict[str, tuple[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "zeros": ("a convolution with zero padding", lambda x, w: F.conv2d(x, w, padding=1)),
    "circular": ("a convolution that wraps around", lambda x, w: F.conv2d(F.pad(x, [1] * 4, mode="circular"), w)),
    "strided": ("a convolution with stride 2", lambda x, w: F.conv2d(x, w, padding=1, stride=2)),
    "pooled": ("a max pool of 2×2", lambda x, w: F.max_pool2d(x, 2)),
    "places": ("a layer that multiplies each column by its own number", lambda x, w: x * torch.linspace(1, 2, 8)),
}


def _error_case(name: str, batch: int, pixels: int, stride: int) -> Case:
    text, layer = LAYERS[name]
    label = f"{text}, images ({batch}, 2, 6, 8), pixels = {pixels}, stride = {stride}"
    kernel = _normal(3, 2, 3, 3)
    return Case((lambda x: layer(x, kernel), _normal(batch, 2, 6, 8), pixels, stride), label=label)


def _error_cases() -> list[Case]:
    cases = [("zeros", 2, 1, 1), ("strided", 2, 2, 2), ("pooled", 1, 2, 2), ("places", 1, 3, 1), ("strided", 1, 3, 2)]
    return [_error_case(*case) for case in [*cases, ("circular", 2, 1, 1), ("zeros", 3, -2, 1), ("strided", 1, -3, 2)]]


def _forgiving_floats(got: object, expected: float) -> str | None:
    """As `compare.floats`, but float32 sums differ a little: four digits, and 1e-5 counts as zero."""
    if compare.is_number(got) and abs(got - expected) <= 1e-5 + 1e-4 * abs(expected):
        return None
    return compare.floats(got, expected)


exercise("4.3", reference=equivariance_error, cases=_error_cases, difference=_forgiving_floats, mistakes=_errors)


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
        "the mean runs over the batch too; every image gets gates of its own": _gate(s.mean(0, True), w1, w2),
        "the mean comes after the ReLU; it comes first": (F.relu(wide @ w1.T).mean((1, 2)) @ w2.T).sigmoid(),
        "a second ReLU stands before the sigmoid, so no gate can fall below one half": F.relu(up).sigmoid(),
        "the ReLU stands behind the second layer; it belongs between the two": F.relu(down @ w2.T).sigmoid(),
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
