"""The exercises of chapter 3, multi-head attention and the Transformer."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from vitedu.exercises import compare
from vitedu.exercises.exercise import Answer, Case, exercise, formulas, on


def _normal(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# 3.1 -----------------------------------------------------------------------------------------------------------------


@formulas(1, 1, True)
def _counts(D: int, h: int, bias: bool) -> dict[str, float]:
    d, weights, biases = D // h, 4 * D * D, 4 * D * bias
    return {
        "each head is given four D × D matrices of its own; the heads share them, each uses D/h of the columns": (
            h * (weights + biases)
        ),
        "the biases are right, but each head is given four D × D matrices of its own; the heads share them": (
            h * weights + biases
        ),
        "each head is given D × D matrices for q, k and v; the heads share them": (3 * h + 1) * (D * D + D * bias),
        "the output projection is missing: q, k, v and out are four": 3 * D * D + 3 * D * bias,
        "half of it is missing: q, k, v and out are four projections": 2 * D * D + 2 * D * bias,
        "one projection is counted; there are four, for q, k, v and out": D * D + D * bias,
        "the weights of the output projection are missing, D × D more": 3 * D * D + biases,
        "the output projection has no bias here; it has one of length D, as the other three have": (
            weights + 3 * D * bias
        ),
        "one bias for all four projections; each has its own, of length D": weights + D * bias,
        "a bias is counted as one number; it has one for each of the D outputs": weights + 4 * bias,
        "the biases of one head are counted, of length d; there are h heads": weights + 4 * d * bias,
        "the biases are counted although `bias` may be False": weights + 4 * D,
        "the biases are missing": weights,
        "a head's matrices are counted d × d; they take the whole token in, so they are D × d": 4 * h * d**2 + biases,
        "the projections of one head are counted, D × d; there are h heads": 4 * D * d + 4 * d * bias,
        "the output projection is counted D × d; it takes all heads in": 3 * D * D + D * d + biases,
        "the MLP is counted too; here it is attention's four projections alone": 3 * weights + 9 * D * bias,
        "the biases are counted just when `bias` is False": weights + 4 * D * (not bias),
        "`/` always gives a float in Python; `//` divides whole numbers": float(weights + biases),
    }


exercise(
    "3.1",
    reference=lambda dim, num_heads, bias: 4 * dim * dim + 4 * dim * bias,  # the heads only cut D up
    cases=lambda: on((12, 3, True), (12, 3, False), (64, 8, True), (8, 1, False), (768, 12, True)),
    difference=compare.integers,
    mistakes=_counts,
)


# 3.2 -----------------------------------------------------------------------------------------------------------------


def shift_right(targets: Tensor, start: int) -> Tensor:
    """(B, N) -> (B, N): `start` in front, the last target left out."""
    return F.pad(targets[:, :-1], (1, 0), value=start)


def _shift_cases() -> list[Case]:
    sizes = [(2, 5, 9), (1, 4, 7), (3, 3, 0), (2, 1, 9), (4, 8, 99)]
    return on(*(((torch.arange(B * N).reshape(B, N) * 5 + 1) % 97, start) for B, N, start in sizes))


@formulas(torch.ones(1, 1), 1)
def _shifts(x: Tensor, start: int) -> dict[str, Tensor]:
    return {
        "one token too many: the last target is nobody's input, leave it out": F.pad(x, (1, 0), value=start),
        "`roll` brings the last target round to the front, where the start symbol belongs; the model would be told "
        "the end": x.roll(1, dims=1),
        "`roll` without `dims` flattens first, so a row begins with the last target of the row before": x.roll(1),
        "this shifts to the left: position n is shown target n + 1, which comes after the one it has to name": (
            F.pad(x[:, 1:], (0, 1), value=start)
        ),
        "the targets are not shifted: position n is shown the very target it has to name": x.clone(),
        "the first target is overwritten, and the others stay; position n is shown the very target it has to name": (
            F.pad(x[:, 1:], (1, 0), value=start)
        ),
        "the start symbol stands at the end; it is the first input": F.pad(x[:, :-1], (0, 1), value=start),
        "the batch is shifted, not the sequence: the last axis counts positions": (
            F.pad(x[:-1], (0, 0, 1, 0), value=start)
        ),
        "the first input is 0, whatever the start symbol is; put `start` there": shift_right(x, 0),
        "the start symbol stands everywhere: each target is overwritten before it moves on": torch.full_like(x, start),
        "the symbols have become floats; `torch.full_like` keeps the type of `targets`": shift_right(x, start).float(),
    }


exercise("3.2", reference=shift_right, cases=_shift_cases, mistakes=_shifts)


# 3.3 -----------------------------------------------------------------------------------------------------------------

SPLIT, MERGE = "b n (h d) -> b h n d", "b h n d -> b n (h d)"


def multi_head(q: Tensor, k: Tensor, v: Tensor, num_heads: int) -> Tensor:
    """q (B, N, D), k and v (B, S, D) -> (B, N, D): attention in h heads, put side by side; no projections."""
    q, k, v = (rearrange(x, SPLIT, h=num_heads) for x in (q, k, v))
    return rearrange(F.scaled_dot_product_attention(q, k, v), MERGE)


def _multi_head_case(B: int, N: int, S: int, D: int, h: int, dtype=torch.float32, **options) -> Case:
    q, k, v = (2 * _normal(B, count, D, seed=B * N * D + i, dtype=dtype) for i, count in enumerate((N, S, S)))
    return Case((q, k, v, h), **options)


def _multi_head_cases() -> list[Case]:
    sizes = [(1, 4, 6, 12, 3), (2, 6, 6, 8, 4), (3, 2, 7, 6, 1), (2, 1, 4, 6, 6), (2, 4, 3, 12, 4, torch.float64)]
    return [_multi_head_case(2, 3, 5, 8, 2, gradient=True), *(_multi_head_case(*size) for size in sizes)]


@formulas(*torch.ones(3, 1, 1, 1), 1)
def _mixtures(q: Tensor, k: Tensor, v: Tensor, h: int) -> dict[str, Tensor]:
    D, d = q.shape[-1], q.shape[-1] // h
    queries, keys, values = (rearrange(x, SPLIT, h=h) for x in (q, k, v))
    products = queries @ keys.mT  #             (B, h, N, S)
    scores = products / math.sqrt(d)  #         (B, h, N, S)
    future = torch.ones_like(scores).triu(1).bool()
    right = multi_head(q, k, v, h)  #           (B, N, D)
    apart = rearrange(right, SPLIT, h=h)  #     (B, h, N, d)
    cut = F.scaled_dot_product_attention(*(x.reshape(len(x), h, -1, d) for x in (q, k, v)))
    woven = multi_head(*(rearrange(x, "b n (d h) -> b n (h d)", h=h) for x in (q, k, v)), h)

    def mix(weights: Tensor) -> Tensor:
        return rearrange(weights @ values, MERGE)

    return {
        "the scores are divided by √D; a head's dot product has d = D/h terms, so divide by √d": (
            mix((products / math.sqrt(D)).softmax(-1))
        ),
        "the scores are not divided by √d": mix(products.softmax(-1)),
        "the scores are divided by d; it is its square root": mix((products / d).softmax(-1)),
        "the scores are divided by √h; divide by √d": mix((products / math.sqrt(h)).softmax(-1)),
        "the scores are divided by √S; divide by √d": mix((products / math.sqrt(k.shape[1])).softmax(-1)),
        "the scores are multiplied by √d; divide by it": mix((products * math.sqrt(d)).softmax(-1)),
        "the softmax runs over the queries; each query's weights, over the keys, have to sum to one: the last axis": (
            mix(scores.softmax(-2))
        ),
        "the softmax runs over the heads; it has to run over the keys, the last axis": mix(scores.softmax(1)),
        "the heads are split by a `reshape` to (B, h, N, d), which cuts the tokens into groups; split the last "
        "axis into (h, d), then move h before N": rearrange(cut, MERGE),
        "split and merged by `reshape` alone: each head gets some of the tokens instead of a slice of each token; "
        "split the last axis into (h, d), then move h before N": cut.reshape(q.shape),
        "the heads are merged by a `reshape` alone; move the head axis behind the tokens first, then join (h, d)": (
            apart.reshape(q.shape)
        ),
        "the heads are merged with d before h, so their numbers are interleaved; head i fills the i-th slice": (
            rearrange(apart, "b h n d -> b n (d h)")
        ),
        "the width is split as (d, h): head i takes every h-th number instead of the i-th slice": woven,
        "the width is split and merged as (d, h): head i takes every h-th number instead of the i-th slice": (
            rearrange(woven, "b n (h d) -> b n (d h)", h=h)
        ),
        "there is one head only: q, k and v are never split": multi_head(q, k, v, 1),
        "the heads are still apart, (B, h, N, d); put them side by side again": apart,
        "the heads are averaged; put them side by side, so that the width is D again": apart.mean(1),
        "the heads are added up; put them side by side, so that the width is D again": apart.sum(1),
        "a causal mask is at work; here every query may look at every key": (
            mix(scores.masked_fill(future, -math.inf).softmax(-1))
        ),
        "`squeeze()` drops the batch of one as well": right.squeeze(),
        "keys and values are swapped: queries meet the keys, and the weights mix the values": multi_head(q, v, k, h),
        "the keys are mixed instead of the values": multi_head(q, k, k, h),
        "the softmax is missing: the weights of a query have to be positive and sum to one": mix(scores),
        "a sigmoid stands in place of the softmax; the weights of a query have to sum to one over the keys": (
            mix(scores.sigmoid())
        ),
        "`num_heads` is taken for the width of a head: there are h heads of width D/h": multi_head(q, k, v, d),
    }


exercise(
    "3.3",
    reference=multi_head,
    cases=_multi_head_cases,
    mistakes=_mixtures
    | {
        "the head axis stands behind the tokens, so within each token the heads attend to each other; move it "
        "before the tokens": lambda q, k, v, h: F.scaled_dot_product_attention(
            *(x.unflatten(-1, (h, -1)) for x in (q, k, v))
        ).flatten(2),
    },
)


# 3.4 -----------------------------------------------------------------------------------------------------------------


def _bill(N: float, D: int) -> float:
    return 24 * N * D**2 + 4 * N**2 * D  # N = HW / P²


@formulas(1, 1, 1, 1)
def _bills(H: int, W: int, P: int, D: int) -> dict[str, float]:
    N = (H // P) * (W // P)
    linear, attention = 24 * N * D**2, 4 * N**2 * D
    return {
        "multiply–adds are counted; each is two operations, so the FLOPs are twice as many": _bill(N, D) // 2,
        "12 N D² instead of 24 for the linear layers: their multiply–adds are not doubled, each is two operations, or "
        "the MLP's hidden width is counted as D; it is 4D": linear // 2 + attention,
        "2 N² D instead of 4 for attention: one of its two products is missing, q kᵀ *and* weights times v, or their "
        "multiply–adds are not doubled": linear + attention // 2,
        "the MLP is missing: its two layers take 16 N D²": 8 * N * D**2 + attention,
        "8 N D² are missing: the four projections, or one of the MLP's two layers": 16 * N * D**2 + attention,
        "the output projection is missing; q, k, v and out are four": 22 * N * D**2 + attention,
        "one projection is counted; q, k, v and out are four": 18 * N * D**2 + attention,
        "everything is doubled once more; the sizes 12 N D² and 2 N² D count multiply–adds, so double them once": (
            2 * _bill(N, D)
        ),
        "the MLP's layers are counted 4D × 4D; they are D × 4D and 4D × D": 72 * N * D**2 + attention,
        "the two products of attention lack D: each of the N² weights costs D multiply–adds": linear + 4 * N**2,
        "the two products of attention have a D too many: each of the N² weights costs D": linear + attention * D,
        "attention is counted with N; every query meets every key, so it is N²": linear + 4 * N * D,
        "the linear layers lack a D: a token of D numbers becomes one of D or more": 24 * N * D + attention,
        "the products of attention, 4 N² D, are missing": linear,
        "the linear layers, 24 N D², are missing": attention,
        "the linear layers are counted for one token; they run on all N": 24 * D**2 + attention,
        "N is H/P, the tokens along one side; there are (H/P)(W/P)": _bill(H // P, D),
        "HW is divided by P once; a patch covers P·P pixels": _bill(H * W // P, D),
        "every pixel is a token; N is HW / P²": _bill(H * W, D),
        "the height stands for both sides; an image need not be square": _bill((H // P) ** 2, D),
        "a CLS token is counted; here the patches are all the tokens there are": _bill(N + 1, D),
        "`/` always gives a float in Python; `//` divides whole numbers": float(_bill(N, D)),
    }


exercise(
    "3.4",
    reference=lambda height, width, patch, dim: _bill((height // patch) * (width // patch), dim),
    cases=lambda: on((224, 224, 16, 768), (448, 448, 16, 768), (32, 48, 8, 64), (64, 16, 4, 96), (28, 28, 28, 10)),
    difference=compare.integers,
    mistakes=_bills,
)


# 3.5 -----------------------------------------------------------------------------------------------------------------

Scorer = Callable[[Tensor], Tensor]


def _greedy(
    pick: Callable[[Tensor], Tensor] = lambda scores: scores[:, -1].argmax(dim=-1, keepdim=True),  # (B, 1)
    feed: Callable[[Tensor], Tensor] = lambda written: written,
    keep: Callable[[Tensor], Tensor] = lambda written: written[:, 1:],
    join: Callable[[Tensor, Tensor], list[Tensor]] = lambda old, new: [old, new],
) -> Answer:
    """Write `length` symbols, each the best one after those before it: -> (B, length), the start not included.

    To replace: which symbol is picked, what the model is fed, what is returned, and the order.
    """

    def answer(score: Scorer, batch: int, start: int, length: int) -> Tensor:
        written = torch.full((batch, 1), start)  # (B, 1)
        for _ in range(length):
            written = torch.cat(join(written, pick(score(feed(written)))), dim=1)  # (B, 1 + n)
        return keep(written)  # (B, length)

    return answer


greedy = _greedy()


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
        "once something is written, the start symbol is left out; the model needs all that stands before": (
            _greedy(feed=lambda written: written[:, 1:] if written.shape[1] > 1 else written)
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


def mirror(count: int) -> tuple[Tensor, Tensor]:
    """Queries (N, 2) and keys (N, 2): token n puts nearly all its weight on token N - 1 - n."""
    keys = _circle(count, count)
    return 100 * count**2 * keys.flip(0), keys


def _circle(count: int, parts: int) -> Tensor:
    """The first points (N, 2) of a circle divided into so many parts."""
    angles = 2 * math.pi * torch.arange(count) / parts
    return torch.stack([angles.cos(), angles.sin()], dim=1)


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


@formulas(2)
def _aims(N: int) -> dict[str, Any]:
    long, k, n = 100 * N**2, _circle(N, N), torch.arange(N)[:, None].float()  # (N, 2), (N, 1)
    closed, centred, beside = _circle(N, max(1, N - 1)), F.pad(n - (N - 1) / 2, (0, 1)), F.pad(n + 1, (0, 1), value=1.0)
    return {
        "every token looks at itself: token n's query has to point to the key of token N - 1 - n": (long * k, k),
        "the right key has the highest score everywhere, but the softmax stays flat: make the queries longer, on "
        "a circle the more so, the more keys share it": (k.flip(0), k),
        "long enough queries for a few keys, but not for many: neighbours on the circle come closer like 1/N, and "
        "their scores like 1/N²": (50 * k.flip(0), k),
        "long enough queries for 16 keys, but not for 50: neighbours on the circle come closer like 1/N, and their "
        "scores like 1/N²": (10 * N * k.flip(0), k),
        "the signs are turned round: each query points away from its key": (-long * k.flip(0), k),
        "each query points away from its own token's key, not to that of token N - 1 - n": (-long * k, k),
        "the keys lie on a line, and on a line only the two ends can have the highest score; bend it, to a circle "
        "or a parabola": (100 * centred.flip(0), centred),
        "the last key has the highest score for every query: the keys lie on a line beside the origin, or on a "
        "parabola that opens the wrong way": (100 * beside.flip(0), beside),
        "the keys lie on a line and grow from 0, so a query prefers the last one, or none; bend the line, to a circle "
        "or a parabola": (100 * F.pad(n.flip(0), (0, 1)), F.pad(n, (0, 1))),
        "among the keys (n, -n²) the query (m, 1) prefers that of n = m / 2; make it (2m, 1)": (
            100 * torch.cat([n.flip(0), torch.ones(N, 1)], 1),
            torch.cat([n, -(n**2)], 1),
        ),
        "the last key lies on the first, because the circle is closed twice: divide by N, not by N - 1": (
            long * closed.flip(0),
            closed,
        ),
        "off by one: token 0 has to look at token N - 1": (long * k.flip(0).roll(1, 0), k),
        "every token looks at its neighbour; the sequence has to be reversed": (long * k.roll(-1, 0), k),
        "the two coordinates are swapped, `flip(1)`; the tokens are the first axis, `flip(0)`": (long * k.flip(1), k),
        "a column for each token; the width is 2, whatever N is": (torch.eye(N).flip(0), torch.eye(N)),
        "one tensor is returned; return the pair (q, k)": k,
    }


exercise(
    "3.6",
    reference=mirror,
    cases=lambda: on((4,), (2,), (7,), (16,), (50,)),
    difference=_not_mirrored,
    simplify=_looks_at,
    mistakes=_aims,
)
