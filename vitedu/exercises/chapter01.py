"""The exercises of chapter 1, the limits of recurrence."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, relu, sigmoid, tanh

from vitedu.exercises import compare
from vitedu.exercises.exercise import Answer, Case, exercise, on


def _values(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers around 0, small enough that no tanh saturates, the same at every call."""
    generator = torch.Generator().manual_seed(sum(side * 7**place for place, side in enumerate(shape)))
    return torch.randn(shape, generator=generator, dtype=torch.float64).mul(0.6).round(decimals=2).to(dtype)


def _step_case(batch: int, width: int, D: int, gates: int = 1, dtype=torch.float32, **options) -> Case:
    """x, h, W, U and one bias, or with several gates two."""
    shapes = (batch, width), (batch, D), (gates * D, width), (gates * D, D), (gates * D,)
    args = [_values(*shape, dtype=dtype) for shape in shapes] + [_values(1, gates * D, dtype=dtype)[0]] * (gates > 1)
    return Case(tuple(args), traits=("B = 1",) * (batch == 1), **options)


def _read_case(batch: int, N: int, width: int, D: int, dtype=torch.float32, **options) -> Case:
    """x, W, U and b."""
    args = tuple(_values(*shape, dtype=dtype) for shape in [(batch, N, width), (D, width), (D, D), (D,)])
    return Case(args, traits=("B = 1",) * (batch == 1), **options)


def _reader(
    order: Callable = lambda N: range(N),
    state: Callable = lambda h, U: h @ U.T,
    curve: Callable = tanh,
    give: Callable = lambda states: states[-1],
    first: float = 0.0,
) -> Answer:
    """The RNN's last state, or with a part replaced."""

    def answer(x: Tensor, W: Tensor, U: Tensor, b: Tensor) -> Tensor:
        states = [x.new_full((len(x), len(U)), first)]
        for t in order(x.shape[1]):
            states.append(curve(x[:, t] @ W.T + state(states[-1], U) + b))
        return give(states)

    return answer


exercise(
    "1.1",
    reference=_reader(),
    cases=lambda: [
        _read_case(3, 4, 4, 5, gradient=True),
        _read_case(1, 6, 3, 4),
        _read_case(2, 1, 3, 3),
        _read_case(4, 3, 3, 3),
        _read_case(2, 5, 2, 6, dtype=torch.float64),
    ],
    mistakes={
        "both slips are still there: begin with one item, then with what becomes of a row of `h`": _reader(
            lambda N: range(1, N), lambda h, U: h @ U
        ),
        "the first item is never read": _reader(lambda N: range(1, N)),
        "U is not transposed: a state is a row here, so U h is written `h @ U.T`": _reader(state=lambda h, U: h @ U),
        "the last item is never read": _reader(lambda N: range(N - 1)),
        "the sequence is read from its end": _reader(lambda N: reversed(range(N))),
        "the old state is not used, so nothing is remembered": _reader(state=lambda h, U: 0.0),
        "the old state is added as it is; it goes through U": _reader(state=lambda h, U: h),
        "there is no tanh; without it N steps are one linear map": _reader(curve=lambda inside: inside),
        "this is the sigmoid; the state of this cell is a tanh, from -1 to 1": _reader(curve=sigmoid),
        "these are all the states; the last one is asked for": _reader(give=lambda states: torch.stack(states[1:], 1)),
        "this is the mean of all states; the last one is asked for": _reader(
            give=lambda states: torch.stack(states[1:]).mean(0)
        ),
        "the state begins with ones; nothing read yet means zeros": _reader(first=1.0),
        "W is not transposed: an item is a row here, `x[:, t] @ W.T`": lambda x, W, U, b: _reader()(x, W.T, U, b),
    },
)


