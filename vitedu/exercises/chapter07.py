"""The exercises of chapter 7, the encoder block."""

import math
import re
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitedu.attention import MultiHeadAttention
from vitedu.block import MLP
from vitedu.exercises import compare
from vitedu.exercises.exercise import Answer, Case, batch_traits, exercise, formulas

BOTH = "both branches read the same tokens"
EACH = "each token is normalised by itself, over the last axis"
AXES = "give it two axes of length 1, (B, 1, 1)"
SQUARES = "RMSNorm takes the mean of the squares themselves"


def _normal(*shape: int, scale: float = 1.0, shift: float = 0.0, dtype=torch.float32) -> Tensor:
    """Random numbers, the same at every call."""
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=dtype) * scale + shift


# 7.1 -----------------------------------------------------------------------------------------------------------------
def _rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    """(B, N, D), (D,) -> (B, N, D): each token over the root of its mean square, times the gain."""
    return gain * x / (_ms(x) + eps).sqrt()


def _ms(x: Tensor, dim: Any = -1) -> Tensor:
    return x.square().mean(dim=dim, keepdim=True)


def _norm_case(batch: int, tokens: int, dim: int, eps: float = 1e-6, dtype=torch.float32, **scale: float) -> Case:
    gain = torch.linspace(0.5, 2, dim, dtype=dtype)
    x = _normal(batch, tokens, dim, dtype=dtype, **scale)
    label = f"x {(batch, tokens, dim)}, root mean square about {x.square().mean().sqrt().item():.1g}, eps = {eps:g}"
    return Case((x, gain, eps), label=label, traits=batch_traits(batch), gradient=batch == 2)


def _norm_cases() -> list[Case]:
    return [
        _norm_case(2, 5, 8, shift=1.0),
        _norm_case(1, 7, 6, eps=0.1),
        _norm_case(3, 4, 4, scale=1e-3),
        _norm_case(4, 3, 16, eps=1e-5, scale=20.0, shift=-5.0),
        _norm_case(1, 2, 12, dtype=torch.float64, shift=0.5),
        Case((torch.zeros(1, 4, 4), torch.ones(4), 1e-6), "x (1, 4, 4) of zeros, eps = 1e-06", traits=batch_traits(1)),
    ]


