"""The exercises of chapter 8, the Vision Transformer."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vitedu.cost import block_macs, block_parameters
from vitedu.exercises import compare
from vitedu.exercises.exercise import Case, batch_traits, exercise, formulas, on

EPS = 1e-6


def _random(*shape: int, seed: int = 0, dtype=torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(1000 * sum(shape) + seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


# 8.1 -----------------------------------------------------------------------------------------------------------------

WIDTHS = range(64, 2049, 64)
FILES = [(196, 768, 1000, 768, 12), (196, 768, 1000, 192, 12), (49, 3072, 1000, 1024, 24), (256, 588, 1000, 1280, 32)]
FILES += [(16, 4, 10, 64, 4), (64, 48, 21_843, 384, 1), (576, 768, 10, 2048, 48)]  # N, C·P·P, K, D, L


def count_vit(patches: int, patch_numbers: int, dim: int, depth: int, classes: int) -> int:
    """Embedding, CLS, positions, blocks, the last LayerNorm, head."""
    cls_and_positions = dim + (patches + 1) * dim
    blocks = depth * block_parameters(dim) + 2 * dim
    return (patch_numbers + 1) * dim + cls_and_positions + blocks + (dim + 1) * classes


def which_model(count: int, patches: int, patch_numbers: int, classes: int) -> tuple[int, int]:
    """D, a multiple of 64, and L of the model that has so many parameters."""
    return next(_fitting(count, patches, patch_numbers, classes))


def _fitting(count: int, N: int, CPP: int, K: int, block=block_parameters, widths=WIDTHS, around=0):
    """Each (D, L) that fits; `around` is what is forgotten outside the blocks, in units of D."""
    for dim in widths:
        depth, left = divmod(count - count_vit(N, CPP, dim, 0, K) + around * dim, block(dim))
        if depth >= 1 and left == 0:
            yield dim, depth


def _file_cases() -> list[Case]:
    return on(*((count_vit(N, CPP, D, L, K), N, CPP, K) for N, CPP, K, D, L in FILES))


@formulas(*_file_cases()[0].args)
def _models(count, N, CPP, K):
    dim, depth = which_model(count, N, CPP, K)
    loose = ((D, (count - count_vit(N, CPP, D, 0, K)) // block_parameters(D)) for D in WIDTHS)
    near = {D: (count - count_vit(N, CPP, D, 0, K)) / block_parameters(D) for D in WIDTHS}
    near = {D: L for D, L in near.items() if L > 0.5}
    return {
        "the first D is taken for which L is at least 1; L also has to be whole, with nothing left over": next(
            (D, L) for D, L in loose if L >= 1
        ),
        "the D is taken whose L is nearest to a whole number, or the largest; the right one leaves exactly nothing": (
            max(near),
            round(near[max(near)]),
        ),
        "D and L are swapped": (depth, dim),
        "this is D / 64, the number of heads; D itself is asked for": (dim // 64, depth),
        "one block too many: something outside the blocks is counted as one": (dim, depth + 1),
        "one block too few": (dim, depth - 1),
        "L is given as a float; `divmod` or `//` and `%` stay whole": (dim, float(depth)),
    }


exercise("8.1", which_model, _file_cases, _models, difference=compare.integer_tuples)


# 8.2 -----------------------------------------------------------------------------------------------------------------


def read_scores(tokens: Tensor, gain: Tensor, shift: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(B, 1 + N, D) -> LayerNorm of token 0, then the head: (B, K)."""
    return _norm(tokens[:, 0], gain, shift) @ weight.T + bias


def _norm(x: Tensor, gain: Tensor, shift: Tensor, eps: float = EPS) -> Tensor:
    return F.layer_norm(x, gain.shape, gain, shift, eps)


def _token_case(B: int, N: int, D: int, K: int, scale: float = 1.0, dtype=torch.float32, **options) -> Case:
    tokens = scale * (_random(B, 1 + N, D, dtype=dtype) + 0.5)
    gain, shift = 1 + 0.5 * _random(D, seed=1, dtype=dtype), _random(D, seed=2, dtype=dtype)
    weight, bias = _random(K, D, seed=3, dtype=dtype), _random(K, seed=4, dtype=dtype)
    return Case((tokens, gain, shift, weight, bias), traits=batch_traits(B), **options)


