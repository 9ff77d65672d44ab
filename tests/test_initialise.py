"""`vitedu.initialise`: the variances it promises, measured on layers with many weights."""

import math

import pytest
import torch
from torch import nn

from vitedu.initialise import SCHEMES, initialise
from vitedu.vit import ViT, ViTConfig

FAN_IN, FAN_OUT = 300, 700  # 210,000 weights: a relative standard error of the std below 0.2 %
CUT_NORMAL = 0.8796  # standard deviation of a unit normal that is cut at ±2


def layer(scheme: str, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    linear = nn.Linear(FAN_IN, FAN_OUT)
    initialise(linear, scheme)
    return linear


@pytest.mark.parametrize(
    ("scheme", "std", "limit"),
    [
        ("xavier", math.sqrt(2 / (FAN_IN + FAN_OUT)), math.sqrt(6 / (FAN_IN + FAN_OUT))),
        ("normal", 0.02 * CUT_NORMAL, 0.04),
        ("torch", math.sqrt(1 / (3 * FAN_IN)), math.sqrt(1 / FAN_IN)),
    ],
)
def test_weights_have_the_variance_and_the_range_of_their_scheme(scheme, std, limit):
    weight = layer(scheme).weight.detach()
    assert weight.std() == pytest.approx(std, rel=0.01)
    assert weight.mean().abs() < 5 * std / math.sqrt(weight.numel())
    assert limit * 0.999 < weight.abs().max() <= limit * (1 + 1e-6)


def test_xavier_is_flat_and_normal_is_not():
    """Share of the weights in the middle half of the range: 1/2 if uniform, P(|x| < 1 | |x| < 2) = 0.715 if normal."""
    for scheme, limit, share in [("xavier", math.sqrt(6 / 1000), 0.5), ("normal", 0.04, 0.7152)]:
        middle = (layer(scheme).weight.abs() < limit / 2).float().mean()
        assert middle == pytest.approx(share, abs=0.006)


def test_torch_leaves_linear_layers_as_they_were_built():
    torch.manual_seed(0)
    built = nn.Linear(FAN_IN, FAN_OUT)
    assert torch.equal(layer("torch").weight, built.weight)
    assert torch.equal(layer("torch").bias, built.bias)


@pytest.mark.parametrize("scheme", ["xavier", "normal"])
def test_biases_start_at_zero(scheme):
    model = ViT(ViTConfig(image_size=8, patch_size=4, dim=16, depth=2, num_heads=4, init=scheme))
    biases = [value for name, value in model.named_parameters() if name.endswith("bias")]
    assert len(biases) == 2 * 8 + 3  # per block four projections, two of the MLP, two norms; patches, last norm, head
    assert not any(bias.any() for bias in biases)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_norms_and_positions_keep_what_they_were_built_with(scheme):
    torch.manual_seed(0)
    model = ViT(ViTConfig(image_size=8, patch_size=4, dim=16, depth=2, num_heads=4))
    table = model.positions.table.detach().clone()
    initialise(model, scheme)
    assert torch.equal(model.positions.table, table)
    for norm in (module for module in model.modules() if isinstance(module, nn.LayerNorm)):
        assert (norm.weight == 1).all()
        assert not norm.bias.any()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_cls_token_starts_small_but_not_at_zero(scheme):
    model = nn.Module()
    model.cls_token = nn.Parameter(torch.zeros(1, 1, 10_000))
    initialise(model, scheme)
    assert model.cls_token.std().item() == pytest.approx(0.02 * CUT_NORMAL, rel=0.05)
    assert model.cls_token.abs().max() <= 0.04


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_seed_decides(scheme):
    assert torch.equal(layer(scheme).weight, layer(scheme).weight)
    assert not torch.equal(layer(scheme).weight, layer(scheme, seed=1).weight)


def test_layers_without_a_bias_and_models_without_a_cls_token_are_fine():
    linear = nn.Linear(4, 3, bias=False)
    before = linear.weight.detach().clone()
    initialise(linear, "xavier")
    assert not torch.equal(linear.weight, before)


def test_an_unknown_scheme_is_refused_before_anything_changes():
    linear = nn.Linear(4, 3)
    before = linear.weight.detach().clone()
    with pytest.raises(ValueError, match="init 'kaiming' is not one of xavier, normal, torch"):
        initialise(linear, "kaiming")
    assert torch.equal(linear.weight, before)
