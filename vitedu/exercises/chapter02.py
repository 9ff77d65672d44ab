"""The exercises of chapter 2, attention."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, relu, sigmoid, tanh

from vitedu.attention import scaled_dot_product_attention
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
        "queries and keys are swapped: row n of the scores belongs to query "
        "n, so q comes first in q @ kᵀ": lambda x, W_q, W_k, W_v: _attend()(x, W_k, W_q, W_v),
        "the keys are averaged, not the values: x @ W_v is missing": _attend(mix=lambda A, q, k, v, x: A @ k),
        "queries and keys come from the same matrix, W_q": lambda x, W_q, W_k, W_v: _attend()(x, W_q, W_q, W_v),
        "queries and keys come from the same matrix, W_k": lambda x, W_q, W_k, W_v: _attend()(x, W_k, W_k, W_v),
    },
)


def _length_cases() -> list[Case]:
    batches = [([3, 5, 1], 5), ([4], 6), ([2, 2], 2), ([1], 1), ([7, 0, 4, 6], 7)]
    return [
        Case((torch.tensor(lengths), N), f"lengths {lengths}, count = {N}", ("B = 1",) * (len(lengths) == 1))
        for lengths, N in batches
    ]


def _by(rule: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Answer:
    """`rule(n, s, L)` of query number, key number and length, which broadcast to (B, N, N)."""

    def answer(lengths: Tensor, count: int) -> Tensor:
        n = torch.arange(count)
        mask = rule(n[None, :, None], n[None, None, :], lengths[:, None, None])
        return mask.expand(len(lengths), count, count).clone()

    return answer


exercise(
    "2.2",
    reference=_by(lambda n, s, L: (s <= n) & (s < L)),
    cases=_length_cases,
    mistakes={
        "the mask is inverted: here True means *may look*, as in `F.scaled_dot_product_attention`": _by(
            lambda n, s, L: (s > n) | (s >= L)
        ),
        "the padding is not hidden; only the future is": _by(lambda n, s, L: (s <= n) & (L >= 0)),
        "one mask for the whole batch, (N, N); the sequences differ in length, so "
        "each needs its own, (B, N, N)": lambda lengths, count: torch.ones(count, count, dtype=torch.bool).tril(),
        "the future is not hidden; only the padding is": _by(lambda n, s, L: (s < L) & (n >= 0)),
        "a query may not look at itself; s ≤ n, so the diagonal belongs to it": _by(lambda n, s, L: (s < n) & (s < L)),
        "the triangle is the wrong way round: the past is hidden and the future seen; `tril`, not `triu`": _by(
            lambda n, s, L: (s >= n) & (s < L)
        ),
        "one padded key too many is seen: counted from 0, the last real token is length - 1, so s < length": _by(
            lambda n, s, L: (s <= n) & (s <= L)
        ),
        "one real key too few is seen: the real tokens are all s < length": _by(lambda n, s, L: (s <= n) & (s < L - 1)),
        "the rows of the padded queries are hidden; padding is a matter of the keys, the last axis, alone": _by(
            lambda n, s, L: (s <= n) & (n < L)
        ),
        "a key is seen if *either* condition lets it; both have to: `&`, not `|`": _by(
            lambda n, s, L: (s <= n) | (s < L)
        ),
        "queries and keys are swapped: axis 1 counts the queries (rows), axis 2 the keys (columns)": _by(
            lambda n, s, L: (n <= s) & (n < L)
        ),
        "the mask holds numbers; leave it boolean, as the comparisons made it": _by(
            lambda n, s, L: 1.0 * (s <= n) * (s < L)
        ),
        "the mask is written as 0 and -inf, to be added to the scores; here booleans are wanted": _by(
            lambda n, s, L: torch.where((s <= n) & (s < L), 0.0, -math.inf)
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


def _pair_case(batch: int, N: int, S: int, dims: tuple[int, int, int], **options) -> Case:
    Dq, Dk, hidden = dims
    return _case(N + S, (batch, N, Dq), (batch, S, Dk), (hidden, Dq), (hidden, Dk), (hidden,), **options)


def _pairs(finish: Callable = lambda p, w: tanh(p) @ w, join: Callable = torch.add) -> Answer:
    """`finish(pairs (B, N, S, hidden), w)` of what `join` makes of W q and U k."""
    return lambda q, k, W, U, w: finish(join((q @ W.T)[:, :, None, :], (k @ U.T)[:, None, :, :]), w)


exercise(
    "2.4",
    reference=_pairs(),
    cases=lambda: [
        _pair_case(2, 3, 5, (4, 6, 7), gradient=True),
        _pair_case(1, 4, 2, (3, 2, 5)),
        _pair_case(3, 4, 4, (4, 4, 4)),
        _pair_case(2, 1, 6, (5, 3, 2)),
        _pair_case(2, 5, 3, (2, 4, 6), dtype=torch.float64),
    ],
    mistakes={
        "the tanh is missing: what is left is one number for the query plus one for the key": _pairs(torch.matmul),
        "tanh comes last; it belongs before the product with w": _pairs(lambda p, w: tanh(p @ w)),
        "w is multiplied inside the tanh; it belongs outside": _pairs(lambda p, w: tanh(p * w).sum(dim=-1)),
        "tanh is taken of query and key apart; it belongs around their sum, where the two meet": _pairs(
            torch.matmul, lambda q, k: tanh(q) + tanh(k)
        ),
        "query and key are multiplied; in additive attention they are added": _pairs(join=torch.mul),
        "query and key are subtracted; in additive attention they are added": _pairs(join=torch.sub),
        "the scores come out transposed, (B, S, N); queries are rows, keys are columns": lambda *a: _pairs()(*a).mT,
        "w is not used: the hidden numbers are added up as they are": _pairs(lambda p, w: tanh(p).sum(dim=-1)),
        "the sum over the hidden axis is missing": _pairs(lambda p, w: tanh(p) * w),
        "the sum runs over the keys, not over the hidden axis": _pairs(lambda p, w: (tanh(p) * w).sum(dim=2)),
        "w is not used, and the hidden numbers are averaged": _pairs(lambda p, w: tanh(p).mean(dim=-1)),
        "the hidden numbers are averaged; w · tanh(…) is a sum": _pairs(lambda p, w: (tanh(p) * w).mean(dim=-1)),
        "these are the weights already; the scores come before the softmax": lambda *a: _softmax(_pairs()(*a)),
        "additive scores are not divided by a root: tanh keeps each term between -1 and 1": _pairs(
            lambda p, w: tanh(p) @ w / math.sqrt(len(w))
        ),
        "the scores are divided by √Dq; additive ones are not": lambda q, *args: _pairs()(q, *args) / q.size(2) ** 0.5,
        "the scores are divided by √Dk; additive ones are not": lambda q, k, *W: _pairs()(q, k, *W) / k.size(2) ** 0.5,
        "the curve is a sigmoid; the equation has tanh": _pairs(lambda p, w: sigmoid(p) @ w),
        "the curve is a ReLU; the equation has tanh": _pairs(lambda p, w: relu(p) @ w),
        "a softmax of the hidden numbers is taken": _pairs(lambda p, w: tanh(p).softmax(dim=-1) @ w),
        "a sigmoid is taken of the scores; they are weighed later": _pairs(lambda p, w: sigmoid(tanh(p) @ w)),
        "W and U are swapped: W belongs to the query": lambda q, k, W, U, w: _pairs()(q, k, U, W, w),
        "query n meets key n only; all pairs are (B, N, S, hidden)": lambda q, k, W, U, w: tanh(q @ W.T + k @ U.T) @ w,
    },
)


def _outer(a: Tensor) -> Tensor:
    return a[..., :, None] * a[..., None, :]


def _jacobian(a: Tensor) -> Tensor:
    return torch.diag_embed(a) - _outer(a)


def _weight_cases() -> list[Case]:
    shapes = [(2, 3), (1, 4), (5,), (2, 3, 4), (3, 3), (2, 1), (2, 6)]
    dtypes = [torch.float32] * 6 + [torch.float64]
    weights = [_softmax(*_random(sum(shape), shape, dtype=dtype)) for shape, dtype in zip(shapes, dtypes, strict=True)]
    return [Case((a,), gradient=index == 0) for index, a in enumerate(weights)]


exercise(
    "2.5",
    reference=lambda weights: _jacobian(weights),
    cases=_weight_cases,
    demands=("gradient",),
    mistakes={
        "the sign is wrong: raising a score raises its own weight and lowers the others": lambda a: -_jacobian(a),
        "only the diagonal is there; a score also moves the weights of the other keys, by -a_s a_t": lambda a: (
            torch.diag_embed(a * (1 - a))
        ),
        "these are the diagonal entries alone, as a vector; all pairs make a matrix": lambda a: a * (1 - a),
        "the term with δ is missing: it adds a_s on the diagonal": lambda a: -_outer(a),
        "the two terms are added; subtract a aᵀ": lambda a: torch.diag_embed(a) + _outer(a),
        "the identity stands where diag(a) should: δ is multiplied by a_s": lambda a: torch.eye(a.size(-1)) - _outer(a),
        "a_s (1 - a_t) stands everywhere; the 1 belongs on the diagonal only": lambda a: a[..., None] - _outer(a),
        "this is diag(a) alone; - a aᵀ is missing": torch.diag_embed,
        "softmax is taken once more; what comes in are weights already": lambda a: _jacobian(_softmax(a)),
        "this is the Jacobian of the *logarithm* of the weights; each row has to be multiplied by its a_s": lambda a: (
            torch.eye(a.size(-1)) - a[..., None, :]
        ),
        "the second term is one number, the dot product aᵀa; a aᵀ is a matrix, "
        "every weight times every weight": lambda a: torch.diag_embed(a) - (a * a).sum(dim=-1)[..., None, None],
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
