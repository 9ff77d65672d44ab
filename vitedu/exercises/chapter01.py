"""The exercises of chapter 1, the limits of recurrence."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

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


exercise(
    "1.1",
    reference=lambda x, h, W, U, b: torch.tanh(x @ W.T + h @ U.T + b),
    cases=lambda: [
        _step_case(3, 4, 5, gradient=True),
        _step_case(1, 4, 3),
        _step_case(1, 3, 3),
        _step_case(4, 3, 3),
        _step_case(2, 2, 6),
        _step_case(2, 5, 4, dtype=torch.float64),
    ],
    mistakes={
        "there is no tanh; without it N steps are one linear map, and "
        "nothing keeps the state bounded": lambda x, h, W, U, b: x @ W.T + h @ U.T + b,
        "this is the sigmoid, which runs from 0 to 1; the state of this "
        "cell is a tanh, from -1 to 1": lambda x, h, W, U, b: torch.sigmoid(x @ W.T + h @ U.T + b),
        "the bias b is left out": lambda x, h, W, U, b: torch.tanh(x @ W.T + h @ U.T),
        "b is added twice; torch's cell has two biases, this one has one": lambda x, h, W, U, b: torch.tanh(
            x @ W.T + h @ U.T + 2 * b
        ),
        "the old state h is not used, so nothing is remembered": lambda x, h, W, U, b: torch.tanh(x @ W.T + b),
        "the tanh is taken of each part; add first, then take one tanh of the sum": lambda x, h, W, U, b: (
            torch.tanh(x @ W.T) + torch.tanh(h @ U.T + b)
        ),
        "U is not transposed: a state is a row here, so U h is written `h @ U.T`": lambda x, h, W, U, b: torch.tanh(
            x @ W.T + h @ U + b
        ),
        "W and U are not transposed: input and state are rows here, "
        "so W x is written `x @ W.T`": lambda x, h, W, U, b: torch.tanh(x @ W + h @ U + b),
        "W is not transposed: an item is a row here, so W x is written `x @ W.T`": lambda x, h, W, U, b: torch.tanh(
            x @ W + h @ U.T + b
        ),
        "the old state is added to the new one; this cell replaces it": lambda x, h, W, U, b: (
            h + torch.tanh(x @ W.T + h @ U.T + b)
        ),
        "b is added outside the tanh; it belongs to the sum inside": lambda x, h, W, U, b: (
            torch.tanh(x @ W.T + h @ U.T) + b
        ),
        "this is the ReLU, which has no upper limit; the state of this "
        "cell is a tanh, from -1 to 1": lambda x, h, W, U, b: torch.relu(x @ W.T + h @ U.T + b),
    },
)


def _plain(N: int, k: int) -> int:
    return -(-(N - 1) // (k - 1))


def _dilated(N: int, k: int) -> int:
    return next(n for n in range(N) if k**n >= N)


def _layers(plain: Callable = _plain, gaps: Callable = _dilated) -> Answer:
    """The answer made of a count for each of the two kinds, right unless given."""
    return lambda N, k, dilated: (gaps if dilated else plain)(N, k)


def _first(seen: Callable[[int, int], int]) -> Callable:
    """The first number of layers n for which `seen(n, k)` reaches N."""
    return lambda N, k: next(n for n in range(N + 1) if seen(n, k) >= N)


exercise(
    "1.2",
    reference=_layers(),
    cases=lambda: [
        Case((N, k, dilated))
        for dilated, pairs in (
            (False, [(9, 3), (10, 3), (2, 3), (64, 5), (65, 5), (66, 5), (7, 2), (100, 7), (68, 5)]),
            (True, [(9, 3), (10, 3), (125, 5), (126, 5), (27, 3), (64, 2), (65, 2), (2, 3), (25, 3)]),
        )
        for N, k in pairs
    ],
    difference=compare.integers,
    mistakes={
        "N is divided by k; a window of k places reaches k - 1 places further back": _layers(lambda N, k: -(-N // k)),
        "the first and the last of N places are N - 1 apart, not N, and round up, do not "
        "add 1, where k - 1 divides that": _layers(lambda N, k: -(-N // (k - 1))),
        "the first window is left out of the count; at the start an output has seen 1 item, not k": _layers(
            lambda N, k: -(-(N - k) // (k - 1))
        ),
        "the count starts with one window: before the first layer an output has seen 1 item, not k": _layers(
            lambda N, k: max(_plain(N, k) - 1, 0), lambda N, k: max(_dilated(N, k) - 1, 0)
        ),
        "a part of a layer is rounded down; with a layer less the ends do not meet, so round up": _layers(
            lambda N, k: (N - 1) // (k - 1), lambda N, k: int(math.log(N, k) + 1e-9)
        ),
        "without dilation it is rounded down; with a layer less the ends do not meet, so round up": _layers(
            lambda N, k: (N - 1) // (k - 1)
        ),
        "the logarithm is rounded down; with a layer less the ends do not meet, so round up": _layers(
            gaps=lambda N, k: int(math.log(N, k) + 1e-9)
        ),
        "a part of a layer is rounded to the nearest number; with a layer less the ends "
        "do not meet, so round up": _layers(lambda N, k: round((N - 1) / (k - 1)), lambda N, k: round(math.log(N, k))),
        "the logarithm has base 2; each dilated layer multiplies the reach by k, so the base is k": _layers(
            gaps=lambda N, k: math.ceil(math.log2(N))
        ),
        "the logarithm has base e; each dilated layer multiplies the reach by k, so the base is k": _layers(
            gaps=lambda N, k: math.ceil(math.log(N))
        ),
        "`math.log(125, 5)` is 3.0000000000000004, and its ceiling 4; count with whole numbers instead": _layers(
            gaps=lambda N, k: math.ceil(math.log(N, k))
        ),
        "`dilated` is not used: with dilation the reach is multiplied by k in each layer": _layers(gaps=_plain),
        "every layer is taken for dilated; without dilation each adds k - 1 places": _layers(_dilated),
        "this is a float; a number of layers is whole: `-(-a // b)` divides and rounds up": _layers(
            lambda N, k: (N - 1) / (k - 1)
        ),
        "this is one layer too many: count until N items are seen, not until more than N are": _layers(
            lambda N, k: (N - 1) // (k - 1) + 1, lambda N, k: _dilated(N + 1, k)
        ),
        "with dilation it is one layer too many where N is a power of k: round up, do not add 1": _layers(
            gaps=lambda N, k: _dilated(N + 1, k)
        ),
        "the two cases are swapped: dilation multiplies the reach, without it you add": _layers(_dilated, _plain),
        "this window looks to both sides; here it looks back only, and reaches k - 1 places back": _layers(
            lambda N, k: -(-(N - 1) // (k // 2))
        ),
        "the gaps double from layer to layer; here they are 1, k, k², …": _layers(
            gaps=_first(lambda n, k: 1 + (k - 1) * (2**n - 1))
        ),
        "the gaps grow by one from layer to layer; here they are 1, k, k², …": _layers(
            gaps=_first(lambda n, k: 1 + (k - 1) * n * (n + 1) // 2)
        ),
        "the gaps begin with k; layer number 0 has a gap of 1": _layers(gaps=_first(lambda n, k: 1 + k * (k**n - 1))),
        "a layer adds its gap once; a window of k items has k - 1 gaps": _layers(
            gaps=_first(lambda n, k: 1 + (k**n - 1) // (k - 1))
        ),
        "a window of k items has k - 1 gaps, not k": _layers(
            lambda N, k: -(-(N - 1) // k), _first(lambda n, k: 1 + k * (k**n - 1) // (k - 1))
        ),
    },
)


def _bias(
    gate: Callable = lambda steps: 0.5 ** (1 / steps), bias: Callable = lambda f: math.log(f / (1 - f))
) -> Answer:
    """From the steps to the gate, and from the gate to its bias."""
    return lambda steps: bias(gate(steps))


def _nearly(got: Any, expected: float) -> str | None:
    """As `compare.floats`, but float32 will do: the logit of a gate close to 1 loses digits."""
    close = compare.is_number(got) and math.isclose(got, expected, rel_tol=1e-4, abs_tol=1e-6)
    return None if close else compare.floats(got, expected)


exercise(
    "1.3",
    reference=_bias(),
    cases=lambda: on((1,), (2,), (8,), (64,), (500,)),
    difference=_nearly,
    mistakes={
        "this is the gate f; its bias is the number whose sigmoid is f": _bias(bias=lambda f: f),
        "the sign is wrong: the inverse of the sigmoid is log(f / (1 - f)), above 0 for gates above ½": _bias(
            bias=lambda f: math.log((1 - f) / f)
        ),
        "this is the sigmoid of f; the bias is its *inverse*, log(f / (1 - f))": _bias(
            bias=lambda f: 1 / (1 + math.exp(-f))
        ),
        "this is log f; the inverse of the sigmoid is log(f / (1 - f))": _bias(bias=math.log),
        "this is log f divided by 1 - f; the logarithm belongs around the fraction, log(f / (1 - f))": _bias(
            bias=lambda f: math.log(f) / (1 - f)
        ),
        "this is -log(1 - f); the inverse of the sigmoid is log(f / (1 - f)), with f above the line": _bias(
            bias=lambda f: -math.log(1 - f)
        ),
        "this is f / (1 - f), whose logarithm is the bias": _bias(bias=lambda f: f / (1 - f)),
        "this is the inverse of the tanh; a gate is a sigmoid, whose inverse is log(f / (1 - f))": _bias(
            bias=math.atanh
        ),
        "the gate is ½ raised to the power `steps`; you need the root, `0.5 ** (1 / steps)`": _bias(
            lambda steps: 0.5**steps
        ),
        "the gate is 1 - 1/(2 · steps), which loses by subtraction; a gate multiplies, so take a root of ½": _bias(
            lambda steps: 1 - 0.5 / steps
        ),
        "the gate is 1 - 1/steps, which leaves about 1/e = 0.37 after so many steps, not ½": _bias(
            lambda steps: 1 - 1 / steps
        ),
        "the gate is exp(-1/steps), which leaves 1/e = 0.37 after so many steps, not ½": _bias(
            lambda steps: math.exp(-1 / steps)
        ),
        "the gate is ½ divided by `steps`; a gate multiplies at every step, so take a root of ½": _bias(
            lambda steps: 0.5 / steps
        ),
        "the root is one too high: `steps` steps multiply `steps` times": _bias(lambda steps: 0.5 ** (1 / (steps + 1))),
        "the gate is the same for all `steps`; after more steps, f = ½ leaves far less than half": _bias(
            lambda steps: 0.5
        ),
        "the logarithm has base 2; the sigmoid is made of e, so its inverse has the natural logarithm": _bias(
            bias=lambda f: math.log2(f / (1 - f))
        ),
        "the logarithm has base 10; the sigmoid is made of e, so its inverse has the natural logarithm": _bias(
            bias=lambda f: math.log10(f / (1 - f))
        ),
    },
)


def _gru(
    order: tuple[int, ...] = (0, 1, 2),
    gate: Callable = torch.sigmoid,
    inside: Callable = lambda r, xn, hn, h, Un, cn: xn + r * hn,
    squash: Callable = torch.tanh,
    mix: Callable = lambda z, n, h: (1 - z) * n + z * h,
) -> Answer:
    """The GRU's step, or one with a part replaced."""

    def answer(x: Tensor, h: Tensor, W: Tensor, U: Tensor, b: Tensor, c: Tensor) -> Tensor:
        from_x, from_h = (x @ W.T + b).chunk(3, dim=-1), (h @ U.T + c).chunk(3, dim=-1)
        i, j, k = order
        r, z = gate(from_x[i] + from_h[i]), gate(from_x[j] + from_h[j])
        return mix(z, squash(inside(r, from_x[k], from_h[k], h, U.chunk(3)[k], c.chunk(3)[k])), h)

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
        "z and 1 - z are swapped: here z keeps the old state, as in torch": _gru(
            mix=lambda z, n, h: z * n + (1 - z) * h
        ),
        "r and z are swapped; the order of the three parts is r, z, n": _gru((1, 0, 2)),
        "the parts are taken in the order n, r, z; it is r, z, n": _gru((1, 2, 0)),
        "the parts are taken in the order z, n, r; it is r, z, n": _gru((2, 0, 1)),
        "r multiplies h before the matrix, as in Cho et al., 2014; torch multiplies U h + c by r": _gru(
            inside=lambda r, xn, hn, h, Un, cn: xn + (r * h) @ Un.T + cn
        ),
        "r multiplies the input's part as well; it belongs to U h + c only": _gru(
            inside=lambda r, xn, hn, *_: r * (xn + hn)
        ),
        "r multiplies the input's part in place of the state's; it belongs to U h + c": _gru(
            inside=lambda r, xn, hn, *_: r * xn + hn
        ),
        "the reset gate r is not used": _gru(inside=lambda r, xn, hn, *_: xn + hn),
        "the candidate n is a sigmoid; it is a tanh, so that the state can have both signs": _gru(squash=torch.sigmoid),
        "the gates r and z are tanh; a gate is a share from 0 to 1, so take the sigmoid": _gru(gate=torch.tanh),
        "the gates r and z have no sigmoid; a gate is a share from 0 to 1": _gru(gate=lambda inside: inside),
        "the bias c is left out": lambda x, h, W, U, b, c: torch.gru_cell(x, h, W, U, b, 0 * c),
        "the bias b is left out": lambda x, h, W, U, b, c: torch.gru_cell(x, h, W, U, 0 * b, c),
        "c is added outside the bracket; r multiplies U h + c, the bias included": _gru(
            inside=lambda r, xn, hn, h, Un, cn: xn + r * (hn - cn) + cn
        ),
        "n is taken whole; z and 1 - z share the state out between h and n": _gru(mix=lambda z, n, h: n + z * h),
        "the old state is taken whole; z and 1 - z share the state out between h and n": _gru(
            mix=lambda z, n, h: (1 - z) * n + h
        ),
        "the old state is left out: the new one is (1 - z) n + z h": _gru(mix=lambda z, n, h: (1 - z) * n),
        "the candidate n has no tanh": _gru(squash=lambda inside: inside),
    },
)

