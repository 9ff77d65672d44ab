"""The exercises of chapter 2, attention."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vitedu.attention import scaled_dot_product_attention
from vitedu.exercises import compare
from vitedu.exercises.exercise import Answer, Case, exercise


def _random(seed: int, *shapes: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """A tensor of each shape, the same at every call, with few digits so that messages are easy to read."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=dtype).round(decimals=2) for shape in shapes]


def _case(seed: int, *shapes: tuple[int, ...], dtype: torch.dtype = torch.float32, **options) -> Case:
    """Tensors of the shapes, the batch in front in the first."""
    return Case(tuple(_random(seed, *shapes, dtype=dtype)), traits=("B = 1",) * (shapes[0][0] == 1), **options)


def _token_case(batch: int, N: int, D: int, d: int, d_v: int, **options) -> Case:
    return _case(N * D + d, (batch, N, D), (D, d), (D, d), (D, d_v), **options)


def _attend(
    scale: Callable = lambda q, x, v: math.sqrt(q.shape[-1]),
    weigh: Callable = lambda z: z.softmax(dim=-1),
    mix: Callable = lambda A, q, k, v, x: A @ v,
) -> Answer:
    """Self-attention, or with a part replaced."""

    def answer(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor) -> Tensor:
        q, k, v = x @ W_q, x @ W_k, x @ W_v
        return mix(weigh(q @ k.transpose(-2, -1) / scale(q, x, v)), q, k, v, x)

    return answer


exercise(
    "2.1",
    reference=_attend(),
    cases=lambda: [
        _token_case(2, 5, 6, 4, 3, gradient=True),
        _token_case(1, 7, 8, 2, 5),
        _token_case(3, 4, 4, 4, 4),
        _token_case(2, 1, 3, 5, 2),
        _token_case(2, 6, 5, 9, 7, dtype=torch.float64),
    ],
    mistakes={
        "this is the given cell as it stands, with all three bugs": _attend(
            lambda q, x, v: math.sqrt(x.size(-1)), lambda z: z.softmax(dim=1).mT
        ),
        "the softmax is mended; two bugs are left, the number under the root and the transposed weights": _attend(
            lambda q, x, v: math.sqrt(x.size(-1)), lambda z: z.softmax(dim=-1).mT
        ),
        "the weights are no longer transposed; two bugs are left, the number under the root and the axis "
        "of the softmax": _attend(lambda q, x, v: math.sqrt(x.size(-1)), lambda z: z.softmax(dim=1)),
        "the root is mended; two bugs are left, the axis of the softmax and the transposed weights, which hide each "
        "other: queries and keys have changed places": _attend(weigh=lambda z: z.softmax(dim=1).mT),
        "the scores are not divided by √d": _attend(lambda *_: 1.0),
        "the scores are divided by d; a sum of d terms has a standard deviation of √d": _attend(
            lambda q, *_: q.size(2)
        ),
        "the scores are divided by √D, from the width of a token; the sum has d terms, the width of a query": _attend(
            lambda q, x, v: math.sqrt(x.shape[-1])
        ),
        "the scores are divided by D": _attend(lambda q, x, v: x.shape[-1]),
        "the scores are divided by √N, the root of the number of tokens; it is the "
        "width d of a query that counts": _attend(lambda q, x, v: math.sqrt(x.shape[-2])),
        "the scores are divided by √d_v, from the width of the values; the score has "
        "d terms, the width of a query": _attend(lambda q, x, v: math.sqrt(v.shape[-1])),
        "the scores are divided by √B, as len(q) is the batch; the width of a query is q.shape[-1]": _attend(
            lambda q, x, v: math.sqrt(len(q))
        ),
        "the scores are multiplied by √d; divide by it": _attend(lambda q, x, v: 1 / math.sqrt(q.shape[-1])),
        "softmax runs over the queries (dim=-2); each row, over the keys, has to sum to one: dim=-1": _attend(
            weigh=lambda z: z.softmax(dim=-2)
        ),
        "softmax runs over the batch (dim=0); it belongs over the keys: dim=-1": _attend(weigh=lambda z: z.softmax(0)),
        "the softmax is missing: scores are not yet weights": _attend(weigh=lambda z: z),
        "the scores are divided by their sum; softmax takes the exponential first, "
        "so that no weight is negative": _attend(weigh=lambda z: z / z.sum(dim=-1, keepdim=True)),
        "the weights are transposed: row n of `weights @ v` has to hold the weights of query n": _attend(
            mix=lambda A, q, k, v, x: A.transpose(-2, -1) @ v
        ),
        "these are the weights themselves; they still have to average the values": _attend(mix=lambda A, *_: A),
        "the tokens are averaged as they are; the values are x @ W_v": _attend(mix=lambda A, q, k, v, x: A @ x),
        "the division by √d comes after the softmax, when the weights are made already": _attend(
            lambda *_: 1.0, mix=lambda A, q, k, v, x: A @ v / math.sqrt(q.shape[-1])
        ),
        "the keys are averaged, not the values: x @ W_v is missing": _attend(mix=lambda A, q, k, v, x: A @ k),
        "queries and keys come from the same matrix, W_q": lambda x, W_q, W_k, W_v: _attend()(x, W_q, W_q, W_v),
        "queries and keys come from the same matrix, W_k": lambda x, W_q, W_k, W_v: _attend()(x, W_k, W_k, W_v),
    },
)


