"""The exercises of chapter 2, attention."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from vitedu.attention import scaled_dot_product_attention
from vitedu.exercises.exercise import Case, Exercise, Mistake


def _random(seed: int, *shapes: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """A tensor of each shape, the same at every call, with few digits so that messages are easy to read."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=dtype).round(decimals=2) for shape in shapes]


def _traits(batch: int) -> tuple[str, ...]:
    return ("B = 1",) if batch == 1 else ()


# 2.1 -----------------------------------------------------------------------------------------------------------------


def self_attention(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor) -> Tensor:
    """Tokens (B, N, D), matrices (D, d), (D, d), (D, d_v) -> outputs (B, N, d_v)."""
    return scaled_dot_product_attention(x @ W_q, x @ W_k, x @ W_v)[0]


def _token_case(batch: int, count: int, dim: int, d: int, value: int, dtype=torch.float32, **options) -> Case:
    shapes = (batch, count, dim), (dim, d), (dim, d), (dim, value)
    return Case(tuple(_random(count * dim + d, *shapes, dtype=dtype)), traits=_traits(batch), **options)


def _token_cases() -> list[Case]:
    return [
        _token_case(2, 5, 6, 4, 3, gradient=True),
        _token_case(1, 7, 8, 2, 5),
        _token_case(3, 4, 4, 4, 4),
        _token_case(2, 1, 3, 5, 2),
        _token_case(2, 6, 5, 9, 7, torch.float64),
    ]


def _self_attention_with(
    scale: Callable = lambda x, q: math.sqrt(q.shape[-1]),
    weigh: Callable[[Tensor], Tensor] = lambda scores: scores.softmax(dim=-1),
    combine: Callable = lambda weights, q, k, v, x: weights @ v,
) -> Callable:
    """The right answer with one part replaced."""

    def answer(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor) -> Tensor:
        q, k, v = x @ W_q, x @ W_k, x @ W_v
        return combine(weigh(q @ k.transpose(-2, -1) / scale(x, q)), q, k, v, x)

    return answer


def _same_matrices(which: Callable) -> Callable:
    """The right answer for matrices rearranged by `which(W_q, W_k, W_v)`."""
    return lambda x, W_q, W_k, W_v: self_attention(x, *which(W_q, W_k, W_v))