Pair = tuple[Tensor, Tensor]


def _joint(a: Tensor, b: Tensor) -> Tensor:
    return torch.cat([a.flatten(), b.flatten()]).norm()


def _clip(
    norm: Callable = _joint,
    factor: Callable = lambda m, length: m / length,
    too_long: Callable = lambda length, m, a, b: length > m,
) -> Answer:
    """Clipping with another norm, factor or condition."""

    def answer(grad_U: Tensor, grad_b: Tensor, max_norm: float) -> Pair:
        length = norm(grad_U, grad_b)
        scale = factor(max_norm, length) if too_long(length, max_norm, grad_U, grad_b) else 1.0
        return grad_U * scale, grad_b * scale

    return answer


def _clip_cases() -> list[Case]:
    large, small = _values(3, 4) * 10, _values(4) * 10
    return [
        *on((large, small, 1.0)),
        Case((large / 100, small / 100, 5.0), label="gradients shorter than max_norm = 5.0"),
        *on((_values(5, 2), _values(2), 0.5), (large, small / 1000, 2.0), (_values(1, 1), torch.tensor([30.0]), 1.0)),
        Case((torch.zeros(2, 2), torch.zeros(2), 1.0), label="gradients of zeros, max_norm = 1.0"),
        Case(
            (torch.full((2, 3), 0.3), torch.full((4,), 0.4), 1.0),
            label="gradients longer than max_norm = 1.0 together, neither alone",
        ),
        *on((_values(3, 3, dtype=torch.float64) * 8, _values(3, dtype=torch.float64) * 8, 1.0)),
    ]