def _text_cases() -> list[Case]:
    batches = [
        [[0, 0, 0, 1, 1, -1], [0, 1, 1, 1, 1, 2]],
        [[0, 0, 1, 1, 2, -1, -1]],
        [[0, 0, 0, 0], [0, 0, 1, 1], [0, -1, -1, -1]],
        [[0], [-1]],
        [[0, 1, 2]],
    ]
    return [
        Case((torch.tensor(texts),), f"texts = {texts}".replace(" ", ""), ("B = 1",) * (len(texts) == 1))
        for texts in batches
    ]


def _by(rule: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> Answer:
    """`rule(n, s, a, b)` of query number, key number and the texts of both, which broadcast to (B, N, N)."""

    def answer(texts: Tensor) -> Tensor:
        n = torch.arange(texts.shape[1])
        mask = rule(n[None, :, None], n[None, None, :], texts[:, :, None], texts[:, None, :])
        return mask.expand(len(texts), len(n), len(n)).clone()

    return answer


def _packed(n: Tensor, s: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return (a == b) & (s <= n) & (b >= 0)


exercise(
    "2.2",
    reference=_by(_packed),
    cases=_text_cases,
    mistakes={
        "padding looks at padding: −1 equals −1, so that it has to be ruled out by itself": _by(
            lambda n, s, a, b: (a == b) & (s <= n)
        ),
        "the future is not hidden, and padding looks at padding": _by(lambda n, s, a, b: a == b),
        "the future is not hidden; a token sees its own text up to itself": _by(
            lambda n, s, a, b: (a == b) & (b >= 0) & (n >= 0)
        ),
        "a token looks into the texts before its own; the two numbers have to be equal": _by(
            lambda n, s, a, b: (s <= n) & (b >= 0) & (a >= 0)
        ),
        "only the future is hidden: all texts see one another, and padding is seen": _by(
            lambda n, s, a, b: (s <= n) & (b >= -1)
        ),
        "padding is hidden as a key, but it still looks at texts: compare the texts of query and key": _by(
            lambda n, s, a, b: (s <= n) & (b >= 0)
        ),
        "text 0 is taken for padding; it is −1 that is": _by(lambda n, s, a, b: (a == b) & (s <= n) & (b > 0)),
        "a query may not look at itself; s ≤ n, so the diagonal belongs to it": _by(
            lambda n, s, a, b: _packed(n, s, a, b) & (n != s)
        ),
        "the triangle is the wrong way round: the past is hidden and the future seen; `tril`, not `triu`": _by(
            lambda n, s, a, b: (a == b) & (s >= n) & (b >= 0)
        ),
        "the mask is inverted: here True means *may look*, as in `F.scaled_dot_product_attention`": _by(
            lambda *four: ~_packed(*four)
        ),
        "a key is seen if *either* condition lets it; all have to: `&`, not `|`": _by(
            lambda n, s, a, b: ((a == b) | (s <= n)) & (b >= 0)
        ),
        "a token sees no further back than its neighbour; it sees its whole text up to itself": _by(
            lambda n, s, a, b: _packed(n, s, a, b) & (n - s <= 1)
        ),
        "the mask holds numbers; leave it boolean, as the comparisons made it": _by(lambda *four: 1.0 * _packed(*four)),
        "the mask is written as 0 and -inf, to be added to the scores; here booleans are wanted": _by(
            lambda *four: torch.where(_packed(*four), 0.0, -math.inf)
        ),
        "the texts of the first sequence stand for the whole batch": lambda texts: _by(_packed)(
            texts[:1].expand_as(texts)
        ),
    },
)


def _score_case(batch: int, queries: int, keys: int, mask_shape: tuple, dtype=torch.float32) -> Case:
    scores = 3 * _random(queries * keys, (batch, queries, keys), dtype=dtype)[0]
    mask = _random(keys, mask_shape)[0] < 0.4
    mask[..., -1, :] = False  # the last query may look nowhere
    mask[..., 0, 0] = mask[..., 0, -1] = True
    return Case((scores, mask), f"scores {tuple(scores.shape)}, mask {mask_shape}", ("B = 1",) * (batch == 1))


def _high_score_cases() -> list[Case]:
    scores = torch.tensor([[[200.0, 199.0, 300.0], [-200.0, -201.0, 1.0], [5.0, 5.0, 5.0]]])
    mask = torch.tensor([[[True, True, False], [True, True, False], [False, False, False]]])
    high = Case((scores, mask), "scores (1, 3, 3) from -201 to 300, mask (1, 3, 3)", ("B = 1",), gradient=True)
    far = torch.tensor([[[0.0, 1.0, 2.0], [200.0, 202.0, 201.0]]])
    return [high, Case((far, far >= 0), "scores (1, 2, 3), rows far apart, nothing hidden", ("B = 1",))]


def _masked_softmax(scores: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
    return _filled(-math.inf, dim)(scores, mask).masked_fill(~mask.any(dim=dim, keepdim=True), 0.0)


def _filled(value: float, dim: int = -1) -> Answer:
    return lambda scores, mask: scores.masked_fill(~mask, value).softmax(dim=dim)


def _exps(
    add: float = 0.0, exp: Callable = torch.exp, fill: bool = False, zero: Callable = lambda A, mask: A
) -> Answer:
    """Exponentials, hidden, then divided by their sum plus a number; at last, `zero` may put zeros into rows."""

    def answer(scores: Tensor, mask: Tensor) -> Tensor:
        exps = exp(scores).masked_fill(~mask, 0.0) if fill else exp(scores) * mask
        return zero(exps / (exps.sum(dim=-1, keepdim=True) + add), mask)

    return answer


def _empty(A: Tensor, mask: Tensor) -> Tensor:
    return A.masked_fill(~mask.any(dim=-1, keepdim=True), 0.0)


def _softmax(scores: Tensor) -> Tensor:
    return scores.softmax(dim=-1)


exercise(
    "2.3",
    reference=lambda scores, mask: _masked_softmax(scores, mask),
    cases=lambda: [
        _score_case(2, 3, 4, (2, 3, 4)),
        _score_case(1, 5, 6, (1, 5, 6)),
        _score_case(3, 4, 5, (4, 5)),
        _score_case(2, 4, 4, (2, 4, 4), torch.float64),
        *_high_score_cases(),
    ],
    demands=("gradient",),
    mistakes={
        "a query that may look nowhere gets nan: its row is all -inf, and exp(-inf) "
        "/ 0 is 0 / 0; make it zeros": _filled(-math.inf),
        "a query that may look nowhere shares its weight among the hidden keys, 1/S each: either that is filled in, or "
        "a large finite number stands in place of -inf, so that all its scores are equal": _filled(-1e9),
        "a query that may look nowhere keeps its weights: a softmax does not see "
        "one number taken off all scores": lambda scores, mask: _softmax(scores - 1e4 * ~mask),
        "a query that may look nowhere gets the weights it has without a mask": lambda scores, mask: _masked_softmax(
            scores, mask | ~mask.any(-1, True)
        ),
        "a hidden score of 0 is no small score, exp(0) is 1; fill in -inf before the softmax": lambda scores, mask: (
            _softmax(scores * mask)
        ),
        "hidden scores of 0 take part in the softmax before they go": lambda scores, mask: (
            _softmax(scores * mask) * mask
        ),
        "the weights are set to 0 after the softmax, so that the rest of a row sums to less "
        "than one; hide the scores before": lambda scores, mask: _softmax(scores) * mask,
        "dividing by the sum that is left is 0/0 where it is 0, as in a row that may look nowhere; hide "
        "the scores before the softmax": _exps(exp=_softmax),
        "the mask is inverted: True means *may look*, so fill in "
        "-inf where it is False, `~mask`": lambda scores, mask: _filled(-math.inf)(scores, ~mask),
        "empty rows are right, but the mask is inverted: fill in "
        "-inf where it is False, `~mask`": lambda scores, mask: _masked_softmax(scores, ~mask),
        "the weights are hidden after the softmax, or the largest score is taken over the hidden keys as well: if a "
        "hidden score is far above the others, their weights are 0 by then, and dividing by their sum brings nothing "
        "back; hide the scores before": _exps(1e-9, _softmax),
        "softmax runs over the queries (dim=-2); each row, over the "
        "keys, has to sum to one: dim=-1": lambda scores, mask: _masked_softmax(scores, mask, dim=-2),
        "softmax runs over the queries (dim=-2), not over the keys": _filled(-math.inf, dim=-2),
        "exp(200) overflows to inf; `softmax` subtracts the largest score first": _exps(zero=_empty),
        "exp(200) overflows to inf; a softmax subtracts the largest score first": _exps(fill=True, zero=_empty),
        "exp(200) overflows to inf, and a small number added to the sum does not help; `softmax` "
        "subtracts the largest score first": _exps(1e-9),
        "exp(200) overflows to inf, whatever is added to the sum": _exps(1e-9, fill=True),
        "exp(200) overflows, and a row that may look nowhere is 0 / 0": _exps(fill=True),
        "exp(200) overflows, inf · 0 is nan, and a row that may look nowhere is 0 / 0": _exps(),
        "exp(200) overflows; `nan_to_num` then hides it as zeros": _exps(fill=True, zero=lambda A, _: A.nan_to_num()),
        "a hidden score far above the others leaves 0 / 0 for them; hide the scores before the softmax": _exps(
            exp=_softmax, zero=lambda A, _: A.nan_to_num()
        ),
        "the largest score is taken over the hidden keys as well, and if it is one "
        "of them, all others can vanish": _exps(exp=lambda z: (z - z.amax(dim=-1, keepdim=True)).exp(), zero=_empty),
        "one largest score is taken for all rows, and low rows vanish": _exps(1e-9, lambda z: (z - z.max()).exp()),
        "-inf times False is nan, and so is 0 · inf; use `masked_fill(~mask, -math.inf)`": lambda scores, mask: (
            _softmax(scores + ~mask * -math.inf)
        ),
        "False and True are added to the scores as 0 and 1; a boolean mask has to "
        "be turned into 0 and -inf first": lambda scores, mask: _softmax(scores + mask),
        "the mask is not used": lambda scores, mask: _softmax(scores),
        "a number such as -100 is no safe filling: where all visible scores are lower still, a hidden key takes "
        "all of the weight; fill in -inf": lambda scores, mask: _filled(-100.0)(scores, mask) * mask,
        "`mask[b]` is a row if the mask has no batch axis; expand it first": lambda scores, mask: torch.stack(
            [_masked_softmax(*pair) for pair in zip(scores, mask, strict=False)]
        ),
    },
)


def _share_cases() -> list[Case]:
    rows = [[0.7, 0.3], [0.5, 0.3, 0.2], [1.0, 0.0, 0.0, 0.0], [[0.6, 0.4], [0.1, 0.9], [0.5, 0.5]]]
    rows += [[[0.2, 0.3, 0.5]], [[[0.25] * 4, [0.4, 0.3, 0.2, 0.1]]], [1.0]]
    cases = [Case((torch.tensor(row),), f"weights = {row}", gradient=row == rows[1]) for row in rows]
    return [*cases, Case((torch.tensor(rows[1], dtype=torch.float64),), "weights = [0.5, 0.3, 0.2] in float64")]


def _lost(a: Tensor) -> Tensor:
    return 1 - a.square() / a.square().sum(dim=-1, keepdim=True)


exercise(
    "2.4",
    reference=lambda weights: _lost(weights),
    cases=_share_cases,
    mistakes={
        "this is the share that is kept; 1 minus it is lost": lambda a: 1 - _lost(a),
        "the weights are not squared: variances go with the squares": lambda a: 1 - a,
        "the weights themselves are returned": lambda a: a,
        "the squares are not divided by their sum, E[m²]": lambda a: 1 - a.square(),
        "the squares of the others are there, but not divided by the sum of all squares": lambda a: (
            a.square().sum(dim=-1, keepdim=True) - a.square()
        ),
        "β is p_i over the sum of the squares; the share that is kept is β·p_i, one factor more": lambda a: (
            1 - a / a.square().sum(dim=-1, keepdim=True)
        ),
        "the reader takes the mixture as it is, β = 1; a better number is E[c m] / E[m²]": lambda a: (
            1 - 2 * a + a.square().sum(dim=-1, keepdim=True)
        ),
        "the reader divides by p_i, which makes the noise of the others as large as it can be": lambda a: (
            a.square().sum(dim=-1, keepdim=True) / a.square() - 1
        ),
        "the root is taken at the end; a share of the variance is wanted": lambda a: _lost(a).sqrt(),
        "this is the mean over the contents; each has a share of its own": lambda a: _lost(a).mean(
            dim=-1, keepdim=True
        ),
        "the sum runs over all rows; each row is a mixture of its own": lambda a: 1 - a.square() / a.square().sum(),
        "the sum runs over the rows (dim=0), not over the contents of one": lambda a: (
            1 - a.square() / a.square().sum(dim=0, keepdim=True)
        ),
        "a softmax is taken; what comes in are weights already": lambda a: _lost(_softmax(a)),
    },
)


def _entropy(scores: Tensor) -> Tensor:
    return torch.special.entr(_softmax(scores)).sum(dim=-1)


def _searched(
    target: Callable = lambda nats: nats,
    entropy: Callable = _entropy,
    top: float = 2.0**20,
    steps: int = 70,
    flip: bool = False,
    out: Callable = lambda factor: factor,
) -> Answer:
    """By halving an interval, or with a part replaced."""

    def answer(scores: Tensor, nats: float) -> Tensor:
        low, high = torch.zeros_like(scores[:, 0]), torch.full_like(scores[:, 0], top)
        for _ in range(steps):
            middle = (low + high) / 2
            wide = (entropy(middle[:, None] * scores) > target(nats)) ^ flip
            low, high = torch.where(wide, middle, low), torch.where(wide, high, middle)
        return out((low + high) / 2)

    return answer


def _sharp_case(batch: int, S: int, spread: float, nats: float, dtype=torch.float32) -> Case:
    order = torch.arange(S, dtype=dtype) + 0.3 * torch.rand(S, generator=torch.Generator().manual_seed(S), dtype=dtype)
    rows = torch.stack([(1 + row) * order.roll(row) for row in range(batch)])
    label = f"scores {(batch, S)} up to {rows.max() * spread:.2g}, nats = {nats}"
    return Case((spread * rows, nats), label, ("B = 1",) * (batch == 1))


def _spreads(returned: Any, args: tuple) -> Any:
    """The entropies that the factors give; below 0 where a factor is not above 0, which the task asks for."""
    scores = args[0]
    if not isinstance(returned, Tensor) or returned.shape != scores[:, 0].shape:
        return returned
    entropy = _entropy(returned[:, None].to(scores.dtype) * scores)
    return torch.where(returned > 0, entropy, -1.0).to(returned.dtype)


def _entropies(got: Any, expected: Tensor) -> str | None:
    """To a thousandth of a nat; the factors themselves may differ by more."""
    problem = compare.tensors(got, expected)
    if problem is None or not isinstance(got, Tensor) or got.shape != expected.shape or got.dtype != expected.dtype:
        return problem
    row = int((got - expected).abs().argmax())
    if (got - expected).abs().max() < 2e-3:
        return None
    if got[row] == -1:
        return f"the factor of row {row} is not above 0"
    return f"with the factor of row {row} the entropy is {got[row]:.3f} nats instead of {expected[row]:.3f}"


exercise(
    "2.5",
    reference=_searched(),
    cases=lambda: [
        _sharp_case(3, 5, 1.0, 1.0),
        _sharp_case(1, 4, 0.01, 0.5),
        _sharp_case(2, 8, 100.0, 1.9),
        _sharp_case(2, 3, 0.1, 0.05),
        _sharp_case(4, 2, 1.0, 0.6),
        _sharp_case(2, 6, 3.0, 1.2, torch.float64),
    ],
    difference=_entropies,
    simplify=_spreads,
    mistakes={
        "the factor is 1, the scores as they are": lambda z, nats: torch.ones_like(z[:, 0]),
        "the entropy is taken to fall in proportion; it does not, so search": lambda z, nats: _entropy(z) / nats,
        "the entropy is taken to rise with the factor": lambda z, nats: nats / _entropy(z),
        "this is the temperature, which divides the scores; the factor is 1 over it": _searched(out=torch.reciprocal),
        "one factor is taken for all rows; each row needs its own": lambda z, nats: (
            _searched()(z, nats).mean().expand(len(z)).clone()
        ),
        "the factor of the first row is taken for all": lambda z, nats: _searched()(z, nats)[:1].expand(len(z)).clone(),
        "the halves are swapped: where the entropy is too high, the factor is too small": _searched(flip=True),
        "the upper end is 1, and scores of a hundredth need more": _searched(top=1.0),
        "the upper end is 10, and scores of a hundredth need more": _searched(top=10.0),
        "the entropy is measured in bits; with the natural logarithm it is in nats": _searched(
            entropy=lambda z: _entropy(z) / math.log(2)
        ),
        "e to the entropy is compared with `nats`; compare the entropy itself": _searched(
            entropy=lambda z: _entropy(z).exp()
        ),
        "the entropy is added up over all rows": _searched(entropy=lambda z: _entropy(z).sum().expand(len(z))),
        "the mean entropy over all rows is compared": _searched(entropy=lambda z: _entropy(z).mean().expand(len(z))),
        "the search ends too early; halve the interval until nothing changes": _searched(top=1024.0, steps=8),
        "these are the entropies; the factors are asked for": lambda z, nats: torch.full_like(z[:, 0], nats),
        "the softmax runs over the rows (dim=0), not over the scores of one": _searched(
            entropy=lambda z: torch.special.entr(z.softmax(dim=0)).sum(dim=-1)
        ),
        "the factor has the wrong sign: below 0 it turns the order of the weights round": _searched(out=torch.neg),
        "every factor comes as a row of its own, (B, 1); return (B,)": _searched(out=lambda factor: factor[:, None]),
    },
)


def _chunk_case(queries: int, keys: int, d: int, value: int, size: int, spread: float = 1.0, **options) -> Case:
    q, k, v = _random(keys, (queries, d), (keys, d), (keys, value), dtype=options.pop("dtype", torch.float32))
    return Case((spread * q, k, v, size), **options)


def _chunk_cases() -> list[Case]:
    q, k, v = _random(2, (3, 4), (7, 4), (7, 2))
    line = torch.tensor([[-60.0, -50.0, 20.0, 59.0, 60.0, -60.0, -61.0]]).T  # the scores of the first query
    return [
        _chunk_case(3, 6, 4, 5, 2, gradient=True),
        _chunk_case(4, 7, 3, 2, 3),
        _chunk_case(1, 5, 2, 4, 1),
        _chunk_case(2, 4, 4, 4, 9),
        _chunk_case(5, 12, 6, 3, 5, dtype=torch.float64),
        _chunk_case(4, 8, 4, 3, 3, spread=200.0),
        Case((-200 * q.abs() - 100, k.abs() + 1, v, 3), "q (3, 4), k (7, 4), v (7, 2), size = 3, low scores"),
        Case(
            (torch.tensor([[1.0], [-10.0]]), line, v, 2),
            "q (2, 1), k (7, 1), v (7, 2), size = 2, scores that rise and fall",
        ),
    ]


def _top(chunk: Tensor) -> Tensor:
    return chunk.amax(dim=1, keepdim=True)


def _streamed(
    parts: tuple[bool, bool] = (True, True),
    rescale: Callable = lambda old, new: (old - new).exp(),
    stop: Callable = lambda S, size: S,
    scale: Callable = math.sqrt,
    first: Callable = lambda z, q, k, size: torch.full_like(z[:, :1], -math.inf),
    largest: Callable = lambda old, z: torch.maximum(old, _top(z)),
    add: Callable = lambda old, f, new: old * f + new,
    each: Callable = lambda out, total: out,
    last: Callable = torch.div,
) -> Answer:
    """The running softmax, or with a part replaced; `parts` says whether total and output are rescaled."""

    def answer(q: Tensor, k: Tensor, v: Tensor, size: int) -> Tensor:
        scores = q @ k.T / scale(q.shape[-1])
        old, total, out = first(scores, q, k, size), scores.new_zeros(len(q), 1), v.new_zeros(len(q), v.shape[1])
        for start in range(0, stop(len(k), size), size):
            z = scores[:, start : start + size]
            new = largest(old, z)
            exps, f = (z - new).exp(), rescale(old, new)
            total = add(total, f if parts[0] else 1, exps.sum(dim=1, keepdim=True))
            out = each(add(out, f if parts[1] else 1, exps @ v[start : start + size]), total)
            old = new
        return last(out, total)

    return answer


def _kept(first: Callable) -> Answer:
    """The running softmax with a number in place of the largest score that stays as it is at `first`."""
    return _streamed(first=first, largest=lambda old, z: old)


def _each_chunk(join: Callable[[list[Tensor]], Tensor], by: Callable = lambda z: 1.0) -> Answer:
    """Attention to each chunk alone, times a number made `by` its scores; `join` puts the outputs together."""

    def answer(q: Tensor, k: Tensor, v: Tensor, size: int) -> Tensor:
        scores = q @ k.T / math.sqrt(q.shape[-1])
        return join(
            [by(z) * (_softmax(z) @ values) for z, values in zip(scores.split(size, 1), v.split(size), strict=True)]
        )

    return answer


exercise(
    "2.6",
    reference=lambda q, k, v, size: scaled_dot_product_attention(q, k, v)[0],
    cases=_chunk_cases,
    mistakes={
        "the outputs of the chunks are averaged; a chunk counts by the sum of "
        "its exponentials, not equally": _each_chunk(lambda outputs: sum(outputs) / len(outputs)),
        "the outputs of the chunks are weighted by how many keys they have; a chunk counts by the sum "
        "of its exponentials": lambda q, k, v, size: _each_chunk(sum, by=lambda z: z.shape[1] / len(k))(q, k, v, size),
        "the outputs of the chunks are added up, each with weights that sum "
        "to one; divide once, at the end": _each_chunk(sum),
        "only the last chunk is left: what came before is overwritten, or multiplied by exp(-inf) = 0 because the "
        "largest score so far is not kept up to date": _each_chunk(lambda outputs: outputs[-1]),
        "only the first chunk is used": _each_chunk(lambda outputs: outputs[0]),
        "softmax runs over the queries": lambda q, k, v, size: (q @ k.T / math.sqrt(q.shape[1])).softmax(dim=0) @ v,
        "old sums are not rescaled when the maximum rises: multiply total and output by exp(old - new)": _streamed(
            (False, False)
        ),
        "each chunk subtracts its own maximum, so the sums of two chunks count in different units; "
        "rescale them to a common one": _streamed((False, False), largest=lambda old, z: _top(z)),
        "the total is rescaled when the maximum rises, the output is not: it was "
        "made with the old maximum too": _streamed((True, False)),
        "the output is rescaled when the maximum rises, the total is not: it was "
        "made with the old maximum too": _streamed((False, True)),
        "the factor is upside down: exp(old - new), at most 1, and not exp(new - old)": _streamed(
            rescale=lambda old, new: (new - old).exp(), first=lambda z, *_: z[:, :1]
        ),
        "the factor is upside down, or the new scores are shifted by the old maximum: exp is inf in the first round; "
        "take exp(old - new), at most 1, and exp(scores - new)": _streamed(rescale=lambda old, new: (new - old).exp()),
        "the factor is for the old sums, not for the new chunk": _streamed(add=lambda old, f, new: (old + new) * f),
        "the largest score so far starts at a number such as 0, so that exp gives nothing but 0 where all scores "
        "are far below; start at -inf": _streamed(first=lambda z, *_: 0 * z[:, :1]),
        "a largest score stays that of the first chunk; exp overflows": _kept(lambda z, q, k, size: _top(z[:, :size])),
        "the newest chunk's maximum is taken; exp(old - new) overflows": _streamed(largest=lambda old, z: _top(z)),
        "the division by the sum of the exponentials is missing at the end": _streamed(last=lambda out, total: out),
        "the output is divided in each round, not once": _streamed(each=torch.div, last=lambda out, _: out),
        "one maximum is taken over all queries; each query needs its own, or the rows far below it vanish": _streamed(
            largest=lambda old, z: torch.maximum(old, z.max())
        ),
        "a last chunk with fewer than `size` keys is left out: let the range end at len(k)": _streamed(
            stop=lambda S, n: S - S % n
        ),
        "the last chunk is left out: let the range end at len(k)": _streamed(stop=lambda S, n: S - n),
        "exp overflows for large scores: subtract the largest score seen so far": _kept(lambda z, *_: 0 * z[:, :1]),
        "a bound such as |q| · max |k| is subtracted; far below it, exp gives nothing but 0: subtract the largest "
        "score": _kept(lambda z, q, k, size: (q.norm(dim=1) * k.norm(dim=1).max() / math.sqrt(q.shape[1]))[:, None]),
        "the scores are not divided by √d": _streamed(scale=lambda d: 1.0),
        "the scores are multiplied by √d; divide by it": _streamed(scale=lambda d: 1 / math.sqrt(d)),
        "the scores are divided by d; √d is the standard deviation of a sum of d terms": _streamed(scale=float),
    },
)
