"""`vitedu.cost`: the formulas equal what the models hold and what torch counts while they run."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vitedu.block import EncoderBlock
from vitedu.cost import block_macs, block_parameters, count_parameters, vit_macs, vit_parameters
from vitedu.patch import pair
from vitedu.vit import PRESETS, ViT, ViTConfig, preset

SMALL = {"image_size": (8, 12), "patch_size": 4, "num_classes": 5, "dim": 16, "depth": 3, "num_heads": 4}
CHANGES = [
    {},
    {"pool": "mean"},
    {"positions": "sincos2d"},
    {"positions": "learned2d"},
    {"positions": "learned2d", "pool": "mean"},
    {"positions": "none", "pool": "mean"},
    {"norm": "post"},
    {"representation_size": 9},
    {"mlp_ratio": 2.6},
    {"in_channels": 1, "patch_size": (2, 6)},
]


def counted(model: torch.nn.Module, *inputs: torch.Tensor) -> int:
    """Multiply-adds of one call, each a pair of torch's operations; nothing is computed on the device `meta`."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(*inputs)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(("dim", "ratio"), [(768, 4.0), (64, 4.0), (48, 2.5), (10, 0.3)])
def test_a_block_holds_and_costs_what_the_formulas_say(dim, ratio):
    with torch.device("meta"):
        block, tokens = EncoderBlock(dim, 2, mlp_ratio=ratio), torch.zeros(1, 7, dim)
    assert block_parameters(dim, ratio) == count_parameters(block)
    assert block_macs(7, dim, ratio) == counted(block, tokens)


def test_at_the_usual_ratio_the_formulas_are_the_short_ones():
    for N, D in [(197, 768), (50, 192), (1, 4)]:
        assert block_parameters(D) == 12 * D**2 + 13 * D
        assert block_macs(N, D) == 12 * N * D**2 + 2 * N**2 * D


@pytest.mark.parametrize("changes", CHANGES)
def test_a_model_holds_and_costs_what_the_formulas_say(changes):
    config = ViTConfig(**SMALL | changes)
    with torch.device("meta"):
        model, images = ViT(config), torch.zeros(1, config.in_channels, *pair(config.image_size))
    assert vit_parameters(config) == count_parameters(model)
    assert vit_macs(config) == counted(model, images)


@pytest.mark.parametrize("name", [name for name in PRESETS if "/" in name])
def test_presets_hold_and_cost_what_the_formulas_say(name):
    with torch.device("meta"):
        model, images = ViT(preset(name)), torch.zeros(1, 3, 224, 224)
    assert vit_parameters(preset(name)) == count_parameters(model)
    assert vit_macs(preset(name)) == counted(model, images)


@pytest.mark.parametrize(
    ("name", "giga"), [("B/16", 17.564), ("B/32", 4.409), ("L/16", 61.555), ("L/32", 15.378), ("H/14", 167.295)]
)
def test_costs_are_those_that_torchvision_publishes(name, giga):
    assert round(vit_macs(preset(name)) / 1e9, 3) == giga


def test_h_14_with_its_pre_training_head_has_the_published_count():
    assert vit_parameters(preset("H/14", representation_size=1280)) == 633_685_480
