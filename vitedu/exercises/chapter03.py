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


Scorer = Callable[[Tensor], Tensor]  # symbols so far (B, n) -> scores of the next (B, n, K)


# 3.1 -----------------------------------------------------------------------------------------------------------------


@formulas(1, 1, 1)
def _counts(D: int, h: int, g: int) -> dict[str, float]:
    d = D // h
    full, shared = D * D + D, D * g * d + g * d  # a map to all heads, and one to the g of keys or values
    right = 2 * full + 2 * shared
    return {
        "keys and values are given `num_heads` heads; they have `kv_heads`": 4 * full,
        "the maps of keys and values have a bias of length D; it has a number for each of kv_heads · d outputs": (
            2 * full + 2 * (D * g * d + D)
        ),
        "the biases are missing": 2 * D * D + 2 * D * g * d,
        "the biases of keys and values are missing": 2 * full + 2 * D * g * d,
        "a head of keys is counted as one number; it has width d": 2 * full + 2 * (D * g + g),
        "the maps of keys and values read d numbers; they read the whole token, D": 2 * full + 2 * (d * g * d + g * d),
        "the values have all heads; they are shared as the keys are": 3 * full + shared,
        "the queries are shared too; each of the h heads has its own": full + 3 * shared,
        "the output map reads kv_heads · d numbers; there are h results, one for each query head": (
            full + 2 * shared + g * d * D + D
        ),
        "the output projection is missing": full + 2 * shared,
        "keys or values are missing; each has a map": 2 * full + shared,
        "a bias is counted as one number; it has one for each output": 2 * (D * D + 1) + 2 * (D * g * d + 1),
        "keys and values get h / kv_heads heads; that is how many queries share one, there are kv_heads": (
            2 * full + 2 * (D + 1) * (h // g) * d
        ),
        "each query head has a D × D map of its own; the heads share it": (h + 1) * full + 2 * shared,
        "one set of keys and values is counted; there are kv_heads": 2 * full + 2 * (D * d + d),
        "`/` always gives a float in Python; `//` divides whole numbers": float(right),
    }


exercise(
    "3.1",
    reference=lambda dim, num_heads, kv_heads: 2 * dim * (dim + 1) + 2 * (dim + 1) * (dim // num_heads) * kv_heads,
    cases=lambda: on((12, 3, 1), (64, 8, 2), (24, 6, 3), (8, 4, 4), (768, 12, 4)),
    difference=compare.integers,
    mistakes=_counts,
)


# 3.2 -----------------------------------------------------------------------------------------------------------------


class _Writer:
    """A small decoder, (B, n) -> scores (B, n, K): a position's scores depend on the tokens that its mask allows."""

    def __init__(self, symbols: int, mask: Tensor):
        size = len(mask)
        self.mix = mask * (1 + torch.rand(size, size, generator=torch.Generator().manual_seed(size)))  # (N, N)
        self.table = _normal(symbols, symbols, seed=symbols)

    def __call__(self, written: Tensor) -> Tensor:
        hot = F.one_hot(written, len(self.table)).float()  # (B, n, K)
        n = written.shape[1]
        return self.mix[:n, :n] @ (hot @ self.table)  #      (B, n, K)


def _next_symbol(tokens: Tensor, m: int, symbols: int) -> Tensor:
    changed = tokens.clone()
    changed[:, m] = (changed[:, m] + 1) % symbols
    return changed


def _sees(
    change: Callable[[Tensor, int, int], Tensor] = _next_symbol,
    differ: Callable[[Tensor, Tensor], Tensor] = lambda a, b: ((a - b).abs() > 1e-6).any(-1),  # (B, N)
    over: Callable[[Tensor], Tensor] = lambda differs: differs.any(0),  # (N,)
    table: Callable[[list[Tensor]], Any] = lambda columns: torch.stack(columns, dim=1),
) -> Answer:
    """Change one token at a time, and see which positions answer."""

    def answer(score: Scorer, tokens: Tensor, symbols: int) -> Any:
        before, columns = score(tokens), []
        for m in range(tokens.shape[1]):
            columns.append(over(differ(before, score(change(tokens, m, symbols)))))
        return table(columns)

    return answer


def _from_here_on(tokens: Tensor, m: int, symbols: int) -> Tensor:
    changed = tokens.clone()
    changed[:, m:] = (changed[:, m:] + 1) % symbols
    return changed


def _to_here(tokens: Tensor, m: int, symbols: int) -> Tensor:
    changed = tokens.clone()
    changed[:, : m + 1] = (changed[:, : m + 1] + 1) % symbols
    return changed


def _put(value: int) -> Callable[[Tensor, int, int], Tensor]:
    def change(tokens: Tensor, m: int, symbols: int) -> Tensor:
        changed = tokens.clone()
        changed[:, m] = value
        return changed

    return change


def _sees_case(B: int, N: int, K: int, kind: str) -> Case:
    ones = torch.ones(N, N)
    masks = {
        "a causal mask": ones.tril(),
        "no mask": ones,
        "a mask that is off by one": ones.tril(1),
        "a window of two": ones.tril() - ones.tril(-2),
        "the first token hidden": ones.tril() * (torch.arange(N) > 0),
    }
    tokens = (torch.arange(B * N).reshape(B, N) * 3) % K
    label = f"a decoder with {kind}, tokens {(B, N)}, symbols = {K}"
    return Case((_Writer(K, masks[kind]), tokens, K), label=label, traits=("B = 1",) * (B == 1))


exercise(
    "3.2",
    reference=_sees(),
    cases=lambda: [
        _sees_case(2, 5, 4, "a causal mask"),
        _sees_case(1, 4, 6, "no mask"),
        _sees_case(3, 6, 5, "a mask that is off by one"),
        _sees_case(2, 7, 7, "a window of two"),
        _sees_case(1, 5, 4, "the first token hidden"),
    ],
    mistakes={
        "the table is transposed: row n says what position n sees, column m which token was changed": _sees(
            table=torch.stack
        ),
        "all tokens from m on are changed at once; change one, so that the others are as they were": _sees(
            _from_here_on
        ),
        "all tokens up to m are changed, or the change of the one before is still there; begin anew from `tokens`": (
            _sees(_to_here)
        ),
        "token m becomes symbol 0, which it may be already; take another symbol than the one that stands there": _sees(
            _put(0)
        ),
        "the best symbols are compared; scores may change although the best symbol stays": _sees(
            differ=lambda a, b: a.argmax(-1) != b.argmax(-1)
        ),
        "it is the other way round: True where the scores have changed": _sees(
            differ=lambda a, b: ((a - b).abs() <= 1e-6).all(-1)
        ),
        "these are numbers, the size of the change; the table holds True or False": _sees(
            differ=lambda a, b: (a - b).abs().amax(-1), over=lambda differs: differs.amax(0)
        ),
        "the table holds 0 and 1; make it booleans": _sees(table=lambda columns: torch.stack(columns, 1).long()),
        "there is a table for each row of the batch; say whether *any* row has changed": _sees(
            over=lambda differs: differs, table=lambda columns: torch.stack(columns, 2)
        ),
        "each position is compared with its own token only; every position may see every token": _sees(
            table=lambda columns: torch.stack(columns, 1) & torch.eye(len(columns)).bool()
        ),
        "this is the causal mask, whatever the decoder does; measure it": lambda score, tokens, symbols: torch.ones(
            tokens.shape[1], tokens.shape[1], dtype=torch.bool
        ).tril(),
    },
)


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


@formulas(1, 1, True)
def _bills(N: int, D: int, keep: bool) -> dict[str, float]:
    steps = range(1, N + 1)
    block = [24 * n * D**2 + 4 * n**2 * D for n in steps]  # all n tokens
    token = [24 * D**2 + 4 * n * D for n in steps]  #        the new one, which looks at n keys
    right = sum(token if keep else block)
    return {
        "one pass over all N tokens is counted; without `keep`, each step runs the block again, on n tokens": (
            right if keep else block[-1]
        ),
        "the two are swapped: with `keep` a step runs on the new token alone": sum(block if keep else token),
        "with `keep`, the new token looks at n keys, its own among them, not at n - 1": (
            right - 4 * N * D if keep else right
        ),
        "with `keep`, step n looks at the n keys there are, not at all N": (
            N * (24 * D**2 + 4 * N * D) if keep else right
        ),
        "with `keep`, there is one query: the two products take n, not n²": (
            sum(24 * D**2 + 4 * n**2 * D for n in steps) if keep else right
        ),
        "with `keep`, keys and values of earlier tokens are made again; they are kept": (
            sum(20 * D**2 + 4 * n * D**2 + 4 * n * D for n in steps) if keep else right
        ),
        "with `keep`, the products with the keys are missing": 24 * N * D**2 if keep else right,
        "without `keep`, all n queries meet all n keys: n², not n": (
            right if keep else sum(24 * n * D**2 + 4 * n * D for n in steps)
        ),
        "without `keep`, the linear layers run on all n tokens, not on one": (
            right if keep else sum(24 * D**2 + 4 * n**2 * D for n in steps)
        ),
        "without `keep`, every step is counted on all N tokens; step n has n": right if keep else N * block[-1],
        "the steps are counted from 0 to N - 1; the first has one token, the start symbol": (
            right - (4 * N * D if keep else block[-1])
        ),
        "multiply–adds are counted; each is two operations, so the FLOPs are twice as many": right // 2,
        "the MLP is missing: its two layers take 16 D² for each token": (
            right - 16 * D**2 * (N if keep else sum(steps))
        ),
        "one of attention's two products is missing, q kᵀ *and* weights times v": (
            right - 2 * D * sum(n if keep else n**2 for n in steps)
        ),
        "with `keep`, this is the last step alone; add up all N": token[-1] if keep else right,
        "`/` always gives a float in Python; `//` divides whole numbers": float(right),
    }


exercise(
    "3.4",
    reference=lambda count, dim, keep: sum(
        24 * dim**2 + 4 * n * dim if keep else 24 * n * dim**2 + 4 * n**2 * dim for n in range(1, count + 1)
    ),
    cases=lambda: on((3, 4, False), (3, 4, True), (10, 8, False), (10, 8, True), (200, 64, False), (200, 64, True)),
    difference=compare.integers,
    mistakes=_bills,
)


# 3.5 -----------------------------------------------------------------------------------------------------------------


def _beam(
    gain: Callable[[Tensor], Tensor] = lambda scores: scores.log_softmax(dim=-1),
    add: Callable[[Tensor, Tensor], Tensor] = lambda total, new: total[:, None] + new,  # (beginnings, K)
    widths: Callable[[int, int], int] = lambda width, step: width,
    largest: bool = True,
    keep: Callable[[Tensor], Tensor] = lambda texts: texts[0, 1:],
) -> Answer:
    """Keep the `width` best beginnings, extend each by every symbol, keep the best again: -> (length,).

    To replace: what a symbol is worth, how that adds up, how many beginnings are kept at each step, what is returned.
    """

    def answer(score: Scorer, start: int, length: int, width: int) -> Tensor:
        texts, total = torch.full((1, 1), start), torch.zeros(1)
        for step in range(length):
            sums = add(total, gain(score(texts)[:, -1]))  # (beginnings, K)
            count, K = min(widths(width, step), sums.numel()), sums.shape[1]
            total, best = sums.flatten().topk(count, largest=largest)
            texts = torch.cat([texts[best // K], best[:, None] % K], dim=1)  # (count, 1 + n)
        return keep(texts)

    return answer


def _one_each(score: Scorer, start: int, length: int, width: int) -> Tensor:
    """The `width` best first symbols, each continued greedily by itself."""
    first = score(torch.full((1, 1), start))[:, -1].log_softmax(-1)
    total, best = first[0].topk(min(width, first.shape[1]))
    texts = torch.cat([torch.full((len(best), 1), start), best[:, None]], dim=1)
    for _ in range(length - 1):
        new, symbol = score(texts)[:, -1].log_softmax(-1).max(dim=-1)
        total, texts = total + new, torch.cat([texts, symbol[:, None]], dim=1)
    return texts[total.argmax(), 1:]


def _scorer(symbols: int, seed: int) -> Scorer:
    """A causal model in small: scores (B, n, K) that depend on the last two symbols and on the place."""
    table = 1.5 * _normal(32, symbols, symbols, symbols, seed=seed)

    def score(written: Tensor) -> Tensor:
        if written.dtype != torch.int64 or written.ndim != 2:
            raise ValueError(f"score takes integers (B, n), not {written.dtype} {tuple(written.shape)}")
        before = F.pad(written[:, :-1], (1, 0))  # (B, n)
        return table[torch.arange(written.shape[1]), before, written]  # (B, n, K)

    return score


def _beam_case(K: int, length: int, width: int, seed: int) -> Case:
    label = f"a model of {K} symbols, start = {K - 1}, length = {length}, width = {width}"
    return Case((_scorer(K, seed), K - 1, length, width), label=label)


# K, length, width, seed: found by trying, so that every mistake below gives another text for at least one of them
BEAMS = [(4, 5, 2, 0), (5, 6, 3, 1), (3, 4, 2, 2), (6, 3, 1, 3), (4, 6, 3, 4)]

exercise(
    "3.5",
    reference=_beam(),
    cases=lambda: [_beam_case(*size) for size in BEAMS],
    mistakes={
        "this is greedy: one beginning is kept at each step; keep `width` of them": _beam(widths=lambda w, step: 1),
        "each of the best first symbols goes its own way; after each step keep the best of *all* extensions": _one_each,
        "the scores are added up as they are; only their log-softmax can be compared between beginnings": _beam(
            gain=lambda scores: scores
        ),
        "probabilities are added up; those of a text are multiplied, so add their logarithms": _beam(
            gain=lambda scores: scores.softmax(dim=-1)
        ),
        "the last symbol alone decides; add its log-probability to that of the beginning": _beam(
            add=lambda total, new: new + 0 * total[:, None]
        ),
        "the *least* likely texts are kept": _beam(largest=False),
        "the start symbol is still in front of the answer": _beam(keep=lambda texts: texts[0]),
        "all the texts are returned; return the best one, (length,)": _beam(keep=lambda texts: texts[:, 1:]),
        "the last of the texts is returned; `topk` puts the best one first": _beam(keep=lambda texts: texts[-1, 1:]),
        "one row is still a batch, (1, length); return (length,)": _beam(keep=lambda texts: texts[:1, 1:]),
        "one symbol too many: the loop runs `length` times": lambda score, start, length, width: _beam()(
            score, start, length + 1, width
        ),
        "one symbol is missing: the loop runs `length` times": lambda score, start, length, width: _beam()(
            score, start, length - 1, width
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