def _token_cases() -> list[Case]:
    small = "tokens (2, 5, 8) with a spread of about 0.001, gain (8,), shift (8,), weight (3, 8), bias (3,)"
    return [
        _token_case(3, 4, 8, 5, gradient=True),
        _token_case(1, 9, 12, 4),
        _token_case(2, 6, 16, 2, scale=20.0),
        _token_case(4, 3, 6, 6, dtype=torch.float64),  # the weight is square: a wrong transpose raises nothing
        _token_case(2, 4, 8, 3, scale=1e-3, label=small),
    ]


@formulas(*_token_cases()[0].args)
def _readings(z, gain, shift, weight, bias):
    x, normed, right = z[:, 0], _norm(z, gain, shift), read_scores(z, gain, shift, weight, bias)
    centred, variance = x - x.mean(dim=-1, keepdim=True), x.var(dim=-1, keepdim=True, correction=0)
    unit, spread = centred / (variance + EPS).sqrt(), x.std(dim=-1, keepdim=True)

    def head(y: Tensor) -> Tensor:
        return y @ weight.T + bias

    def scaled(y: Tensor) -> Tensor:
        return head(y * gain + shift)

    return {
        "the last token is read; CLS is token 0": head(normed[:, -1]),
        "the first patch is read; CLS is token 0, the patches start at 1": head(normed[:, 1]),
        "the mean over all tokens is read; read CLS alone": head(normed.mean(dim=1)),
        "the tokens are averaged, and then normalised; read CLS alone": head(_norm(z.mean(dim=1), gain, shift)),
        "the mean over the patches is read; read CLS alone": head(normed[:, 1:].mean(dim=1)),
        "every token is scored; read CLS alone": head(normed),
        "the axis of the tokens is still there; `tokens[:, 0]` drops it": head(normed[:, :1]),
        "`tokens[0]` is the first image with all its tokens; CLS is `tokens[:, 0]`": head(normed[0]),
        "the LayerNorm is missing before the head": head(x),
        "the LayerNorm comes after the head; it belongs before": F.layer_norm(head(x), bias.shape, eps=EPS),
        "the LayerNorm has no gain and no shift": head(unit),
        "the shift is missing": head(unit * gain),
        "the gain is missing": head(unit + shift),
        "gain and shift are swapped: the gain multiplies, the shift is added": head(unit * shift + gain),
        "the shift is added before the gain multiplies": head((unit + shift) * gain),
        "the mean is not subtracted: (x - mean) / √(variance + ε)": scaled(x / (variance + EPS).sqrt()),
        "the mean is not subtracted: this is RMSNorm": scaled(x / ((x**2).mean(dim=-1, keepdim=True) + EPS).sqrt()),
        "the variance is not under a root: (x - mean) / √(variance + ε)": scaled(centred / (variance + EPS)),
        "the variance is divided by D - 1, the default of `var` and `std`; LayerNorm divides by D (correction=0)": (
            scaled(centred / (spread**2 + EPS).sqrt())
        ),
        "ε is added to the standard deviation; it belongs under the root, to the variance": (
            scaled(centred / (variance.sqrt() + EPS))
        ),
        "`std` divides by D - 1 unless it gets correction=0; and ε belongs under the root, to the variance": (
            scaled(centred / (spread + EPS))
        ),
        "ε is 1e-5, PyTorch's default; published ViT weights need 1e-6": head(_norm(x, gain, shift, eps=1e-5)),
        "ε is missing: tokens of a small spread are blown up": head(_norm(x, gain, shift, eps=0.0)),
        "the mean is taken over all tokens; each token is normalised by itself": (
            scaled(F.layer_norm(z, z.shape[1:], eps=EPS)[:, 0])
        ),
        "the mean is taken over the tokens (dim=1); each token is normalised over its own D numbers": (
            scaled((x - z.mean(dim=1)) / (z.var(dim=1, correction=0) + EPS).sqrt())
        ),
        "the mean is taken over the images (dim=0); each token is normalised over its own D numbers": (
            scaled((x - x.mean(dim=0)) / (x.var(dim=0, correction=0) + EPS).sqrt())
        ),
        "the bias of the head is missing": right - bias,
        "these are probabilities; scores are what stands before the softmax": right.softmax(dim=1),
        "these are log-probabilities; scores are what stands before the softmax": right.log_softmax(dim=1),
        "these have been through a sigmoid; scores are what stands before it": right.sigmoid(),
        "this is the best class; return the scores of all, (B, K)": right.argmax(dim=1),
    }


