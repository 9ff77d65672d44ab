"""The formula of a CvT's cost: equal to what a counter sees, and near what the paper prints."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vitedu.models.cvt import CvT, CvTConfig, preset
from vitedu.models.cvt_cost import cvt_macs

SMALL = {"dims": (8, 12, 24), "depths": (1, 1, 2), "num_heads": (1, 3, 6), "num_classes": 5, "image_size": 32}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"image_size": (36, 60)},
        {"kv_strides": (1, 2, 3), "image_size": 52},
        {"projections": ("linear", "conv", "linear")},
        {"kernels": (4, 2, 2), "pool": "mean"},
        {"mlp_ratio": 2.5, "in_channels": 1, "depths": (2, 1, 1)},
    ],
)
def test_the_formula_is_what_a_counter_counts(changes):
    config = CvTConfig(**SMALL | changes)
    size = config.image_size if isinstance(config.image_size, tuple) else (config.image_size,) * 2
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        CvT(config).eval()(torch.zeros(1, config.in_channels, *size))
    assert sum(cvt_macs(config).values()) == counter.get_total_flops() / 2


@pytest.mark.parametrize(
    ("name", "changes", "paper"),
    [
        ("CvT-13", {}, 4.53),  # tables 3 and 7
        ("CvT-13", {"kv_strides": (1, 1, 1)}, 6.55),
        ("CvT-21", {}, 7.1),
        ("CvT-13", {"image_size": 384}, 16.3),
        ("CvT-21", {"image_size": 384}, 24.9),
        ("CvT-W24", {"image_size": 384}, 193.2),
    ],
)
def test_it_is_near_what_the_paper_prints(name, changes, paper):
    assert sum(cvt_macs(preset(name, **changes)).values()) / 1e9 == pytest.approx(paper, rel=0.02)


def test_a_stride_of_2_saves_three_quarters_of_the_pairs_and_of_the_work_on_keys_and_values():
    full, strided = (cvt_macs(preset("CvT-13", pool="mean", kv_strides=(stride,) * 3)) for stride in (1, 2))
    assert full["pairs"] == 4 * strided["pairs"]
    assert full["linear"] * 5 == strided["linear"] * 8  # of 2N + 2S maps S is a quarter
    assert full["depthwise"] == 2 * strided["depthwise"]  # N + 2S
    assert full["mlp"] == strided["mlp"]
