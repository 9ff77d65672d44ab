"""The exercises of chapter 3, multi-head attention and the Transformer."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from vitedu.exercises import compare
from vitedu.exercises.exercise import Case, Exercise, Mistake

# 3.1 -----------------------------------------------------------------------------------------------------------------


def count_attention(dim: int, num_heads: int, bias: bool) -> int:
    """Four D × D projections and, if there are any, four biases of length D; the heads only cut D up."""
    return 4 * dim * dim + (4 * dim if bias else 0)


def _count_cases() -> list[Case]:
    return [Case(args) for args in [(12, 3, True), (12, 3, False), (64, 8, True), (8, 1, False), (768, 12, True)]]


COUNT_ATTENTION = Exercise(
    id="3.1",
    title="Count the parameters",
    reference=count_attention,
    cases=_count_cases,
    difference=compare.integers,
    mistakes=(
        Mistake(
            "each head is given four D × D matrices of its own; the heads share them, each uses D/h of the columns",
            lambda D, h, bias: h * (4 * D * D + (4 * D if bias else 0)),
        ),
        Mistake(
            "the biases are right, but each head is given four D × D matrices of its own; the heads share them",
            lambda D, h, bias: h * 4 * D * D + (4 * D if bias else 0),
        ),
        Mistake(
            "the output projection is missing: q, k, v and out are four",
            lambda D, h, bias: 3 * D * D + (3 * D if bias else 0),
        ),
        Mistake(
            "half of it is missing: q, k, v and out are four projections",
            lambda D, h, bias: 2 * D * D + (2 * D if bias else 0),
        ),
        Mistake(
            "one projection is counted; there are four, for q, k, v and out",
            lambda D, h, bias: D * D + (D if bias else 0),
        ),
        Mistake(
            "the weights of the output projection are missing, D × D more",
            lambda D, h, bias: 3 * D * D + (4 * D if bias else 0),
        ),
        Mistake(
            "the output projection has no bias here; it has one of length D, as the other three have",
            lambda D, h, bias: 4 * D * D + (3 * D if bias else 0),
        ),
        Mistake(
            "one bias for all four projections; each has its own, of length D",
            lambda D, h, bias: 4 * D * D + (D if bias else 0),
        ),
        Mistake(
            "the biases are counted although `bias` may be False",
            lambda D, h, bias: 4 * D * D + 4 * D,
        ),
        Mistake("the biases are missing", lambda D, h, bias: 4 * D * D),
        Mistake(
            "a head's matrices are counted d × d; they take the whole token in, so they are D × d",
            lambda D, h, bias: 4 * h * (D // h) ** 2 + (4 * D if bias else 0),
        ),
        Mistake(
            "the projections of one head are counted, D × d; there are h heads",
            lambda D, h, bias: 4 * D * (D // h) + (4 * D // h if bias else 0),
        ),
        Mistake(
            "`/` always gives a float in Python; `//` divides whole numbers",
            lambda D, h, bias: 4.0 * D * D + (4 * D if bias else 0),
        ),
    ),
)


# 3.2 -----------------------------------------------------------------------------------------------------------------


def shift_right(targets: Tensor, start: int) -> Tensor:
    """(B, N) -> (B, N): `start` in front, the last target left out."""
    return F.pad(targets[:, :-1], (1, 0), value=start)


def _shift_cases() -> list[Case]:
    cases = []
    for batch, length, start in [(2, 5, 9), (1, 4, 7), (3, 3, 0), (2, 1, 9), (4, 8, 99)]:
        targets = (torch.arange(batch * length).reshape(batch, length) * 5 + 1) % 97
        cases.append(Case((targets, start)))
    return cases


def _with_start(targets: Tensor, start: int) -> Tensor:
    return torch.cat([torch.full_like(targets[:, :1], start), targets], dim=1)


def _overwrite_in_place(targets: Tensor, start: int) -> Tensor:
    rolled = targets.roll(1)
    rolled[:, 0] = start
    return rolled


def _overwrite_first(targets: Tensor, start: int) -> Tensor:
    copy = targets.clone()
    copy[:, 0] = start
    return copy


SHIFT_RIGHT = Exercise(
    id="3.2",
    title="Shift to the right",
    reference=shift_right,
    cases=_shift_cases,
    mistakes=(
        Mistake("one token too many: the last target is nobody's input, leave it out", _with_start),
        Mistake(
            "`roll` brings the last target round to the front, where the start symbol belongs; the model would be told "
            "the end",
            lambda targets, start: targets.roll(1, dims=1),
        ),
        Mistake(
            "`roll` without `dims` flattens first, so a row begins with the last target of the row before",
            lambda targets, start: targets.roll(1),
        ),
        Mistake(
            "this shifts to the left: position n is shown target n + 1, which comes after the one it has to name",
            lambda targets, start: F.pad(targets[:, 1:], (0, 1), value=start),
        ),
        Mistake(
            "the targets are not shifted: position n is shown the very target it has to name",
            lambda targets, start: targets.clone(),
        ),
        Mistake(
            "the first target is overwritten, and the others stay; position n is shown the very target it has to name",
            _overwrite_first,
        ),
        Mistake(
            "the start symbol stands at the end; it is the first input",
            lambda targets, start: F.pad(targets[:, :-1], (0, 1), value=start),
        ),
        Mistake(
            "the batch is shifted, not the sequence: the last axis counts positions",
            lambda targets, start: F.pad(targets[:-1], (0, 0, 1, 0), value=start),
        ),
        Mistake(
            "the first input is 0, whatever the start symbol is; put `start` there",
            lambda targets, start: F.pad(targets[:, :-1], (1, 0), value=0),
        ),
        Mistake(
            "the symbols have become floats; `torch.full_like` keeps the type of `targets`",
            lambda targets, start: shift_right(targets, start).float(),
        ),
    ),
)


# 3.3 -----------------------------------------------------------------------------------------------------------------


def multi_head(q: Tensor, k: Tensor, v: Tensor, num_heads: int) -> Tensor:
    """q (B, N, D), k and v (B, S, D) -> (B, N, D): attention in h heads, put side by side; no projections."""
    q, k, v = (rearrange(x, "b n (h d) -> b h n d", h=num_heads) for x in (q, k, v))
    return rearrange(F.scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)")


def _normal(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def _multi_head_case(B: int, N: int, S: int, D: int, num_heads: int, dtype=torch.float32, **options) -> Case:
    q, k, v = (
        2 * _normal(B, count, D, seed=seed, dtype=dtype) for seed, count in enumerate((N, S, S), start=B * N * D)
    )
    return Case((q, k, v, num_heads), **options)


def _multi_head_cases() -> list[Case]:
    return [
        _multi_head_case(2, 3, 5, 8, 2, gradient=True),
        _multi_head_case(1, 4, 6, 12, 3),
        _multi_head_case(2, 6, 6, 8, 4),
        _multi_head_case(3, 2, 7, 6, 1),
        _multi_head_case(2, 1, 4, 6, 6),
        _multi_head_case(2, 4, 3, 12, 4, torch.float64),
    ]


def _heads_by(
    split: str = "b n (h d) -> b h n d",
    merge: str = "b h n d -> b n (h d)",
    scale: Callable[[int, int], float] = lambda D, d: 1 / math.sqrt(d),
    axis: int = -1,
    weigh: Callable[[Tensor, int], Tensor] = lambda scores, axis: scores.softmax(axis),
):
    """Multi-head attention with one part replaced."""

    def answer(q: Tensor, k: Tensor, v: Tensor, num_heads: int) -> Tensor:
        D = q.shape[-1]
        q, k, v = (rearrange(x, split, h=num_heads) for x in (q, k, v))
        weights = weigh(q @ k.mT * scale(D, q.shape[-1]), axis)
        return rearrange(weights @ v, merge)

    return answer


def _split_by_reshape(q: Tensor, k: Tensor, v: Tensor, num_heads: int) -> Tensor:
    """Splits by `view(B, h, N, d)`, without moving an axis."""
    heads = [x.reshape(len(x), num_heads, -1, x.shape[-1] // num_heads) for x in (q, k, v)]
    return F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)


def _split_and_merge_by_reshape(q: Tensor, k: Tensor, v: Tensor, num_heads: int) -> Tensor:
    heads = [x.reshape(len(x), num_heads, -1, x.shape[-1] // num_heads) for x in (q, k, v)]
    return F.scaled_dot_product_attention(*heads).reshape(q.shape)


def _merge_by_reshape(q: Tensor, k: Tensor, v: Tensor, num_heads: int) -> Tensor:
    heads = [rearrange(x, "b n (h d) -> b h n d", h=num_heads) for x in (q, k, v)]
    return F.scaled_dot_product_attention(*heads).reshape(q.shape)


def _heads_over_tokens(q: Tensor, k: Tensor, v: Tensor, num_heads: int) -> Tensor:
    """Forgets to move the head axis before the tokens, so that the heads attend to each other."""
    q, k, v = (x.unflatten(-1, (num_heads, -1)) for x in (q, k, v))  # (B, N, h, d)
    return F.scaled_dot_product_attention(q, k, v).flatten(2)


def _causal(q: Tensor, k: Tensor, v: Tensor, num_heads: int) -> Tensor:
    q, k, v = (rearrange(x, "b n (h d) -> b h n d", h=num_heads) for x in (q, k, v))
    return rearrange(F.scaled_dot_product_attention(q, k, v, is_causal=True), "b h n d -> b n (h d)")


def _squeezed(q: Tensor, k: Tensor, v: Tensor, num_heads: int) -> Tensor:
    return multi_head(q, k, v, num_heads).squeeze()


MULTI_HEAD = Exercise(
    id="3.3",
    title="Multi-head attention in one go",
    reference=multi_head,
    cases=_multi_head_cases,
    mistakes=(
        Mistake(
            "the scores are divided by √D; a head's dot product has d = D/h terms, so divide by √d",
            _heads_by(scale=lambda D, d: 1 / math.sqrt(D)),
        ),
        Mistake("the scores are not divided by √d", _heads_by(scale=lambda D, d: 1.0)),
        Mistake("the scores are divided by d; it is its square root", _heads_by(scale=lambda D, d: 1 / d)),
        Mistake("the scores are multiplied by √d; divide by it", _heads_by(scale=lambda D, d: math.sqrt(d))),
        Mistake(
            "the softmax runs over the queries; each query's weights, over the keys, have to sum to one: the last axis",
            _heads_by(axis=-2),
        ),
        Mistake("the softmax runs over the heads; it has to run over the keys, the last axis", _heads_by(axis=1)),
        Mistake(
            "the heads are split by a `reshape` to (B, h, N, d), which cuts the tokens into groups; split the last "
            "axis into (h, d), then move h before N",
            _split_by_reshape,
        ),
        Mistake(
            "split and merged by `reshape` alone: each head gets some of the tokens instead of a slice of each token; "
            "split the last axis into (h, d), then move h before N",
            _split_and_merge_by_reshape,
        ),
        Mistake(
            "the heads are merged by a `reshape` alone; move the head axis behind the tokens first, then join (h, d)",
            _merge_by_reshape,
        ),
        Mistake(
            "the heads are merged with d before h, so their numbers are interleaved; head i fills the i-th slice",
            _heads_by(merge="b h n d -> b n (d h)"),
        ),
        Mistake(
            "the width is split as (d, h): head i takes every h-th number instead of the i-th slice",
            _heads_by(split="b n (d h) -> b h n d"),
        ),
        Mistake(
            "the width is split and merged as (d, h): head i takes every h-th number instead of the i-th slice",
            _heads_by(split="b n (d h) -> b h n d", merge="b h n d -> b n (d h)"),
        ),
        Mistake(
            "there is one head only: q, k and v are never split",
            lambda q, k, v, num_heads: F.scaled_dot_product_attention(q, k, v),
        ),
        Mistake(
            "the heads are still apart, (B, h, N, d); put them side by side again",
            _heads_by(merge="b h n d -> b h n d"),
        ),
        Mistake(
            "the heads are averaged; put them side by side, so that the width is D again",
            lambda *args: multi_head(*args).unflatten(-1, (args[3], -1)).mean(dim=2),
        ),
        Mistake(
            "the heads are added up; put them side by side, so that the width is D again",
            lambda *args: multi_head(*args).unflatten(-1, (args[3], -1)).sum(dim=2),
        ),
        Mistake(
            "a causal mask is at work; here every query may look at every key",
            _causal,
        ),
        Mistake(
            "the head axis stands behind the tokens, so within each token the heads attend to each other; move it "
            "before the tokens",
            _heads_over_tokens,
        ),
        Mistake("`squeeze()` drops the batch of one as well", _squeezed),
        Mistake(
            "keys and values are swapped: queries meet the keys, and the weights mix the values",
            lambda q, k, v, num_heads: multi_head(q, v, k, num_heads),
        ),
        Mistake(
            "the keys are mixed instead of the values",
            lambda q, k, v, num_heads: multi_head(q, k, k, num_heads),
        ),
        Mistake(
            "the softmax is missing: the weights of a query have to be positive and sum to one",
            _heads_by(weigh=lambda scores, axis: scores),
        ),
        Mistake(
            "a sigmoid stands in place of the softmax; the weights of a query have to sum to one over the keys",
            _heads_by(weigh=lambda scores, axis: scores.sigmoid()),
        ),
        Mistake(
            "`num_heads` is taken for the width of a head: there are h heads of width D/h",
            lambda q, k, v, num_heads: multi_head(q, k, v, q.shape[-1] // num_heads),
        ),
    ),
)


# 3.4 -----------------------------------------------------------------------------------------------------------------


def block_flops(height: int, width: int, patch: int, dim: int) -> int:
    """24 N D² + 4 N² D with N = HW / P²."""
    N = (height // patch) * (width // patch)
    return 24 * N * dim**2 + 4 * N**2 * dim


def _flops_cases() -> list[Case]:
    sizes = [(224, 224, 16, 768), (448, 448, 16, 768), (32, 48, 8, 64), (64, 16, 4, 96), (28, 28, 28, 10)]
    return [Case(size) for size in sizes]


def _flops_of(formula: Callable[[int, int], float], count=lambda H, W, P: (H // P) * (W // P)):
    """Another formula of N and D, or another count of N."""
    return lambda height, width, patch, dim: formula(count(height, width, patch), dim)


def _right_flops(N: int, D: int) -> int:
    return 24 * N * D**2 + 4 * N**2 * D


BLOCK_FLOPS = Exercise(
    id="3.4",
    title="The bill for one block",
    reference=block_flops,
    cases=_flops_cases,
    difference=compare.integers,
    mistakes=(
        Mistake(
            "multiply–adds are counted; each is two operations, so the FLOPs are twice as many",
            _flops_of(lambda N, D: 12 * N * D**2 + 2 * N**2 * D),
        ),
        Mistake(
            "the multiply–adds of the linear layers are not doubled; each is two operations",
            _flops_of(lambda N, D: 12 * N * D**2 + 4 * N**2 * D),
        ),
        Mistake(
            "one of the two products of attention is missing: q kᵀ *and* weights times v",
            _flops_of(lambda N, D: 24 * N * D**2 + 2 * N**2 * D),
        ),
        Mistake("the MLP is missing: its two layers take 16 N D²", _flops_of(lambda N, D: 8 * N * D**2 + 4 * N**2 * D)),
        Mistake(
            "the four projections are missing; they take 8 N D²",
            _flops_of(lambda N, D: 16 * N * D**2 + 4 * N**2 * D),
        ),
        Mistake(
            "the output projection is missing; q, k, v and out are four",
            _flops_of(lambda N, D: 22 * N * D**2 + 4 * N**2 * D),
        ),
        Mistake(
            "everything is doubled once more; the sizes 12 N D² and 2 N² D count multiply–adds, so double them once",
            _flops_of(lambda N, D: 48 * N * D**2 + 8 * N**2 * D),
        ),
        Mistake(
            "the two products of attention lack D: each of the N² weights costs D multiply–adds",
            _flops_of(lambda N, D: 24 * N * D**2 + 4 * N**2),
        ),
        Mistake("the products of attention, 4 N² D, are missing", _flops_of(lambda N, D: 24 * N * D**2)),
        Mistake("the linear layers, 24 N D², are missing", _flops_of(lambda N, D: 4 * N**2 * D)),
        Mistake(
            "the linear layers are counted for one token; they run on all N",
            _flops_of(lambda N, D: 24 * D**2 + 4 * N**2 * D),
        ),
        Mistake(
            "N is H/P, the tokens along one side; there are (H/P)(W/P)",
            _flops_of(_right_flops, lambda H, W, P: H // P),
        ),
        Mistake(
            "HW is divided by P once; a patch covers P·P pixels",
            _flops_of(_right_flops, lambda H, W, P: H * W // P),
        ),
        Mistake("every pixel is a token; N is HW / P²", _flops_of(_right_flops, lambda H, W, P: H * W)),
        Mistake(
            "the height stands for both sides; an image need not be square",
            _flops_of(_right_flops, lambda H, W, P: (H // P) ** 2),
        ),
        Mistake(
            "a CLS token is counted; here the patches are all the tokens there are",
            _flops_of(_right_flops, lambda H, W, P: (H // P) * (W // P) + 1),
        ),
        Mistake(
            "`/` always gives a float in Python; `//` divides whole numbers",
            _flops_of(_right_flops, lambda H, W, P: H * W / P**2),
        ),
    ),
)


# 3.5 -----------------------------------------------------------------------------------------------------------------

Scorer = Callable[[Tensor], Tensor]


def greedy(score: Scorer, batch: int, start: int, length: int) -> Tensor:
    """Write `length` symbols, each the best one after those before it: -> (B, length), the start not included."""
    written = torch.full((batch, 1), start)  # (B, 1)
    for _ in range(length):
        best = score(written)[:, -1].argmax(dim=-1, keepdim=True)  # (B, 1)
        written = torch.cat([written, best], dim=1)  #               (B, 1 + n)
    return written[:, 1:]  # (B, length)


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


def _greedy_cases() -> list[Case]:
    cases = []
    for batch, symbols, length in [(3, 7, 6), (1, 5, 4), (2, 9, 9), (2, 4, 1), (4, 6, 3)]:
        label = f"a model of {symbols} symbols, batch = {batch}, start = {symbols - 1}, length = {length}"
        cases.append(Case((_scorer(symbols, symbols), batch, symbols - 1, length), label=label))
    return cases


def _greedy_by(pick: Callable[[Tensor], Tensor], feed=lambda written: written, keep=lambda written: written[:, 1:]):
    """Greedy decoding with one part replaced: which symbol is picked, what the model is fed, what is returned."""

    def answer(score: Scorer, batch: int, start: int, length: int) -> Tensor:
        written = torch.full((batch, 1), start)
        for _ in range(length):
            written = torch.cat([written, pick(score(feed(written)))], dim=1)
        return keep(written)

    return answer


def _best(scores: Tensor) -> Tensor:
    return scores[:, -1].argmax(dim=-1, keepdim=True)  # (B, 1)


def _one_short(score: Scorer, batch: int, start: int, length: int) -> Tensor:
    return greedy(score, batch, start, length - 1)


def _start_included(score: Scorer, batch: int, start: int, length: int) -> Tensor:
    return torch.cat([torch.full((batch, 1), start), greedy(score, batch, start, length - 1)], dim=1)


def _all_at_once(score: Scorer, batch: int, start: int, length: int) -> Tensor:
    return score(torch.full((batch, length), start)).argmax(dim=-1)


def _zero_start(score: Scorer, batch: int, start: int, length: int) -> Tensor:
    return greedy(score, batch, 0, length)


def _sampled(scores: Tensor) -> Tensor:
    return torch.multinomial(scores[:, -1].softmax(dim=-1), 1)


GREEDY = Exercise(
    id="3.5",
    title="Write one symbol at a time",
    reference=greedy,
    cases=_greedy_cases,
    mistakes=(
        Mistake(
            "the scores of the first position are read each time; the next symbol stands in those of the last",
            _greedy_by(lambda scores: scores[:, 0].argmax(dim=-1, keepdim=True)),
        ),
        Mistake(
            "the best symbols of *all* positions are appended each time; only that of the last position is new",
            _greedy_by(lambda scores: scores.argmax(dim=-1)),
        ),
        Mistake(
            "one row is written; there are `batch` rows, each with a start symbol",
            lambda score, batch, start, length: greedy(score, 1, start, length),
        ),
        Mistake(
            "the model is shown only the last symbol; it needs all that has been written so far",
            _greedy_by(_best, feed=lambda written: written[:, -1:]),
        ),
        Mistake(
            "the start symbol is still in front of the answer",
            _greedy_by(_best, keep=lambda written: written),
        ),
        Mistake("the start symbol is returned as the first symbol, and the last one is missing", _start_included),
        Mistake("one symbol is missing at the end: the loop runs `length` times", _one_short),
        Mistake(
            "one symbol too many: the loop runs `length` times",
            lambda score, batch, start, length: greedy(score, batch, start, length + 1),
        ),
        Mistake(
            "the first row decides for the whole batch; each row has a best symbol of its own",
            _greedy_by(lambda scores: scores[:1, -1].argmax(dim=-1, keepdim=True).expand(len(scores), 1)),
        ),
        Mistake(
            "all symbols are named in one call, from nothing but start symbols; each has to see those before it",
            _all_at_once,
        ),
        Mistake("it starts from symbol 0; start from `start`", _zero_start),
        Mistake(
            "the symbols are drawn at random by their probability; greedy takes the best, with `argmax`",
            _greedy_by(_sampled),
        ),
        Mistake(
            "the *lowest* score is picked; take the `argmax`",
            _greedy_by(lambda scores: scores[:, -1].argmin(dim=-1, keepdim=True)),
        ),
        Mistake(
            "`argmax` without `dim` counts through the whole batch; the symbols are the last axis",
            _greedy_by(lambda scores: (scores[:, -1].argmax() % scores.shape[-1]).expand(len(scores), 1)),
        ),
        Mistake(
            "the new symbols are written in front of the old ones; append them",
            lambda score, batch, start, length: _prepending(score, batch, start, length),
        ),
    ),
)


def _prepending(score: Scorer, batch: int, start: int, length: int) -> Tensor:
    written = torch.full((batch, 1), start)
    for _ in range(length):
        written = torch.cat([_best(score(written)), written], dim=1)
    return written[:, :-1]


# 3.6 -----------------------------------------------------------------------------------------------------------------

SURE = 0.99  # the weight that counts as looking at one token only


def mirror(count: int) -> tuple[Tensor, Tensor]:
    """Queries (N, 2) and keys (N, 2): token n puts nearly all its weight on token N - 1 - n."""
    angles = 2 * math.pi * torch.arange(count) / count
    keys = torch.stack([angles.cos(), angles.sin()], dim=1)  # (N, 2): evenly around a circle
    return 100 * count**2 * keys.flip(0), keys


def _mirror_cases() -> list[Case]:
    return [Case((count,)) for count in (4, 2, 7, 16, 50)]


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


def _on_circle(turn: Callable[[Tensor], Tensor] = lambda keys: keys.flip(0), scale=lambda N: 100 * N**2, ends: int = 0):
    """Keys around a circle; `turn` makes the queries from them; with `ends` = 1 the last lies on the first."""

    def answer(count: int) -> tuple[Tensor, Tensor]:
        angles = 2 * math.pi * torch.arange(count) / max(1, count - ends)
        keys = torch.stack([angles.cos(), angles.sin()], dim=1)
        return scale(count) * turn(keys), keys

    return answer


def _on_line(count: int) -> tuple[Tensor, Tensor]:
    places = torch.arange(count).float() - (count - 1) / 2
    keys = torch.stack([places, torch.zeros(count)], dim=1)
    return 100 * keys.flip(0), keys


def _number_itself(count: int) -> tuple[Tensor, Tensor]:
    places = torch.arange(count).float() + 1
    keys = torch.stack([places, torch.ones(count)], dim=1)
    return 100 * keys.flip(0), keys


def _one_hot(count: int) -> tuple[Tensor, Tensor]:
    return 100 * torch.eye(count).flip(0), torch.eye(count)


MIRROR = Exercise(
    id="3.6",
    title="A head of width two",
    reference=mirror,
    cases=_mirror_cases,
    difference=_not_mirrored,
    simplify=_looks_at,
    mistakes=(
        Mistake(
            "every token looks at itself: token n's query has to point to the key of token N - 1 - n",
            _on_circle(turn=lambda keys: keys),
        ),
        Mistake(
            "the right key has the highest score everywhere, but the softmax stays flat: make the queries longer, the "
            "more so the more keys share the circle",
            _on_circle(scale=lambda N: 1),
        ),
        Mistake(
            "long enough queries for a few keys, but not for many: neighbours on the circle come closer like 1/N, and "
            "their scores like 1/N²",
            _on_circle(scale=lambda N: 50),
        ),
        Mistake("the signs are turned round: each query points away from its key", _on_circle(lambda k: -k.flip(0))),
        Mistake(
            "the keys lie on a line, and on a line only the two ends can have the highest score; bend it, to a circle "
            "or a parabola",
            _on_line,
        ),
        Mistake(
            "the keys lie on a line beside the origin, and the last one has the highest score for every query; bend "
            "the line, to a circle or a parabola",
            _number_itself,
        ),
        Mistake(
            "the last key lies on the first, because the circle is closed twice: divide by N, not by N - 1",
            _on_circle(ends=1),
        ),
        Mistake("off by one: token 0 has to look at token N - 1", _on_circle(lambda k: k.flip(0).roll(1, 0))),
        Mistake(
            "every token looks at its neighbour; the sequence has to be reversed", _on_circle(lambda k: k.roll(-1, 0))
        ),
        Mistake("a column for each token; the width is 2, whatever N is", _one_hot),
        Mistake("one tensor is returned; return the pair (q, k)", lambda count: mirror(count)[0]),
    ),
)

EXERCISES = {
    exercise.id: exercise for exercise in (COUNT_ATTENTION, SHIFT_RIGHT, MULTI_HEAD, BLOCK_FLOPS, GREEDY, MIRROR)
}
