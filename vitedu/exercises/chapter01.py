"""The exercises of chapter 1, the limits of recurrence."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vitedu.exercises import compare
from vitedu.exercises.exercise import Case, Exercise, Mistake


def _values(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers around 0, small enough that no tanh saturates, the same at every call."""
    generator = torch.Generator().manual_seed(sum(side * 7**place for place, side in enumerate(shape)))
    return torch.randn(shape, generator=generator, dtype=torch.float64).mul(0.6).round(decimals=2).to(dtype)


def _traits(batch: int) -> tuple[str, ...]:
    return ("B = 1",) if batch == 1 else ()


# 1.1 -----------------------------------------------------------------------------------------------------------------


def rnn_step(x: Tensor, h: Tensor, W: Tensor, U: Tensor, b: Tensor) -> Tensor:
    """x (B, X), h (B, D), W (D, X), U (D, D), b (D,) -> the next state (B, D)."""
    return torch.tanh(x @ W.T + h @ U.T + b)


def _step_case(batch: int, width: int, D: int, gates: int = 1, dtype=torch.float32, **options) -> Case:
    x, h = _values(batch, width, dtype=dtype), _values(batch, D, dtype=dtype)
    W, U = _values(gates * D, width, dtype=dtype), _values(gates * D, D, dtype=dtype)
    biases = [_values(gates * D, dtype=dtype), _values(1, gates * D, dtype=dtype)[0]]
    return Case((x, h, W, U, *biases[: 1 if gates == 1 else 2]), traits=_traits(batch), **options)


def _rnn_cases() -> list[Case]:
    return [
        _step_case(3, 4, 5, gradient=True),
        _step_case(1, 4, 3),
        _step_case(1, 3, 3),
        _step_case(4, 3, 3),
        _step_case(2, 2, 6),
        _step_case(2, 5, 4, dtype=torch.float64),
    ]


RNN_STEP = Exercise(
    id="1.1",
    title="One step of a recurrent network",
    reference=rnn_step,
    cases=_rnn_cases,
    mistakes=(
        Mistake(
            "there is no tanh; without it N steps are one linear map, and nothing keeps the state bounded",
            lambda x, h, W, U, b: x @ W.T + h @ U.T + b,
        ),
        Mistake(
            "this is the sigmoid, which runs from 0 to 1; the state of this cell is a tanh, from -1 to 1",
            lambda x, h, W, U, b: torch.sigmoid(x @ W.T + h @ U.T + b),
        ),
        Mistake("the bias b is left out", lambda x, h, W, U, b: torch.tanh(x @ W.T + h @ U.T)),
        Mistake(
            "b is added twice; torch's cell has two biases, this one has one",
            lambda x, h, W, U, b: torch.tanh(x @ W.T + h @ U.T + 2 * b),
        ),
        Mistake(
            "the old state h is not used, so nothing is remembered",
            lambda x, h, W, U, b: torch.tanh(x @ W.T + b),
        ),
        Mistake(
            "the tanh is taken of each part; add first, then take one tanh of the sum",
            lambda x, h, W, U, b: torch.tanh(x @ W.T) + torch.tanh(h @ U.T + b),
        ),
        Mistake(
            "U is not transposed: a state is a row here, so U h is written `h @ U.T`",
            lambda x, h, W, U, b: torch.tanh(x @ W.T + h @ U + b),
        ),
        Mistake(
            "W and U are not transposed: input and state are rows here, so W x is written `x @ W.T`",
            lambda x, h, W, U, b: torch.tanh(x @ W + h @ U + b),
        ),
        Mistake(
            "the old state is added to the new one; this cell replaces it",
            lambda x, h, W, U, b: h + torch.tanh(x @ W.T + h @ U.T + b),
        ),
        Mistake(
            "b is added outside the tanh; it belongs to the sum inside",
            lambda x, h, W, U, b: torch.tanh(x @ W.T + h @ U.T) + b,
        ),
        Mistake(
            "this is the ReLU, which has no upper limit; the state of this cell is a tanh, from -1 to 1",
            lambda x, h, W, U, b: torch.relu(x @ W.T + h @ U.T + b),
        ),
    ),
)