SELF_ATTENTION = Exercise(
    id="2.1",
    title="From tokens to outputs",
    reference=self_attention,
    cases=_token_cases,
    mistakes=(
        Mistake("the scores are not divided by √d", _self_attention_with(scale=lambda x, q: 1.0)),
        Mistake(
            "the scores are divided by d; a sum of d terms has a standard deviation of √d",
            _self_attention_with(scale=lambda x, q: q.shape[-1]),
        ),
        Mistake(
            "the scores are divided by √D, from the width of a token; the sum has d terms, the width of a query",
            _self_attention_with(scale=lambda x, q: math.sqrt(x.shape[-1])),
        ),
        Mistake("the scores are divided by D", _self_attention_with(scale=lambda x, q: x.shape[-1])),
        Mistake(
            "the scores are divided by √N, the root of the number of tokens; it is the width d of a query that counts",
            _self_attention_with(scale=lambda x, q: math.sqrt(x.shape[-2])),
        ),
        Mistake(
            "the scores are divided by √d_v, from the width of the values; the score has d terms, the width of a query",
            lambda x, W_q, W_k, W_v: _self_attention_with(scale=lambda x, q: math.sqrt(W_v.shape[1]))(x, W_q, W_k, W_v),
        ),
        Mistake(
            "the scores are divided by √B, as len(q) is the batch; the width of a query is q.shape[-1]",
            _self_attention_with(scale=lambda x, q: math.sqrt(len(q))),
        ),
        Mistake(
            "the scores are multiplied by √d; divide by it",
            _self_attention_with(scale=lambda x, q: 1 / math.sqrt(q.shape[-1])),
        ),
        Mistake(
            "softmax runs over the queries (dim=-2); each row, over the keys, has to sum to one: dim=-1",
            _self_attention_with(weigh=lambda scores: scores.softmax(dim=-2)),
        ),
        Mistake(
            "softmax runs over the batch (dim=0); it belongs over the keys: dim=-1",
            _self_attention_with(weigh=lambda scores: scores.softmax(dim=0)),
        ),
        Mistake(
            "the softmax is missing: scores are not yet weights", _self_attention_with(weigh=lambda scores: scores)
        ),
        Mistake(
            "the scores are divided by their sum; softmax takes the exponential first, so that no weight is negative",
            _self_attention_with(weigh=lambda scores: scores / scores.sum(dim=-1, keepdim=True)),
        ),
        Mistake(
            "the weights are transposed: row n of `weights @ v` has to hold the weights of query n",
            _self_attention_with(combine=lambda weights, q, k, v, x: weights.transpose(-2, -1) @ v),
        ),
        Mistake(
            "these are the weights themselves; they still have to average the values",
            _self_attention_with(combine=lambda weights, q, k, v, x: weights),
        ),
        Mistake(
            "the tokens are averaged as they are; the values are x @ W_v",
            _self_attention_with(combine=lambda weights, q, k, v, x: weights @ x),
        ),
        Mistake(
            "the division by √d comes after the softmax, when the weights are made already",
            _self_attention_with(
                scale=lambda x, q: 1.0,
                combine=lambda weights, q, k, v, x: weights @ v / math.sqrt(q.shape[-1]),
            ),
        ),
        Mistake(
            "queries and keys are swapped: row n of the scores belongs to query n, so q comes first in q @ kᵀ",
            _same_matrices(lambda W_q, W_k, W_v: (W_k, W_q, W_v)),
        ),
        Mistake(
            "the keys are averaged, not the values: x @ W_v is missing",
            _self_attention_with(combine=lambda weights, q, k, v, x: weights @ k),
        ),
        Mistake(
            "queries and keys come from the same matrix, W_q",
            _same_matrices(lambda W_q, W_k, W_v: (W_q, W_q, W_v)),
        ),
        Mistake(
            "queries and keys come from the same matrix, W_k",
            _same_matrices(lambda W_q, W_k, W_v: (W_k, W_k, W_v)),
        ),
    ),
)


# 2.2 -----------------------------------------------------------------------------------------------------------------


def causal_padding_mask(lengths: Tensor, count: int) -> Tensor:
    """Lengths (B,) and N -> booleans (B, N, N), True where query n may look at key s: s <= n and s < length."""
    n = torch.arange(count)
    causal = n[None, :] <= n[:, None]  #   (N, N)
    real = n[None, :] < lengths[:, None]  # (B, N)
    return causal & real[:, None, :]  #    (B, N, N)


def _length_cases() -> list[Case]:
    batches = [([3, 5, 1], 5), ([4], 6), ([2, 2], 2), ([1], 1), ([7, 0, 4, 6], 7)]
    return [
        Case((torch.tensor(lengths), count), f"lengths {lengths}, count = {count}", _traits(len(lengths)))
        for lengths, count in batches
    ]


