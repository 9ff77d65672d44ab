"""The exercises of chapter 7, the encoder block."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitedu.attention import MultiHeadAttention
from vitedu.block import MLP
from vitedu.exercises import compare
from vitedu.exercises.exercise import Case, Exercise, Mistake


def _normal(*shape: int, scale: float = 1.0, shift: float = 0.0, dtype=torch.float32) -> Tensor:
    """Random numbers, the same at every call."""
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=dtype) * scale + shift


def _traits(batch: int) -> tuple[str, ...]:
    return ("B = 1",) if batch == 1 else ()


# 7.1 -----------------------------------------------------------------------------------------------------------------


def rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    """(B, N, D), (D,) -> (B, N, D): each token over the root of its mean square, times the gain."""
    return gain * x / (x.square().mean(dim=-1, keepdim=True) + eps).sqrt()


def _norm_case(batch: int, tokens: int, dim: int, eps: float = 1e-6, dtype=torch.float32, **scale: float) -> Case:
    gain = torch.linspace(0.5, 2, dim, dtype=dtype)
    x = _normal(batch, tokens, dim, dtype=dtype, **scale)
    label = f"x {(batch, tokens, dim)}, root mean square about {x.square().mean().sqrt().item():.1g}, eps = {eps:g}"
    return Case((x, gain, eps), label=label, traits=_traits(batch), gradient=batch == 2)


def _norm_cases() -> list[Case]:
    return [
        _norm_case(2, 5, 8, shift=1.0),
        _norm_case(1, 7, 6, eps=0.1),
        _norm_case(3, 4, 4, scale=1e-3),
        _norm_case(4, 3, 16, eps=1e-5, scale=20.0, shift=-5.0),
        _norm_case(1, 2, 12, dtype=torch.float64, shift=0.5),
        Case((torch.zeros(1, 4, 4), torch.ones(4), 1e-6), label="x (1, 4, 4) of zeros, eps = 1e-06", traits=("B = 1",)),
    ]


def _rms_by(divisor: Callable[[Tensor, float], Tensor]):
    """The tokens over `divisor(x, eps)`."""
    return lambda x, gain, eps: gain * x / divisor(x, eps)


def _mean_square(x: Tensor, dim: Any = -1) -> Tensor:
    return x.square().mean(dim=dim, keepdim=True)


RMS_NORM = Exercise(
    id="7.1",
    title="LayerNorm without the mean",
    reference=rms_norm,
    cases=_norm_cases,
    mistakes=(
        Mistake(
            "eps is added after the root; it belongs inside, √(mean square + eps)",
            _rms_by(lambda x, eps: _mean_square(x).sqrt() + eps),
        ),
        Mistake(
            "this is LayerNorm: the mean is subtracted; RMSNorm leaves it in",
            lambda x, gain, eps: F.layer_norm(x, x.shape[-1:], gain, eps=eps),
        ),
        Mistake(
            "the numbers are divided by their spread around the mean (`var` or `std` subtract it first); RMSNorm takes "
            "the mean of the squares themselves",
            _rms_by(lambda x, eps: (x.var(dim=-1, keepdim=True, correction=0) + eps).sqrt()),
        ),
        Mistake(
            "the numbers are divided by `std`, which subtracts the mean, divides by D - 1, and knows no eps",
            _rms_by(lambda x, eps: x.std(dim=-1, keepdim=True)),
        ),
        Mistake(
            "the squares are added up; take their mean, or the result shrinks as D grows",
            _rms_by(lambda x, eps: (x.square().sum(dim=-1, keepdim=True) + eps).sqrt()),
        ),
        Mistake(
            "the tokens are brought to length 1 (`norm` adds the squares up); divide by the root of their mean square",
            _rms_by(lambda x, eps: x.norm(dim=-1, keepdim=True)),
        ),
        Mistake(
            "`var` subtracts the mean first, and divides by D - 1; RMSNorm takes the mean of the squares themselves",
            _rms_by(lambda x, eps: (x.var(dim=-1, keepdim=True) + eps).sqrt()),
        ),
        Mistake(
            "`keepdim=True` is missing: the mean square has shape (B, N) and does not line up with (B, N, D)",
            _rms_by(lambda x, eps: (x.square().mean(dim=-1) + eps).sqrt()),
        ),
        Mistake(
            "the gain is multiplied in before the mean square is taken; it belongs to the result",
            lambda x, gain, eps: rms_norm(x * gain, torch.ones_like(gain), eps),
        ),
        Mistake("the root is missing: divide by √(mean square + eps)", _rms_by(lambda x, eps: _mean_square(x) + eps)),
        Mistake(
            "the mean runs over the tokens (dim=1); each token is normalised by itself, over the last axis",
            _rms_by(lambda x, eps: (_mean_square(x, 1) + eps).sqrt()),
        ),
        Mistake(
            "one mean is taken over all tokens of an image; each token is normalised by itself, over the last axis",
            _rms_by(lambda x, eps: (_mean_square(x, (1, 2)) + eps).sqrt()),
        ),
        Mistake(
            "one mean is taken over the whole batch; each token is normalised by itself, over the last axis",
            _rms_by(lambda x, eps: (x.square().mean() + eps).sqrt()),
        ),
        Mistake("eps is left out, so a token of zeros becomes nan", _rms_by(lambda x, eps: _mean_square(x).sqrt())),
        Mistake("the gain is left out", lambda x, gain, eps: rms_norm(x, torch.ones_like(gain), eps)),
        Mistake(
            "the mean of the numbers is squared; square first, then take the mean",
            _rms_by(lambda x, eps: (x.mean(dim=-1, keepdim=True).square() + eps).sqrt()),
        ),
        Mistake(
            "the mean is subtracted above the line; RMSNorm leaves it in",
            lambda x, gain, eps: gain * (x - x.mean(dim=-1, keepdim=True)) / (_mean_square(x) + eps).sqrt(),
        ),
        Mistake(
            "the numbers are divided by `std`, which subtracts the mean first and knows no eps",
            _rms_by(lambda x, eps: x.std(dim=-1, keepdim=True, correction=0)),
        ),
        Mistake(
            "`std` subtracts the mean first, and eps stands outside the root; take √(mean square + eps)",
            _rms_by(lambda x, eps: x.std(dim=-1, keepdim=True) + eps),
        ),
        Mistake("eps is fixed at 1e-6; use the argument `eps`", lambda x, gain, eps: rms_norm(x, gain, 1e-6)),
        Mistake("the tokens are divided by the gain; multiply by it", lambda x, gain, eps: rms_norm(x, 1 / gain, eps)),
    ),
)


# 7.2 -----------------------------------------------------------------------------------------------------------------


def _phi(x: Tensor) -> Tensor:
    """The standard normal density."""
    return torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)


def _cdf(x: Tensor) -> Tensor:
    """The share of the standard normal distribution below x."""
    return (1 + torch.erf(x / math.sqrt(2))) / 2


def gelu_slope(x: Tensor) -> Tensor:
    """(...) -> (...): the derivative of x·Φ(x)."""
    return _cdf(x) + x * _phi(x)


def _slope_cases() -> list[Case]:
    return [
        Case((_normal(2, 3, 4, scale=2.0),)),
        Case((torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0]),), label="x = -3, -1, -½, 0, ½, 1, 3"),
        Case((_normal(1, 5, 2),), traits=("B = 1",)),
        Case((_normal(6, dtype=torch.float64),)),
    ]


def _slope_of(function: Callable[[Tensor], Tensor]):
    """The derivative of another function, by autograd."""

    def answer(x: Tensor) -> Tensor:
        leaf = x.detach().clone().requires_grad_()
        return torch.autograd.grad(function(leaf).sum(), leaf)[0]

    return answer


GELU_SLOPE = Exercise(
    id="7.2",
    title="The slope of GELU",
    reference=gelu_slope,
    cases=_slope_cases,
    mistakes=(
        Mistake("Φ(x) alone: the product rule has a second term, x times the slope of Φ", _cdf),
        Mistake("the second term alone: Φ(x) is missing from the product rule", lambda x: x * _phi(x)),
        Mistake("the ½ of Φ is missing: Φ(x) = (1 + erf(x/√2)) / 2", lambda x: 2 * _cdf(x) + x * _phi(x)),
        Mistake("the factor x of the second term is missing: the slope is Φ(x) + x·φ(x)", lambda x: _cdf(x) + _phi(x)),
        Mistake("the second term is subtracted; the product rule adds it", lambda x: _cdf(x) - x * _phi(x)),
        Mistake(
            "the 1/√(2π) of the density is missing: φ(x) = exp(-x²/2) / √(2π)",
            lambda x: _cdf(x) + x * torch.exp(-x.square() / 2),
        ),
        Mistake(
            "the density has exp(-x²) in place of exp(-x²/2)",
            lambda x: _cdf(x) + x * torch.exp(-x.square()) / math.sqrt(2 * math.pi),
        ),
        Mistake(
            "the density is divided by 2π; it is divided by its root, √(2π)",
            lambda x: _cdf(x) + x * torch.exp(-x.square() / 2) / (2 * math.pi),
        ),
        Mistake(
            "the density is divided by √π; it is divided by √(2π)",
            lambda x: _cdf(x) + x * torch.exp(-x.square() / 2) / math.sqrt(math.pi),
        ),
        Mistake(
            "the √2 inside erf is missing: Φ(x) = (1 + erf(x/√2)) / 2",
            lambda x: (1 + torch.erf(x)) / 2 + x * _phi(x),
        ),
        Mistake("this is the slope of the tanh form", _slope_of(lambda x: F.gelu(x, approximate="tanh"))),
        Mistake("this is the slope of ReLU, 0 or 1", lambda x: (x > 0).to(x.dtype)),
        Mistake("this is GELU itself, not its slope", F.gelu),
        Mistake("this is the slope of x·sigmoid(x)", _slope_of(F.silu)),
        Mistake("this is the slope of x·sigmoid(1.702 x)", _slope_of(lambda x: x * torch.sigmoid(1.702 * x))),
    ),
)


# 7.3 -----------------------------------------------------------------------------------------------------------------

Cost = tuple[int, int]


def count_block(tokens: int, dim: int, hidden: int) -> Cost:
    """(parameters, multiply-adds) of one block."""
    attention, mlp, norms = 4 * (dim * dim + dim), 2 * dim * hidden + hidden + dim, 4 * dim
    return attention + mlp + norms, tokens * (4 * dim * dim + 2 * dim * hidden) + 2 * tokens * tokens * dim


def _count_cases() -> list[Case]:
    return [Case(sizes) for sizes in [(196, 768, 3072), (1, 64, 256), (17, 48, 96), (50, 96, 60), (4, 6, 6)]]


def _parameters_off(by: Callable[[int, int], int]):
    """The right multiply-adds, and `by(D, hidden)` parameters too few."""

    def answer(tokens: int, dim: int, hidden: int) -> Cost:
        parameters, macs = count_block(tokens, dim, hidden)
        return parameters - by(dim, hidden), macs

    return answer


def _macs_as(macs: Callable[[int, int, int], int]):
    """The right parameters with `macs(N, D, hidden)`."""
    return lambda tokens, dim, hidden: (count_block(tokens, dim, hidden)[0], macs(tokens, dim, hidden))


def _linear(dim: int, hidden: int) -> int:
    return 4 * dim * dim + 2 * dim * hidden


COUNT_BLOCK = Exercise(
    id="7.3",
    title="Count a block",
    reference=count_block,
    cases=_count_cases,
    difference=compare.integer_tuples,
    mistakes=(
        Mistake(
            "the biases of the linear layers are left out of the parameters: 4D in attention, hidden + D in the MLP",
            _parameters_off(lambda dim, hidden: 5 * dim + hidden),
        ),
        Mistake(
            "the two LayerNorms are left out of the parameters; each has a gain and a shift, 2D",
            _parameters_off(lambda dim, hidden: 4 * dim),
        ),
        Mistake(
            "the parameters count the weight matrices alone; biases and LayerNorms have some too",
            _parameters_off(lambda dim, hidden: 9 * dim + hidden),
        ),
        Mistake(
            "the parameters hold only one LayerNorm, or only the gains; a block has two, with a gain and a shift each",
            _parameters_off(lambda dim, hidden: 2 * dim),
        ),
        Mistake(
            "the output projection of attention is missing from the parameters: queries, keys, values, output",
            _parameters_off(lambda dim, hidden: dim * dim + dim),
        ),
        Mistake(
            "the first layer of the MLP has a bias of the hidden width, not D",
            _parameters_off(lambda dim, hidden: hidden - dim),
        ),
        Mistake(
            "the MLP has the hidden width 4D here whatever `hidden` says",
            lambda tokens, dim, hidden: count_block(tokens, dim, 4 * dim),
        ),
        Mistake(
            "the N² part is counted once; QKᵀ costs N²D, and the weights times V cost N²D again",
            _macs_as(lambda n, dim, hidden: n * _linear(dim, hidden) + n * n * dim),
        ),
        Mistake(
            "the N² part is missing: QKᵀ and the weights times V cost N²D each",
            _macs_as(lambda n, dim, hidden: n * _linear(dim, hidden)),
        ),
        Mistake(
            "these are FLOPs, two for each multiply–add",
            _macs_as(lambda n, dim, hidden: 2 * n * _linear(dim, hidden) + 4 * n * n * dim),
        ),
        Mistake(
            "the linear layers are counted for one token; each of the N tokens passes through them",
            _macs_as(lambda n, dim, hidden: _linear(dim, hidden) + 2 * n * n * dim),
        ),
        Mistake(
            "the output projection is missing from the multiply–adds: queries, keys, values, output",
            _macs_as(lambda n, dim, hidden: n * (_linear(dim, hidden) - dim * dim) + 2 * n * n * dim),
        ),
        Mistake(
            "the output projection is missing from both numbers: queries, keys, values, output",
            lambda n, dim, hidden: (
                count_block(n, dim, hidden)[0] - dim * dim - dim,
                count_block(n, dim, hidden)[1] - n * dim * dim,
            ),
        ),
        Mistake(
            "the biases are in the multiply–adds; they are added without a product and stay out",
            _macs_as(lambda n, dim, hidden: n * (_linear(dim, hidden) + 5 * dim + hidden) + 2 * n * n * dim),
        ),
        Mistake(
            "the MLP's multiply–adds hold one of its two layers; each needs D times `hidden` for a token",
            _macs_as(lambda n, dim, hidden: n * (_linear(dim, hidden) - dim * hidden) + 2 * n * n * dim),
        ),
        Mistake(
            "the order is parameters, then multiply–adds",
            lambda tokens, dim, hidden: count_block(tokens, dim, hidden)[::-1],
        ),
    ),
)


# 7.4 -----------------------------------------------------------------------------------------------------------------


def add_branch(x: Tensor, branch: Tensor, keep: Tensor, rate: float, training: bool) -> Tensor:
    """x (B, N, D) + branch (B, N, D), with stochastic depth; keep (B,) says which images keep their branch."""
    if not training:
        return x + branch
    return x + branch * keep[:, None, None] / (1 - rate)


def _branch_case(batch: int, tokens: int, dim: int, rate: float, training: bool = True, dtype=torch.float32) -> Case:
    x, branch = _normal(batch, tokens, dim, dtype=dtype), _normal(batch, tokens, dim, shift=1.0, dtype=dtype)
    keep = torch.arange(batch) % 3 != 1  # True, False, True, True, False …
    label = f"x and branch {(batch, tokens, dim)}, keep = {keep.tolist()}, rate = {rate}, training = {training}"
    return Case((x, branch, keep, rate, training), label=label, traits=_traits(batch), gradient=batch == 3)


def _branch_cases() -> list[Case]:
    dropped = _normal(1, 2, 3), _normal(1, 2, 3, shift=1.0), torch.tensor([False]), 0.5, True
    return [
        _branch_case(3, 2, 5, 0.2),
        _branch_case(1, 4, 3, 0.5),
        Case(dropped, label="x and branch (1, 2, 3), keep = [False], rate = 0.5, training = True", traits=("B = 1",)),
        _branch_case(4, 4, 4, 0.25),
        _branch_case(4, 2, 3, 0.4, training=False),
        _branch_case(2, 3, 6, 0.1, dtype=torch.float64),
    ]


def _in_training(change: Callable[[Tensor, Tensor, Tensor, float], Tensor]):
    """x + branch in evaluation, `change(x, branch, keep, rate)` with a broadcastable keep in training."""

    def answer(x: Tensor, branch: Tensor, keep: Tensor, rate: float, training: bool) -> Tensor:
        return change(x, branch, keep[:, None, None], rate) if training else x + branch

    return answer


def _in_evaluation(change: Callable[[Tensor, Tensor, Tensor, float], Tensor]):
    """The right sum in training, `change(x, branch, keep, rate)` in evaluation."""

    def answer(x: Tensor, branch: Tensor, keep: Tensor, rate: float, training: bool) -> Tensor:
        return add_branch(x, branch, keep, rate, True) if training else change(x, branch, keep[:, None, None], rate)

    return answer


ADD_BRANCH = Exercise(
    id="7.4",
    title="A residual that may be skipped",
    reference=add_branch,
    cases=_branch_cases,
    mistakes=(
        Mistake(
            "the images that keep their branch are not scaled up; divide the branch by 1 - rate",
            _in_training(lambda x, branch, keep, rate: x + branch * keep),
        ),
        Mistake(
            "the branch is never dropped in training; where `keep` is False an image gets x alone",
            _in_training(lambda x, branch, keep, rate: x + branch),
        ),
        Mistake(
            "the skip connection is dropped with the branch, and nothing is scaled; an image without its branch is x",
            _in_training(lambda x, branch, keep, rate: (x + branch) * keep),
        ),
        Mistake(
            "the branch is multiplied by 1 - rate in training; divide, so that the mean over the tosses stays",
            _in_training(lambda x, branch, keep, rate: x + branch * keep * (1 - rate)),
        ),
        Mistake(
            "the branch is divided by the rate; the share of images that keep it is 1 - rate",
            _in_training(lambda x, branch, keep, rate: x + branch * keep / rate),
        ),
        Mistake(
            "the skip connection is dropped and scaled too; only the branch should be",
            _in_training(lambda x, branch, keep, rate: (x + branch) * keep / (1 - rate)),
        ),
        Mistake(
            "the skip connection is dropped too: an image without its branch is x, not zeros",
            _in_training(lambda x, branch, keep, rate: (x + branch / (1 - rate)) * keep),
        ),
        Mistake(
            "the toss is the wrong way round: True means that the image keeps its branch",
            _in_training(lambda x, branch, keep, rate: x + branch * ~keep / (1 - rate)),
        ),
        Mistake(
            "the toss is spread over the last axis, the D numbers of a token; give it two axes of length 1, (B, 1, 1)",
            lambda x, branch, keep, rate, training: x + branch * keep / (1 - rate) if training else x + branch,
        ),
        Mistake(
            "the toss is spread over the tokens; give it two axes of length 1, (B, 1, 1)",
            lambda x, branch, keep, rate, training: x + branch * keep[:, None] / (1 - rate) if training else x + branch,
        ),
        Mistake(
            "the first toss decides for the whole batch; each image has its own",
            _in_training(lambda x, branch, keep, rate: x + branch * keep[0] / (1 - rate)),
        ),
        Mistake(
            "the branch is dropped in evaluation too; there every image takes it, unscaled",
            _in_evaluation(lambda x, branch, keep, rate: x + branch * keep / (1 - rate)),
        ),
        Mistake(
            "the branch is scaled in evaluation; dividing by 1 - rate in training has done that already",
            _in_evaluation(lambda x, branch, keep, rate: x + branch * (1 - rate)),
        ),
        Mistake(
            "the branch is divided by 1 - rate in evaluation too; there nothing is dropped, so nothing is scaled",
            _in_evaluation(lambda x, branch, keep, rate: x + branch / (1 - rate)),
        ),
        Mistake("in evaluation the branch is left out; there every image takes it", _in_evaluation(lambda x, *_: x)),
        Mistake(
            "x is scaled up with the branch; divide the branch alone by 1 - rate",
            _in_training(lambda x, branch, keep, rate: (x + branch * keep) / (1 - rate)),
        ),
        Mistake(
            "this is the form of the original paper, scaled in evaluation; here the branch is divided by 1 - rate in "
            "training, and in evaluation it is taken as it is",
            lambda x, branch, keep, rate, training: x + branch * (keep[:, None, None] if training else 1 - rate),
        ),
        Mistake(
            "x and branch are swapped: the branch may be dropped, x never",
            lambda x, branch, *rest: add_branch(branch, x, *rest),
        ),
        Mistake(
            "only the branch comes back; x has to be added",
            lambda x, *rest: add_branch(torch.zeros_like(x), *rest),
        ),
    ),
)


# 7.5 -----------------------------------------------------------------------------------------------------------------

Layer = Callable[[Tensor], Tensor]


def parallel_block(x: Tensor, norm: Layer, attention: Layer, mlp: Layer) -> Tensor:
    """x (B, N, D) -> (B, N, D): both branches read the same normalised tokens, and both are added to x."""
    normed = norm(x)
    return x + attention(normed) + mlp(normed)


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
    return Case((x, *filled), label=f"x {(batch, tokens, dim)}", traits=_traits(batch), gradient=batch == 2)


def _parallel_cases() -> list[Case]:
    return [
        _parallel_case(2, 5, 8, 2),
        _parallel_case(1, 7, 6, 3),
        _parallel_case(3, 1, 4, 1),
        _parallel_case(1, 4, 12, 4, torch.float64),
    ]


def _one_after_the_other(x: Tensor, norm: Layer, attention: Layer, mlp: Layer) -> Tensor:
    x = x + attention(norm(x))
    return x + mlp(norm(x))


def _mlp_first(x: Tensor, norm: Layer, attention: Layer, mlp: Layer) -> Tensor:
    x = x + mlp(norm(x))
    return x + attention(norm(x))


def _mlp_on_the_stream(x: Tensor, norm: Layer, attention: Layer, mlp: Layer) -> Tensor:
    x = x + attention(norm(x))
    return x + mlp(x)


PARALLEL_BLOCK = Exercise(
    id="7.5",
    title="Two branches at once",
    reference=parallel_block,
    cases=_parallel_cases,
    mistakes=(
        Mistake(
            "the MLP reads the tokens after attention, as in ViT's block; here both branches read the same tokens",
            _one_after_the_other,
        ),
        Mistake("attention reads the tokens after the MLP; here both branches read the same tokens", _mlp_first),
        Mistake(
            "the skip connection starts from the normalised tokens; it has to carry x itself",
            lambda x, norm, attention, mlp: norm(x) + attention(norm(x)) + mlp(norm(x)),
        ),
        Mistake(
            "there is no skip connection: add x",
            lambda x, norm, attention, mlp: attention(norm(x)) + mlp(norm(x)),
        ),
        Mistake(
            "x is added twice, once with each branch",
            lambda x, norm, attention, mlp: x + attention(norm(x)) + x + mlp(norm(x)),
        ),
        Mistake(
            "the branches read x as it is; the LayerNorm stands before them",
            lambda x, norm, attention, mlp: x + attention(x) + mlp(x),
        ),
        Mistake(
            "the MLP reads x as it is; both branches read the normalised tokens",
            lambda x, norm, attention, mlp: x + attention(norm(x)) + mlp(x),
        ),
        Mistake(
            "attention reads x as it is; both branches read the normalised tokens",
            lambda x, norm, attention, mlp: x + attention(x) + mlp(norm(x)),
        ),
        Mistake(
            "the sum is normalised, as in post-norm; here the LayerNorm stands before the branches",
            lambda x, norm, attention, mlp: norm(x + attention(x) + mlp(x)),
        ),
        Mistake(
            "the branches are chained, the MLP behind attention; both read the same tokens",
            lambda x, norm, attention, mlp: x + mlp(attention(norm(x))),
        ),
        Mistake(
            "the outputs of the branches are normalised; the LayerNorm stands before them",
            lambda x, norm, attention, mlp: x + norm(attention(x)) + norm(mlp(x)),
        ),
        Mistake(
            "the mean of the two branches is added; add both",
            lambda x, norm, attention, mlp: x + (attention(norm(x)) + mlp(norm(x))) / 2,
        ),
        Mistake(
            "the sum is normalised once more; it goes on as it is",
            lambda x, norm, attention, mlp: norm(parallel_block(x, norm, attention, mlp)),
        ),
        Mistake(
            "the MLP reads the stream after attention, and without the LayerNorm; both branches read the same tokens",
            _mlp_on_the_stream,
        ),
        Mistake(
            "only the MLP is added; the branch of attention is missing",
            lambda x, norm, attention, mlp: x + mlp(norm(x)),
        ),
        Mistake(
            "only attention is added; the MLP's branch is missing",
            lambda x, norm, attention, mlp: x + attention(norm(x)),
        ),
    ),
)


# 7.6 -----------------------------------------------------------------------------------------------------------------

State = dict[str, Tensor]
RENAMED = {"self_attn.out_proj": "attention.out_proj", "linear1": "mlp.fc1", "linear2": "mlp.fc2"}
RENAMED |= {"norm1": "norm1", "norm2": "norm2"}
PROJECTION_BIASES = [f"attention.{name}_proj.bias" for name in "qkv"]


def carry_weights(layer: nn.TransformerEncoderLayer) -> State:
    """torch's encoder layer -> the state dict of an `EncoderBlock` that computes the same."""
    return _carry(layer, lambda joined: joined.chunk(3), RENAMED)


