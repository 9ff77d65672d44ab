"""The exercises of chapter 3, multi-head attention and the Transformer."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from vitedu.exercises import compare
from vitedu.exercises.exercise import Answer, Case, exercise, on


def _normal(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# 3.1 -----------------------------------------------------------------------------------------------------------------

exercise(
    "3.1",
    reference=lambda dim, num_heads, bias: 4 * dim * dim + 4 * dim * bias,  # the heads only cut D up
    cases=lambda: on((12, 3, True), (12, 3, False), (64, 8, True), (8, 1, False), (768, 12, True)),
    difference=compare.integers,
    mistakes={
        "each head is given four D × D matrices of its own; the heads share them, each uses D/h of the columns": (
            lambda D, h, bias: h * (4 * D * D + 4 * D * bias)
        ),
        "the biases are right, but each head is given four D × D matrices of its own; the heads share them": (
            lambda D, h, bias: h * 4 * D * D + 4 * D * bias
        ),
        "each head is given D × D matrices for q, k and v; its own are D × d, together one D × D matrix each": (
            lambda D, h, bias: (3 * h + 1) * (D * D + D * bias)
        ),
        "the output projection is missing: q, k, v and out are four": lambda D, h, bias: 3 * D * D + 3 * D * bias,
        "half of it is missing: q, k, v and out are four projections": lambda D, h, bias: 2 * D * D + 2 * D * bias,
        "one projection is counted; there are four, for q, k, v and out": lambda D, h, bias: D * D + D * bias,
        "the weights of the output projection are missing, D × D more": lambda D, h, bias: 3 * D * D + 4 * D * bias,
        "the output projection has no bias here; it has one of length D, as the other three have": (
            lambda D, h, bias: 4 * D * D + 3 * D * bias
        ),
        "one bias for all four projections; each has its own, of length D": (lambda D, h, bias: 4 * D * D + D * bias),
        "a bias is counted as one number; it has one for each of the D outputs": lambda D, h, bias: 4 * (D * D + bias),
        "the biases of one head are counted; h heads have D numbers in each": (
            lambda D, h, bias: 4 * D * D + 4 * D // h * bias
        ),
        "the biases are counted although `bias` may be False": lambda D, h, bias: 4 * D * D + 4 * D,
        "the biases are missing": lambda D, h, bias: 4 * D * D,
        "a head's matrices are counted d × d; they take the whole token in, so they are D × d": (
            lambda D, h, bias: 4 * h * (D // h) ** 2 + 4 * D * bias
        ),
        "the projections of one head are counted, D × d; there are h heads": (
            lambda D, h, bias: 4 * D * (D // h) + 4 * D // h * bias
        ),
        "`/` always gives a float in Python; `//` divides whole numbers": (
            lambda D, h, bias: 4.0 * D * D + 4 * D * bias
        ),
    },
)


# 3.2 -----------------------------------------------------------------------------------------------------------------


def shift_right(targets: Tensor, start: int) -> Tensor:
    """(B, N) -> (B, N): `start` in front, the last target left out."""
    return F.pad(targets[:, :-1], (1, 0), value=start)


def _shift_cases() -> list[Case]:
    sizes = [(2, 5, 9), (1, 4, 7), (3, 3, 0), (2, 1, 9), (4, 8, 99)]
    return on(*(((torch.arange(B * N).reshape(B, N) * 5 + 1) % 97, start) for B, N, start in sizes))


exercise(
    "3.2",
    reference=shift_right,
    cases=_shift_cases,
    mistakes={
        "one token too many: the last target is nobody's input, leave it out": (
            lambda targets, start: F.pad(targets, (1, 0), value=start)
        ),
        "`roll` brings the last target round to the front, where the start symbol belongs; the model would be told "
        "the end": lambda targets, start: targets.roll(1, dims=1),
        "`roll` without `dims` flattens first, so a row begins with the last target of the row before": (
            lambda targets, start: targets.roll(1)
        ),
        "this shifts to the left: position n is shown target n + 1, which comes after the one it has to name": (
            lambda targets, start: F.pad(targets[:, 1:], (0, 1), value=start)
        ),
        "the targets are not shifted: position n is shown the very target it has to name": (
            lambda targets, start: targets.clone()
        ),
        "the first target is overwritten, and the others stay; position n is shown the very target it has to name": (
            lambda targets, start: F.pad(targets[:, 1:], (1, 0), value=start)
        ),
        "the start symbol stands at the end; it is the first input": (
            lambda targets, start: F.pad(targets[:, :-1], (0, 1), value=start)
        ),
        "the batch is shifted, not the sequence: the last axis counts positions": (
            lambda targets, start: F.pad(targets[:-1], (0, 0, 1, 0), value=start)
        ),
        "the first input is 0, whatever the start symbol is; put `start` there": (
            lambda targets, start: shift_right(targets, 0)
        ),
        "the symbols have become floats; `torch.full_like` keeps the type of `targets`": (
            lambda targets, start: shift_right(targets, start).float()
        ),
    },
)


# 3.3 -----------------------------------------------------------------------------------------------------------------


def multi_head(q: Tensor, k: Tensor, v: Tensor, num_heads: int) -> Tensor:
    """q (B, N, D), k and v (B, S, D) -> (B, N, D): attention in h heads, put side by side; no projections."""
    q, k, v = (rearrange(x, "b n (h d) -> b h n d", h=num_heads) for x in (q, k, v))
    return rearrange(F.scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)")


def _multi_head_case(B: int, N: int, S: int, D: int, h: int, dtype=torch.float32, **options) -> Case:
    q, k, v = (2 * _normal(B, count, D, seed=B * N * D + i, dtype=dtype) for i, count in enumerate((N, S, S)))
    return Case((q, k, v, h), **options)


def _multi_head_cases() -> list[Case]:
    sizes = [(1, 4, 6, 12, 3), (2, 6, 6, 8, 4), (3, 2, 7, 6, 1), (2, 1, 4, 6, 6), (2, 4, 3, 12, 4, torch.float64)]
    return [_multi_head_case(2, 3, 5, 8, 2, gradient=True), *(_multi_head_case(*size) for size in sizes)]


def _heads(
    split: Callable[[Tensor, int], Tensor] = lambda x, h: rearrange(x, "b n (h d) -> b h n d", h=h),
    merge: Callable[[Tensor], Tensor] = lambda y: rearrange(y, "b h n d -> b n (h d)"),
    scale: Callable[[int, int], float] = lambda D, d: 1 / math.sqrt(d),
    weigh: Callable[[Tensor], Tensor] = lambda scores: scores.softmax(-1),
) -> Answer:
    """Multi-head attention with one part replaced."""

    def answer(q: Tensor, k: Tensor, v: Tensor, num_heads: int) -> Tensor:
        D = q.shape[-1]
        q, k, v = (split(x, num_heads) for x in (q, k, v))
        return merge(weigh(q @ k.mT * scale(D, q.shape[-1])) @ v)

    return answer


def _cut(x: Tensor, h: int) -> Tensor:
    """Splits by `view(B, h, N, d)`, without moving an axis."""
    return x.reshape(len(x), h, -1, x.shape[-1] // h)


def _glue(y: Tensor) -> Tensor:
    """Merges (B, h, N, d) by `view(B, N, D)`, without moving an axis."""
    return y.reshape(len(y), y.shape[2], -1)


exercise(
    "3.3",
    reference=multi_head,
    cases=_multi_head_cases,
    mistakes={
        "the scores are divided by √D; a head's dot product has d = D/h terms, so divide by √d": (
            _heads(scale=lambda D, d: 1 / math.sqrt(D))
        ),
        "the scores are not divided by √d": _heads(scale=lambda D, d: 1.0),
        "the scores are divided by d; it is its square root": _heads(scale=lambda D, d: 1 / d),
        "the scores are multiplied by √d; divide by it": _heads(scale=lambda D, d: math.sqrt(d)),
        "the softmax runs over the queries; each query's weights, over the keys, have to sum to one: the last axis": (
            _heads(weigh=lambda scores: scores.softmax(-2))
        ),
        "the softmax runs over the heads; it has to run over the keys, the last axis": (
            _heads(weigh=lambda scores: scores.softmax(1))
        ),
        "the heads are split by a `reshape` to (B, h, N, d), which cuts the tokens into groups; split the last "
        "axis into (h, d), then move h before N": _heads(split=_cut),
        "split and merged by `reshape` alone: each head gets some of the tokens instead of a slice of each token; "
        "split the last axis into (h, d), then move h before N": _heads(split=_cut, merge=_glue),
        "the heads are merged by a `reshape` alone; move the head axis behind the tokens first, then join (h, d)": (
            _heads(merge=_glue)
        ),
        "the heads are merged with d before h, so their numbers are interleaved; head i fills the i-th slice": (
            _heads(merge=lambda y: rearrange(y, "b h n d -> b n (d h)"))
        ),
        "the width is split as (d, h): head i takes every h-th number instead of the i-th slice": (
            _heads(split=lambda x, h: rearrange(x, "b n (d h) -> b h n d", h=h))
        ),
        "the width is split and merged as (d, h): head i takes every h-th number instead of the i-th slice": _heads(
            split=lambda x, h: rearrange(x, "b n (d h) -> b h n d", h=h),
            merge=lambda y: rearrange(y, "b h n d -> b n (d h)"),
        ),
        "there is one head only: q, k and v are never split": lambda q, k, v, h: multi_head(q, k, v, 1),
        "the heads are still apart, (B, h, N, d); put them side by side again": _heads(merge=lambda y: y),
        "the heads are averaged; put them side by side, so that the width is D again": (
            _heads(merge=lambda y: y.mean(dim=1))
        ),
        "the heads are added up; put them side by side, so that the width is D again": (
            _heads(merge=lambda y: y.sum(dim=1))
        ),
        "a causal mask is at work; here every query may look at every key": (
            _heads(weigh=lambda s: s.masked_fill(torch.ones_like(s).triu(1).bool(), -math.inf).softmax(-1))
        ),
        "the head axis stands behind the tokens, so within each token the heads attend to each other; move it "
        "before the tokens": _heads(split=lambda x, h: x.unflatten(-1, (h, -1)), merge=lambda y: y.flatten(2)),
        "`squeeze()` drops the batch of one as well": lambda q, k, v, h: multi_head(q, k, v, h).squeeze(),
        "keys and values are swapped: queries meet the keys, and the weights mix the values": (
            lambda q, k, v, h: multi_head(q, v, k, h)
        ),
        "the keys are mixed instead of the values": lambda q, k, v, h: multi_head(q, k, k, h),
        "the softmax is missing: the weights of a query have to be positive and sum to one": (
            _heads(weigh=lambda scores: scores)
        ),
        "a sigmoid stands in place of the softmax; the weights of a query have to sum to one over the keys": (
            _heads(weigh=lambda scores: scores.sigmoid())
        ),
        "`num_heads` is taken for the width of a head: there are h heads of width D/h": (
            lambda q, k, v, h: multi_head(q, k, v, q.shape[-1] // h)
        ),
    },
)


# 3.4 -----------------------------------------------------------------------------------------------------------------


def block_flops(height: int, width: int, patch: int, dim: int) -> int:
    """24 N D² + 4 N² D with N = HW / P²."""
    return _right_flops((height // patch) * (width // patch), dim)


def _right_flops(N: int, D: int) -> int:
    return 24 * N * D**2 + 4 * N**2 * D


def _flops(formula: Callable[[int, int], float] = _right_flops, count=lambda H, W, P: (H // P) * (W // P)) -> Answer:
    """Another formula of N and D, or another count of N."""
    return lambda H, W, P, D: formula(count(H, W, P), D)


exercise(
    "3.4",
    reference=block_flops,
    cases=lambda: on((224, 224, 16, 768), (448, 448, 16, 768), (32, 48, 8, 64), (64, 16, 4, 96), (28, 28, 28, 10)),
    difference=compare.integers,
    mistakes={
        "multiply–adds are counted; each is two operations, so the FLOPs are twice as many": (
            _flops(lambda N, D: 12 * N * D**2 + 2 * N**2 * D)
        ),
        "12 N D² instead of 24 for the linear layers: their multiply–adds are not doubled, each is two operations, or "
        "the MLP's hidden width is counted as D; it is 4D": _flops(lambda N, D: 12 * N * D**2 + 4 * N**2 * D),
        "2 N² D instead of 4 for attention: one of its two products is missing, q kᵀ *and* weights times v, or their "
        "multiply–adds are not doubled": _flops(lambda N, D: 24 * N * D**2 + 2 * N**2 * D),
        "the MLP is missing: its two layers take 16 N D²": _flops(lambda N, D: 8 * N * D**2 + 4 * N**2 * D),
        "8 N D² are missing: the four projections, or one of the two layers of the MLP": (
            _flops(lambda N, D: 16 * N * D**2 + 4 * N**2 * D)
        ),
        "the output projection is missing; q, k, v and out are four": (
            _flops(lambda N, D: 22 * N * D**2 + 4 * N**2 * D)
        ),
        "everything is doubled once more; the sizes 12 N D² and 2 N² D count multiply–adds, so double them once": (
            _flops(lambda N, D: 48 * N * D**2 + 8 * N**2 * D)
        ),
        "the two products of attention lack D: each of the N² weights costs D multiply–adds": (
            _flops(lambda N, D: 24 * N * D**2 + 4 * N**2)
        ),
        "the linear layers lack a D: each takes a whole token in and gives D numbers or more, so D² per token": (
            _flops(lambda N, D: 24 * N * D + 4 * N**2 * D)
        ),
        "the products of attention, 4 N² D, are missing": _flops(lambda N, D: 24 * N * D**2),
        "the linear layers, 24 N D², are missing": _flops(lambda N, D: 4 * N**2 * D),
        "the linear layers are counted for one token; they run on all N": (
            _flops(lambda N, D: 24 * D**2 + 4 * N**2 * D)
        ),
        "N is H/P, the tokens along one side; there are (H/P)(W/P)": _flops(count=lambda H, W, P: H // P),
        "HW is divided by P once; a patch covers P·P pixels": _flops(count=lambda H, W, P: H * W // P),
        "every pixel is a token; N is HW / P²": _flops(count=lambda H, W, P: H * W),
        "the height stands for both sides; an image need not be square": _flops(count=lambda H, W, P: (H // P) ** 2),
        "a CLS token is counted; here the patches are all the tokens there are": (
            _flops(count=lambda H, W, P: (H // P) * (W // P) + 1)
        ),
        "`/` always gives a float in Python; `//` divides whole numbers": _flops(count=lambda H, W, P: H * W / P**2),
    },
)


# 3.5 -----------------------------------------------------------------------------------------------------------------

Scorer = Callable[[Tensor], Tensor]


def greedy(score: Scorer, batch: int, start: int, length: int) -> Tensor:
    """Write `length` symbols, each the best one after those before it: -> (B, length), the start not included."""
    return _greedy()(score, batch, start, length)


def _greedy(
    pick: Callable[[Tensor], Tensor] = lambda scores: scores[:, -1].argmax(dim=-1, keepdim=True),  # (B, 1)
    feed: Callable[[Tensor], Tensor] = lambda written: written,
    keep: Callable[[Tensor], Tensor] = lambda written: written[:, 1:],
    join: Callable[[Tensor, Tensor], list[Tensor]] = lambda old, new: [old, new],
) -> Answer:
    """Greedy decoding; to replace: which symbol is picked, what the model is fed, what is returned, and the order."""

    def answer(score: Scorer, batch: int, start: int, length: int) -> Tensor:
        written = torch.full((batch, 1), start)  # (B, 1)
        for _ in range(length):
            written = torch.cat(join(written, pick(score(feed(written)))), dim=1)  # (B, 1 + n)
        return keep(written)  # (B, length)

    return answer


def _scorer(symbols: int, seed: int) -> Scorer:
    """A causal model in small: scores (B, n, K) that depend on all symbols so far, on their order, and on the row."""
    table = _normal(symbols, symbols, seed=seed)

    def score(written: Tensor) -> Tensor:
        if written.dtype != torch.int64 or written.ndim != 2:
            raise ValueError(f"score takes integers (B, n), not {written.dtype} {tuple(written.shape)}")
        hot = F.one_hot(written, symbols).float()  # (B, n, K)
        weight = torch.arange(1, written.shape[1] + 1)[None, :, None] / 2
        row = torch.arange(len(written))[:, None, None] * _normal(symbols, seed=seed + 1)
        return (hot * weight).cumsum(1) @ table + row  # (B, n, K)

    return score


def _greedy_case(B: int, K: int, length: int) -> Case:
    label = f"a model of {K} symbols, batch = {B}, start = {K - 1}, length = {length}"
    return Case((_scorer(K, K), B, K - 1, length), label=label)


exercise(
    "3.5",
    reference=greedy,
    cases=lambda: [_greedy_case(*size) for size in [(3, 7, 6), (1, 5, 4), (2, 9, 9), (2, 4, 1), (4, 6, 3)]],
    mistakes={
        "the scores of the first position are read each time; the next symbol stands in those of the last": (
            _greedy(lambda scores: scores[:, 0].argmax(dim=-1, keepdim=True))
        ),
        "the best symbols of *all* positions are appended each time; only that of the last position is new": (
            _greedy(lambda scores: scores.argmax(dim=-1))
        ),
        "one row is written; there are `batch` rows, each with a start symbol": (
            lambda score, batch, start, length: greedy(score, 1, start, length)
        ),
        "the model is shown only the last symbol; it needs all that has been written so far": (
            _greedy(feed=lambda written: written[:, -1:])
        ),
        "the start symbol is still in front of the answer": _greedy(keep=lambda written: written),
        "the start symbol is returned as the first symbol, and the last one is missing": (
            _greedy(keep=lambda written: written[:, :-1])
        ),
        "one symbol is missing at the end: the loop runs `length` times": _greedy(keep=lambda w: w[:, 1:-1]),
        "one symbol too many: the loop runs `length` times": (
            lambda score, batch, start, length: greedy(score, batch, start, length + 1)
        ),
        "the first row decides for the whole batch; each row has a best symbol of its own": (
            _greedy(lambda scores: scores[:1, -1].argmax(dim=-1, keepdim=True).expand(len(scores), 1))
        ),
        "all symbols are named in one call, from nothing but start symbols; each has to see those before it": (
            lambda score, batch, start, length: score(torch.full((batch, length), start)).argmax(dim=-1)
        ),
        "it starts from symbol 0; start from `start`": (
            lambda score, batch, start, length: greedy(score, batch, 0, length)
        ),
        "the symbols are drawn at random by their probability; greedy takes the best, with `argmax`": (
            _greedy(lambda scores: torch.multinomial(scores[:, -1].softmax(dim=-1), 1))
        ),
        "the *lowest* score is picked; take the `argmax`": (
            _greedy(lambda scores: scores[:, -1].argmin(dim=-1, keepdim=True))
        ),
        "`argmax` without `dim` counts through the whole batch; the symbols are the last axis": (
            _greedy(lambda scores: (scores[:, -1].argmax() % scores.shape[-1]).expand(len(scores), 1))
        ),
        "the new symbols are written in front of the old ones; append them": (
            _greedy(join=lambda old, new: [new, old], keep=lambda written: written[:, :-1])
        ),
    },
)


# 3.6 -----------------------------------------------------------------------------------------------------------------

SURE = 0.99  # the weight that counts as looking at one token only


def _on_circle(turn: Callable[[Tensor], Tensor] = lambda k: k.flip(0), scale=lambda N: 100 * N**2, ends=0) -> Answer:
    """Keys around a circle; `turn` makes the queries from them; with `ends` = 1 the last lies on the first."""

    def answer(count: int) -> tuple[Tensor, Tensor]:
        angles = 2 * math.pi * torch.arange(count) / max(1, count - ends)
        keys = torch.stack([angles.cos(), angles.sin()], dim=1)  # (N, 2)
        return scale(count) * turn(keys), keys

    return answer


def _on_line(beside: float) -> Answer:
    """Keys on a line through the origin or `beside` it, and queries that point to them."""

    def answer(count: int) -> tuple[Tensor, Tensor]:
        places = torch.arange(count) + (1.0 if beside else (1 - count) / 2)
        keys = torch.stack([places, torch.full_like(places, beside)], dim=1)
        return 100 * keys.flip(0), keys

    return answer


def mirror(count: int) -> tuple[Tensor, Tensor]:
    """Queries (N, 2) and keys (N, 2): token n puts nearly all its weight on token N - 1 - n."""
    return _on_circle()(count)


def _looks_at(returned, args: tuple) -> str | Tensor:
    """Which token each query looks at, (N,); -1 - m if m gets the most, but not SURE. A text if that cannot be said."""
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        return f"{compare.kind(returned)}, expected a pair (q, k)"
    for name, part in zip("qk", returned, strict=True):
        if not isinstance(part, Tensor):
            return f"{compare.kind(part)} for {name}, expected a tensor"
        if tuple(part.shape) != (args[0], 2):
            return f"{name} of shape {tuple(part.shape)}, expected {(args[0], 2)}"
    q, k = (part.detach().double() for part in returned)
    weights = (q @ k.T / math.sqrt(2)).softmax(dim=1)  # (N, N)
    if weights.isnan().any():
        return "numbers so large that the softmax gives nan"
    most, where = weights.max(dim=1)
    return torch.where(most > SURE, where, -1 - where)


def _not_mirrored(got: str | Tensor, expected: Tensor) -> str | None:
    if isinstance(got, str):
        return f"returned {got}"
    wrong = (got != expected).nonzero()
    if not len(wrong):
        return None
    n = int(wrong[0])
    looked, should = int(got[n]), int(expected[n])
    if looked >= 0:
        return f"token {n} looks at token {looked} instead of {should}"
    where = "the right token" if -1 - looked == should else f"token {-1 - looked} instead of {should}"
    return f"token {n} gives most of its weight to {where}, but less than {SURE}"


exercise(
    "3.6",
    reference=mirror,
    cases=lambda: on((4,), (2,), (7,), (16,), (50,)),
    difference=_not_mirrored,
    simplify=_looks_at,
    mistakes={
        "every token looks at itself: token n's query has to point to the key of token N - 1 - n": (
            _on_circle(lambda k: k)
        ),
        "the right key has the highest score everywhere, but the softmax stays flat: make the queries longer, the "
        "more so the more keys share the circle": _on_circle(scale=lambda N: 1),
        "long enough queries for a few keys, but not for many: neighbours on the circle come closer like 1/N, and "
        "their scores like 1/N²": _on_circle(scale=lambda N: 50),
        "the signs are turned round: each query points away from its key": _on_circle(lambda k: -k.flip(0)),
        "the keys lie on a line, and on a line only the two ends can have the highest score; bend it, to a circle "
        "or a parabola": _on_line(beside=0),
        "the keys lie on a line beside the origin, and the last one has the highest score for every query; bend "
        "the line, to a circle or a parabola": _on_line(beside=1),
        "the last key lies on the first, because the circle is closed twice: divide by N, not by N - 1": (
            _on_circle(ends=1)
        ),
        "off by one: token 0 has to look at token N - 1": _on_circle(lambda k: k.flip(0).roll(1, 0)),
        "every token looks at its neighbour; the sequence has to be reversed": _on_circle(lambda k: k.roll(-1, 0)),
        "a column for each token; the width is 2, whatever N is": lambda N: (torch.eye(N).flip(0), torch.eye(N)),
        "one tensor is returned; return the pair (q, k)": lambda N: mirror(N)[0],
    },
)