def _mask_from(rule: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable:
    """`rule(n, s, length)` of query number, key number and length, which broadcast to (B, N, N)."""

    def answer(lengths: Tensor, count: int) -> Tensor:
        n = torch.arange(count)
        mask = rule(n[None, :, None], n[None, None, :], lengths[:, None, None])
        return mask.expand(len(lengths), count, count).clone()

    return answer


CAUSAL_PADDING_MASK = Exercise(
    id="2.2",
    title="Padding and the future",
    reference=causal_padding_mask,
    cases=_length_cases,
    mistakes=(
        Mistake(
            "the mask is inverted: here True means *may look*, as in `F.scaled_dot_product_attention`",
            _mask_from(lambda n, s, length: ~((s <= n) & (s < length))),
        ),
        Mistake(
            "the padding is not hidden; only the future is", _mask_from(lambda n, s, length: (s <= n) & (length >= 0))
        ),
        Mistake(
            "one mask for the whole batch, (N, N); the sequences differ in length, so each needs its own, (B, N, N)",
            lambda lengths, count: torch.ones(count, count, dtype=torch.bool).tril(),
        ),
        Mistake(
            "the future is not hidden; only the padding is", _mask_from(lambda n, s, length: (s < length) & (n >= 0))
        ),
        Mistake(
            "a query may not look at itself; s ≤ n, so the diagonal belongs to it",
            _mask_from(lambda n, s, length: (s < n) & (s < length)),
        ),
        Mistake(
            "the triangle is the wrong way round: the past is hidden and the future seen; `tril`, not `triu`",
            _mask_from(lambda n, s, length: (s >= n) & (s < length)),
        ),
        Mistake(
            "one padded key too many is seen: counted from 0, the last real token is length - 1, so s < length",
            _mask_from(lambda n, s, length: (s <= n) & (s <= length)),
        ),
        Mistake(
            "one real key too few is seen: the real tokens are all s < length",
            _mask_from(lambda n, s, length: (s <= n) & (s < length - 1)),
        ),
        Mistake(
            "the rows of the padded queries are hidden; padding is a matter of the keys, the last axis, alone",
            _mask_from(lambda n, s, length: (s <= n) & (n < length)),
        ),
        Mistake(
            "a key is seen if *either* condition lets it; both have to: `&`, not `|`",
            _mask_from(lambda n, s, length: (s <= n) | (s < length)),
        ),
        Mistake(
            "queries and keys are swapped: axis 1 counts the queries (rows), axis 2 the keys (columns)",
            _mask_from(lambda n, s, length: (n <= s) & (n < length)),
        ),
        Mistake(
            "the mask holds numbers; leave it boolean, as the comparisons made it",
            _mask_from(lambda n, s, length: ((s <= n) & (s < length)).float()),
        ),
        Mistake(
            "the mask is written as 0 and -inf, to be added to the scores; here booleans are wanted",
            _mask_from(lambda n, s, length: torch.zeros(()).masked_fill(~((s <= n) & (s < length)), -math.inf)),
        ),
    ),
)


# 2.3 -----------------------------------------------------------------------------------------------------------------


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Scores (B, N, S), booleans that broadcast to them -> weights (B, N, S); zeros where a query may look nowhere."""
    weights = scores.masked_fill(~mask, -math.inf).softmax(dim=-1)
    return weights.masked_fill(~mask.any(dim=-1, keepdim=True), 0.0)


def _score_case(batch: int, queries: int, keys: int, mask_shape: tuple, dtype=torch.float32, **options) -> Case:
    scores = 3 * _random(queries * keys, (batch, queries, keys), dtype=dtype)[0]
    mask = _random(keys, mask_shape)[0] < 0.4
    mask[..., -1, :] = False  # the last query may look nowhere
    mask[..., 0, 0] = mask[..., 0, -1] = True
    label = f"scores {tuple(scores.shape)}, mask {mask_shape}"
    return Case((scores, mask), label, _traits(batch), **options)


def _high_score_case() -> Case:
    scores = torch.tensor([[[200.0, 199.0, 300.0], [-200.0, -201.0, 1.0], [5.0, 5.0, 5.0]]])
    mask = torch.tensor([[[True, True, False], [True, True, False], [False, False, False]]])
    return Case((scores, mask), "scores (1, 3, 3) from -201 to 300, mask (1, 3, 3)", _traits(1), gradient=True)


def _score_cases() -> list[Case]:
    return [
        _score_case(2, 3, 4, (2, 3, 4)),
        _score_case(1, 5, 6, (1, 5, 6)),
        _score_case(3, 4, 5, (4, 5)),
        _score_case(2, 4, 4, (2, 4, 4), torch.float64),
        _high_score_case(),
    ]


def _filled(value: float) -> Callable:
    return lambda scores, mask: scores.masked_fill(~mask, value).softmax(dim=-1)


def _zero_afterwards(scores: Tensor, mask: Tensor) -> Tensor:
    return scores.softmax(dim=-1) * mask


def _normalised_afterwards(scores: Tensor, mask: Tensor) -> Tensor:
    weights = scores.softmax(dim=-1) * mask
    return weights / weights.sum(dim=-1, keepdim=True)


def _normalised_with_epsilon(scores: Tensor, mask: Tensor) -> Tensor:
    weights = scores.softmax(dim=-1) * mask
    return weights / (weights.sum(dim=-1, keepdim=True) + 1e-9)


def _no_shift(scores: Tensor, mask: Tensor) -> Tensor:
    exps = scores.exp() * mask
    return (exps / exps.sum(dim=-1, keepdim=True)).masked_fill(~mask.any(dim=-1, keepdim=True), 0.0)


def _no_shift_with_epsilon(scores: Tensor, mask: Tensor) -> Tensor:
    exps = scores.exp() * mask
    return exps / (exps.sum(dim=-1, keepdim=True) + 1e-9)


def _shift_by_hidden_maximum(scores: Tensor, mask: Tensor) -> Tensor:
    exps = (scores - scores.amax(dim=-1, keepdim=True)).exp() * mask
    return (exps / exps.sum(dim=-1, keepdim=True)).masked_fill(~mask.any(dim=-1, keepdim=True), 0.0)


def _over_queries(scores: Tensor, mask: Tensor) -> Tensor:
    weights = scores.masked_fill(~mask, -math.inf).softmax(dim=-2)
    return weights.masked_fill(~mask.any(dim=-2, keepdim=True), 0.0)


MASKED_SOFTMAX = Exercise(
    id="2.3",
    title="A softmax that respects a mask",
    reference=masked_softmax,
    cases=_score_cases,
    mistakes=(
        Mistake(
            "a query that may look nowhere gets nan: its row is all -inf, and exp(-inf) / 0 is 0 / 0; make it zeros",
            _filled(-math.inf),
        ),
        Mistake(
            "a query that may look nowhere shares its weight among the hidden keys: with a large finite number in "
            "place of -inf all its scores are equal",
            _filled(-1e9),
        ),
        Mistake(
            "a hidden score of 0 is no small score, exp(0) is 1; fill in -inf before the softmax",
            lambda scores, mask: (scores * mask).softmax(dim=-1),
        ),
        Mistake(
            "the weights are set to 0 after the softmax, so that the rest of a row sums to less than one; hide the "
            "scores before",
            _zero_afterwards,
        ),
        Mistake(
            "dividing by the sum that is left is 0/0 where it is 0, as in a row that may look nowhere; hide the scores "
            "before the softmax",
            _normalised_afterwards,
        ),
        Mistake(
            "the mask is inverted: True means *may look*, so fill in -inf where it is False, `~mask`",
            lambda scores, mask: scores.masked_fill(mask, -math.inf).softmax(dim=-1),
        ),
        Mistake(
            "empty rows are right, but the mask is inverted: fill in -inf where it is False, `~mask`",
            lambda scores, mask: masked_softmax(scores, ~mask),
        ),
        Mistake(
            "the weights are hidden after the softmax: if a hidden score is far above the others, their weights are 0 "
            "by then, and dividing by their sum brings nothing back; hide the scores before",
            _normalised_with_epsilon,
        ),
        Mistake(
            "softmax runs over the queries (dim=-2); each row, over the keys, has to sum to one: dim=-1", _over_queries
        ),
        Mistake("exp(200) overflows to inf; `softmax` subtracts the largest score first", _no_shift),
        Mistake(
            "exp(200) overflows to inf, and a small number added to the sum does not help; `softmax` subtracts the "
            "largest score first",
            _no_shift_with_epsilon,
        ),
        Mistake(
            "the largest score is taken over the hidden keys as well, and if it is one of them, all others can vanish",
            _shift_by_hidden_maximum,
        ),
        Mistake(
            "-inf times False is nan, and so is 0 · inf; use `masked_fill(~mask, -math.inf)`",
            lambda scores, mask: (scores + (~mask) * -math.inf).softmax(dim=-1),
        ),
        Mistake(
            "False and True are added to the scores as 0 and 1; a boolean mask has to be turned into 0 and -inf first",
            lambda scores, mask: (scores + mask).softmax(dim=-1),
        ),
        Mistake("the mask is not used", lambda scores, mask: scores.softmax(dim=-1)),
        Mistake(
            "-100 is no safe filling: where all visible scores are lower still, a hidden key takes all of the weight; "
            "fill in -inf",
            lambda scores, mask: _filled(-100.0)(scores, mask) * mask,
        ),
    ),
)


# 2.4 -----------------------------------------------------------------------------------------------------------------


def additive_scores(q: Tensor, k: Tensor, W: Tensor, U: Tensor, w: Tensor) -> Tensor:
    """Queries (B, N, Dq), keys (B, S, Dk), W (hidden, Dq), U (hidden, Dk), w (hidden,) -> scores (B, N, S)."""
    pairs = (q @ W.T)[:, :, None, :] + (k @ U.T)[:, None, :, :]  # (B, N, S, hidden)
    return torch.tanh(pairs) @ w  # (B, N, S)


def _pair_case(batch: int, queries: int, keys: int, dims: tuple, dtype=torch.float32, **options) -> Case:
    query_dim, key_dim, hidden = dims
    shapes = (batch, queries, query_dim), (batch, keys, key_dim), (hidden, query_dim), (hidden, key_dim), (hidden,)
    return Case(tuple(_random(queries + keys, *shapes, dtype=dtype)), traits=_traits(batch), **options)


def _pair_cases() -> list[Case]:
    return [
        _pair_case(2, 3, 5, (4, 6, 7), gradient=True),
        _pair_case(1, 4, 2, (3, 2, 5)),
        _pair_case(3, 4, 4, (4, 4, 4)),
        _pair_case(2, 1, 6, (5, 3, 2)),
        _pair_case(2, 5, 3, (2, 4, 6), torch.float64),
    ]


def _pairs_into(finish: Callable) -> Callable:
    """`finish(sum of pairs (B, N, S, hidden), w)` after the right sums."""

    def answer(q: Tensor, k: Tensor, W: Tensor, U: Tensor, w: Tensor) -> Tensor:
        return finish((q @ W.T)[:, :, None, :] + (k @ U.T)[:, None, :, :], w)

    return answer


ADDITIVE_SCORES = Exercise(
    id="2.4",
    title="Every query with every key",
    reference=additive_scores,
    cases=_pair_cases,
    mistakes=(
        Mistake(
            "the tanh is missing: what is left is one number for the query plus one for the key",
            _pairs_into(torch.matmul),
        ),
        Mistake(
            "tanh comes last; it belongs before the product with w",
            _pairs_into(lambda pairs, w: torch.tanh(pairs @ w)),
        ),
        Mistake(
            "tanh is taken of query and key apart; it belongs around their sum, where the two meet",
            lambda q, k, W, U, w: (torch.tanh(q @ W.T)[:, :, None] + torch.tanh(k @ U.T)[:, None]) @ w,
        ),
        Mistake(
            "query and key are multiplied; in additive attention they are added",
            lambda q, k, W, U, w: torch.tanh((q @ W.T)[:, :, None] * (k @ U.T)[:, None]) @ w,
        ),
        Mistake(
            "query and key are subtracted; in additive attention they are added",
            lambda q, k, W, U, w: additive_scores(q, -k, W, U, w),
        ),
        Mistake(
            "the scores come out transposed, (B, S, N); queries are rows, keys are columns",
            lambda q, k, W, U, w: additive_scores(q, k, W, U, w).transpose(1, 2),
        ),
        Mistake(
            "w is not used: the hidden numbers are added up as they are",
            _pairs_into(lambda pairs, w: torch.tanh(pairs).sum(dim=-1)),
        ),
        Mistake("the sum over the hidden axis is missing", _pairs_into(lambda pairs, w: torch.tanh(pairs) * w)),
        Mistake(
            "the hidden numbers are averaged; w · tanh(…) is a sum",
            _pairs_into(lambda pairs, w: (torch.tanh(pairs) * w).mean(dim=-1)),
        ),
        Mistake(
            "these are the weights already; the scores come before the softmax",
            _pairs_into(lambda pairs, w: (torch.tanh(pairs) @ w).softmax(dim=-1)),
        ),
        Mistake(
            "additive scores are not divided by a root: tanh keeps each term between -1 and 1",
            _pairs_into(lambda pairs, w: torch.tanh(pairs) @ w / math.sqrt(len(w))),
        ),
        Mistake(
            "the curve is a sigmoid; the equation has tanh", _pairs_into(lambda pairs, w: torch.sigmoid(pairs) @ w)
        ),
        Mistake("the curve is a ReLU; the equation has tanh", _pairs_into(lambda pairs, w: torch.relu(pairs) @ w)),
    ),
)


# 2.5 -----------------------------------------------------------------------------------------------------------------


def softmax_jacobian(weights: Tensor) -> Tensor:
    """Weights (..., S) -> ∂ weight s / ∂ score t, (..., S, S)."""
    return torch.diag_embed(weights) - weights[..., :, None] * weights[..., None, :]


def _weight_cases() -> list[Case]:
    shapes = [((2, 3), torch.float32), ((1, 4), torch.float32), ((5,), torch.float32), ((2, 3, 4), torch.float32)]
    shapes += [((3, 3), torch.float32), ((2, 1), torch.float32), ((2, 6), torch.float64)]
    cases = []
    for index, (shape, dtype) in enumerate(shapes):
        weights = _random(sum(shape), shape, dtype=dtype)[0].softmax(dim=-1)
        cases.append(Case((weights,), gradient=index == 0))
    return cases


SOFTMAX_JACOBIAN = Exercise(
    id="2.5",
    title="How a weight answers to a score",
    reference=softmax_jacobian,
    cases=_weight_cases,
    mistakes=(
        Mistake(
            "the sign is wrong: raising a score raises its own weight and lowers the others",
            lambda weights: -softmax_jacobian(weights),
        ),
        Mistake(
            "only the diagonal is there; a score also moves the weights of the other keys, by -a_s a_t",
            lambda weights: torch.diag_embed(weights * (1 - weights)),
        ),
        Mistake(
            "these are the diagonal entries alone, as a vector; all pairs make a matrix",
            lambda weights: weights * (1 - weights),
        ),
        Mistake(
            "the term with δ is missing: it adds a_s on the diagonal",
            lambda weights: -weights[..., :, None] * weights[..., None, :],
        ),
        Mistake("the two terms are added; subtract a aᵀ", lambda weights: torch.diag_embed(weights) + _outer(weights)),
        Mistake(
            "the identity stands where diag(a) should: δ is multiplied by a_s",
            lambda weights: torch.eye(weights.shape[-1], dtype=weights.dtype) - _outer(weights),
        ),
        Mistake(
            "a_s (1 - a_t) stands everywhere; the 1 belongs on the diagonal only",
            lambda weights: weights[..., :, None] * (1 - weights[..., None, :]),
        ),
        Mistake("this is diag(a) alone; - a aᵀ is missing", torch.diag_embed),
        Mistake(
            "softmax is taken once more; what comes in are weights already",
            lambda weights: softmax_jacobian(weights.softmax(dim=-1)),
        ),
        Mistake(
            "this is the Jacobian of the *logarithm* of the weights; each row has to be multiplied by its a_s",
            lambda weights: torch.eye(weights.shape[-1], dtype=weights.dtype) - weights[..., None, :],
        ),
        Mistake(
            "the second term is one number, the dot product aᵀa; a aᵀ is a matrix, every weight times every weight",
            lambda weights: torch.diag_embed(weights) - (weights * weights).sum(dim=-1)[..., None, None],
        ),
    ),
)


def _outer(weights: Tensor) -> Tensor:
    return weights[..., :, None] * weights[..., None, :]


# 2.6 -----------------------------------------------------------------------------------------------------------------


def attend_in_chunks(q: Tensor, k: Tensor, v: Tensor, size: int) -> Tensor:
    """Queries (N, d), keys (S, d), values (S, d_v) -> outputs (N, d_v), the same for every `size`."""
    return scaled_dot_product_attention(q, k, v)[0]


def _chunk_case(queries: int, keys: int, d: int, value: int, size: int, spread: float = 1.0, **options) -> Case:
    dtype = options.pop("dtype", torch.float32)
    q, k, v = _random(keys, (queries, d), (keys, d), (keys, value), dtype=dtype)
    return Case((spread * q, k, v, size), **options)


def _low_score_case() -> Case:
    q, k, v = _random(2, (3, 4), (7, 4), (7, 2))
    return Case((-200 * q.abs() - 100, k.abs() + 1, v, 3), label="q (3, 4), k (7, 4), v (7, 2), size = 3, low scores")


def _chunk_cases() -> list[Case]:
    return [
        _chunk_case(3, 6, 4, 5, 2, gradient=True),
        _chunk_case(4, 7, 3, 2, 3),
        _chunk_case(1, 5, 2, 4, 1),
        _chunk_case(2, 4, 4, 4, 9),
        _chunk_case(5, 12, 6, 3, 5, dtype=torch.float64),
        _chunk_case(4, 8, 4, 3, 3, spread=200.0),
        _low_score_case(),
    ]


def _streamed(
    rescale: Callable = lambda old, new: (old - new).exp(),
    whole_chunks_only: bool = False,
    parts: tuple[bool, bool] = (True, True),
    scale: Callable = math.sqrt,
    first: Callable = lambda scores: torch.full_like(scores[:, :1], -math.inf),
    largest: Callable = lambda chunk: chunk.amax(dim=1, keepdim=True),
    divide: bool = True,
) -> Callable:
    """The running softmax; `parts` says whether the running total and the running output are rescaled."""

    def answer(q: Tensor, k: Tensor, v: Tensor, size: int) -> Tensor:
        scores = q @ k.T / scale(q.shape[-1])
        top, total, out = first(scores), scores.new_zeros(len(q), 1), v.new_zeros(len(q), v.shape[1])
        for start in range(0, len(k) // size * size if whole_chunks_only else len(k), size):
            chunk = scores[:, start : start + size]
            new = torch.maximum(top, largest(chunk))
            exps, factor = (chunk - new).exp(), rescale(top, new)
            total = total * (factor if parts[0] else 1) + exps.sum(dim=1, keepdim=True)
            out = out * (factor if parts[1] else 1) + exps @ v[start : start + size]
            top = new
        return out / total if divide else out

    return answer


def _each_chunk(join: Callable[[list[Tensor]], Tensor]) -> Callable:
    """Attention to each chunk alone, and `join` puts the outputs together."""

    def answer(q: Tensor, k: Tensor, v: Tensor, size: int) -> Tensor:
        parts = zip(k.split(size), v.split(size), strict=True)
        return join([scaled_dot_product_attention(q, keys, values)[0] for keys, values in parts])

    return answer


def _by_number_of_keys(q: Tensor, k: Tensor, v: Tensor, size: int) -> Tensor:
    parts = zip(k.split(size), v.split(size), strict=True)
    outputs = [scaled_dot_product_attention(q, keys, values)[0] * len(keys) for keys, values in parts]
    return torch.stack(outputs).sum(dim=0) / len(k)


def _own_maximum(q: Tensor, k: Tensor, v: Tensor, size: int) -> Tensor:
    total, out = 0.0, 0.0
    for keys, values in zip(k.split(size), v.split(size), strict=True):
        scores = q @ keys.T / math.sqrt(q.shape[-1])
        exps = (scores - scores.amax(dim=1, keepdim=True)).exp()
        total, out = total + exps.sum(dim=1, keepdim=True), out + exps @ values
    return out / total


def _no_maximum(q: Tensor, k: Tensor, v: Tensor, size: int) -> Tensor:
    exps = (q @ k.T / math.sqrt(q.shape[-1])).exp()
    return exps @ v / exps.sum(dim=1, keepdim=True)


ATTEND_IN_CHUNKS = Exercise(
    id="2.6",
    title="Attention, a few keys at a time",
    reference=attend_in_chunks,
    cases=_chunk_cases,
    mistakes=(
        Mistake(
            "the outputs of the chunks are averaged; a chunk counts by the sum of its exponentials, not equally",
            _each_chunk(lambda outputs: torch.stack(outputs).mean(dim=0)),
        ),
        Mistake(
            "the outputs of the chunks are weighted by how many keys they have; a chunk counts by the sum of its "
            "exponentials",
            _by_number_of_keys,
        ),
        Mistake(
            "the outputs of the chunks are added up, each with weights that sum to one; divide once, at the end",
            _each_chunk(lambda outputs: torch.stack(outputs).sum(dim=0)),
        ),
        Mistake(
            "only the last chunk is left: what came before is overwritten, or multiplied by exp(-inf) = 0 because the "
            "largest score so far is not kept up to date",
            _each_chunk(lambda outputs: outputs[-1]),
        ),
        Mistake("only the first chunk is used", _each_chunk(lambda outputs: outputs[0])),
        Mistake(
            "old sums are not rescaled when the maximum rises: multiply total and output by exp(old - new)",
            _streamed(parts=(False, False)),
        ),
        Mistake(
            "each chunk subtracts its own maximum, so the sums of two chunks count in different units; rescale them to "
            "a common one",
            _own_maximum,
        ),
        Mistake(
            "the total is rescaled when the maximum rises, the output is not: it was made with the old maximum too",
            _streamed(parts=(True, False)),
        ),
        Mistake(
            "the output is rescaled when the maximum rises, the total is not: it was made with the old maximum too",
            _streamed(parts=(False, True)),
        ),
        Mistake(
            "the factor is upside down: exp(old - new), at most 1, and not exp(new - old)",
            _streamed(rescale=lambda old, new: (new - old).exp(), first=lambda scores: scores[:, :1]),
        ),
        Mistake(
            "the factor is upside down, and exp(new - old) is inf in the first round; take exp(old - new), at most 1",
            _streamed(rescale=lambda old, new: (new - old).exp()),
        ),
        Mistake(
            "the largest score so far starts at 0, so that exp gives nothing but 0 where all scores are far below; "
            "start at -inf",
            _streamed(first=lambda scores: torch.zeros_like(scores[:, :1])),
        ),
        Mistake(
            "the division by the sum of the exponentials is missing at the end",
            _streamed(divide=False),
        ),
        Mistake(
            "one maximum is taken over all queries; each query needs its own, or the rows far below it vanish",
            _streamed(largest=lambda chunk: chunk.max()),
        ),
        Mistake(
            "a last chunk with fewer than `size` keys is left out: let the range end at len(k)",
            _streamed(whole_chunks_only=True),
        ),
        Mistake("exp overflows for large scores: subtract the largest score seen so far", _no_maximum),
        Mistake("the scores are not divided by √d", _streamed(scale=lambda d: 1.0)),
        Mistake(
            "the scores are divided by d; √d is the standard deviation of a sum of d terms", _streamed(scale=float)
        ),
    ),
)

EXERCISES = {
    exercise.id: exercise
    for exercise in (
        SELF_ATTENTION,
        CAUSAL_PADDING_MASK,
        MASKED_SOFTMAX,
        ADDITIVE_SCORES,
        SOFTMAX_JACOBIAN,
        ATTEND_IN_CHUNKS,
    )
}
