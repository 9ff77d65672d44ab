"""The exercises of chapter 12, CvT."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vitedu.exercises import compare
from vitedu.exercises.exercise import Case, batch_traits, exercise, formulas, on


def _random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed + 31 * sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


# 12.1 ----------------------------------------------------------------------------------------------------------------


def queries_and_keys(height: int, width: int) -> tuple[int, ...]:
    """Queries and keys in each of CvT's three stages, for images of these sides: six numbers, CLS counted."""
    return _counted()(height, width)


def _counted(
    after=lambda side, kernel, stride, pad: (side + 2 * pad - kernel) // stride + 1,
    keys=lambda side: -(-side // 2),
    embeddings=((7, 4, 2), (3, 2, 1), (3, 2, 1)),
    cls=((0, 0), (0, 0), (1, 1)),
    down_and_across=lambda down, across: down * across,
):
    """The six numbers with one step changed."""

    def answer(height: int, width: int) -> tuple[int, ...]:
        found = []
        for embedding, (to_queries, to_keys) in zip(embeddings, cls, strict=True):
            height, width = after(height, *embedding), after(width, *embedding)
            found += [down_and_across(height, width) + to_queries, down_and_across(keys(height), keys(width)) + to_keys]
        return tuple(found)

    return answer


SIDES = [(224, 224), (64, 64), (384, 384), (33, 65), (225, 100), (70, 18), (99, 200), (36, 36)]

mistakes = {
    "CLS is missing: it joins before the last stage, as a query and as a key": _counted(cls=((0, 0),) * 3),
    "CLS is a query, but also a key of the last stage: the stride does not touch it": _counted(
        cls=((0, 0), (0, 0), (1, 0))
    ),
    "CLS is a key, but also a query of the last stage": _counted(cls=((0, 0), (0, 0), (0, 1))),
    "CLS joins before the last stage only; here every stage has one": _counted(cls=((1, 1),) * 3),
    "the first convolution has a padding of 2, not of 3 (which would round up)": _counted(
        embeddings=((7, 4, 3), (3, 2, 1), (3, 2, 1))
    ),
    "the padding is missing, 2 in the first and 1 in the others; or the + 1 of the formula is": _counted(
        embeddings=((7, 4, 0), (3, 2, 0), (3, 2, 0))
    ),
    "each side is divided by the stride and rounded down; the padding keeps a window more: (side + 2p - k) // s + 1": (
        _counted(after=lambda side, kernel, stride, pad: side // stride)
    ),
    "an odd side keeps its last place: 3 places with a stride of 2 and padding 1 leave 2 keys": _counted(
        keys=lambda side: max(1, side // 2)
    ),
    "the keys are every second place: their convolution has stride 2": _counted(keys=lambda side: side),
    "the keys' convolution has stride 2, not 4": _counted(keys=lambda side: -(-side // 4)),
    "the number of tokens is halved; a stride of 2 halves both sides": (
        lambda height, width: tuple(
            value
            for queries in (_counted(cls=((0, 0),) * 3)(height, width)[::2],)
            for stage, n in enumerate(queries)
            for value in (n + (stage == 2), -(-n // 2) + (stage == 2))
        )
    ),
    "the stages after the first have stride 2, not 4": _counted(embeddings=((7, 4, 2), (3, 4, 1), (3, 4, 1))),
    "rows and columns are added; a grid has rows times columns": _counted(
        down_and_across=lambda down, across: down + across
    ),
    "the height is used for both sides": lambda height, width: _counted()(height, height),
    "the width is used for both sides": lambda height, width: _counted()(width, width),
    "queries and keys are swapped: queries come first": (
        lambda height, width: tuple(queries_and_keys(height, width)[index] for index in (1, 0, 3, 2, 5, 4))
    ),
}
exercise("12.1", queries_and_keys, lambda: on(*SIDES), mistakes, difference=compare.integer_tuples)


# 12.2 ----------------------------------------------------------------------------------------------------------------


def attention_macs(rows: int, columns: int, dim: int, stride: int) -> int:
    """Multiply-adds of the convolutional attention of one block without CLS, its output map included."""
    N, S = rows * columns, -(-rows // stride) * -(-columns // stride)
    return 9 * dim * (N + 2 * S) + dim * dim * (2 * N + 2 * S) + 2 * N * S * dim


@formulas(3, 5, 2, 2)
def _attention_costs(rows, columns, D, stride):
    N, S = rows * columns, -(-rows // stride) * -(-columns // stride)
    right, down = attention_macs(rows, columns, D, stride), max(1, rows // stride) * max(1, columns // stride)

    def cost(N=N, S=S, depthwise=None, linear=None, pairs=None) -> int:
        parts = [9 * D * (N + 2 * S), D * D * (2 * N + 2 * S), 2 * N * S * D]
        changed = zip(parts, (depthwise, linear, pairs), strict=True)
        return sum(part if other is None else other for part, other in changed)

    return {
        "the stride is forgotten: there are fewer keys than queries": cost(S=N),
        "the number of keys is N divided by the stride; a stride thins out rows and columns: both sides": cost(
            S=-(-N // stride)
        ),
        "the keys are N divided by the stride squared; an odd side rounds up, row by row and column by column": cost(
            S=N // stride**2
        ),
        "an odd side keeps its last place: round up": cost(S=down),
        "the depthwise convolutions are missing: nine multiply-adds a channel and place that comes out": cost(
            depthwise=0
        ),
        "a depthwise kernel reads one channel: 9·D a place, not 9·D²": cost(depthwise=9 * D * D * (N + 2 * S)),
        "the depthwise convolutions are priced at the places that go in; the stride leaves S for keys and values": cost(
            depthwise=27 * D * N
        ),
        "there is one depthwise convolution for each of queries, keys and values": cost(depthwise=9 * D * N),
        "values have a convolution too: S places for keys, S for values": cost(depthwise=9 * D * (N + S)),
        "the linear maps of keys and values see S tokens, not N": cost(linear=4 * N * D * D),
        "the output has a linear map as well": cost(linear=D * D * (N + 2 * S)),
        "values have a linear map too: S tokens for keys, S for values": cost(linear=D * D * (2 * N + S)),
        "the linear maps of queries and of the output see all N tokens": cost(linear=4 * S * D * D),
        "the linear maps are missing: they stay behind the convolutions": cost(linear=0),
        "attention has two products with N·S in them, q kᵀ and weights · v": cost(pairs=N * S * D),
        "queries are not thinned out: there are N·S pairs, not S²": cost(pairs=2 * S * S * D),
        "keys are thinned out: there are N·S pairs, not N²": cost(pairs=2 * N * N * D),
        "the pairs are missing, q kᵀ and weights · v": cost(pairs=0),
        "the output's linear map sees N tokens, not S": cost(linear=D * D * (N + 3 * S)),
        "the convolution makes the queries with stride 1: N of them": cost(N=S),
        "this counts operations; a multiply-add is two of them": 2 * right,
    }


BLOCKS = [
    (14, 14, 384, 2),
    (56, 56, 64, 2),
    (56, 56, 64, 1),
    (7, 9, 32, 2),
    (5, 8, 16, 3),
    (28, 28, 192, 4),
    (9, 9, 8, 2),
]
exercise("12.2", attention_macs, lambda: on(*BLOCKS), _attention_costs, difference=compare.integers)


# 12.3 ----------------------------------------------------------------------------------------------------------------


def projected(x: Tensor, rows: int, kernel: Tensor, gain: Tensor, shift: Tensor, weight: Tensor, stride: int) -> Tensor:
    """(B, 1 + N, D), CLS first -> (B, 1 + S, D): depthwise convolution, BatchNorm of this batch, CLS, linear map."""
    return _projected()(x, rows, kernel, gain, shift, weight, stride)


def _normalised(features: Tensor, gain: Tensor, shift: Tensor, over=(0, 2, 3)) -> Tensor:
    mean, variance = features.mean(over, keepdim=True), features.var(over, correction=0, keepdim=True)
    return (features - mean) / (variance + 1e-5).sqrt() * gain[:, None, None] + shift[:, None, None]


def _as_map(tokens: Tensor, rows: int) -> Tensor:
    return tokens.mT.unflatten(2, (rows, -1))


def _projected(
    take=lambda x: (x[:, :1], x[:, 1:]),
    as_map=_as_map,
    convolve=lambda features, kernel, stride: F.conv2d(features, kernel, None, stride, 1, groups=len(kernel)),
    norm=_normalised,
    back=lambda features: features.flatten(2).mT,
    join=lambda cls, tokens: torch.cat([cls, tokens], dim=1),
    linear=lambda tokens, weight: tokens @ weight.T,
):
    """The projection with one step changed."""

    def answer(x, rows, kernel, gain, shift, weight, stride):
        cls, tokens = take(x)
        features = norm(convolve(as_map(tokens, rows), kernel, stride), gain, shift)
        return linear(join(cls, back(features)), weight)

    return answer


def _projection_case(B: int, rows: int, columns: int, D: int, stride: int, dtype=torch.float32) -> Case:
    x = _random(B, 1 + rows * columns, D, dtype=dtype) + 0.5
    kernel = _random(D, 1, 3, 3, seed=1, dtype=dtype) / 3
    gain, shift = 1 + _random(D, seed=2, dtype=dtype) / 4, _random(D, seed=3, dtype=dtype)
    weight = _random(D, D, seed=4, dtype=dtype) / D**0.5
    return Case((x, rows, kernel, gain, shift, weight, stride), traits=batch_traits(B))


def _projection_cases() -> list[Case]:
    sizes = [(2, 4, 6, 5, 2), (3, 3, 5, 4, 1), (1, 4, 4, 6, 2), (2, 5, 3, 3, 2), (2, 6, 6, 4, 3)]
    return [*(_projection_case(*size) for size in sizes), _projection_case(2, 4, 3, 4, 2, torch.float64)]


def _running(features: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    return features * gain[:, None, None] + shift[:, None, None]


def _cls_convolved(x, rows, kernel, gain, shift, weight, stride):
    """CLS fills the first place, and the last token is lost."""
    features = F.conv2d(_as_map(x[:, :-1], rows), kernel, None, stride, 1, groups=len(kernel))
    tokens = _normalised(features, gain, shift).flatten(2).mT
    return torch.cat([x[:, :1], tokens], dim=1) @ weight.T


mistakes = {
    "CLS is missing in what comes out: put it back before the linear map": _projected(join=lambda cls, tokens: tokens),
    "CLS meets the linear map as well; only the convolution and the norm pass it by": (
        lambda x, rows, kernel, gain, shift, weight, stride: torch.cat(
            [x[:, :1], projected(x, rows, kernel, gain, shift, weight, stride)[:, 1:]], dim=1
        )
    ),
    "CLS is put behind the patches; it is token 0": _projected(join=lambda cls, tokens: torch.cat([tokens, cls], 1)),
    "CLS was convolved, as if it lay in the first place, and the last patch is lost: split it off": _cls_convolved,
    "CLS is normalised with the patches' BatchNorm; it passes by": (
        lambda x, rows, kernel, gain, shift, weight, stride: _projected(
            join=lambda cls, tokens: torch.cat([_running(cls.mT[..., None], gain, shift)[..., 0].mT, tokens], 1)
        )(x, rows, kernel, gain, shift, weight, stride)
    ),
    "the linear map is missing: it stays behind the convolution": _projected(linear=lambda tokens, weight: tokens),
    "a linear layer multiplies by the transpose of its weight: `x @ weight.T`, or `F.linear`": _projected(
        linear=lambda tokens, weight: tokens @ weight
    ),
    "the tokens became a map by `reshape`, which mixes places and channels; swap the axes first, `.mT`": _projected(
        as_map=lambda tokens, rows: tokens.reshape(len(tokens), tokens.shape[2], rows, -1)
    ),
    "the map became tokens by `reshape` alone, which mixes places and channels; `flatten(2).mT`": _projected(
        back=lambda features: features.flatten(2).reshape(len(features), -1, features.shape[1])
    ),
    "the grid is filled column by column; tokens are in raster order": _projected(
        as_map=lambda tokens, rows: tokens.mT.unflatten(2, (-1, rows)).mT
    ),
    "the map comes back column by column; tokens are in raster order": _projected(
        back=lambda features: features.mT.flatten(2).mT
    ),
    "the stride is forgotten": _projected(
        convolve=lambda features, kernel, stride: F.conv2d(features, kernel, None, 1, 1, groups=len(kernel))
    ),
    "the padding is missing: a rim of one zero around the map": _projected(
        convolve=lambda features, kernel, stride: F.conv2d(features, kernel, None, stride, 0, groups=len(kernel))
    ),
    "the padding goes round the edges; it has to be zeros": _projected(
        convolve=lambda features, kernel, stride: F.conv2d(
            F.pad(features, (1, 1, 1, 1), mode="circular"), kernel, None, stride, 0, groups=len(kernel)
        )
    ),
    "the kernels are turned round: `conv2d` does not flip them": _projected(
        convolve=lambda features, kernel, stride: F.conv2d(
            features, kernel.flip(2, 3), None, stride, 1, groups=len(kernel)
        )
    ),
    "every channel has its own kernel; `groups` has to be D, and here all channels are summed": _projected(
        convolve=lambda features, kernel, stride: F.conv2d(
            features, kernel.expand(-1, features.shape[1], -1, -1), None, stride, 1
        )
    ),
    "the norm is missing": _projected(norm=lambda features, gain, shift: features),
    "gain and shift are applied, but mean and variance of the batch are not taken out": _projected(norm=_running),
    "the norm's gain and shift are missing": _projected(
        norm=lambda features, gain, shift: _normalised(features, torch.ones_like(gain), torch.zeros_like(shift))
    ),
    "this is LayerNorm, each place by itself; BatchNorm takes each channel over all places of all images": _projected(
        norm=lambda features, gain, shift: _normalised(features, gain, shift, over=(1,))
    ),
    "each image is normalised by itself; BatchNorm takes each channel over all images": _projected(
        norm=lambda features, gain, shift: _normalised(features, gain, shift, over=(2, 3))
    ),
    "the norm comes before the convolution; it follows it": (
        lambda x, rows, kernel, gain, shift, weight, stride: _projected(
            as_map=lambda tokens, rows: _normalised(_as_map(tokens, rows), gain, shift),
            norm=lambda features, gain, shift: features,
        )(x, rows, kernel, gain, shift, weight, stride)
    ),
}
exercise("12.3", projected, _projection_cases, mistakes)


# 12.4 ----------------------------------------------------------------------------------------------------------------


def stochastic_stage(x: Tensor, weights: Tensor, keep: Tensor, rate: float) -> Tensor:
    """x (B, N, D), a branch of weights (D, D) for each of L blocks, keep (L, B) -> (B, N, D)."""
    return _stage()(x, weights, keep, rate)


def _linear_rates(rate: float, depth: int) -> list[float]:
    return torch.linspace(0, rate, depth).tolist()


def _as_written(x: Tensor, branch: Tensor, kept: Tensor, p: float) -> Tensor:
    return x + branch * kept / (1 - p)


def _stage(
    rates=_linear_rates, step=_as_written, branch=lambda x, weight: x @ weight, mask=lambda kept: kept[:, None, None]
):
    """The stage with one step changed."""

    def answer(x: Tensor, weights: Tensor, keep: Tensor, rate: float) -> Tensor:
        for weight, kept, p in zip(weights, keep, rates(rate, len(weights)), strict=True):
            x = step(x, branch(x, weight), mask(kept.to(x.dtype)), p)
        return x

    return answer


def _stage_case(B: int, N: int, D: int, L: int, rate: float, dtype=torch.float32) -> Case:
    weights = _random(L, D, D, seed=1, dtype=dtype) / D**0.5
    keep = torch.arange(L * B).reshape(L, B) % 3 != 1
    keep[0] = True  # nothing is dropped at a rate of 0
    return Case((_random(B, N, D, dtype=dtype), weights, keep, rate), traits=batch_traits(B))


def _stage_cases() -> list[Case]:
    sizes = [(3, 4, 5, 4, 0.3), (2, 2, 3, 5, 0.5), (1, 3, 4, 3, 0.2), (3, 3, 3, 3, 0.4), (2, 3, 4, 1, 0.25)]
    return [*(_stage_case(*size) for size in sizes), _stage_case(2, 4, 3, 4, 0.3, torch.float64)]


def _third_of_three(rate: float, depth: int) -> list[float]:
    """What the code of the task does: for every block the rate that stands at the number of the stage."""
    rates = _linear_rates(rate, depth)
    return [rates[min(2, depth - 1)]] * depth


def _over_all(how):
    """A stage whose branches start from other tokens."""
    return lambda x, weights, keep, rate: how(x, weights, keep, _linear_rates(rate, len(weights)))


def _parallel(x: Tensor, weights: Tensor, keep: Tensor, rates: list[float]) -> Tensor:
    branches = zip(weights, keep, rates, strict=True)
    return x + sum(x @ weight * kept[:, None, None].to(x.dtype) / (1 - p) for weight, kept, p in branches)


mistakes = {
    "both faults are still there: every block has the rate of the stage's number, and what is dropped is the sum, so "
    "that whole images become zeros": _stage(_third_of_three, lambda x, branch, kept, p: (x + branch) * kept / (1 - p)),
    "one fault is still there: every block has the same rate, that of the stage's number; block l has entry l": _stage(
        _third_of_three
    ),
    "one fault is still there: what is dropped is the sum, so that whole images become zeros; drop the branch, then "
    "add": _stage(step=lambda x, branch, kept, p: (x + branch) * kept / (1 - p)),
    "every block has the largest rate; they grow from 0": _stage(lambda rate, depth: [rate] * depth),
    "the rates grow over the wrong range: the first is 0 and the last is `rate`": _stage(
        lambda rate, depth: [rate * (l + 1) / depth for l in range(depth)]
    ),
    "the last block has the full `rate`: `linspace` counts its end, `range` does not": _stage(
        lambda rate, depth: [rate * l / depth for l in range(depth)]
    ),
    "the rates fall from block to block; the first is 0": _stage(lambda rate, depth: _linear_rates(rate, depth)[::-1]),
    "what is kept is not scaled up: divide by 1 - p": _stage(step=lambda x, branch, kept, p: x + branch * kept),
    "what is kept is multiplied by 1 - p; divide by it, so that the mean stays": _stage(
        step=lambda x, branch, kept, p: x + branch * kept * (1 - p)
    ),
    "all of the tokens are scaled; only the branch is": _stage(
        step=lambda x, branch, kept, p: (x + branch * kept) / (1 - p)
    ),
    "what is dropped is the other way: the tokens go, and the branch stays": _stage(
        step=lambda x, branch, kept, p: x * kept / (1 - p) + branch
    ),
    "the residual is missing: the branch is added to the tokens": _stage(
        step=lambda x, branch, kept, p: branch * kept / (1 - p)
    ),
    "`keep` is true where the branch is kept; here it is dropped there": _stage(
        step=lambda x, branch, kept, p: x + branch * (1 - kept) / (1 - p)
    ),
    "nothing is dropped": _stage(step=lambda x, branch, kept, p: x + branch),
    "nothing is dropped, and still the branch is scaled up": _stage(
        step=lambda x, branch, kept, p: x + branch / (1 - p)
    ),
    "the images are swapped: `keep[l]` is in their order": _stage(mask=lambda kept: kept.flip(0)[:, None, None]),
    "all images share one choice, that of the first": _stage(mask=lambda kept: kept[:1, None, None]),
    "the blocks are passed in the wrong order: weights[0] comes first": (
        lambda x, weights, keep, rate: _stage()(x, weights.flip(0), keep, rate)
    ),
    "all branches read the tokens that entered the stage; each reads what the block before it left": _over_all(
        _parallel
    ),
    "the branch is x @ weight, without a transpose": _stage(branch=lambda x, weight: x @ weight.T),
    "the last block is left out": (
        lambda x, weights, keep, rate: _over_all(
            lambda x, weights, keep, rates: _stage(lambda *_: rates[:-1])(x, weights[:-1], keep[:-1], rate)
        )(x, weights, keep, rate)
    ),
}
exercise("12.4", stochastic_stage, _stage_cases, mistakes)


# 12.5 ----------------------------------------------------------------------------------------------------------------


def smallest_roll(strides: list[int], kv_strides: list[int]) -> int:
    """By how many pixels one has to roll a picture so that a CvT with circular padding and no positions is unmoved."""
    reached, found = 1, 1
    for stride, kv_stride in zip(strides, kv_strides, strict=True):
        reached *= stride
        found = math.lcm(found, reached * kv_stride)
    return found


@formulas([2, 3], [2, 4])
def _rolls(strides, kv_strides):
    tokens = [math.prod(strides[: stage + 1]) for stage in range(len(strides))]
    each = [token * kv for token, kv in zip(tokens, kv_strides, strict=True)]
    return {
        "the keys are forgotten: they stand at every second place of a stage, or at whatever `kv_strides` says": (
            tokens[-1]
        ),
        "only the first stage is looked at": each[0],
        "only the last stage is looked at; an earlier one may take its keys farther apart": each[-1],
        "the strides of the embeddings multiply from stage to stage": (
            math.lcm(*(s * kv for s, kv in zip(strides, kv_strides, strict=True)))
        ),
        "this is the largest of the stages' distances; a roll has to suit all of them: the least common multiple": max(
            each
        ),
        "this is the product of the stages' distances; the least common multiple is enough": math.prod(each),
        "all strides are multiplied; those of the keys do not add up, for what leaves a block has all places": (
            math.prod(strides) * math.prod(kv_strides)
        ),
        "the strides are added; each counts in places of the stage before": sum(strides) + sum(kv_strides),
        "this is the smallest of the stages' distances; a roll has to suit all of them": min(each),
        "the strides of the keys alone are multiplied; the embeddings have strides, too": math.prod(kv_strides),
        "this is the largest stride of an embedding times the largest of the keys; multiply the strides up to each "
        "stage": max(strides) * max(kv_strides),
        "all embeddings' strides times the largest of the keys' strides; an early stage's keys stand in its own, finer "
        "grid": (tokens[-1] * max(kv_strides)),
        "this is what all stages' distances have in common; the other way: a multiple of each": math.gcd(*each),
        "twice as far as needed": 2 * smallest_roll(strides, kv_strides),
    }


ROLLS = [
    ([4, 2, 2], [2, 2, 2]),
    ([4, 2, 2], [1, 1, 1]),
    ([4, 2, 2], [8, 4, 1]),
    ([2, 3], [3, 1]),
    ([4, 2, 2], [3, 1, 2]),
    ([4], [2]),
    ([2, 2, 2, 2], [1, 16, 2, 1]),
    ([4, 4], [2, 2]),
    ([3, 2], [4, 5]),
]
exercise("12.5", smallest_roll, lambda: on(*ROLLS), _rolls, difference=compare.integers)


# 12.6 ----------------------------------------------------------------------------------------------------------------


def merged(
    kernel: Tensor, gain: Tensor, shift: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """Kernels (D, 1, 3, 3), BatchNorm's four (D,), a linear map (D, D) with its bias -> one convolution, (D, D, 3, 3)
    and its bias (D,), laid side by side as (D, 9·D + 1)."""
    scale = gain / (variance + 1e-5).sqrt()
    whole = weight[:, :, None, None] * (scale[:, None, None] * kernel[:, 0])  # (D, D, 3, 3)
    return torch.cat([whole.flatten(1), (weight @ (shift - mean * scale) + bias)[:, None]], dim=1)


def _merged_case(D: int, dtype=torch.float32) -> Case:
    def drawn(*shape: int, seed: int) -> Tensor:
        return _random(*shape, seed=seed, dtype=dtype)

    vectors = [1 + drawn(D, seed=1) / 3, drawn(D, seed=2), drawn(D, seed=3), drawn(D, seed=4).exp()]
    return Case((drawn(D, 1, 3, 3, seed=0) / 3, *vectors, drawn(D, D, seed=5) / D**0.5, drawn(D, seed=6)))


def _merged_cases() -> list[Case]:
    return [*(_merged_case(D) for D in (3, 4, 6)), _merged_case(5, torch.float64)]


@formulas(*_merged_cases()[0].args)
def _mergers(kernel, gain, shift, mean, variance, weight, bias):
    deviation = (variance + 1e-5).sqrt()
    scale = gain / deviation

    def one(scale=scale, offset=None, weight=weight, bias=bias, kernel=kernel[:, 0], to=None) -> Tensor:
        offset = shift - mean * scale if offset is None else offset
        whole = weight[:, :, None, None] * (scale[:, None, None] * kernel) if to is None else to
        return torch.cat([whole.flatten(1), (weight @ offset + bias)[:, None]], dim=1)

    return {
        "BatchNorm's running mean is left out: the shift left over is shift - mean · gain / √(variance + ε)": one(
            offset=shift
        ),
        "BatchNorm divides by the root of the variance, not by the variance": one(gain / (variance + 1e-5)),
        "the variance is left out: BatchNorm divides by √(variance + ε)": one(gain),
        "the gain is left out": one(1 / deviation),
        "the ε under the root is 1, not 0.00001": one(gain / (variance + 1).sqrt()),
        "multiplied by the root of the variance; divide by it": one(gain * deviation),
        "the bias of the linear map is left out": one(bias=0 * bias),
        "what BatchNorm adds goes through the linear map, too: weight @ (…)": torch.cat(
            [one()[:, :-1], (shift - mean * scale + bias)[:, None]], dim=1
        ),
        "only the linear map's bias is left: what BatchNorm adds is missing": torch.cat(
            [one()[:, :-1], bias[:, None]], dim=1
        ),
        "the running mean has to be scaled like the features: mean · gain / √(variance + ε)": one(offset=shift - mean),
        "the mean is added; BatchNorm subtracts it": one(offset=shift + mean * scale),
        "the shift is scaled, too; it is added after the scaling": one(offset=(shift - mean) * scale),
        "the shift is left out": one(offset=-mean * scale),
        "the linear map is transposed: weight[o, i] goes from channel i to channel o": one(weight=weight.T),
        "the kernels are turned round: `conv2d` does not flip them": one(kernel=kernel[:, 0].flip(1, 2)),
        "rows and columns of the kernels are swapped": one(kernel=kernel[:, 0].mT),
        "the scale belongs to the channel that goes in, i, and so does the kernel; here they are those of channel o": (
            one(to=weight[:, :, None, None] * (scale[:, None, None] * kernel[:, 0])[:, None])
        ),
        "the scale is that of the channel that comes out; it belongs to the one that goes in": one(
            to=scale[:, None, None, None] * weight[:, :, None, None] * kernel[:, 0]
        ),
        "the kernel is that of the channel that comes out; it belongs to the one that goes in": one(
            to=weight[:, :, None, None] * scale[:, None, None] * kernel
        ),
        "BatchNorm's scale is missing in the kernels": one(to=weight[:, :, None, None] * kernel[:, 0]),
    }


def _side_by_side(returned, args):
    """What is asked for is a pair: the weight and the bias of a convolution."""
    if isinstance(returned, tuple | list) and len(returned) == 2 and all(isinstance(one, Tensor) for one in returned):
        whole, bias = returned
        return torch.cat([whole.flatten(1), bias[:, None]], dim=1)
    return returned


exercise("12.6", merged, _merged_cases, _mergers, simplify=_side_by_side)
