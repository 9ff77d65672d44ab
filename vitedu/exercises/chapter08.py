"""The exercises of chapter 8, the Vision Transformer."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vitedu.attention import scaled_dot_product_attention
from vitedu.cost import block_macs, block_parameters
from vitedu.exercises import compare
from vitedu.exercises.exercise import Case, Exercise, Mistake

EPS = 1e-6
SIZES = [  # N, C·P·P, D, L, K
    (196, 768, 768, 12, 1000),
    (49, 3072, 768, 12, 1000),
    (256, 588, 1280, 32, 1000),
    (16, 4, 64, 4, 10),
    (1, 1, 8, 1, 2),
    (64, 48, 24, 3, 5),
]


def _random(*shape: int, seed: int = 0, dtype=torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(1000 * sum(shape) + seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def _size_cases() -> list[Case]:
    return [Case(size) for size in SIZES]


def _off_by(right, difference):
    """The right number, and `difference(N, numbers, D, L, K)` more."""
    return lambda *args: right(*args) + difference(*args)


# 8.1 -----------------------------------------------------------------------------------------------------------------


def count_vit(patches: int, patch_numbers: int, dim: int, depth: int, classes: int) -> int:
    """Embedding, CLS, positions, blocks, the last LayerNorm, head."""
    embedding = (patch_numbers + 1) * dim
    cls_and_positions = dim + (patches + 1) * dim
    return embedding + cls_and_positions + depth * block_parameters(dim) + 2 * dim + (dim + 1) * classes


COUNT_VIT = Exercise(
    id="8.1",
    title="Count the parameters",
    reference=count_vit,
    cases=_size_cases,
    difference=compare.integers,
    mistakes=(
        Mistake(
            "D too few: the bias of the patch embedding, CLS and the position of CLS are D numbers each",
            _off_by(count_vit, lambda N, numbers, D, L, K: -D),
        ),
        Mistake(
            "2D too few: the last LayerNorm has a gain and a shift, and CLS is a vector with a position",
            _off_by(count_vit, lambda N, numbers, D, L, K: -2 * D),
        ),
        Mistake("the positions are missing: (N + 1)·D", _off_by(count_vit, lambda N, numbers, D, L, K: -(N + 1) * D)),
        Mistake("the bias of the head is missing", _off_by(count_vit, lambda N, numbers, D, L, K: -K)),
        Mistake("the head is missing", _off_by(count_vit, lambda N, numbers, D, L, K: -(D + 1) * K)),
        Mistake("the patch embedding is missing", _off_by(count_vit, lambda N, numbers, D, L, K: -(numbers + 1) * D)),
        Mistake(
            "the biases of the blocks are missing: 4D in attention, 4D + D in the MLP",
            _off_by(count_vit, lambda N, numbers, D, L, K: -9 * D * L),
        ),
        Mistake(
            "the biases of queries, keys and values are missing, 3D in each block",
            _off_by(count_vit, lambda N, numbers, D, L, K: -3 * D * L),
        ),
        Mistake(
            "the biases of the MLP are missing, 4D + D in each block",
            _off_by(count_vit, lambda N, numbers, D, L, K: -5 * D * L),
        ),
        Mistake(
            "a block has two LayerNorms, one before attention and one before the MLP",
            _off_by(count_vit, lambda N, numbers, D, L, K: -2 * D * L),
        ),
        Mistake(
            "the two LayerNorms of each block are missing: a gain and a shift each, 4D",
            _off_by(count_vit, lambda N, numbers, D, L, K: -4 * D * L),
        ),
        Mistake(
            "the blocks are counted without biases and LayerNorms; 12D² + 13D",
            _off_by(count_vit, lambda N, numbers, D, L, K: -13 * D * L),
        ),
        Mistake(
            "no bias is counted at all",
            _off_by(count_vit, lambda N, numbers, D, L, K: -(D + 9 * D * L + K)),
        ),
        Mistake(
            "each LayerNorm is counted with D numbers; it has a gain and a shift",
            _off_by(count_vit, lambda N, numbers, D, L, K: -(2 * L + 1) * D),
        ),
        Mistake(
            "attention has four linear maps: queries, keys, values and the output",
            _off_by(count_vit, lambda N, numbers, D, L, K: -L * (D * D + D)),
        ),
        Mistake(
            "only one of the MLP's two linear layers is counted",
            _off_by(count_vit, lambda N, numbers, D, L, K: -L * (4 * D * D + D)),
        ),
        Mistake(
            "the MLP's hidden layer is 4D wide, not D",
            _off_by(count_vit, lambda N, numbers, D, L, K: -L * (6 * D * D + 3 * D)),
        ),
        Mistake(
            "there is only one block; multiply by the depth",
            _off_by(count_vit, lambda N, numbers, D, L, K: -(L - 1) * block_parameters(D)),
        ),
        Mistake(
            "the patch embedding is counted once for every patch; all patches share it",
            _off_by(count_vit, lambda N, numbers, D, L, K: (N - 1) * (numbers + 1) * D),
        ),
    ),
)


# 8.2 -----------------------------------------------------------------------------------------------------------------


def read_scores(tokens: Tensor, gain: Tensor, shift: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(B, 1 + N, D) -> LayerNorm of token 0, then the head: (B, K)."""
    return F.layer_norm(tokens[:, 0], gain.shape, gain, shift, EPS) @ weight.T + bias