@formulas(*_norm_cases()[0].args)
def _wrong_norms(x: Tensor, gain: Tensor, eps: float) -> dict[str, Tensor]:
    ms, mean, norm, unit = _ms(x), x.mean(-1, True), x.norm(dim=-1, keepdim=True), _rms_norm(x, gain / gain, eps)
    var, below = x.var(-1, keepdim=True), x.var(-1, keepdim=True, correction=0)  # over D - 1, over D
    y, z = gain * x, gain * (x - mean)
    return {
        "eps is added after the root; it belongs inside, √(mean square + eps)": y / (ms.sqrt() + eps),
        "this is LayerNorm: the mean is subtracted; RMSNorm leaves it in": z / (below + eps).sqrt(),
        "this is LayerNorm, and its variance is divided by D - 1": z / (var + eps).sqrt(),
        "this is LayerNorm by `std`, with eps outside of the root": z / (var.sqrt() + eps),
        f"the numbers are divided by their spread around the mean (`var` or `std` subtract it first); {SQUARES}": (
            y / (below + eps).sqrt()
        ),
        "the numbers are divided by `std`, which subtracts the mean, divides by D - 1, and knows no eps": y
        / var.sqrt(),
        "the squares are added up; take their mean, or the result shrinks as D grows": y / (norm**2 + eps).sqrt(),
        "the sum of the squares is divided by N; a token has D numbers": y / (norm**2 / x.shape[1] + eps).sqrt(),
        "the tokens are brought to length 1 (`norm` adds the squares up); divide by the root of their mean square": (
            y / norm
        ),
        "`F.normalize` brings the tokens to length 1": gain * F.normalize(x, dim=-1),
        "`norm` adds the squares up, and eps is outside": y / (norm + eps),
        f"`var` subtracts the mean first, and divides by D - 1; {SQUARES}": y / (var + eps).sqrt(),
        "the gain is multiplied in before the mean square is taken; it belongs to the result": (
            y / (_ms(y) + eps).sqrt()
        ),
        "the root is missing: divide by √(mean square + eps)": y / (ms + eps),
        "divide by the root; this multiplies by it": y * (ms + eps).sqrt(),
        f"the mean runs over the tokens (dim=1); {EACH}": y / (_ms(x, 1) + eps).sqrt(),
        f"one mean is taken over all tokens of an image; {EACH}": y / (_ms(x, (1, 2)) + eps).sqrt(),
        f"one mean is taken over the whole batch; {EACH}": y / (_ms(x, (0, 1, 2)) + eps).sqrt(),
        f"the mean runs over the batch (dim=0); {EACH}": y / (_ms(x, 0) + eps).sqrt(),
        f"the mean runs over batch and tokens, as in BatchNorm; {EACH}": y / (_ms(x, (0, 1)) + eps).sqrt(),
        "eps is left out, so a token of zeros becomes nan": y / ms.sqrt(),
        "the gain is left out": unit,
        "the gain is added; multiply by it": unit + gain,
        "the mean of the numbers is squared; square first, then take the mean": y / (mean**2 + eps).sqrt(),
        "this is the mean of the absolute values, not √(mean square)": y / (x.abs().mean(-1, True) + eps),
        "the mean is subtracted above the line; RMSNorm leaves it in": z / (ms + eps).sqrt(),
        "the numbers are divided by `std`, which subtracts the mean first and knows no eps": y / below.sqrt(),
        "`std` subtracts the mean first, and eps stands outside the root; take √(mean square + eps)": (
            y / (var.sqrt() + eps)
        ),
        "`std` subtracts the mean, and eps is outside": y / (below.sqrt() + eps),
        "eps is fixed at 1e-6; use the argument `eps`": _rms_norm(x, gain, 1e-6),
        "eps is fixed at 1e-5; use the argument `eps`": _rms_norm(x, gain, 1e-5),
        "eps is not handed on, or fixed near 0": F.rms_norm(x, x.shape[-1:], gain),
        "the tokens are divided by the gain; multiply by it": unit / gain,
    }


exercise(
    "7.1",
    reference=_rms_norm,
    cases=_norm_cases,
    mistakes=_wrong_norms
    | {
        "`keepdim=True` is missing: the mean square has shape (B, N) and does not line up with (B, N, D)": (
            lambda x, gain, eps: gain * x / (x.square().mean(dim=-1) + eps).sqrt()
        ),
    },
)


# 7.2 -----------------------------------------------------------------------------------------------------------------
ROOT = math.sqrt(2 * math.pi)


def _phi(x: Tensor) -> Tensor:
    """The standard normal density."""
    return torch.exp(-x.square() / 2) / ROOT


def _cdf(x: Tensor) -> Tensor:
    """The share of the standard normal distribution below x."""
    return (1 + torch.erf(x / math.sqrt(2))) / 2