mistakes = _readings | {
    "a linear layer multiplies by the transpose of its weight: `x @ weight.T`, or `F.linear`": (
        lambda z, gain, shift, weight, bias: _norm(z[:, 0], gain, shift) @ weight + bias
    ),
}
exercise("8.2", read_scores, _token_cases, mistakes)


# 8.3 -----------------------------------------------------------------------------------------------------------------


def macs_vit(patches: int, patch_numbers: int, dim: int, depth: int, classes: int) -> int:
    """Multiply-adds of the matrix products for one image."""
    return patches * patch_numbers * dim + depth * block_macs(patches + 1, dim) + dim * classes


def largest_side(budget: int, patch: int, dim: int, depth: int, classes: int) -> int:
    """The side in pixels of the largest square colour picture within so many multiply-adds; 0 if none is."""
    return patch * _most(lambda n: macs_vit(n * n, 3 * patch * patch, dim, depth, classes) <= budget)


def _most(fits) -> int:
    """The largest n from 1 on up to which `fits(n)` holds; 0 if it does not for 1."""
    n = 0
    while fits(n + 1):
        n += 1
    return n


def _budget_cases() -> list[Case]:
    def exact(n: int, P: int, *size: int) -> int:
        return macs_vit(n * n, 3 * P * P, *size)

    base, tiny = (16, 768, 12, 1000), (8, 64, 4, 10)
    return on(
        (20 * 10**9, *base),
        (100 * 10**9, *base),
        (exact(14, *base), *base),
        (exact(14, *base) - 1, *base),
        (2 * 10**6, *tiny),
        (10**9, *tiny),
        (exact(1, *tiny), *tiny),
        (exact(1, *tiny) - 1, *tiny),
        (300 * 10**9, 14, 1280, 32, 1000),
        (10**11, 32, 1024, 24, 1000),
        (exact(3, 4, 64, 1, 50_000), 4, 64, 1, 50_000),
        (10**8, 32, 64, 1, 10),  # where most of it is the patch embedding
    )