def _wrong_pair(got: Any, expected: Pair) -> str | None:
    if not isinstance(got, tuple | list) or len(got) != 2:
        return f"returned {compare.shown(got)}, expected a pair of tensors (grad_U, grad_b)"
    problems = {name: compare.tensors(*pair) for name, *pair in zip(("grad_U", "grad_b"), got, expected, strict=True)}
    return next((f"{name}: {problem}" for name, problem in problems.items() if problem), None)


exercise(
    "1.5",
    reference=_clip(),
    cases=_clip_cases,
    difference=_wrong_pair,
    mistakes={
        "each gradient is clipped by its own norm, which turns the direction of the step": lambda a, b, m: tuple(
            _clip()(g, g.new_zeros(1), m)[0] for g in (a, b)
        ),
        "every number is clamped by itself, which turns the direction; "
        "scale all of them by one factor": lambda a, b, m: (a.clamp(-m, m), b.clamp(-m, m)),
        "a gradient shorter than max_norm is stretched; it should stay as it is": _clip(too_long=lambda *_: True),
        "the square root is missing: this is the squared norm": _clip(lambda a, b: a.square().sum() + b.square().sum()),
        "the two norms are added; the squares are what adds up, under one root": _clip(
            lambda a, b: a.norm() + b.norm()
        ),
        "this is the sum of the absolute values; take the root of the sum of squares": _clip(
            lambda a, b: a.abs().sum() + b.abs().sum()
        ),
        "the norm is that of grad_U alone; both gradients count": _clip(lambda a, b: a.norm()),
        "the larger of the two norms is taken; the squares of both add up, under one root": _clip(
            lambda a, b: torch.maximum(a.norm(), b.norm())
        ),
        "the largest number is taken for the norm; take the root of the sum of squares": _clip(
            lambda a, b: torch.maximum(a.abs().max(), b.abs().max())
        ),
        "the means of the squares are added; the norm has the sums of all squares under its root": _clip(
            lambda a, b: (a.square().mean() + b.square().mean()).sqrt()
        ),
        "the new length is 1, not max_norm: the factor is max_norm / norm": _clip(factor=lambda m, length: 1 / length),
        "the factor is upside down; it is max_norm / norm, less than 1": _clip(factor=lambda m, length: length / m),
        "each norm is compared with max_norm by itself; together the two can be too long when neither is": _clip(
            too_long=lambda length, m, a, b: a.norm() > m or b.norm() > m
        ),
        "only grad_U is scaled; that turns the direction, so both get the factor": lambda a, b, m: (
            _clip()(a, b, m)[0],
            b,
        ),
    },
)