# 1.2 -----------------------------------------------------------------------------------------------------------------


def layers_needed(N: int, k: int, dilated: bool) -> int:
    """The fewest layers after which the last of N outputs depends on the first input."""
    layers, reach = 0, 1
    while reach < N:
        reach = reach * k if dilated else reach + k - 1
        layers += 1
    return layers


def _layer_cases() -> list[Case]:
    plain = [(9, 3), (10, 3), (2, 3), (64, 5), (65, 5), (66, 5), (7, 2), (100, 7)]
    dilated = [(9, 3), (10, 3), (125, 5), (126, 5), (243, 3), (64, 2), (65, 2), (2, 3)]
    return [Case((N, k, False)) for N, k in plain] + [Case((N, k, True)) for N, k in dilated]


def _layers(plain: Callable, dilated: Callable) -> Callable:
    """A wrong count for one of the two kinds, or for both."""
    return lambda N, k, is_dilated: (dilated if is_dilated else plain)(N, k)


def _plain(N: int, k: int) -> int:
    return layers_needed(N, k, False)


def _dilated(N: int, k: int) -> int:
    return layers_needed(N, k, True)


LAYERS_NEEDED = Exercise(
    id="1.2",
    title="How many layers until the ends meet?",
    reference=layers_needed,
    cases=_layer_cases,
    difference=compare.integers,
    mistakes=(
        Mistake(
            "N is divided by k; a window of k places reaches k - 1 places further back",
            _layers(lambda N, k: -(-N // k), _dilated),
        ),
        Mistake(
            "the first and the last of N places are N - 1 apart, not N",
            _layers(lambda N, k: -(-N // (k - 1)), _dilated),
        ),
        Mistake(
            "the first window is left out of the count; at the start an output has seen 1 item, not k",
            _layers(lambda N, k: -(-(N - k) // (k - 1)), _dilated),
        ),
        Mistake(
            "a part of a layer is rounded down; with a layer less the ends do not meet, so round up",
            _layers(lambda N, k: (N - 1) // (k - 1), lambda N, k: int(math.log(N, k) + 1e-9)),
        ),
        Mistake(
            "without dilation it is rounded down; with a layer less the ends do not meet, so round up",
            _layers(lambda N, k: (N - 1) // (k - 1), _dilated),
        ),
        Mistake(
            "the logarithm is rounded down; with a layer less the ends do not meet, so round up",
            _layers(_plain, lambda N, k: int(math.log(N, k) + 1e-9)),
        ),
        Mistake(
            "the logarithm has base 2; each dilated layer multiplies the reach by k, so the base is k",
            _layers(_plain, lambda N, k: math.ceil(math.log2(N))),
        ),
        Mistake(
            "`math.log(125, 5)` is 3.0000000000000004, and its ceiling 4; count with whole numbers instead",
            _layers(_plain, lambda N, k: math.ceil(math.log(N, k))),
        ),
        Mistake(
            "`dilated` is not used: with dilation the reach is multiplied by k in each layer",
            _layers(_plain, _plain),
        ),
        Mistake(
            "every layer is taken for dilated; without dilation each adds k - 1 places",
            _layers(_dilated, _dilated),
        ),
        Mistake(
            "this is a float; a number of layers is whole: `-(-a // b)` divides and rounds up",
            _layers(lambda N, k: (N - 1) / (k - 1), _dilated),
        ),
        Mistake(
            "this is one layer too many: count until N items are seen, not until more than N are",
            _layers(lambda N, k: (N - 1) // (k - 1) + 1, lambda N, k: _dilated(N + 1, k)),
        ),
        Mistake(
            "the two cases are swapped: dilation multiplies the reach, without it you add", _layers(_dilated, _plain)
        ),
        Mistake(
            "this window looks to both sides; here it looks back only, and reaches k - 1 places back",
            _layers(lambda N, k: -(-(N - 1) // (k // 2)), _dilated),
        ),
        Mistake(
            "the gaps double from layer to layer; here they are 1, k, k², …",
            _layers(_plain, lambda N, k: next(n for n in range(N) if 1 + (k - 1) * (2**n - 1) >= N)),
        ),
    ),
)


# 1.3 -----------------------------------------------------------------------------------------------------------------


def forget_bias(steps: int) -> float:
    """The bias b with sigmoid(b)^steps = 1/2."""
    f = 0.5 ** (1 / steps)
    return math.log(f / (1 - f))


def _from_gate(gate: Callable) -> Callable:
    """The right way from a gate to its bias, from a wrong gate."""
    return lambda steps: math.log(gate(steps) / (1 - gate(steps)))


def _from_right_gate(bias: Callable) -> Callable:
    return lambda steps: bias(0.5 ** (1 / steps))


FORGET_BIAS = Exercise(
    id="1.3",
    title="How long does a gate remember?",
    reference=forget_bias,
    cases=lambda: [Case((steps,)) for steps in (1, 2, 8, 64, 500)],
    difference=compare.floats,
    mistakes=(
        Mistake("this is the gate f; its bias is the number whose sigmoid is f", _from_right_gate(lambda f: f)),
        Mistake(
            "the sign is wrong: the inverse of the sigmoid is log(f / (1 - f)), above 0 for gates above ½",
            _from_right_gate(lambda f: math.log((1 - f) / f)),
        ),
        Mistake(
            "this is the sigmoid of f; the bias is its *inverse*, log(f / (1 - f))",
            _from_right_gate(lambda f: 1 / (1 + math.exp(-f))),
        ),
        Mistake("this is log f; the inverse of the sigmoid is log(f / (1 - f))", _from_right_gate(math.log)),
        Mistake(
            "the gate is ½ raised to the power `steps`; you need the root, `0.5 ** (1 / steps)`",
            _from_gate(lambda steps: 0.5**steps),
        ),
        Mistake(
            "the gate is 1 - 1/(2 · steps), which loses by subtraction; a gate multiplies, so take a root of ½",
            _from_gate(lambda steps: 1 - 0.5 / steps),
        ),
        Mistake(
            "the gate is 1 - 1/steps, which leaves about 1/e = 0.37 after so many steps, not ½",
            _from_gate(lambda steps: 1 - 1 / steps),
        ),
        Mistake(
            "the gate is ½ divided by `steps`; a gate multiplies at every step, so take a root of ½",
            _from_gate(lambda steps: 0.5 / steps),
        ),
        Mistake(
            "the logarithm has base 2; the sigmoid is made of e, so its inverse has the natural logarithm",
            _from_right_gate(lambda f: math.log2(f / (1 - f))),
        ),
    ),
)


# 1.4 -----------------------------------------------------------------------------------------------------------------


def gru_step(x: Tensor, h: Tensor, W: Tensor, U: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """x (B, X), h (B, D), W (3·D, X), U (3·D, D), b and c (3·D,), gates in the order r, z, n -> (B, D)."""
    return _gru(x, h, W, U, b, c)


def _gru(x, h, W, U, b, c, order=(0, 1, 2), gate=torch.sigmoid, candidate=None, squash=torch.tanh, mix=None):
    """A GRU step with one part replaced."""
    from_x, from_h = (x @ W.T + b).chunk(3, dim=-1), (h @ U.T + c).chunk(3, dim=-1)
    i, j, k = order
    r, z = gate(from_x[i] + from_h[i]), gate(from_x[j] + from_h[j])
    inside = from_x[k] + r * from_h[k] if candidate is None else candidate(r, from_x[k], from_h[k])
    n = squash(inside)
    return (1 - z) * n + z * h if mix is None else mix(z, n, h)


def _reset_before_matrix(x, h, W, U, b, c):
    D = h.shape[1]
    return _gru(x, h, W, U, b, c, candidate=lambda r, xn, hn: xn + (r * h) @ U[2 * D :].T + c[2 * D :])


GRU_STEP = Exercise(
    id="1.4",
    title="The GRU's step",
    reference=gru_step,
    cases=lambda: [
        _step_case(3, 4, 5, 3, gradient=True),
        _step_case(1, 4, 3, 3),
        _step_case(4, 3, 3, 3),
        _step_case(2, 5, 4, 3, dtype=torch.float64),
    ],
    mistakes=(
        Mistake(
            "z and 1 - z are swapped: here z keeps the old state, as in torch",
            lambda *args: _gru(*args, mix=lambda z, n, h: z * n + (1 - z) * h),
        ),
        Mistake(
            "r and z are swapped; the order of the three parts is r, z, n",
            lambda *args: _gru(*args, order=(1, 0, 2)),
        ),
        Mistake(
            "r multiplies h before the matrix, as in Cho et al., 2014; torch multiplies U h + c by r",
            _reset_before_matrix,
        ),
        Mistake(
            "r multiplies the input's part as well; it belongs to U h + c only",
            lambda *args: _gru(*args, candidate=lambda r, xn, hn: r * (xn + hn)),
        ),
        Mistake(
            "the reset gate r is not used",
            lambda *args: _gru(*args, candidate=lambda r, xn, hn: xn + hn),
        ),
        Mistake(
            "the candidate n is a sigmoid; it is a tanh, so that the state can have both signs",
            lambda *args: _gru(*args, squash=torch.sigmoid),
        ),
        Mistake(
            "the gates r and z are tanh; a gate is a share from 0 to 1, so take the sigmoid",
            lambda *args: _gru(*args, gate=torch.tanh),
        ),
        Mistake(
            "the bias c is left out",
            lambda x, h, W, U, b, c: _gru(x, h, W, U, b, torch.zeros_like(c)),
        ),
        Mistake(
            "c is added outside the bracket; r multiplies U h + c, the bias included",
            lambda x, h, W, U, b, c: _gru(
                x, h, W, U, b, c, candidate=lambda r, xn, hn: xn + r * (hn - c.chunk(3)[2]) + c.chunk(3)[2]
            ),
        ),
        Mistake(
            "n is taken whole; z and 1 - z share the state out between h and n",
            lambda *args: _gru(*args, mix=lambda z, n, h: n + z * h),
        ),
        Mistake(
            "the candidate n has no tanh",
            lambda *args: _gru(*args, squash=lambda inside: inside),
        ),
    ),
)


# 1.5 -----------------------------------------------------------------------------------------------------------------

Pair = tuple[Tensor, Tensor]


def clip_gradients(grad_U: Tensor, grad_b: Tensor, max_norm: float) -> Pair:
    """Two gradients of any shape -> both times min(1, max_norm / norm), the norm taken over both together."""
    norm = torch.cat([grad_U.flatten(), grad_b.flatten()]).norm()
    scale = max_norm / norm if norm > max_norm else 1.0
    return grad_U * scale, grad_b * scale


def _clip_cases() -> list[Case]:
    large, small = _values(3, 4) * 10, _values(4) * 10
    return [
        Case((large, small, 1.0)),
        Case((large / 100, small / 100, 5.0), label="gradients shorter than max_norm = 5.0"),
        Case((_values(5, 2), _values(2), 0.5)),
        Case((large, small / 1000, 2.0)),
        Case((_values(1, 1), torch.tensor([30.0]), 1.0)),
        Case((torch.zeros(2, 2), torch.zeros(2), 1.0), label="gradients of zeros, max_norm = 1.0"),
        Case((_values(3, 3, dtype=torch.float64) * 8, _values(3, dtype=torch.float64) * 8, 1.0)),
    ]


def _wrong_pair(got: Any, expected: Pair) -> str | None:
    if not isinstance(got, tuple | list) or len(got) != 2:
        return f"returned {compare.shown(got)}, expected a pair of tensors (grad_U, grad_b)"
    for name, mine, theirs in zip(("grad_U", "grad_b"), got, expected, strict=True):
        problem = compare.tensors(mine, theirs)
        if problem:
            return f"{name}: {problem}"
    return None


def _scaled_by(norm: Callable[[Tensor, Tensor], Tensor]) -> Callable:
    """Clipping with another norm."""

    def answer(grad_U: Tensor, grad_b: Tensor, max_norm: float) -> Pair:
        length = norm(grad_U, grad_b)
        scale = max_norm / length if length > max_norm else 1.0
        return grad_U * scale, grad_b * scale

    return answer


def _each_by_itself(grad_U: Tensor, grad_b: Tensor, max_norm: float) -> Pair:
    return tuple(clip_gradients(g, g.new_zeros(1), max_norm)[0] for g in (grad_U, grad_b))


def _always(grad_U: Tensor, grad_b: Tensor, max_norm: float) -> Pair:
    norm = torch.cat([grad_U.flatten(), grad_b.flatten()]).norm()
    return grad_U * (max_norm / norm), grad_b * (max_norm / norm)


def _to_length_one(grad_U: Tensor, grad_b: Tensor, max_norm: float) -> Pair:
    norm = torch.cat([grad_U.flatten(), grad_b.flatten()]).norm()
    return (grad_U / norm, grad_b / norm) if norm > max_norm else (grad_U, grad_b)


CLIP_GRADIENTS = Exercise(
    id="1.5",
    title="Clip the gradient",
    reference=clip_gradients,
    cases=_clip_cases,
    difference=_wrong_pair,
    mistakes=(
        Mistake("each gradient is clipped by its own norm, which turns the direction of the step", _each_by_itself),
        Mistake(
            "every number is clamped by itself, which turns the direction; scale all of them by one factor",
            lambda grad_U, grad_b, m: (grad_U.clamp(-m, m), grad_b.clamp(-m, m)),
        ),
        Mistake("a gradient shorter than max_norm is stretched; it should stay as it is", _always),
        Mistake(
            "the square root is missing: this is the squared norm",
            _scaled_by(lambda a, b: a.square().sum() + b.square().sum()),
        ),
        Mistake(
            "the two norms are added; the squares are what adds up, under one root",
            _scaled_by(lambda a, b: a.norm() + b.norm()),
        ),
        Mistake(
            "this is the sum of the absolute values; take the root of the sum of squares",
            _scaled_by(lambda a, b: a.abs().sum() + b.abs().sum()),
        ),
        Mistake(
            "the norm is that of grad_U alone; both gradients count",
            _scaled_by(lambda a, b: a.norm()),
        ),
        Mistake(
            "the largest number is taken for the norm; take the root of the sum of squares",
            _scaled_by(lambda a, b: torch.maximum(a.abs().max(), b.abs().max())),
        ),
        Mistake(
            "the means of the squares are added; the norm has the sums of all squares under its root",
            _scaled_by(lambda a, b: (a.square().mean() + b.square().mean()).sqrt()),
        ),
        Mistake("the new length is 1, not max_norm: the factor is max_norm / norm", _to_length_one),
    ),
)


# 1.6 -----------------------------------------------------------------------------------------------------------------


def additive_attention(q: Tensor, k: Tensor, v: Tensor, W: Tensor, U: Tensor, w: Tensor) -> Tensor:
    """q (B, N, Dq), k (B, S, Dk), v (B, S, Dv), W (A, Dq), U (A, Dk), w (A,) -> (B, N, Dv)."""
    return _additive(q, k, v, W, U, w)


def _additive(q, k, v, W, U, w, hidden=torch.tanh, weigh=lambda scores: scores.softmax(dim=-1), score=None):
    """Additive attention with one part replaced."""
    pairs = (q @ W.T).unsqueeze(2) + (k @ U.T).unsqueeze(1)  # (B, N, S, A)
    scores = hidden(pairs) @ w if score is None else score(pairs, w)  # (B, N, S)
    return weigh(scores) @ v  # (B, N, Dv)


def _pairs_in_step(q, k, v, W, U, w):
    scores = torch.tanh(q @ W.T + k @ U.T) @ w  # (B, N), only for N = S
    return scores.softmax(dim=-1).unsqueeze(-1) * v


def _additive_case(batch: int, N: int, S: int, widths: tuple[int, ...], dtype=torch.float32, **options) -> Case:
    Dq, Dk, Dv, A = widths
    shapes = [(batch, N, Dq), (batch, S, Dk), (batch, S, Dv), (A, Dq), (A, Dk), (A,)]
    q, k, v, W, U, w = (_values(*shape, dtype=dtype) for shape in shapes)
    return Case((q, k, v, W, U, 3 * w), traits=_traits(batch), **options)


ADDITIVE_ATTENTION = Exercise(
    id="1.6",
    title="Additive attention",
    reference=additive_attention,
    cases=lambda: [
        _additive_case(2, 3, 5, (4, 6, 7, 8), gradient=True),
        _additive_case(1, 2, 4, (3, 5, 2, 6)),
        _additive_case(3, 4, 4, (5, 5, 5, 5)),
        _additive_case(2, 6, 3, (3, 2, 4, 7), dtype=torch.float64),
    ],
    mistakes=(
        Mistake(
            "the tanh is missing; then the query adds the same number to all scores of its row, and the softmax "
            "cancels it: every query gets the same answer",
            lambda *args: _additive(*args, hidden=lambda pairs: pairs),
        ),
        Mistake(
            "the hidden layer has a sigmoid; additive attention has a tanh there",
            lambda *args: _additive(*args, hidden=torch.sigmoid),
        ),
        Mistake(
            "the softmax runs over the queries; each query shares its weights out among the keys, the last axis",
            lambda *args: _additive(*args, weigh=lambda scores: scores.softmax(dim=1)),
        ),
        Mistake(
            "the softmax runs over the batch; each query shares its weights out among the keys, the last axis",
            lambda *args: _additive(*args, weigh=lambda scores: scores.softmax(dim=0)),
        ),
        Mistake(
            "there is no softmax; the scores are used as weights as they are",
            lambda *args: _additive(*args, weigh=lambda scores: scores),
        ),
        Mistake(
            "query n meets key n only; every query meets every key, so the sum needs the shape (B, N, S, A)",
            _pairs_in_step,
        ),
        Mistake(
            "the tanh is taken of the score; it belongs inside, between the sum and w",
            lambda *args: _additive(*args, score=lambda pairs, w: torch.tanh(pairs @ w)),
        ),
        Mistake(
            "the scores are divided by the root of a width, as in the scaled dot product; here they are not",
            lambda *args: _additive(*args, score=lambda pairs, w: torch.tanh(pairs) @ w / math.sqrt(len(w))),
        ),
        Mistake(
            "`w` is not used: the hidden numbers are added up as they are",
            lambda *args: _additive(*args, score=lambda pairs, w: torch.tanh(pairs).sum(dim=-1)),
        ),
        Mistake(
            "a tanh is taken of query and key apart; add first, then take one tanh of the sum",
            lambda q, k, v, W, U, w: _additive(
                torch.tanh(q @ W.T),
                torch.tanh(k @ U.T),
                v,
                torch.eye(len(w)).to(w),
                torch.eye(len(w)).to(w),
                w,
                hidden=lambda pairs: pairs,
            ),
        ),
        Mistake(
            "query and key are multiplied; in additive attention they are added",
            lambda q, k, v, W, U, w: _additive(
                q, k, v, W, U, w, score=lambda pairs, w: torch.tanh((q @ W.T)[:, :, None] * (k @ U.T)[:, None]) @ w
            ),
        ),
        Mistake(
            "the scores are divided by their sum; a softmax takes the exponential of each first",
            lambda *args: _additive(*args, weigh=lambda scores: scores / scores.sum(dim=-1, keepdim=True)),
        ),
    ),
)

EXERCISES = {
    exercise.id: exercise
    for exercise in (RNN_STEP, LAYERS_NEEDED, FORGET_BIAS, GRU_STEP, CLIP_GRADIENTS, ADDITIVE_ATTENTION)
}
