"""The exercises of chapter 2, attention."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

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
    scale: Callable = lambda x, q, v: math.sqrt(q.shape[-1]),
    weigh: Callable = lambda scores: scores.softmax(dim=-1),
    combine: Callable = lambda weights, q, k, v, x: weights @ v,
) -> Answer:
    """Self-attention, or with one part replaced."""

    def answer(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor) -> Tensor:
        q, k, v = x @ W_q, x @ W_k, x @ W_v
        return combine(weigh(q @ k.transpose(-2, -1) / scale(x, q, v)), q, k, v, x)

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
        "the scores are not divided by √d": _attend(lambda x, q, v: 1.0),
        "the scores are divided by d; a sum of d terms has a standard deviation of √d": _attend(
            lambda x, q, v: q.shape[-1]
        ),
        "the scores are divided by √D, from the width of a token; the sum has d terms, the width of a query": _attend(
            lambda x, q, v: math.sqrt(x.shape[-1])
        ),
        "the scores are divided by D": _attend(lambda x, q, v: x.shape[-1]),
        "the scores are divided by √N, the root of the number of tokens; it is the "
        "width d of a query that counts": _attend(lambda x, q, v: math.sqrt(x.shape[-2])),
        "the scores are divided by √d_v, from the width of the values; the score has "
        "d terms, the width of a query": _attend(lambda x, q, v: math.sqrt(v.shape[-1])),
        "the scores are divided by √B, as len(q) is the batch; the width of a query is q.shape[-1]": _attend(
            lambda x, q, v: math.sqrt(len(q))
        ),
        "the scores are multiplied by √d; divide by it": _attend(lambda x, q, v: 1 / math.sqrt(q.shape[-1])),
        "softmax runs over the queries (dim=-2); each row, over the keys, has to sum to one: dim=-1": _attend(
            weigh=lambda scores: scores.softmax(dim=-2)
        ),
        "softmax runs over the batch (dim=0); it belongs over the keys: dim=-1": _attend(
            weigh=lambda scores: scores.softmax(dim=0)
        ),
        "the softmax is missing: scores are not yet weights": _attend(weigh=lambda scores: scores),
        "the scores are divided by their sum; softmax takes the exponential first, "
        "so that no weight is negative": _attend(weigh=lambda scores: scores / scores.sum(dim=-1, keepdim=True)),
        "the weights are transposed: row n of `weights @ v` has to hold the weights of query n": _attend(
            combine=lambda weights, q, k, v, x: weights.transpose(-2, -1) @ v
        ),
        "these are the weights themselves; they still have to average the values": _attend(
            combine=lambda weights, *_: weights
        ),
        "the tokens are averaged as they are; the values are x @ W_v": _attend(
            combine=lambda weights, q, k, v, x: weights @ x
        ),
        "the division by √d comes after the softmax, when the weights are made already": _attend(
            lambda x, q, v: 1.0, combine=lambda weights, q, k, v, x: weights @ v / math.sqrt(q.shape[-1])
        ),
        "queries and keys are swapped: row n of the scores belongs to query "
        "n, so q comes first in q @ kᵀ": lambda x, W_q, W_k, W_v: _attend()(x, W_k, W_q, W_v),
        "the keys are averaged, not the values: x @ W_v is missing": _attend(
            combine=lambda weights, q, k, v, x: weights @ k
        ),
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


def _mask(rule: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Answer:
    """`rule(n, s, L)` of query number, key number and length, which broadcast to (B, N, N)."""

    def answer(lengths: Tensor, count: int) -> Tensor:
        n = torch.arange(count)
        mask = rule(n[None, :, None], n[None, None, :], lengths[:, None, None])
        return mask.expand(len(lengths), count, count).clone()

    return answer


exercise(
    "2.2",
    reference=_mask(lambda n, s, L: (s <= n) & (s < L)),
    cases=_length_cases,
    mistakes={
        "the mask is inverted: here True means *may look*, as in `F.scaled_dot_product_attention`": _mask(
            lambda n, s, L: ~((s <= n) & (s < L))
        ),
        "the padding is not hidden; only the future is": _mask(lambda n, s, L: (s <= n) & (L >= 0)),
        "one mask for the whole batch, (N, N); the sequences differ in length, so "
        "each needs its own, (B, N, N)": lambda lengths, count: torch.ones(count, count, dtype=torch.bool).tril(),
        "the future is not hidden; only the padding is": _mask(lambda n, s, L: (s < L) & (n >= 0)),
        "a query may not look at itself; s ≤ n, so the diagonal belongs to it": _mask(
            lambda n, s, L: (s < n) & (s < L)
        ),
        "the triangle is the wrong way round: the past is hidden and the future seen; `tril`, not `triu`": _mask(
            lambda n, s, L: (s >= n) & (s < L)
        ),
        "one padded key too many is seen: counted from 0, the last real token is length - 1, so s < length": _mask(
            lambda n, s, L: (s <= n) & (s <= L)
        ),
        "one real key too few is seen: the real tokens are all s < length": _mask(
            lambda n, s, L: (s <= n) & (s < L - 1)
        ),
        "the rows of the padded queries are hidden; padding is a matter of the keys, the last axis, alone": _mask(
            lambda n, s, L: (s <= n) & (n < L)
        ),
        "a key is seen if *either* condition lets it; both have to: `&`, not `|`": _mask(
            lambda n, s, L: (s <= n) | (s < L)
        ),
        "queries and keys are swapped: axis 1 counts the queries (rows), axis 2 the keys (columns)": _mask(
            lambda n, s, L: (n <= s) & (n < L)
        ),
        "the mask holds numbers; leave it boolean, as the comparisons made it": _mask(
            lambda n, s, L: ((s <= n) & (s < L)).float()
        ),
        "the mask is written as 0 and -inf, to be added to the scores; here booleans are wanted": _mask(
            lambda n, s, L: torch.zeros(()).masked_fill(~((s <= n) & (s < L)), -math.inf)
        ),
    },
)


def _score_case(batch: int, queries: int, keys: int, mask_shape: tuple, dtype=torch.float32) -> Case:
    scores = 3 * _random(queries * keys, (batch, queries, keys), dtype=dtype)[0]
    mask = _random(keys, mask_shape)[0] < 0.4
    mask[..., -1, :] = False  # the last query may look nowhere
    mask[..., 0, 0] = mask[..., 0, -1] = True
    return Case((scores, mask), f"scores {tuple(scores.shape)}, mask {mask_shape}", ("B = 1",) * (batch == 1))


def _high_score_case() -> Case:
    scores = torch.tensor([[[200.0, 199.0, 300.0], [-200.0, -201.0, 1.0], [5.0, 5.0, 5.0]]])
    mask = torch.tensor([[[True, True, False], [True, True, False], [False, False, False]]])
    return Case((scores, mask), "scores (1, 3, 3) from -201 to 300, mask (1, 3, 3)", ("B = 1",), gradient=True)


def _masked_softmax(scores: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
    weights = scores.masked_fill(~mask, -math.inf).softmax(dim=dim)
    return weights.masked_fill(~mask.any(dim=dim, keepdim=True), 0.0)


def _filled(value: float, dim: int = -1) -> Answer:
    return lambda scores, mask: scores.masked_fill(~mask, value).softmax(dim=dim)


def _masked_exps(
    shift: Callable = lambda scores: 0.0, add: float = 0.0, exp: Callable = torch.exp, empty: float | None = None
) -> Answer:
    """exp(scores - shift), 0 where hidden, divided by its sum; rows that may look nowhere are filled with `empty`."""

    def answer(scores: Tensor, mask: Tensor) -> Tensor:
        exps = exp(scores - shift(scores)) * mask
        weights = exps / (exps.sum(dim=-1, keepdim=True) + add)
        return weights if empty is None else weights.masked_fill(~mask.any(dim=-1, keepdim=True), empty)

    return answer


exercise(
    "2.3",
    reference=lambda scores, mask: _masked_softmax(scores, mask),
    cases=lambda: [
        _score_case(2, 3, 4, (2, 3, 4)),
        _score_case(1, 5, 6, (1, 5, 6)),
        _score_case(3, 4, 5, (4, 5)),
        _score_case(2, 4, 4, (2, 4, 4), torch.float64),
        _high_score_case(),
        Case(
            (torch.tensor([[[0.0, 1.0, 2.0], [200.0, 202.0, 201.0]]]), torch.ones(2, 3).bool()),
            "scores (1, 2, 3), rows far apart, nothing hidden",
            ("B = 1",),
        ),
    ],
    demands=("gradient",),
    mistakes={
        "a query that may look nowhere gets nan: its row is all -inf, and exp(-inf) "
        "/ 0 is 0 / 0; make it zeros": _filled(-math.inf),
        "a query that may look nowhere shares its weight among the hidden keys, 1/S for each: its row is filled with "
        "that, or a large finite number stands in place of -inf and makes all its "
        "scores equal; it has to be zeros": _filled(-1e9),
        "a query that may look nowhere keeps the weights it has without a mask: the same number is taken off all its "
        "scores, and a softmax does not see that": lambda scores, mask: (scores - 1e4 * ~mask).softmax(dim=-1),
        "a hidden score of 0 is no small score, exp(0) is 1; fill in -inf before the softmax": lambda scores, mask: (
            scores * mask
        ).softmax(dim=-1),
        "the weights are set to 0 after the softmax, so that the rest of a row sums to less "
        "than one; hide the scores before": lambda scores, mask: scores.softmax(dim=-1) * mask,
        "dividing by the sum that is left is 0/0 where it is 0, as in a row that may look nowhere; hide "
        "the scores before the softmax": _masked_exps(exp=lambda scores: scores.softmax(dim=-1)),
        "the mask is inverted: True means *may look*, so fill in "
        "-inf where it is False, `~mask`": lambda scores, mask: scores.masked_fill(mask, -math.inf).softmax(dim=-1),
        "empty rows are right, but the mask is inverted: fill in "
        "-inf where it is False, `~mask`": lambda scores, mask: _masked_softmax(scores, ~mask),
        "the weights are hidden after the softmax: if a hidden score is far above the others, their weights are 0 by "
        "then, and dividing by their sum brings nothing "
        "back; hide the scores before": _masked_exps(add=1e-9, exp=lambda scores: scores.softmax(dim=-1)),
        "softmax runs over the queries (dim=-2); each row, over the "
        "keys, has to sum to one: dim=-1": lambda scores, mask: _masked_softmax(scores, mask, dim=-2),
        "softmax runs over the queries (dim=-2), and a column without a visible score is nan; each row, over the "
        "keys, has to sum to one: dim=-1": _filled(-math.inf, dim=-2),
        "exp(200) overflows to inf; `softmax` subtracts the largest score first": _masked_exps(empty=0.0),
        "exp(200) overflows to inf, and a small number added to the sum does not help; `softmax` "
        "subtracts the largest score first": _masked_exps(add=1e-9),
        "the largest score is taken over the hidden keys as well, and if it is one "
        "of them, all others can vanish": _masked_exps(lambda scores: scores.amax(dim=-1, keepdim=True), empty=0.0),
        "one largest score is taken for all rows; each row needs its own, or the "
        "exponentials of a low row are all 0": _masked_exps(lambda scores: scores.max(), empty=0.0),
        "-inf times False is nan, and so is 0 · inf; use `masked_fill(~mask, -math.inf)`": lambda scores, mask: (
            scores + (~mask) * -math.inf
        ).softmax(dim=-1),
        "False and True are added to the scores as 0 and 1; a boolean mask has to "
        "be turned into 0 and -inf first": lambda scores, mask: (scores + mask).softmax(dim=-1),
        "the mask is not used": lambda scores, mask: scores.softmax(dim=-1),
        "-100 is no safe filling: where all visible scores are lower still, a hidden key takes "
        "all of the weight; fill in -inf": lambda scores, mask: _filled(-100.0)(scores, mask) * mask,
    },
)


def _pair_case(batch: int, N: int, S: int, dims: tuple[int, int, int], **options) -> Case:
    Dq, Dk, hidden = dims
    return _case(N + S, (batch, N, Dq), (batch, S, Dk), (hidden, Dq), (hidden, Dk), (hidden,), **options)


def _pairs(finish: Callable, join: Callable = torch.add) -> Answer:
    """`finish(pairs (B, N, S, hidden), w)` of what `join` makes of W q and U k."""
    return lambda q, k, W, U, w: finish(join((q @ W.T)[:, :, None, :], (k @ U.T)[:, None, :, :]), w)


_additive_scores = _pairs(lambda pairs, w: torch.tanh(pairs) @ w)

exercise(
    "2.4",
    reference=_additive_scores,
    cases=lambda: [
        _pair_case(2, 3, 5, (4, 6, 7), gradient=True),
        _pair_case(1, 4, 2, (3, 2, 5)),
        _pair_case(3, 4, 4, (4, 4, 4)),
        _pair_case(2, 1, 6, (5, 3, 2)),
        _pair_case(2, 5, 3, (2, 4, 6), dtype=torch.float64),
    ],
    mistakes={
        "the tanh is missing: what is left is one number for the query plus one for the key": _pairs(torch.matmul),
        "tanh comes last; it belongs before the product with w": _pairs(lambda pairs, w: torch.tanh(pairs @ w)),
        "tanh is taken of query and key apart; it belongs around their sum, where the two meet": _pairs(
            torch.matmul, lambda q, k: torch.tanh(q) + torch.tanh(k)
        ),
        "query and key are multiplied; in additive attention they are added": _pairs(
            lambda pairs, w: torch.tanh(pairs) @ w, torch.mul
        ),
        "query and key are subtracted; in additive attention they are added": _pairs(
            lambda pairs, w: torch.tanh(pairs) @ w, torch.sub
        ),
        "the scores come out transposed, (B, S, N); queries are rows, keys are columns": lambda q, k, W, U, w: (
            _additive_scores(q, k, W, U, w).transpose(1, 2)
        ),
        "w is not used: the hidden numbers are added up as they are": _pairs(
            lambda pairs, w: torch.tanh(pairs).sum(dim=-1)
        ),
        "the sum over the hidden axis is missing": _pairs(lambda pairs, w: torch.tanh(pairs) * w),
        "the hidden numbers are averaged; w · tanh(…) is a sum": _pairs(
            lambda pairs, w: (torch.tanh(pairs) * w).mean(dim=-1)
        ),
        "these are the weights already; the scores come before the softmax": _pairs(
            lambda pairs, w: (torch.tanh(pairs) @ w).softmax(dim=-1)
        ),
        "additive scores are not divided by a root: tanh keeps each term between -1 and 1": _pairs(
            lambda pairs, w: torch.tanh(pairs) @ w / math.sqrt(len(w))
        ),
        "the curve is a sigmoid; the equation has tanh": _pairs(lambda pairs, w: torch.sigmoid(pairs) @ w),
        "the curve is a ReLU; the equation has tanh": _pairs(lambda pairs, w: torch.relu(pairs) @ w),
        "W and U are swapped: W is the query's matrix, U the key's": lambda q, k, W, U, w: _additive_scores(
            q, k, U, W, w
        ),
        "query n meets key n only; every query meets every key, so the sum needs "
        "the shape (B, N, S, hidden)": lambda q, k, W, U, w: torch.tanh(q @ W.T + k @ U.T) @ w,
    },
)


def _outer(a: Tensor) -> Tensor:
    return a[..., :, None] * a[..., None, :]


def _jacobian(a: Tensor) -> Tensor:
    return torch.diag_embed(a) - _outer(a)


def _weight_cases() -> list[Case]:
    shapes = [(2, 3), (1, 4), (5,), (2, 3, 4), (3, 3), (2, 1), (2, 6)]
    dtypes = [torch.float32] * 6 + [torch.float64]
    weights = [
        _random(sum(shape), shape, dtype=dtype)[0].softmax(dim=-1) for shape, dtype in zip(shapes, dtypes, strict=True)
    ]
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
        "the identity stands where diag(a) should: δ is multiplied by a_s": lambda a: (
            torch.eye(a.shape[-1]) - _outer(a)
        ),
        "a_s (1 - a_t) stands everywhere; the 1 belongs on the diagonal only": lambda a: (
            a[..., :, None] * (1 - a[..., None, :])
        ),
        "this is diag(a) alone; - a aᵀ is missing": torch.diag_embed,
        "softmax is taken once more; what comes in are weights already": lambda a: _jacobian(a.softmax(dim=-1)),
        "this is the Jacobian of the *logarithm* of the weights; each row has to be multiplied by its a_s": lambda a: (
            torch.eye(a.shape[-1]) - a[..., None, :]
        ),
        "the second term is one number, the dot product aᵀa; a aᵀ is a matrix, "
        "every weight times every weight": lambda a: torch.diag_embed(a) - (a * a).sum(dim=-1)[..., None, None],
    },
)


def _chunk_case(queries: int, keys: int, d: int, value: int, size: int, spread: float = 1.0, **options) -> Case:
    q, k, v = _random(keys, (queries, d), (keys, d), (keys, value), dtype=options.pop("dtype", torch.float32))
    return Case((spread * q, k, v, size), **options)


def _one_sign_case(name: str, size: int, change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Case:
    """`change` is told numbers above 0, so that it knows the sign of the scores that it makes."""
    q, k, v = _random(2, (3, 4), (7, 4), (7, 2))
    q, k = change(q.abs(), k.abs() + 1)
    return Case((q, k, v, size), label=f"q {tuple(q.shape)}, k {tuple(k.shape)}, v (7, 2), size = {size}, {name}")


def _chunk_cases() -> list[Case]:
    return [
        _chunk_case(3, 6, 4, 5, 2, gradient=True),
        _chunk_case(4, 7, 3, 2, 3),
        _chunk_case(1, 5, 2, 4, 1),
        _chunk_case(2, 4, 4, 4, 9),
        _chunk_case(5, 12, 6, 3, 5, dtype=torch.float64),
        _chunk_case(4, 8, 4, 3, 3, spread=200.0),
        _one_sign_case("low scores", 3, lambda q, k: (-200 * q - 100, k)),
        _one_sign_case(
            "scores that rise and fall",
            2,
            lambda q, k: (q[:, :1] + 1, 100 * torch.tensor([[0, 1, 2, 3, 6, 1, 0]]).T + k[:, :1]),
        ),
    ]


def _streamed(
    rescale: Callable = lambda old, new: (old - new).exp(),
    whole_chunks_only: bool = False,
    parts: tuple[bool, bool] = (True, True),
    scale: Callable = math.sqrt,
    first: Callable = lambda scores, size: torch.full_like(scores[:, :1], -math.inf),
    largest: Callable = lambda old, chunk: torch.maximum(old, chunk.amax(dim=1, keepdim=True)),
    update: Callable = lambda old, factor, new: old * factor + new,
    divide: bool = True,
) -> Answer:
    """The running softmax; `parts` says whether the running total and the running output are rescaled."""

    def answer(q: Tensor, k: Tensor, v: Tensor, size: int) -> Tensor:
        scores = q @ k.T / scale(q.shape[-1])
        top, total, out = first(scores, size), scores.new_zeros(len(q), 1), v.new_zeros(len(q), v.shape[1])
        for start in range(0, len(k) // size * size if whole_chunks_only else len(k), size):
            chunk = scores[:, start : start + size]
            new = largest(top, chunk)
            exps, factor = (chunk - new).exp(), rescale(top, new)
            total = update(total, factor if parts[0] else 1, exps.sum(dim=1, keepdim=True))
            out = update(out, factor if parts[1] else 1, exps @ v[start : start + size])
            top = new
        return out / total if divide else out

    return answer


def _each_chunk(join: Callable[[list[Tensor]], Tensor], by: Callable = lambda scores: 1.0) -> Answer:
    """Attention to each chunk alone, times a number made `by` its scores; `join` puts the outputs together."""

    def answer(q: Tensor, k: Tensor, v: Tensor, size: int) -> Tensor:
        scores = q @ k.T / math.sqrt(q.shape[-1])
        parts = zip(scores.split(size, dim=1), v.split(size), strict=True)
        return join([by(chunk) * (chunk.softmax(dim=1) @ values) for chunk, values in parts])

    return answer


def _softmax_less(shift: Callable) -> Answer:
    """All at once, with `shift(q, k, scores)` subtracted from the scores and no care for overflow."""

    def answer(q: Tensor, k: Tensor, v: Tensor, size: int) -> Tensor:
        scores = q @ k.T / math.sqrt(q.shape[-1])
        exps = (scores - shift(q, k, scores)).exp()
        return exps @ v / exps.sum(dim=1, keepdim=True)

    return answer


def _own_maximum(q: Tensor, k: Tensor, v: Tensor, size: int) -> Tensor:
    total, out = 0.0, 0.0
    for keys, values in zip(k.split(size), v.split(size), strict=True):
        scores = q @ keys.T / math.sqrt(q.shape[-1])
        exps = (scores - scores.amax(dim=1, keepdim=True)).exp()
        total, out = total + exps.sum(dim=1, keepdim=True), out + exps @ values
    return out / total


exercise(
    "2.6",
    reference=lambda q, k, v, size: scaled_dot_product_attention(q, k, v)[0],
    cases=_chunk_cases,
    mistakes={
        "the outputs of the chunks are averaged; a chunk counts by the sum of "
        "its exponentials, not equally": _each_chunk(lambda outputs: torch.stack(outputs).mean(dim=0)),
        "the outputs of the chunks are weighted by how many keys they have; a chunk counts by the sum of its "
        "exponentials": lambda q, k, v, size: _each_chunk(sum, lambda scores: scores.shape[1])(q, k, v, size) / len(k),
        "the outputs of the chunks are added up, each with weights that sum "
        "to one; divide once, at the end": _each_chunk(sum),
        "only the last chunk is left: what came before is overwritten, or multiplied by exp(-inf) = 0 because the "
        "largest score so far is not kept up to date": _each_chunk(lambda outputs: outputs[-1]),
        "only the first chunk is used": _each_chunk(lambda outputs: outputs[0]),
        "old sums are not rescaled when the maximum rises: multiply total and output by exp(old - new)": _streamed(
            parts=(False, False)
        ),
        "each chunk subtracts its own maximum, so the sums of two chunks count in different units; "
        "rescale them to a common one": _own_maximum,
        "the total is rescaled when the maximum rises, the output is not: it was "
        "made with the old maximum too": _streamed(parts=(True, False)),
        "the output is rescaled when the maximum rises, the total is not: it was "
        "made with the old maximum too": _streamed(parts=(False, True)),
        "the factor is upside down: exp(old - new), at most 1, and not exp(new - old)": _streamed(
            lambda old, new: (new - old).exp(), first=lambda scores, size: scores[:, :1]
        ),
        "the factor is upside down, and exp(new - old) is inf in the first round; "
        "take exp(old - new), at most 1": _streamed(lambda old, new: (new - old).exp()),
        "the new chunk is multiplied by exp(old - new) as well; it is made with the new maximum already": _streamed(
            update=lambda old, factor, new: (old + new) * factor
        ),
        "the largest score so far starts at 0, so that exp gives nothing but 0 where all scores "
        "are far below; start at -inf": _streamed(first=lambda scores, size: torch.zeros_like(scores[:, :1])),
        "the largest score is that of the first chunk for ever; when a later chunk is far above it, exp overflows": _streamed(
            first=lambda scores, size: scores[:, :size].amax(dim=1, keepdim=True), largest=lambda old, chunk: old
        ),
        "the largest score is that of the newest chunk; where it lies far below the one before, exp(old - new) "
        "overflows: keep the larger of the two": _streamed(largest=lambda old, chunk: chunk.amax(dim=1, keepdim=True)),
        "the division by the sum of the exponentials is missing at the end": _streamed(divide=False),
        "one maximum is taken over all queries; each query needs its own, or the rows far below it vanish": _streamed(
            largest=lambda old, chunk: torch.maximum(old, chunk.max())
        ),
        "a last chunk with fewer than `size` keys is left out: let the range end at len(k)": _streamed(
            whole_chunks_only=True
        ),
        "exp overflows for large scores: subtract the largest score seen so far": _softmax_less(
            lambda q, k, scores: 0.0
        ),
        "a bound such as |q| · max |k| is subtracted, and where all scores lie far below it, exp gives nothing but 0; "
        "subtract the largest score seen so far": _softmax_less(
            lambda q, k, scores: q.norm(dim=1, keepdim=True) * k.norm(dim=1).max() / math.sqrt(q.shape[-1])
        ),
        "the scores are not divided by √d": _streamed(scale=lambda d: 1.0),
        "the scores are divided by d; √d is the standard deviation of a sum of d terms": _streamed(scale=float),
    },
)