def _token_case(B: int, N: int, D: int, K: int, scale: float = 1.0, dtype=torch.float32, **options) -> Case:
    tokens = scale * (_random(B, 1 + N, D, dtype=dtype) + 0.5)
    gain, shift = 1 + 0.5 * _random(D, seed=1, dtype=dtype), _random(D, seed=2, dtype=dtype)
    weight, bias = _random(K, D, seed=3, dtype=dtype), _random(K, seed=4, dtype=dtype)
    traits = ("B = 1",) if B == 1 else ()
    return Case((tokens, gain, shift, weight, bias), traits=traits, **options)


def _token_cases() -> list[Case]:
    small = "tokens (2, 5, 8) with a spread of about 0.001, gain (8,), shift (8,), weight (3, 8), bias (3,)"
    return [
        _token_case(3, 4, 8, 5, gradient=True),
        _token_case(1, 9, 12, 4),
        _token_case(2, 6, 16, 2, scale=20.0),
        _token_case(4, 3, 6, 6, dtype=torch.float64),
        _token_case(2, 4, 8, 3, scale=1e-3, label=small),
    ]


def _read_after(pick, eps: float = EPS):
    """Normalise every token, `pick` what the head reads, then the head."""

    def answer(tokens: Tensor, gain: Tensor, shift: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return pick(F.layer_norm(tokens, gain.shape, gain, shift, eps)) @ weight.T + bias

    return answer


def _read_normalised(normalise):
    """`normalise(token 0, gain, shift)`, then the head."""

    def answer(tokens: Tensor, gain: Tensor, shift: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return normalise(tokens[:, 0], gain, shift) @ weight.T + bias

    return answer


def _standardised(x: Tensor, correction: int = 0) -> Tensor:
    variance = x.var(dim=-1, keepdim=True, correction=correction)
    return (x - x.mean(dim=-1, keepdim=True)) / (variance + EPS).sqrt()


def _eps_outside(x: Tensor) -> Tensor:
    return (x - x.mean(dim=-1, keepdim=True)) / (x.std(dim=-1, keepdim=True, correction=0) + EPS)


def _norm_of_scores(tokens: Tensor, gain: Tensor, shift: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return _standardised(tokens[:, 0] @ weight.T + bias)


def _over_all_tokens(tokens: Tensor, gain: Tensor, shift: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    everything = F.layer_norm(tokens, tokens.shape[1:], eps=EPS)
    return (everything[:, 0] * gain + shift) @ weight.T + bias


READ_SCORES = Exercise(
    id="8.2",
    title="Read the answer",
    reference=read_scores,
    cases=_token_cases,
    mistakes=(
        Mistake("the last token is read; CLS is token 0", _read_after(lambda z: z[:, -1])),
        Mistake("the first patch is read; CLS is token 0, the patches start at 1", _read_after(lambda z: z[:, 1])),
        Mistake("the mean over all tokens is read; read CLS alone", _read_after(lambda z: z.mean(dim=1))),
        Mistake(
            "the tokens are averaged, and then normalised; read CLS alone",
            lambda tokens, *rest: read_scores(tokens.mean(dim=1, keepdim=True), *rest),
        ),
        Mistake("the mean over the patches is read; read CLS alone", _read_after(lambda z: z[:, 1:].mean(dim=1))),
        Mistake("every token is scored; read CLS alone", _read_after(lambda z: z)),
        Mistake("the axis of the tokens is still there; `tokens[:, 0]` drops it", _read_after(lambda z: z[:, :1])),
        Mistake(
            "`tokens[0]` is the first image with all its tokens; CLS is `tokens[:, 0]`", _read_after(lambda z: z[0])
        ),
        Mistake("the LayerNorm is missing before the head", _read_normalised(lambda x, gain, shift: x)),
        Mistake("the LayerNorm comes after the head; it belongs before", _norm_of_scores),
        Mistake("the LayerNorm has no gain and no shift", _read_normalised(lambda x, gain, shift: _standardised(x))),
        Mistake("the shift is missing", _read_normalised(lambda x, gain, shift: _standardised(x) * gain)),
        Mistake("the gain is missing", _read_normalised(lambda x, gain, shift: _standardised(x) + shift)),
        Mistake(
            "gain and shift are swapped: the gain multiplies, the shift is added",
            _read_normalised(lambda x, gain, shift: _standardised(x) * shift + gain),
        ),
        Mistake(
            "the shift is added before the gain multiplies",
            _read_normalised(lambda x, gain, shift: (_standardised(x) + shift) * gain),
        ),
        Mistake(
            "the variance is divided by D - 1, the default of `var` and `std`; LayerNorm divides by D (correction=0)",
            _read_normalised(lambda x, gain, shift: _standardised(x, correction=1) * gain + shift),
        ),
        Mistake(
            "ε is added to the standard deviation; it belongs under the root, to the variance",
            _read_normalised(lambda x, gain, shift: _eps_outside(x) * gain + shift),
        ),
        Mistake(
            "ε is 1e-5, PyTorch's default; published ViT weights need 1e-6", _read_after(lambda z: z[:, 0], eps=1e-5)
        ),
        Mistake("ε is missing: tokens of a small spread are blown up", _read_after(lambda z: z[:, 0], eps=0.0)),
        Mistake("the mean is taken over all tokens; each token is normalised by itself", _over_all_tokens),
        Mistake(
            "the bias of the head is missing",
            lambda tokens, gain, shift, weight, bias: read_scores(tokens, gain, shift, weight, 0 * bias),
        ),
        Mistake(
            "these are probabilities; scores are what stands before the softmax",
            lambda *args: read_scores(*args).softmax(dim=1),
        ),
    ),
)


# 8.3 -----------------------------------------------------------------------------------------------------------------


def macs_vit(patches: int, patch_numbers: int, dim: int, depth: int, classes: int) -> int:
    """Multiply-adds of the matrix products for one image."""
    return patches * patch_numbers * dim + depth * block_macs(patches + 1, dim) + dim * classes


def _blocks_cost(cost):
    """The blocks priced by `cost(tokens with CLS, D)`."""
    return lambda N, numbers, D, L, K: N * numbers * D + L * cost(N + 1, D) + D * K


MACS_VIT = Exercise(
    id="8.3",
    title="Price an image",
    reference=macs_vit,
    cases=_size_cases,
    difference=compare.integers,
    mistakes=(
        Mistake("these are FLOPs, two for each multiply-add", _off_by(macs_vit, lambda *size: macs_vit(*size))),
        Mistake(
            "the parameters of each linear layer are counted once, not once for every token",
            lambda N, numbers, D, L, K: N * numbers * D + L * 12 * D * D + D * K,
        ),
        Mistake(
            "the parameters are counted once, not once for every token",
            lambda N, numbers, D, L, K: numbers * D + L * 12 * D * D + D * K,
        ),
        Mistake(
            "CLS goes through the blocks as well: they see N + 1 tokens",
            lambda N, numbers, D, L, K: N * numbers * D + L * block_macs(N, D) + D * K,
        ),
        Mistake(
            "CLS is not embedded: the patch embedding multiplies N tokens",
            _off_by(macs_vit, lambda N, numbers, D, L, K: numbers * D),
        ),
        Mistake(
            "the products of attention itself are missing: q kᵀ and weights · v",
            _blocks_cost(lambda T, D: 12 * T * D * D),
        ),
        Mistake(
            "attention has two products with N² in them, q kᵀ and weights · v",
            _blocks_cost(lambda T, D: 12 * T * D * D + T * T * D),
        ),
        Mistake(
            "CLS attends as well: N + 1 tokens make (N + 1)² pairs",
            _blocks_cost(lambda T, D: 12 * T * D * D + 2 * (T - 1) ** 2 * D),
        ),
        Mistake(
            "the patch embedding is priced for one patch; there are N of them",
            _off_by(macs_vit, lambda N, numbers, D, L, K: -(N - 1) * numbers * D),
        ),
        Mistake(
            "attention has four linear maps: queries, keys, values and the output",
            _blocks_cost(lambda T, D: 11 * T * D * D + 2 * T * T * D),
        ),
        Mistake(
            "the linear maps of attention are missing, 4ND²", _blocks_cost(lambda T, D: 8 * T * D * D + 2 * T * T * D)
        ),
        Mistake("the MLP is missing, 8ND²", _blocks_cost(lambda T, D: 4 * T * D * D + 2 * T * T * D)),
        Mistake(
            "the MLP's hidden layer is 4D wide: its two layers cost 8ND²",
            _blocks_cost(lambda T, D: 6 * T * D * D + 2 * T * T * D),
        ),
        Mistake("only one block is counted", lambda N, numbers, D, L, K: macs_vit(N, numbers, D, 1, K)),
        Mistake(
            "the head reads CLS alone, not every token",
            _off_by(macs_vit, lambda N, numbers, D, L, K: N * D * K),
        ),
        Mistake(
            "the patch embedding multiplies the N patches, and the head CLS alone, not N + 1 tokens each",
            _off_by(macs_vit, lambda N, numbers, D, L, K: numbers * D + N * D * K),
        ),
        Mistake("the patch embedding is missing", _off_by(macs_vit, lambda N, numbers, D, L, K: -N * numbers * D)),
        Mistake("the head is missing", _off_by(macs_vit, lambda N, numbers, D, L, K: -D * K)),
        Mistake(
            "biases are counted: they are added, not multiplied",
            _off_by(macs_vit, lambda N, numbers, D, L, K: N * D + L * 9 * (N + 1) * D + K),
        ),
    ),
)


# 8.4 -----------------------------------------------------------------------------------------------------------------


def largest_batch(memory: int, parameters: int, tokens: int, dim: int, depth: int) -> int:
    """How many images fit beside weights, gradients and two moments, all in numbers of four bytes."""
    return max(0, (memory - 16 * parameters) // (4 * 16 * depth * tokens * dim))


def _fits(fixed: int = 16, image: int = 4 * 16):
    """`fixed` bytes for each parameter, `image` for each token, channel and block."""
    return lambda memory, parameters, T, D, L: max(0, (memory - fixed * parameters) // (image * L * T * D))


def _batch_cases() -> list[Case]:
    million = 10**6
    exact = 16 * 1000 + 5 * 64 * 2 * 10 * 8  # five images, and not a byte more
    return [
        Case((16_000 * million, 86_567_656, 197, 768, 12)),
        Case((16_000 * million, 22_050_664, 197, 384, 12)),
        Case((16_000 * million, 304_326_632, 197, 1024, 24)),
        Case((8_000 * million, 632_045_800, 257, 1280, 32)),
        Case((exact, 1000, 10, 8, 2)),
        Case((exact - 1, 1000, 10, 8, 2)),
        Case((16_000, 1000, 10, 8, 2)),
    ]


LARGEST_BATCH = Exercise(
    id="8.4",
    title="Does it fit?",
    reference=largest_batch,
    cases=_batch_cases,
    difference=compare.integers,
    mistakes=(
        Mistake("only the weights are counted; gradients and AdamW's two moments are as large again each", _fits(4)),
        Mistake("AdamW's two moments are missing, 8 bytes for each parameter", _fits(8)),
        Mistake("AdamW keeps two moments: together with weights and gradients 16 bytes a parameter", _fits(12)),
        Mistake("the parameters take no room at all in this answer", _fits(0)),
        Mistake("a parameter is counted as 16 numbers; it is four numbers of 4 bytes", _fits(64)),
        Mistake("the numbers kept for an image have four bytes each", _fits(image=16)),
        Mistake("a block keeps 16 numbers for each token and channel, not one", _fits(image=4)),
        Mistake("a number of float32 has 4 bytes, also among the parameters: 16 bytes each", _fits(4, image=16)),
        Mistake(
            "the blocks are forgotten: every one of them keeps 16 numbers for each token and channel",
            lambda memory, parameters, T, D, L: largest_batch(memory, parameters, T, D, 1),
        ),
        Mistake(
            "a model that does not fit has a batch of 0, not of less than nothing",
            lambda memory, parameters, T, D, L: (memory - 16 * parameters) // (64 * L * T * D),
        ),
        Mistake(
            "the last image does not fit whole: round down",
            lambda memory, parameters, T, D, L: max(0, -(-(memory - 16 * parameters) // (64 * L * T * D))),
        ),
        Mistake(
            "`round` goes to the nearest whole number; a part of an image does not fit: round down",
            lambda memory, parameters, T, D, L: max(0, round((memory - 16 * parameters) / (64 * L * T * D))),
        ),
        Mistake(
            "if not even the model fits, the answer is 0, and not 1",
            lambda *args: max(1, largest_batch(*args)),
        ),
        Mistake(
            "`tokens` counts CLS already",
            lambda memory, parameters, T, D, L: largest_batch(memory, parameters, T + 1, D, L),
        ),
        Mistake("a number of float32 has 4 bytes, not 2", _fits(8, image=32)),
        Mistake("the numbers kept for an image have 4 bytes each in float32, not 2", _fits(image=32)),
        Mistake(
            "one image more would fit",
            lambda *args: max(0, largest_batch(*args) - 1),
        ),
        Mistake(
            "one image too many: the batch itself has to fit, not only the one before",
            lambda *args: largest_batch(*args) + 1,
        ),
        Mistake(
            "`/` always gives a float in Python; `//` divides whole numbers",
            lambda memory, parameters, T, D, L: max(0.0, (memory - 16 * parameters) / (64 * L * T * D)),
        ),
    ),
)


# 8.5 -----------------------------------------------------------------------------------------------------------------


def attention_maps(tokens: Tensor, in_proj_weight: Tensor, in_proj_bias: Tensor, num_heads: int) -> Tensor:
    """(B, N, D), stacked projections (3D, D) and (3D) -> the weights (B, h, N, N)."""
    return _maps(tokens, in_proj_weight, in_proj_bias, num_heads)


def _heads(x: Tensor, num_heads: int) -> Tensor:
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)  # (B, h, N, d)


def _maps(tokens, weight, bias, num_heads, split=_heads, parts=(0, 1), scale=None, axis=-1) -> Tensor:
    """The right way unless a part of it is replaced."""
    chosen = [(tokens @ weight.T + bias).chunk(3, dim=-1)[part] for part in parts]
    q, k = (split(x, num_heads) for x in chosen)
    scale = q.shape[-1] if scale is None else scale(q, tokens)
    return (q @ k.transpose(-2, -1) / scale**0.5).softmax(dim=axis)  # (B, h, N, N)


def _map_case(B: int, N: int, d: int, h: int, dtype=torch.float32, **options) -> Case:
    D = d * h
    args = (_random(B, N, D, dtype=dtype), _random(3 * D, D, seed=1, dtype=dtype) / D**0.5)
    bias = _random(3 * D, seed=2, dtype=dtype)
    return Case((*args, bias, h), traits=("B = 1",) if B == 1 else (), **options)


def _map_cases() -> list[Case]:
    return [
        _map_case(2, 5, 4, 3),
        _map_case(1, 7, 2, 4),
        _map_case(3, 4, 6, 2),
        _map_case(2, 4, 4, 4),
        _map_case(2, 3, 8, 1, dtype=torch.float64),
    ]


def _maps_with(**changes):
    return lambda tokens, weight, bias, num_heads: _maps(tokens, weight, bias, num_heads, **changes)


def _interleaved(tokens: Tensor, weight: Tensor, bias: Tensor, num_heads: int) -> Tensor:
    stacked = (tokens @ weight.T + bias).unflatten(-1, (num_heads, 3, -1))  # (B, N, h, 3, d)
    q, k, v = stacked.permute(3, 0, 2, 1, 4)  # each (B, h, N, d)
    return scaled_dot_product_attention(q, k, v)[1]


def _reshaped_heads(x: Tensor, num_heads: int) -> Tensor:
    return x.reshape(len(x), num_heads, x.shape[1], -1)


def _columns(tokens: Tensor, weight: Tensor, bias: Tensor, num_heads: int) -> Tensor:
    """The stack read as (D, 3D), which has as many numbers."""
    return _maps(tokens, weight.reshape(weight.shape[1], -1).T, bias, num_heads)


def _thirds_transposed(tokens: Tensor, weight: Tensor, bias: Tensor, num_heads: int) -> Tensor:
    """x @ W in place of x @ W.T, for each third."""
    turned = torch.cat([third.T for third in weight.chunk(3)])
    return _maps(tokens, turned, bias, num_heads)


def _scores(tokens: Tensor, weight: Tensor, bias: Tensor, num_heads: int) -> Tensor:
    q, k, _ = (_heads(x, num_heads) for x in (tokens @ weight.T + bias).chunk(3, dim=-1))
    return q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5


ATTENTION_MAPS = Exercise(
    id="8.5",
    title="Maps from published weights",
    reference=attention_maps,
    cases=_map_cases,
    mistakes=(
        Mistake(
            "the bias is left out",
            lambda tokens, weight, bias, h: attention_maps(tokens, weight, torch.zeros_like(bias), h),
        ),
        Mistake(
            "the scores are divided by √D; each head has its own width d = D / h",
            _maps_with(scale=lambda q, x: x.shape[-1]),
        ),
        Mistake("the scores are not divided by √d", _maps_with(scale=lambda q, x: 1)),
        Mistake("the scores are divided by d, not by its root", _maps_with(scale=lambda q, x: q.shape[-1] ** 2)),
        Mistake("the stack is queries, keys, values; keys and values are swapped", _maps_with(parts=(0, 2))),
        Mistake("queries and keys are swapped: row n belongs to query n", _maps_with(parts=(1, 0))),
        Mistake(
            "the queries are compared with themselves; keys are the second third of the stack", _maps_with(parts=(0, 0))
        ),
        Mistake("the softmax runs over the queries; each query's weights have to sum to 1", _maps_with(axis=-2)),
        Mistake("the softmax runs over the heads; it belongs over the keys, the last axis", _maps_with(axis=1)),
        Mistake("the stack holds all queries first, not q, k and v of each head in turn", _interleaved),
        Mistake(
            "head i is the i-th slice of d channels; here every h-th channel is taken",
            _maps_with(split=lambda x, h: x.unflatten(-1, (-1, h)).permute(0, 3, 1, 2)),
        ),
        Mistake(
            "`reshape` to (B, h, N, d) mixes tokens and channels; split the last axis, then swap",
            _maps_with(split=_reshaped_heads),
        ),
        Mistake("the stack is (3D, D) and was reshaped to (D, 3D); transpose it", _columns),
        Mistake(
            "a linear layer multiplies by the transpose of its weight: `x @ weight.T`, or `F.linear`",
            _thirds_transposed,
        ),
        Mistake("the heads are averaged; return one map for each", lambda *args: attention_maps(*args).mean(dim=1)),
        Mistake("these are scores; the softmax over the keys is missing", _scores),
        Mistake(
            "rows and columns of the maps are swapped: row n belongs to query n",
            lambda *args: attention_maps(*args).transpose(-2, -1),
        ),
        Mistake(
            "only the row of CLS is returned; the map has a row for every query", lambda *a: attention_maps(*a)[:, :, 0]
        ),
    ),
)

EXERCISES = {exercise.id: exercise for exercise in (COUNT_VIT, READ_SCORES, MACS_VIT, LARGEST_BATCH, ATTENTION_MAPS)}