@formulas(*_budget_cases()[0].args)
def _sides(budget, P, D, L, K):
    right, CPP = largest_side(budget, P, D, L, K), 3 * P * P

    def side(cost) -> int:
        """The largest side if a picture of n × n patches cost this."""
        return P * _most(lambda n: cost(n * n) <= budget)

    def parts(N: int, T: int, pairs: int) -> int:
        return N * CPP * D + L * (12 * T * D * D + pairs) + D * K

    def whole(N: int) -> int:
        return macs_vit(N, CPP, D, L, K)

    def linear(N: int) -> int:
        return parts(N, N + 1, 0)

    return {
        "this is the number of patches on a side; return pixels": right // P,
        "this is the number of patches; return the side in pixels": (right // P) ** 2,
        "this is the number of tokens; return the side in pixels": (right // P) ** 2 + 1,
        "this is the first picture that is too large; return the one before": right + P,
        "a budget that is used up to the last multiply-add is kept: at most, not less than": side(
            lambda N: whole(N) + 1
        ),
        "these are FLOPs, two for each multiply-add": side(lambda N: 2 * whole(N)),
        "CLS goes through the blocks as well: they see N + 1 tokens": side(lambda N: parts(N, N, 2 * N * N * D)),
        "the products of attention itself are missing, q kᵀ and weights · v": side(linear),
        "attention has two products with N² in them, q kᵀ and weights · v": side(
            lambda N: parts(N, N + 1, (N + 1) ** 2 * D)
        ),
        "the patch embedding is missing": side(lambda N: whole(N) - N * CPP * D),
        "the head is missing": side(lambda N: whole(N) - D * K),
        "the head reads CLS alone, not every token": side(lambda N: whole(N) + N * D * K),
        "a picture has three colours: a patch has 3·P·P numbers": side(lambda N: whole(N) - N * 2 * P * P * D),
        "only one block is counted": side(lambda N: N * CPP * D + block_macs(N + 1, D) + D * K),
        "the parameters are counted once, not once for every token": side(
            lambda N: CPP * D + L * (12 * D * D + 2 * N * N * D) + D * K
        ),
        "if not even one patch is within the budget, the answer is 0": max(P, right),
        "the side has to be a multiple of the patch; here the number of patches is rounded up": (
            right + P if right else 0
        ),
    }


exercise("8.3", largest_side, _budget_cases, _sides, difference=compare.integers)


# 8.4 -----------------------------------------------------------------------------------------------------------------


def largest_batch(memory: int, parameters: int, tokens: int, dim: int, depth: int) -> int:
    """How many images fit beside weights, gradients and two moments, all in numbers of four bytes."""
    return max(0, (memory - 16 * parameters) // (4 * 16 * depth * tokens * dim))


def _batch_cases() -> list[Case]:
    gigabytes, exact = 10**9, 16 * 1000 + 5 * 64 * 2 * 10 * 8  # five images, and not a byte more
    return on(
        (16 * gigabytes, 86_567_656, 197, 768, 12),
        (16 * gigabytes, 22_050_664, 197, 384, 12),
        (16 * gigabytes, 304_326_632, 197, 1024, 24),
        (8 * gigabytes, 632_045_800, 257, 1280, 32),
        (32 * gigabytes, 86_567_656, 197, 768, 12),
        (exact, 1000, 10, 8, 2),
        (exact - 1, 1000, 10, 8, 2),
        (16_000, 1000, 10, 8, 2),
    )


@formulas(1, 1, 1, 1, 1)
def _batches(memory, parameters, N, D, L):
    room, image = memory - 16 * parameters, 64 * L * N * D
    right = max(0, room // image)

    def fits(fixed: int = 16, kept: int = 64) -> int:
        """With so many bytes for each parameter, and for each token, channel and block."""
        return max(0, (memory - fixed * parameters) // (kept * L * N * D))

    return {
        "4 bytes for each parameter: the weights alone, or four numbers not yet in bytes; they take 16": fits(4),
        "8 bytes for each parameter are missing: AdamW's two moments, or half of four numbers of 4 bytes": fits(8),
        "AdamW keeps two moments: together with weights and gradients 16 bytes a parameter": fits(12),
        "the parameters take no room at all in this answer": fits(0),
        "a parameter is counted as 16 numbers; it is four numbers of 4 bytes": fits(64),
        "the numbers kept for an image have four bytes each": fits(kept=16),
        "a block keeps 16 numbers for each token and channel, not one": fits(kept=4),
        "a number of float32 has 4 bytes, also among the parameters: 16 bytes each": fits(4, kept=16),
        "the blocks are forgotten: every one of them keeps 16 numbers for each token and channel": max(
            0, room // (64 * N * D)
        ),
        "the tokens are forgotten: 16 numbers are kept for each of them": max(0, room // (64 * L * D)),
        "the channels are forgotten: 16 numbers are kept for each of the D": max(0, room // (64 * L * N)),
        "weights, gradients and moments are there once, not once for each image": memory // (16 * parameters + image),
        "a model that does not fit has a batch of 0, not of less than nothing": room // image,
        "the last image does not fit whole: round down": max(0, -(-room // image)),
        "`round` goes to the nearest whole number; a part of an image does not fit: round down": max(
            0, round(room / image)
        ),
        "if not even the model fits, the answer is 0, and not 1": max(1, right),
        "`tokens` counts CLS already": max(0, room // (64 * L * (N + 1) * D)),
        "a number of float32 has 4 bytes, not 2": fits(8, kept=32),
        "the numbers kept for an image have 4 bytes each in float32, not 2": fits(kept=32),
        "one image more would fit": max(0, right - 1),
        "a batch that fills the memory to the last byte fits, too": max(0, (room - 1) // image),
        "one image too many: the batch itself has to fit, not only the one before": right + 1,
        "two quotients are rounded; subtract first, then divide": max(0, memory // image - 16 * parameters // image),
        "`/` always gives a float in Python; `//` divides whole numbers": max(0.0, room / image),
    }


exercise("8.4", largest_batch, _batch_cases, _batches, difference=compare.integers)


# 8.5 -----------------------------------------------------------------------------------------------------------------


def attention_maps(tokens: Tensor, in_proj_weight: Tensor, in_proj_bias: Tensor, num_heads: int) -> Tensor:
    """(B, N, D), stacked projections (3D, D) and (3D) -> the weights (B, h, N, N)."""
    q, k, _ = (_heads(part, num_heads) for part in (tokens @ in_proj_weight.T + in_proj_bias).chunk(3, dim=-1))
    return _weights(q, k)


def _heads(x: Tensor, num_heads: int) -> Tensor:
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)  # (B, h, N, d)


def _weights(q: Tensor, k: Tensor, *_) -> Tensor:
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1)  # (B, h, N, N)


def _map_case(B: int, N: int, d: int, h: int, dtype=torch.float32) -> Case:
    D = d * h
    weight, bias = _random(3 * D, D, seed=1, dtype=dtype) / D**0.5, _random(3 * D, seed=2, dtype=dtype)
    return Case((_random(B, N, D, dtype=dtype), weight, bias, h), traits=batch_traits(B))


def _map_cases() -> list[Case]:
    cases = [_map_case(*sizes) for sizes in [(2, 5, 4, 3), (1, 7, 2, 4), (3, 4, 6, 2), (2, 4, 4, 4)]]
    return [*cases, _map_case(2, 3, 8, 1, dtype=torch.float64)]


@formulas(*_map_cases()[0].args)
def _tables(x, weight, bias, h):
    right, stacked = attention_maps(x, weight, bias, h), x @ weight.T + bias  # (B, N, 3D)
    q, k, v = (_heads(part, h) for part in stacked.chunk(3, dim=-1))
    d, products = q.shape[-1], q @ k.mT

    def split(how) -> Tensor:
        """The maps with another way to the heads of q, k and v (B, N, D)."""
        return _weights(*(how(part) for part in stacked.chunk(3, dim=-1)))

    return {
        "the bias is left out": attention_maps(x, weight, 0 * bias, h),
        "the scores are divided by √D; each head has its own width d = D / h": (products / (d * h) ** 0.5).softmax(-1),
        "the scores are not divided by √d": products.softmax(-1),
        "the scores are divided by √h; the width of a head is d = D / h": (products / h**0.5).softmax(-1),
        "the scores are multiplied by √d; divide by it": (products * d**0.5).softmax(-1),
        "the scores are divided by d, not by its root": (products / d).softmax(-1),
        "the stack is queries, keys, values; keys and values are swapped": _weights(q, v),
        "queries and keys are swapped: row n belongs to query n": _weights(k, q),
        "the queries are compared with themselves; keys are the second third of the stack": _weights(q, q),
        "the softmax runs over the queries; each query's weights have to sum to 1": (products / d**0.5).softmax(-2),
        "the softmax runs over the heads; it belongs over the keys, the last axis": (products / d**0.5).softmax(1),
        "the stack holds all queries first, not q, k and v of each head in turn": (
            _weights(*stacked.unflatten(-1, (h, 3, d)).permute(3, 0, 2, 1, 4))
        ),
        "head i is the i-th slice of d channels; here every h-th channel is taken": (
            split(lambda part: part.unflatten(-1, (d, h)).permute(0, 3, 1, 2))
        ),
        "`reshape` to (B, h, N, d) mixes tokens and channels; split the last axis, then swap": (
            split(lambda part: part.reshape(len(x), h, -1, d))
        ),
        "the heads of a token are compared with each other; the head axis has to move before the tokens": (
            split(lambda part: part.unflatten(-1, (h, d)))
        ),
        "there are no heads: q and k are compared over all D channels at once": split(lambda part: part),
        "the stack is (3D, D) and was reshaped to (D, 3D); transpose it": (
            attention_maps(x, weight.reshape(d * h, -1).T, bias, h)
        ),
        "a linear layer multiplies by the transpose of its weight: `x @ weight.T`, or `F.linear`": (
            attention_maps(x, torch.cat([third.T for third in weight.chunk(3)]), bias, h)
        ),
        "the heads are averaged; return one map for each": right.mean(dim=1),
        "these are scores; the softmax over the keys is missing": products / d**0.5,
        "these are logarithms of the weights; return the weights": right.log(),
        "these are the values, mixed by the weights; return the weights themselves": right @ v,
        "rows and columns of the maps are swapped: row n belongs to query n": right.mT,
        "this is the first image alone; every image of the batch has its own maps": right[0],
        "only the row of CLS is returned; the map has a row for every query": right[:, :, 0],
    }


exercise("8.5", attention_maps, _map_cases, _tables)