def _carry(layer: nn.Module, split: Callable[[Tensor], Any], renamed: dict[str, str]) -> State:
    """Split the joined projection into q, k, v with `split`, and rename the rest."""
    theirs, ours = layer.state_dict(), {}
    for kind in ("weight", "bias"):
        for name, part in zip("qkv", split(theirs[f"self_attn.in_proj_{kind}"]), strict=True):
            ours[f"attention.{name}_proj.{kind}"] = part
        for old, new in renamed.items():
            ours[f"{new}.{kind}"] = theirs[f"{old}.{kind}"]
    return ours


def _layer_case(dim: int, heads: int, hidden: int, dtype=torch.float32, seed: int = 0) -> Case:
    layer = _fill(nn.TransformerEncoderLayer(dim, heads, hidden, norm_first=True, batch_first=True).to(dtype), seed)
    return Case((layer,), label=f"a layer with D = {dim}, h = {heads}, hidden width {hidden}")


def _layer_cases() -> list[Case]:
    return [_layer_case(8, 2, 16), _layer_case(6, 3, 6, seed=1), _layer_case(9, 1, 12, torch.float64, seed=2)]


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
    for title, names in (("is missing", theirs.keys() - mine.keys()), ("is not a name", mine.keys() - theirs.keys())):
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            return f"`{min(names)}`{more} {title}" + ("" if title == "is missing" else " of an EncoderBlock")
    for name, tensor in expected:
        problem = compare.tensors(mine[name], tensor)
        if problem:
            return f"`{name}`: {problem}"
    return None