def _slope_of(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The derivative of another function, by autograd."""
    leaf = x.detach().clone().requires_grad_()
    return torch.autograd.grad(function(leaf).sum(), leaf)[0]


@formulas(torch.ones(1))
def _wrong_slopes(x: Tensor) -> dict[str, Tensor]:
    cdf, phi, bell = _cdf(x), _phi(x), torch.exp(-x.square() / 2)
    return {
        "Φ(x) alone: the product rule has a second term, x times the slope of Φ": cdf,
        "the second term alone: Φ(x) is missing from the product rule": x * phi,
        "this is φ(x) alone, the slope of Φ(x); x·Φ(x) is a product": phi,
        "the two terms are multiplied; the product rule adds them": cdf * x * phi,
        "Φ and φ are swapped: the slope is Φ(x) + x·φ(x)": phi + x * cdf,
        "the ½ of Φ is missing: Φ(x) = (1 + erf(x/√2)) / 2": 2 * cdf + x * phi,
        "the ½ of Φ halves the erf alone; 1 + erf(x/√2) needs brackets": 0.5 + cdf + x * phi,
        "Φ(x) is not erf(x/√2), but (1 + erf(x/√2)) / 2": 2 * cdf - 1 + x * phi,
        "this has 1 - Φ(x) in place of Φ(x)": 1 - cdf + x * phi,
        "the factor x of the second term is missing: the slope is Φ(x) + x·φ(x)": cdf + phi,
        "the second term is subtracted; the product rule adds it": cdf - x * phi,
        "x is in the second term twice; it is x·φ(x)": cdf + x * x * phi,
        "the second term holds the slope of φ; it is x·φ(x)": cdf - x * x * phi,
        "the 1/√(2π) of the density is missing: φ(x) = exp(-x²/2) / √(2π)": cdf + x * bell,
        "the density has exp(-x²) in place of exp(-x²/2)": cdf + x * phi * bell,
        "the minus sign of exp(-x²/2) is lost; (-x)² is x²": cdf + x * phi / bell**2,
        "x is not squared in exp(-x²/2)": cdf + x * torch.exp(-x / 2) / ROOT,
        "x is halved before it is squared; it is x²/2": cdf + x * _phi(x / math.sqrt(2)),
        "the density is divided by 2π; it is divided by its root, √(2π)": cdf + x * bell / (2 * math.pi),
        "the density is divided by √π; it is divided by √(2π)": cdf + x * bell / math.sqrt(math.pi),
        "the density is divided by √2·π; the root covers 2π": cdf + x * bell / (math.sqrt(2) * math.pi),
        "`/ √2 * π` multiplies by π; the root covers 2π": cdf + x * bell / math.sqrt(2) * math.pi,
        "`/ 2 * π` multiplies by π, and the root is missing": cdf + x * bell / 2 * math.pi,
        "the √2 inside erf is missing: Φ(x) = (1 + erf(x/√2)) / 2": (1 + torch.erf(x)) / 2 + x * phi,
        "erf has √2·x in place of x/√2": _cdf(2 * x) + x * phi,
        "Φ is made of erf, not tanh": (1 + torch.tanh(x / math.sqrt(2))) / 2 + x * phi,
        "erf has x/2 in place of x/√2": _cdf(x / math.sqrt(2)) + x * phi,
        "this is the slope of the tanh form": _slope_of(lambda x: F.gelu(x, approximate="tanh"), x),
        "this is the slope of ReLU, 0 or 1": (x > 0).to(x.dtype),
        "this is GELU itself, not its slope": F.gelu(x),
        "this is the slope of x·sigmoid(x)": _slope_of(F.silu, x),
        "this is the slope of x·sigmoid(1.702 x)": _slope_of(lambda x: x * torch.sigmoid(1.702 * x), x),
    }


exercise(
    "7.2",
    reference=lambda x: _cdf(x) + x * _phi(x),
    cases=lambda: [
        Case((_normal(2, 3, 4, scale=2.0),)),
        Case((torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0]),), label="x = -3, -1, -½, 0, ½, 1, 3"),
        Case((_normal(1, 5, 2),), traits=("B = 1",)),
        Case((_normal(6, dtype=torch.float64),)),
    ],
    mistakes=_wrong_slopes,
)


# 7.3 -----------------------------------------------------------------------------------------------------------------
def _stream_lengths(first: float, added: Tensor) -> Tensor:
    """A start and L branches' lengths (L,) -> lengths (L + 1,) of a stream to which each adds at right angles."""
    return (first**2 + torch.cat([torch.zeros_like(added[:1]), added.square().cumsum(0)])).sqrt()


def _stream_cases() -> list[Case]:
    sizes = [(3.0, [4.0, 12.0, 84.0]), (5.7, [2.0, 1.0, 3.5, 0.5, 2.5]), (0.5, [1.5]), (2.0, [6.0, 6.0, 6.0, 6.0])]
    cases = [Case((first, torch.tensor(added))) for first, added in sizes]
    return [*cases, Case((1.5, torch.tensor([1.0, 2.5], dtype=torch.float64)))]


@formulas(*_stream_cases()[0].args)
def _wrong_lengths(first: float, added: Tensor) -> dict[str, Tensor]:
    right, start = _stream_lengths(first, added), torch.full_like(added[:1], first)
    return {
        "lengths add up only along one direction; at right angles it is the squares that do": (
            torch.cat([start, first + added.cumsum(0)])
        ),
        "these are the squares of the lengths; take the root": right.square(),
        "the start is left out; it is there before the first branch": (right.square() - first**2).clamp(min=0).sqrt(),
        "the start is added after the root; it is squared like the others": (
            first + (right.square() - first**2).clamp(min=0).sqrt()
        ),
        "the start is not squared": (right.square() - first**2 + first).sqrt(),
        "every branch is joined to the start alone; the stream keeps what came before": torch.cat(
            [start, (first**2 + added.square()).sqrt()]
        ),
        "the length before the first branch is missing: L branches, L + 1 lengths": right[1:],
        "this is the length at the end alone; give it after every branch": right[-1],
        "the last branch is missing: L branches, L + 1 lengths": right[:-1],
        "these are running means of the squares; they add up": torch.cat(
            [start, (right.square()[1:] / torch.arange(2, len(right) + 1)).sqrt()]
        ),
        "this goes the other way: the first entry is the start, the last the top": right.flip(0),
        "this is what each branch adds to the length, not the length": torch.cat([start, right.diff()]),
    }


exercise("7.3", _stream_lengths, _stream_cases, _wrong_lengths)


# 7.4 -----------------------------------------------------------------------------------------------------------------
def _add_branch(x: Tensor, branch: Tensor, keep: Tensor, rate: float, training: bool) -> Tensor:
    """x (B, N, D) + branch (B, N, D), with stochastic depth; keep (B,) says which images keep their branch."""
    return x + branch * keep[:, None, None] / (1 - rate) if training else x + branch


def _branch_case(batch: int, tokens: int, dim: int, rate: float, training: bool = True, dtype=torch.float32) -> Case:
    x, branch = _normal(batch, tokens, dim, dtype=dtype), _normal(batch, tokens, dim, shift=1.0, dtype=dtype)
    keep = torch.arange(batch) % 3 != 1  # True, False, True, True, False …
    label = f"x and branch {(batch, tokens, dim)}, keep = {keep.tolist()}, rate = {rate}, training = {training}"
    return Case((x, branch, keep, rate, training), label=label, traits=batch_traits(batch), gradient=batch == 3)


def _dropped_case() -> Case:
    args = _normal(1, 2, 3), _normal(1, 2, 3, shift=1.0), torch.tensor([False]), 0.5, True
    return Case(args, "x and branch (1, 2, 3), keep = [False], rate = 0.5, training = True", traits=batch_traits(1))


def _train(change: Callable[[Tensor, Tensor, Tensor, float], Tensor]) -> Answer:
    """x + branch in evaluation, `change(x, branch, keep, rate)` with a broadcastable keep in training."""
    return lambda x, b, keep, rate, training: change(x, b, keep[:, None, None], rate) if training else x + b


def _eval(change: Callable[[Tensor, Tensor, Tensor, float], Tensor]) -> Answer:
    """The right sum in training, `change(x, branch, keep, rate)` in evaluation."""
    return lambda x, b, keep, rate, training: (
        _add_branch(x, b, keep, rate, True) if training else change(x, b, keep[:, None, None], rate)
    )


exercise(
    "7.4",
    reference=_add_branch,
    cases=lambda: [
        _branch_case(3, 2, 5, 0.2),
        _branch_case(1, 4, 3, 0.5),
        _dropped_case(),
        _branch_case(4, 4, 4, 0.25),
        _branch_case(4, 2, 3, 0.4, training=False),
        _branch_case(2, 3, 6, 0.1, dtype=torch.float64),
    ],
    mistakes={
        "the images that keep their branch are not scaled up; divide the branch by 1 - rate": (
            _train(lambda x, b, k, r: x + b * k)
        ),
        "the branch is never dropped in training; where `keep` is False an image gets x alone": (
            _train(lambda x, b, k, r: x + b)
        ),
        "the skip connection is dropped with the branch, and nothing is scaled; an image without its branch is x": (
            _train(lambda x, b, k, r: (x + b) * k)
        ),
        "the branch is multiplied by 1 - rate in training; divide, so that the mean over the tosses stays": (
            _train(lambda x, b, k, r: x + b * k * (1 - r))
        ),
        "the branch is divided by the rate; the share of images that keep it is 1 - rate": (
            _train(lambda x, b, k, r: x + b * k / r)
        ),
        "the branch is multiplied by the rate; divide it by 1 - rate": _train(lambda x, b, k, r: x + b * k * r),
        "`/ 1 - rate` subtracts the rate; put 1 - rate in brackets": _train(lambda x, b, k, r: x + b * k / 1 - r),
        "the skip connection is dropped and scaled too; only the branch should be": (
            _train(lambda x, b, k, r: (x + b) * k / (1 - r))
        ),
        "the skip connection is dropped too: an image without its branch is x, not zeros": (
            _train(lambda x, b, k, r: (x + b / (1 - r)) * k)
        ),
        "x is scaled with the branch where it is kept": _train(lambda x, b, k, r: x * ~k + (x + b) * k / (1 - r)),
        "x is dropped in place of the branch": _train(lambda x, b, k, r: x * k + b / (1 - r)),
        "the toss is the wrong way round: True means that the image keeps its branch": (
            _train(lambda x, b, k, r: x + b * ~k / (1 - r))
        ),
        f"the toss is spread over the last axis, the D numbers of a token; {AXES}": (
            _train(lambda x, b, k, r: x + b * k[:, 0, 0] / (1 - r))
        ),
        f"the toss is spread over the tokens; {AXES}": _train(lambda x, b, k, r: x + b * k[:, 0] / (1 - r)),
        "one toss, the first or any, decides for the whole batch; each image has its own": (
            _train(lambda x, b, k, r: x + b * k[0] / (1 - r))
        ),
        "one toss decides, and nothing is scaled; each image has its own": _train(lambda x, b, k, r: x + b * k[0]),
        "this drops single numbers; the tosses are in `keep`": lambda x, b, k, r, train: x + F.dropout(b, r, train),
        "training and evaluation are swapped": lambda x, b, k, r, training: _add_branch(x, b, k, r, not training),
        "the branch is dropped in evaluation too; there every image takes it, unscaled": (
            _eval(lambda x, b, k, r: x + b * k / (1 - r))
        ),
        "the branch is dropped in evaluation; there every image takes it": _eval(lambda x, b, k, r: x + b * k),
        "the branch is scaled in evaluation; dividing by 1 - rate in training has done that already": (
            _eval(lambda x, b, k, r: x + b * (1 - r))
        ),
        "the branch is divided by 1 - rate in evaluation too; there nothing is dropped, so nothing is scaled": (
            _eval(lambda x, b, k, r: x + b / (1 - r))
        ),
        "in evaluation the branch is left out; there every image takes it": _eval(lambda x, *_: x),
        "x is scaled up with the branch; divide the branch alone by 1 - rate": (
            _train(lambda x, b, k, r: (x + b * k) / (1 - r))
        ),
        "this is the form of the original paper, scaled in evaluation; here the branch is divided by 1 - rate in "
        "training, and in evaluation it is taken as it is": (
            lambda x, b, keep, rate, training: x + b * (keep[:, None, None] if training else 1 - rate)
        ),
        "x and branch are swapped: the branch may be dropped, x never": lambda x, b, *rest: _add_branch(b, x, *rest),
        "only the branch comes back; x has to be added": lambda x, *rest: _add_branch(torch.zeros_like(x), *rest),
    },
)


# 7.5 -----------------------------------------------------------------------------------------------------------------
def _fill(module: nn.Module, seed: int) -> nn.Module:
    """Every parameter at random, gains and biases too, so that none can be left out unnoticed."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * 0.4
    return module.eval()


def _parallel_case(batch: int, tokens: int, dim: int, heads: int, dtype=torch.float32) -> Case:
    layers = nn.LayerNorm(dim), MultiHeadAttention(dim, heads), MLP(dim, 2 * dim)
    filled = [_fill(layer.to(dtype), seed).requires_grad_(False) for seed, layer in enumerate(layers)]
    x = _normal(batch, tokens, dim, scale=2.0, shift=1.0, dtype=dtype)
    return Case((x, *filled), label=f"x {(batch, tokens, dim)}", traits=batch_traits(batch), gradient=batch == 2)


def _in_line(x: Tensor, norm: Answer, attention: Answer, mlp: Answer) -> Tensor:
    x = x + attention(norm(x))
    return x + mlp(norm(x))


exercise(
    "7.5",
    reference=lambda x, norm, attention, mlp: x + attention(norm(x)) + mlp(norm(x)),
    cases=lambda: [
        _parallel_case(2, 5, 8, 2),
        _parallel_case(1, 7, 6, 3),
        _parallel_case(3, 1, 4, 1),
        _parallel_case(1, 4, 12, 4, torch.float64),
    ],
    mistakes={
        f"the MLP reads the tokens after attention, as in ViT's block; here {BOTH}": _in_line,
        f"attention reads the tokens after the MLP; here {BOTH}": lambda x, n, a, m: _in_line(x, n, m, a),
        "the skip connection starts from the normalised tokens; it has to carry x itself": (
            lambda x, n, a, m: n(x) + a(n(x)) + m(n(x))
        ),
        "there is no skip connection: add x": lambda x, n, a, m: a(n(x)) + m(n(x)),
        "x is added twice, once with each branch": lambda x, n, a, m: x + a(n(x)) + x + m(n(x)),
        "the branches read x as it is; the LayerNorm stands before them": lambda x, n, a, m: x + a(x) + m(x),
        "the MLP reads x as it is; both branches read the normalised tokens": lambda x, n, a, m: x + a(n(x)) + m(x),
        "attention reads x as it is; both branches read the normalised tokens": lambda x, n, a, m: x + a(x) + m(n(x)),
        "the sum is normalised, as in post-norm; here the LayerNorm stands before the branches": (
            lambda x, n, a, m: n(x + a(x) + m(x))
        ),
        "the branches are chained, the MLP behind attention; both read the same tokens": (
            lambda x, n, a, m: x + m(a(n(x)))
        ),
        f"the branches are chained, attention behind the MLP; {BOTH}": lambda x, n, a, m: x + a(m(n(x))),
        f"the MLP reads what attention returns; {BOTH}": lambda x, n, a, m: x + a(n(x)) + m(a(n(x))),
        f"the MLP reads what attention returns, normalised; {BOTH}": lambda x, n, a, m: x + a(n(x)) + m(n(a(n(x)))),
        "LN(x) is added besides x": lambda x, n, a, m: x + n(x) + a(n(x)) + m(n(x)),
        "attention enters through the MLP alone; add both": lambda x, n, a, m: x + m(x + a(n(x))),
        "the outputs of the branches are normalised; the LayerNorm stands before them": (
            lambda x, n, a, m: x + n(a(x)) + n(m(x))
        ),
        "the branches are normalised together, behind": lambda x, n, a, m: x + n(a(x) + m(x)),
        "the branches are multiplied; add both": lambda x, n, a, m: x + a(n(x)) * m(n(x)),
        "the mean of the two branches is added; add both": lambda x, n, a, m: x + (a(n(x)) + m(n(x))) / 2,
        "the sum is normalised once more; it goes on as it is": lambda x, n, a, m: n(x + a(n(x)) + m(n(x))),
        f"the MLP reads the stream after attention, and without the LayerNorm; {BOTH}": (
            lambda x, n, a, m: x + a(n(x)) + m(x + a(n(x)))
        ),
        "only the MLP is added; the branch of attention is missing": lambda x, n, a, m: x + m(n(x)),
        "only attention is added; the MLP's branch is missing": lambda x, n, a, m: x + a(n(x)),
        "attention is added twice, the MLP never": lambda x, n, a, m: x + 2 * a(n(x)),
    },
)


# 7.6 -----------------------------------------------------------------------------------------------------------------
def _carry(layer: nn.Module, split: Callable[[Tensor], Any] = lambda joined: joined.chunk(3)) -> dict[str, Tensor]:
    """torch's encoder layer -> the state dict of an `EncoderBlock`, the joined projection split by `split`."""
    renamed = {"self_attn.out_proj": "attention.out_proj", "linear1": "mlp.fc1", "linear2": "mlp.fc2"}
    theirs, ours = layer.state_dict(), {}
    for kind in ("weight", "bias"):
        for name, part in zip("qkv", split(theirs[f"self_attn.in_proj_{kind}"]), strict=True):
            ours[f"attention.{name}_proj.{kind}"] = part
        for old, new in (renamed | {"norm1": "norm1", "norm2": "norm2"}).items():
            ours[f"{new}.{kind}"] = theirs[f"{old}.{kind}"]
    return ours


def _layer_case(dim: int, heads: int, hidden: int, dtype=torch.float32, seed: int = 0) -> Case:
    layer = _fill(nn.TransformerEncoderLayer(dim, heads, hidden, norm_first=True, batch_first=True).to(dtype), seed)
    return Case((layer,), label=f"a layer with D = {dim}, h = {heads}, hidden width {hidden}")


def _pairs(returned: Any, args: tuple) -> Any:
    """A dict as (name, tensor) pairs sorted by name; anything else as it is."""
    if not isinstance(returned, dict):
        return returned
    plain = {str(name): value.detach() if isinstance(value, Tensor) else value for name, value in returned.items()}
    return tuple((name, plain[name]) for name in sorted(plain))


def _wrong_state(got: Any, expected: tuple[tuple[str, Tensor], ...]) -> str | None:
    if not isinstance(got, tuple) or not all(isinstance(item, tuple) and len(item) == 2 for item in got):
        return f"returned {compare.shown(got)}, expected a dict from names to tensors"
    mine, theirs = dict(got), dict(expected)
    missing, unknown = theirs.keys() - mine.keys(), mine.keys() - theirs.keys()
    for names, what in ((missing, "is missing"), (unknown, "is not a name of an EncoderBlock")):
        if names:
            return f"`{min(names)}`" + (f" (and {len(names) - 1} more)" if len(names) > 1 else "") + f" {what}"
    problems = ((name, compare.tensors(mine[name], tensor)) for name, tensor in expected)
    return next((f"`{name}`: {problem}" for name, problem in problems if problem), None)


def _split(split: Callable[[Tensor, nn.Module], Any]) -> Answer:
    return lambda layer: _carry(layer, lambda joined: split(joined, layer))


def _in_order(*order: int) -> Answer:
    return _split(lambda joined, _: [joined.chunk(3)[index] for index in order])


def _without(pattern: str) -> Answer:
    return lambda layer: {name: t for name, t in _carry(layer).items() if not re.search(pattern, name)}


def _transposed(pattern: str) -> Answer:
    """The matrices whose name fits the pattern as (inputs, outputs)."""
    fits = re.compile(pattern).search
    return lambda layer: {name: t.T if t.ndim == 2 and fits(name) else t for name, t in _carry(layer).items()}


def _renamed(pattern: str, new: Any) -> Answer:
    return lambda layer: {re.sub(pattern, new, name): t for name, t in _carry(layer).items()}


QKV = "in `in_proj_weight` they lie as q, k, v"
BLOCKS = "q, k and v are three blocks of D rows each"
STORED = "both sides store them as (outputs, inputs)"
exercise(
    "7.6",
    reference=lambda layer: _carry(layer),
    cases=lambda: [_layer_case(8, 2, 16), _layer_case(6, 3, 6, seed=1), _layer_case(9, 1, 12, torch.float64, seed=2)],
    difference=_wrong_state,
    simplify=_pairs,
    mistakes={
        f"the three projections are taken in the wrong order; {QKV}": _in_order(1, 0, 2),
        f"values and queries are swapped; {QKV}": _in_order(2, 1, 0),
        f"keys and values are swapped; {QKV}": _in_order(0, 2, 1),
        f"all three are in a wrong place, as k, v, q; {QKV}": _in_order(1, 2, 0),
        f"all three are in a wrong place, as v, q, k; {QKV}": _in_order(2, 0, 1),
        f"all three get the rows of the queries; {QKV}": _in_order(0, 0, 0),
        f"all three get the whole of `in_proj_weight`; {BLOCKS}": _split(lambda joined, _: [joined] * 3),
        f"every third row is taken; {BLOCKS}": _split(lambda joined, _: [joined[index::3] for index in range(3)]),
        f"the rows are split head by head; {BLOCKS}, with all heads in them": _split(
            lambda joined, layer: joined.unflatten(0, (layer.self_attn.num_heads, 3, -1)).transpose(0, 1).flatten(1, 2)
        ),
        "the matrix is cut along its columns; the three blocks lie one below the other, along axis 0": (
            _split(lambda joined, _: joined.tensor_split(3, dim=-1))
        ),
        f"the weights are transposed; {STORED}": _transposed(""),
        f"the weights of q, k and v are transposed; {STORED}": _transposed("[qkv]_proj"),
        f"the weights of attention are transposed; {STORED}": _transposed("attention"),
        f"the weight of the output projection is transposed; {STORED}": _transposed("out_proj"),
        f"the weights of the MLP are transposed; {STORED}": _transposed("mlp"),
        "the two LayerNorms are swapped; norm1 belongs to attention": (
            _renamed("norm(.)", lambda m: f"norm{3 - int(m[1])}")
        ),
        "the two layers of the MLP are swapped; linear1 is fc1": _renamed("fc(.)", lambda m: f"fc{3 - int(m[1])}"),
        "the weights of the two layers of the MLP are swapped": _renamed("fc(.).w", lambda m: f"fc{3 - int(m[1])}.w"),
        "the biases are left out; each of the layers has one, the LayerNorms too": _without("bias"),
        "`in_proj_bias` is not carried across; q, k and v have biases too": _without("[qkv]_proj.bias"),
        "the biases of attention are left out; its four layers have them": _without("proj.bias"),
        "the MLP is left out: linear1 becomes `mlp.fc1`": _without("mlp"),
        "the names are still torch's; an EncoderBlock calls them `attention.q_proj.weight`, `mlp.fc1.weight` …": (
            lambda layer: dict(layer.state_dict())
        ),
        "an EncoderBlock says `attention`, not `self_attn`": _renamed("attention", "self_attn"),
        "an EncoderBlock says `attention.q_proj`, not `q_proj`": _renamed("attention.", ""),
        "an EncoderBlock says `q_proj`, not `q`": _renamed("_proj", ""),
        "an EncoderBlock says `mlp.fc1`, not `linear1`": _renamed("mlp.fc", "linear"),
        "an EncoderBlock says `mlp.fc1`, not `fc1`": _renamed("mlp.", ""),
        "the LayerNorms are left out; their gains and shifts are weights too": _without("norm"),
        "the output projection is left out: `self_attn.out_proj` becomes `attention.out_proj`": _without("out_proj"),
    },
)