def _plain(N: int, k: int) -> int:
    return -(-(N - 1) // (k - 1))


def _dilated(N: int, k: int) -> int:
    return next(n for n in range(N) if k**n >= N)


def _layers(plain: Callable = _plain, gaps: Callable = _dilated) -> Answer:
    """The answer made of a count for each of the two kinds, right unless given."""
    return lambda N, k, dilated: (gaps if dilated else plain)(N, k)


def _seen(items: Callable[[int, int], int], plain: Callable = _plain) -> Answer:
    """The answer that takes n dilated layers to see `items(n, k)`."""
    return _layers(plain, lambda N, k: next(n for n in range(N) if items(n, k) >= N))


exercise(
    "1.2",
    reference=_layers(),
    cases=lambda: [
        *on(*((N, k, False) for N, k in [(9, 3), (10, 3), (2, 3), (64, 5), (65, 5), (66, 5), (7, 2), (100, 7)])),
        *on(*((N, k, True) for N, k in [(9, 3), (10, 3), (125, 5), (126, 5), (20, 3), (64, 2), (65, 2), (2, 3)])),
    ],
    difference=compare.integers,
    mistakes={
        "N is divided by k; a window of k places reaches k - 1 places further back": _layers(lambda N, k: -(-N // k)),
        "N is divided by k and rounded down": _layers(lambda N, k: N // k),
        "N is divided by k - 1 and rounded down": _layers(lambda N, k: N // (k - 1)),
        "without dilation a layer adds k - 1 items, not k": _layers(lambda N, k: -(-(N - 1) // k)),
        "without dilation a layer adds k - 1 items, not 1": _layers(lambda N, k: N - 1),
        "the first and the last of N places are N - 1 apart, not N; or 1 is added where "
        "k - 1 divides N - 1 exactly": _layers(lambda N, k: -(-N // (k - 1))),
        "the first window is left out of the count; at the start an output has seen 1 item, not k": _layers(
            lambda N, k: -(-(N - k) // (k - 1))
        ),
        "this is one layer too few for all N": _layers(lambda N, k: _plain(N, k) - 1, lambda N, k: _dilated(N, k) - 1),
        "a part of a layer is rounded down; with a layer less the ends do not meet, so round up": _layers(
            lambda N, k: (N - 1) // (k - 1), lambda N, k: int(math.log(N, k) + 1e-9)
        ),
        "without dilation it is rounded down; with a layer less the ends do not meet, so round up": _layers(
            lambda N, k: (N - 1) // (k - 1)
        ),
        "the logarithm is rounded down; with a layer less the ends do not meet, so round up": _layers(
            gaps=lambda N, k: int(math.log(N, k) + 1e-9)
        ),
        "`round` may round down; with a layer less the ends do not meet": _layers(
            lambda N, k: round((N - 1) / (k - 1)), lambda N, k: round(math.log(N, k))
        ),
        "the logarithm has base 2; each dilated layer multiplies the reach by k, so the base is k": _layers(
            gaps=lambda N, k: math.ceil(math.log2(N))
        ),
        "the logarithm has base e; the reach grows by factors of k": _layers(gaps=lambda N, k: math.ceil(math.log(N))),
        "the logarithm is that of N - 1": _layers(gaps=lambda N, k: math.ceil(math.log(N - 1, k) - 1e-9)),
        "`math.log(125, 5)` is 3.0000000000000004, and its ceiling 4; count with whole numbers instead": _layers(
            gaps=lambda N, k: math.ceil(math.log(N, k))
        ),
        "`dilated` is not used: with dilation the reach is multiplied by k in each layer": _layers(gaps=_plain),
        "every layer is taken for dilated; without dilation each adds k - 1 places": _layers(_dilated),
        "this is a float; a number of layers is whole: `-(-a // b)` divides and rounds up": _layers(
            lambda N, k: (N - 1) / (k - 1)
        ),
        "these are floats; a number of layers is whole, rounded up": _layers(lambda N, k: (N - 1) / (k - 1), math.log),
        "this is one layer too many: count until N items are seen, not until more than N are": _layers(
            lambda N, k: (N - 1) // (k - 1) + 1, lambda N, k: _dilated(N + 1, k)
        ),
        "this is one layer too many for all N": _layers(lambda N, k: _plain(N, k) + 1, lambda N, k: _dilated(N, k) + 1),
        "powers of k get one dilated layer too many": _layers(gaps=lambda N, k: _dilated(N + 1, k)),
        "the two cases are swapped: dilation multiplies the reach, without it you add": _layers(_dilated, _plain),
        "this window looks to both sides; here it looks back only, and reaches k - 1 places back": _layers(
            lambda N, k: -(-(N - 1) // (k // 2))
        ),
        "the gaps double from layer to layer; here they are 1, k, k², …": _seen(lambda n, k: 1 + (k - 1) * (2**n - 1)),
        "the gaps grow by 1 a layer, not by the factor k": _seen(lambda n, k: 1 + (k - 1) * n * (n + 1) // 2),
        "the gaps begin with k; layer number 0 has a gap of 1": _seen(lambda n, k: 1 + k * (k**n - 1)),
        "a layer adds its gap once, but a window has k - 1 gaps": _seen(lambda n, k: 1 + (k**n - 1) // (k - 1)),
        "a layer adds k gaps, not k - 1": _seen(
            lambda n, k: 1 + k * (k**n - 1) // (k - 1), lambda N, k: -(-(N - 1) // k)
        ),
    },
)


def _by(gate: Callable = lambda n: 0.5 ** (1 / n), bias: Callable = lambda f: math.log(f / (1 - f))) -> Answer:
    """From the steps n to the gate f, and from the gate to its bias."""
    return lambda steps: bias(gate(steps))


def _of(bias: Callable[[float], float]) -> Answer:
    return _by(bias=bias)


exercise(
    "1.3",
    reference=_by(),
    cases=lambda: on((1,), (2,), (8,), (64,), (500,)),
    difference=compare.floats,
    simplify=lambda b, _: float(f"{b:.4g}") if compare.is_number(b) else b,  # a logit in float32 has so many digits
    mistakes={
        "this is the gate f; its bias is the number whose sigmoid is f": _of(lambda f: f),
        "the sign is wrong: the inverse of the sigmoid is log(f / (1 - f)), above 0 for gates above ½": _of(
            lambda f: math.log((1 - f) / f)
        ),
        "this is the sigmoid of f; the bias is its *inverse*, log(f / (1 - f))": _of(lambda f: 1 / (1 + math.exp(-f))),
        "this is log f; the inverse of the sigmoid is log(f / (1 - f))": _of(math.log),
        "this is -log f, but the inverse of the sigmoid is log(f / (1 - f))": _of(lambda f: -math.log(f)),
        "this is log(f) / (1 - f); the logarithm is that of f / (1 - f)": _of(lambda f: math.log(f) / (1 - f)),
        "this is log(f / (1 + f)); below the line stands 1 - f": _of(lambda f: math.log(f / (1 + f))),
        "this is f / (1 - f); the bias is its logarithm": _of(lambda f: f / (1 - f)),
        "this is the inverse of the tanh, not that of the sigmoid": _of(math.atanh),
        "the gate is ½ raised to the power `steps`; you need the root, `0.5 ** (1 / steps)`": _by(lambda n: 0.5**n),
        "the gate is 1 - 1/(2 · steps), which loses by subtraction; a gate multiplies, so take a root of ½": _by(
            lambda n: 1 - 0.5 / n
        ),
        "the gate is 1 - 1/steps, which leaves about 1/e = 0.37 after so many steps, not ½": _by(lambda n: 1 - 1 / n),
        "the gate is exp(-1/steps), which leaves 1/e = 0.37, not ½": _by(lambda n: math.exp(-1 / n)),
        "the gate is ½ divided by `steps`; a gate multiplies at every step, so take a root of ½": _by(
            lambda n: 0.5 / n
        ),
        "the root is one too high: `steps` steps multiply `steps` times": _by(lambda n: 0.5 ** (1 / (n + 1))),
        "the gate is ½ for all `steps`; many steps with it leave far less": _by(lambda n: 0.5),
        "the logarithm has base 2; the sigmoid is made of e, so its inverse has the natural logarithm": _of(
            lambda f: math.log2(f / (1 - f))
        ),
        "the logarithm has base 10; the sigmoid is made of e": _of(lambda f: math.log10(f / (1 - f))),
    },
)


def _gru(
    order: tuple[int, ...] = (0, 1, 2),
    gate: Callable = sigmoid,
    new: Callable = lambda r, x, h, *_: x + r * h,
    squash: Callable = tanh,
    mix: Callable = lambda z, n, h: (1 - z) * n + z * h,
) -> Answer:
    """The GRU's step, or one with a part replaced; `new` is told r, the parts of n, the old state, U_n and c_n."""

    def answer(x: Tensor, h: Tensor, W: Tensor, U: Tensor, b: Tensor, c: Tensor) -> Tensor:
        from_x, from_h = (x @ W.T + b).chunk(3, dim=-1), (h @ U.T + c).chunk(3, dim=-1)
        i, j, k = order
        r, z = gate(from_x[i] + from_h[i]), gate(from_x[j] + from_h[j])
        return mix(z, squash(new(r, from_x[k], from_h[k], h, U.chunk(3)[k], c.chunk(3)[k])), h)

    return answer


exercise(
    "1.4",
    reference=_gru(),
    cases=lambda: [
        _step_case(3, 4, 5, 3, gradient=True),
        _step_case(1, 4, 3, 3),
        _step_case(4, 3, 3, 3),
        _step_case(2, 5, 4, 3, dtype=torch.float64),
    ],
    mistakes={
        "z and 1 - z are swapped: here z keeps the old state, as in torch": _gru(mix=lambda z, n, h: z * n + h - z * h),
        "r and z are swapped; the order of the three parts is r, z, n": _gru((1, 0, 2)),
        "the parts are taken in the order n, r, z; it is r, z, n": _gru((1, 2, 0)),
        "the parts are taken in the order z, n, r; it is r, z, n": _gru((2, 0, 1)),
        "r multiplies h before the matrix, as in Cho et al., 2014; torch multiplies U h + c by r": _gru(
            new=lambda r, x, _, h, U, c: x + (r * h) @ U.T + c
        ),
        "r multiplies the input's part as well; it belongs to U h + c only": _gru(new=lambda r, x, h, *_: r * (x + h)),
        "r multiplies the input's part in place of U h + c": _gru(new=lambda r, x, h, *_: r * x + h),
        "r multiplies h itself; U h + c is missing": _gru(new=lambda r, x, _, h, *__: x + r * h),
        "the reset gate r is not used": _gru(new=lambda r, x, h, *_: x + h),
        "the candidate n is a sigmoid; it is a tanh, so that the state can have both signs": _gru(squash=sigmoid),
        "the gates r and z are tanh; a gate is a share from 0 to 1, so take the sigmoid": _gru(gate=tanh),
        "the gates r and z have no sigmoid; a gate is a share from 0 to 1": _gru(gate=lambda inside: inside),
        "the bias c is left out": lambda x, h, W, U, b, c: torch.gru_cell(x, h, W, U, b, 0 * c),
        "the bias b is left out": lambda x, h, W, U, b, c: torch.gru_cell(x, h, W, U, 0 * b, c),
        "b and c are swapped: b belongs to x, c to h": lambda x, h, W, U, b, c: torch.gru_cell(x, h, W, U, c, b),
        "c is added twice": lambda x, h, W, U, b, c: torch.gru_cell(x, h, W, U, b + c, c),
        "both biases are left out": lambda x, h, W, U, b, c: torch.gru_cell(x, h, W, U),
        "c is added outside the bracket; r multiplies U h + c, the bias included": _gru(
            new=lambda r, x, h, _, U, c: x + r * (h - c) + c
        ),
        "n is taken whole; z and 1 - z share the state out between h and n": _gru(mix=lambda z, n, h: n + z * h),
        "the old state is taken whole; it gets the share z": _gru(mix=lambda z, n, h: (1 - z) * n + h),
        "the old state is left out: the new one is (1 - z) n + z h": _gru(mix=lambda z, n, h: (1 - z) * n),
        "the candidate n has no tanh": _gru(squash=lambda inside: inside),
        "the candidate n is a ReLU; it is a tanh": _gru(squash=relu),
        "z is not used: this is the candidate n": _gru(mix=lambda z, n, h: n),
    },
)

Pair = tuple[Tensor, Tensor]


def _cut(
    norm: Callable = lambda a, b: torch.cat([a.flatten(), b.flatten()]).norm(),
    factor: Callable = lambda m, length: m / length,
    too_long: Callable = lambda length, m, a, b: length > m,
) -> Answer:
    """Clipping, or with another norm, factor or condition."""

    def answer(grad_U: Tensor, grad_b: Tensor, max_norm: float) -> Pair:
        length = norm(grad_U, grad_b)
        scale = factor(max_norm, length) if too_long(length, max_norm, grad_U, grad_b) else 1.0
        return grad_U * scale, grad_b * scale

    return answer


def _clip_cases() -> list[Case]:
    large, small = _values(3, 4) * 10, _values(4) * 10
    together = torch.full((2, 3), 0.3), torch.full((4,), 0.4), 1.0
    return [
        *on((large, small, 1.0)),
        Case((large / 100, small / 100, 5.0), label="gradients shorter than max_norm = 5.0"),
        *on((_values(5, 2), _values(2), 0.5), (large, small / 1000, 2.0), (_values(1, 1), torch.tensor([30.0]), 1.0)),
        Case((torch.zeros(2, 2), torch.zeros(2), 1.0), label="gradients of zeros, max_norm = 1.0"),
        Case(together, label="two gradients, only together longer than max_norm = 1.0"),
        *on((_values(3, 3, dtype=torch.float64) * 8, _values(3, dtype=torch.float64) * 8, 1.0)),
    ]


def _wrong_pair(got: Any, expected: Pair) -> str | None:
    if not isinstance(got, tuple | list) or len(got) != 2:
        return f"returned {compare.shown(got)}, expected a pair of tensors (grad_U, grad_b)"
    problems = {name: compare.tensors(*pair) for name, *pair in zip(("grad_U", "grad_b"), got, expected, strict=True)}
    return next((f"{name}: {problem}" for name, problem in problems.items() if problem), None)


exercise(
    "1.5",
    reference=_cut(),
    cases=_clip_cases,
    difference=_wrong_pair,
    mistakes={
        "each gradient is clipped by its own norm, which turns the direction of the step": lambda a, b, m: tuple(
            _cut()(g, 0 * g, m)[0] for g in (a, b)
        ),
        "every number is clamped by itself, which turns the direction; "
        "scale all of them by one factor": lambda a, b, m: (a.clamp(-m, m), b.clamp(-m, m)),
        "a gradient shorter than max_norm is stretched; it should stay as it is": _cut(too_long=lambda *_: True),
        "the gradient is always scaled to max_norm": _cut(factor=lambda m, n: m / (n + 1e-9), too_long=lambda *_: True),
        "the square root is missing: this is the squared norm": _cut(lambda a, b: a.square().sum() + b.square().sum()),
        "the two norms are added; the squares are what adds up, under one root": _cut(lambda a, b: a.norm() + b.norm()),
        "this is the sum of the absolute values; take the root of the sum of squares": _cut(
            lambda a, b: a.abs().sum() + b.abs().sum()
        ),
        "the norm is that of grad_U alone; both gradients count": _cut(lambda a, b: a.norm()),
        "the norm is that of grad_b alone; both gradients count": _cut(lambda a, b: b.norm()),
        "the larger of the two norms is taken; both count": _cut(lambda a, b: torch.maximum(a.norm(), b.norm())),
        "the mean of the two norms is taken; their squares add up": _cut(lambda a, b: (a.norm() + b.norm()) / 2),
        "this is a root mean square": _cut(lambda a, b: torch.cat([a.flatten(), b.flatten()]).square().mean().sqrt()),
        "the largest number is taken for the norm; take the root of the sum of squares": _cut(
            lambda a, b: torch.maximum(a.abs().max(), b.abs().max())
        ),
        "the means of the squares are added; the norm has the sums of all squares under its root": _cut(
            lambda a, b: (a.square().mean() + b.square().mean()).sqrt()
        ),
        "the new length is 1, not max_norm: the factor is max_norm / norm": _cut(factor=lambda m, norm: 1 / norm),
        "the factor is upside down; it is max_norm / norm, less than 1": _cut(factor=lambda m, norm: norm / m),
        "the gradient is multiplied by max_norm, not by max_norm / norm": _cut(factor=lambda m, norm: m),
        "each norm is compared with max_norm by itself; together they can be too long when neither is": _cut(
            too_long=lambda _, m, a, b: a.norm() > m or b.norm() > m
        ),
        "scaled only if each norm is above max_norm": _cut(too_long=lambda _, m, a, b: a.norm() > m and b.norm() > m),
        "only grad_U is scaled; that turns the direction of the step": lambda a, b, m: (_cut()(a, b, m)[0], b),
        "the two are returned in the wrong order": lambda *args: _cut()(*args)[::-1],
        "the short gradient is stretched, and the long one kept": _cut(too_long=lambda norm, m, *_: norm < m),
    },
)


def _additive(
    curve: Callable = tanh,
    weigh: Callable = lambda z: z.softmax(dim=-1),
    score: Callable = lambda p, w: p @ w,
    pair: Callable = lambda q, k: q[:, :, None] + k[:, None],
    mix: Callable = torch.matmul,
) -> Answer:
    """Additive attention, or with a part replaced."""

    def answer(q: Tensor, k: Tensor, v: Tensor, W: Tensor, U: Tensor, w: Tensor) -> Tensor:
        pairs = curve(pair(q @ W.T, k @ U.T))  # (B, N, S, A)
        return mix(weigh(score(pairs, w)), v)  # (B, N, Dv)

    return answer


def _additive_case(batch: int, N: int, S: int, widths: tuple[int, ...], dtype=torch.float32, **options) -> Case:
    Dq, Dk, Dv, A = widths
    shapes = [(batch, N, Dq), (batch, S, Dk), (batch, S, Dv), (A, Dq), (A, Dk), (A,)]
    *args, w = (_values(*shape, dtype=dtype) for shape in shapes)
    return Case((*args, 3 * w), traits=("B = 1",) * (batch == 1), **options)


exercise(
    "1.6",
    reference=_additive(),
    cases=lambda: [
        _additive_case(2, 3, 5, (4, 6, 7, 8), gradient=True),
        _additive_case(1, 2, 4, (3, 5, 2, 6)),
        _additive_case(3, 4, 4, (5, 5, 5, 5)),
        _additive_case(2, 6, 3, (3, 2, 4, 7), dtype=torch.float64),
    ],
    mistakes={
        "the tanh is missing; then the query adds the same number to all scores of its row, and the softmax cancels "
        "it: every query gets the same answer": _additive(lambda p: p),
        "the hidden layer has a sigmoid; additive attention has a tanh there": _additive(sigmoid),
        "the hidden layer has a ReLU; additive attention has a tanh there": _additive(relu),
        "the softmax runs over the queries; each query shares its weights out among the keys, the last axis": _additive(
            weigh=lambda z: z.softmax(dim=1)
        ),
        "the softmax runs over the batch; each query shares its weights out among the keys, the last axis": _additive(
            weigh=lambda z: z.softmax(dim=0)
        ),
        "there is no softmax; the scores are used as weights as they are": _additive(weigh=lambda z: z),
        "the scores are divided by their number; a softmax is missing": _additive(weigh=lambda z: z / z.shape[-1]),
        "a softmax of the hidden numbers is taken": _additive(lambda p: tanh(p).softmax(dim=-1)),
        "the exponentials are not divided by their sum": _additive(weigh=torch.exp),
        "the weights are sigmoids; those of a softmax sum to one": _additive(weigh=sigmoid),
        "query n meets key n only; every query meets every key, so the sum needs "
        "the shape (B, N, S, A)": lambda q, k, v, W, U, w: (tanh(q @ W.T + k @ U.T) @ w).softmax(dim=-1)[..., None] * v,
        "the tanh is taken of the score; it belongs inside, between the sum and w": _additive(
            lambda p: p, score=lambda p, w: tanh(p @ w)
        ),
        "the scores are divided by the root of a width, as in the scaled dot product; here they are not": _additive(
            score=lambda p, w: p @ w / math.sqrt(len(w))
        ),
        "the scores are divided by √Dq": lambda q, k, v, W, U, w: _additive()(q, k, v, W, U, w / q.size(2) ** 0.5),
        "the scores are divided by √Dk": lambda q, k, v, W, U, w: _additive()(q, k, v, W, U, w / k.size(2) ** 0.5),
        "`w` is not used: the hidden numbers are added up as they are": _additive(score=lambda p, w: p.sum(dim=-1)),
        "`w` is not used, and the hidden numbers are averaged": _additive(score=lambda p, w: p.mean(dim=-1)),
        "the hidden numbers are averaged; w · tanh(…) is a sum": _additive(score=lambda p, w: (p * w).mean(dim=-1)),
        "a tanh is taken of query and key apart; add first, then take one tanh of the sum": _additive(
            lambda p: p, pair=lambda q, k: tanh(q)[:, :, None] + tanh(k)[:, None]
        ),
        "query and key are multiplied; in additive attention they are added": _additive(
            pair=lambda q, k: q[:, :, None] * k[:, None]
        ),
        "query and key are subtracted; they are added": _additive(pair=lambda q, k: q[:, :, None] - k[:, None]),
        "the scores are divided by their sum; a softmax takes the exponential of each first": _additive(
            weigh=lambda z: z / z.sum(dim=-1, keepdim=True)
        ),
        "W and U are swapped: W belongs to the query": lambda q, k, v, W, U, w: _additive()(q, k, v, U, W, w),
        "the scores are (B, S, N); queries are the rows": _additive(pair=lambda q, k: q[:, None] + k[:, :, None]),
        "these are the weights; they still have to average the values": _additive(mix=lambda A, v: A),
        "these are the scores, before softmax and values": _additive(weigh=lambda z: z, mix=lambda z, v: z),
    },
)