def _additive(
    hidden: Callable = torch.tanh,
    weigh: Callable = lambda scores: scores.softmax(dim=-1),
    score: Callable = lambda pairs, w: pairs @ w,
    pair: Callable = lambda q, k: q[:, :, None] + k[:, None],
) -> Answer:
    """Additive attention, or one with a part replaced."""

    def answer(q: Tensor, k: Tensor, v: Tensor, W: Tensor, U: Tensor, w: Tensor) -> Tensor:
        pairs = hidden(pair(q @ W.T, k @ U.T))  # (B, N, S, A)
        return weigh(score(pairs, w)) @ v  #      (B, N, Dv)

    return answer


def _pairs_in_step(q: Tensor, k: Tensor, v: Tensor, W: Tensor, U: Tensor, w: Tensor) -> Tensor:
    scores = torch.tanh(q @ W.T + k @ U.T) @ w  # (B, N), only for N = S
    return scores.softmax(dim=-1).unsqueeze(-1) * v


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
        "it: every query gets the same answer": _additive(lambda pairs: pairs),
        "the hidden layer has a sigmoid; additive attention has a tanh there": _additive(torch.sigmoid),
        "the hidden layer has a ReLU; additive attention has a tanh there": _additive(torch.relu),
        "the softmax runs over the queries; each query shares its weights out among the keys, the last axis": _additive(
            weigh=lambda scores: scores.softmax(dim=1)
        ),
        "the softmax runs over the batch; each query shares its weights out among the keys, the last axis": _additive(
            weigh=lambda scores: scores.softmax(dim=0)
        ),
        "there is no softmax; the scores are used as weights as they are": _additive(weigh=lambda scores: scores),
        "query n meets key n only; every query meets every key, so the sum "
        "needs the shape (B, N, S, A)": _pairs_in_step,
        "the tanh is taken of the score; it belongs inside, between the sum and w": _additive(
            lambda pairs: pairs, score=lambda pairs, w: torch.tanh(pairs @ w)
        ),
        "the scores are divided by the root of a width, as in the scaled dot product; here they are not": _additive(
            score=lambda pairs, w: pairs @ w / math.sqrt(len(w))
        ),
        "`w` is not used: the hidden numbers are added up as they are": _additive(
            score=lambda pairs, w: pairs.sum(dim=-1)
        ),
        "a tanh is taken of query and key apart; add first, then take one tanh of the sum": _additive(
            lambda pairs: pairs, pair=lambda q, k: torch.tanh(q)[:, :, None] + torch.tanh(k)[:, None]
        ),
        "query and key are multiplied; in additive attention they are added": _additive(
            pair=lambda q, k: q[:, :, None] * k[:, None]
        ),
        "the scores are divided by their sum; a softmax takes the exponential of each first": _additive(
            weigh=lambda scores: scores / scores.sum(dim=-1, keepdim=True)
        ),
        "W and U are swapped: W is the query's matrix, U the key's": lambda q, k, v, W, U, w: _additive()(
            q, k, v, U, W, w
        ),
        "the table of scores is transposed, (B, S, N): queries are rows, axis 1, and keys columns, axis 2": _additive(
            pair=lambda q, k: q[:, None] + k[:, :, None]
        ),
        "these are the weights; they still have to average the values, `weights @ v`": lambda q, k, v, W, U, w: (
            _additive()(q, k, torch.eye(k.shape[1]).expand(len(k), -1, -1).to(k), W, U, w)
        ),
    },
)