def _split_as(split: Callable[[Tensor], Any]):
    return lambda layer: _carry(layer, split, RENAMED)


def _by_head(layer: nn.TransformerEncoderLayer) -> State:
    heads = layer.self_attn.num_heads

    def split(joined: Tensor) -> Any:
        parts = joined.unflatten(0, (heads, 3, -1))  # (h, 3, d, ...)
        return [parts[:, index].flatten(0, 1) for index in range(3)]

    return _carry(layer, split, RENAMED)


def _changed(change: Callable[[State], Any]):
    """The right state dict, then `change` of it."""
    return lambda layer: change(carry_weights(layer))


def _swapped(first: str, second: str):
    """Two layers exchanged."""

    def change(ours: State) -> State:
        pairs = {f"{first}.{kind}": f"{second}.{kind}" for kind in ("weight", "bias")}
        pairs |= {new: old for old, new in pairs.items()}
        return {name: ours[pairs.get(name, name)] for name in ours}

    return _changed(change)


CARRY_WEIGHTS = Exercise(
    id="7.6",
    title="Carry torch's weights across",
    reference=carry_weights,
    cases=_layer_cases,
    difference=_wrong_state,
    simplify=_pairs,
    mistakes=(
        Mistake(
            "the three projections are taken in the wrong order; in `in_proj_weight` they lie as q, k, v",
            _split_as(lambda joined: [joined.chunk(3)[index] for index in (1, 0, 2)]),
        ),
        Mistake(
            "values and queries are swapped; in `in_proj_weight` they lie as q, k, v",
            _split_as(lambda joined: joined.chunk(3)[::-1]),
        ),
        Mistake(
            "keys and values are swapped; in `in_proj_weight` they lie as q, k, v",
            _split_as(lambda joined: [joined.chunk(3)[index] for index in (0, 2, 1)]),
        ),
        Mistake(
            "every third row is taken; q, k and v are three blocks of D rows each",
            _split_as(lambda joined: [joined[index::3] for index in range(3)]),
        ),
        Mistake(
            "the rows are split head by head; q, k and v are three blocks of D rows each, with all heads in them",
            _by_head,
        ),
        Mistake(
            "the matrix is cut along its columns; the three blocks lie one below the other, along axis 0",
            _split_as(lambda joined: joined.tensor_split(3, dim=-1)),
        ),
        Mistake(
            "the weights are transposed; both sides store them as (outputs, inputs)",
            _changed(lambda ours: {name: tensor.T if tensor.ndim == 2 else tensor for name, tensor in ours.items()}),
        ),
        Mistake(
            "the weights of q, k and v are transposed; both sides store them as (outputs, inputs)",
            _split_as(lambda joined: [part.T if part.ndim == 2 else part for part in joined.chunk(3)]),
        ),
        Mistake("the two LayerNorms are swapped; norm1 belongs to attention", _swapped("norm1", "norm2")),
        Mistake("the two layers of the MLP are swapped; linear1 is fc1", _swapped("mlp.fc1", "mlp.fc2")),
        Mistake(
            "the biases are left out; each of the layers has one, the LayerNorms too",
            _changed(lambda ours: {name: tensor for name, tensor in ours.items() if name.endswith("weight")}),
        ),
        Mistake(
            "`in_proj_bias` is not carried across; q, k and v have biases too",
            _changed(lambda ours: {name: ours[name] for name in ours if name not in PROJECTION_BIASES}),
        ),
        Mistake(
            "the names are still torch's; an EncoderBlock calls them `attention.q_proj.weight`, `mlp.fc1.weight` …",
            lambda layer: dict(layer.state_dict()),
        ),
        Mistake(
            "the LayerNorms are left out; their gains and shifts are weights too",
            _changed(lambda ours: {name: tensor for name, tensor in ours.items() if "norm" not in name}),
        ),
        Mistake(
            "the output projection is left out: `self_attn.out_proj` becomes `attention.out_proj`",
            _changed(lambda ours: {name: tensor for name, tensor in ours.items() if "out_proj" not in name}),
        ),
    ),
)

EXERCISES = {
    exercise.id: exercise for exercise in (RMS_NORM, GELU_SLOPE, COUNT_BLOCK, ADD_BRANCH, PARALLEL_BLOCK, CARRY_WEIGHTS)
}
