"""QuickGELU: near GELU, and not it."""

import torch
from torch.nn import functional as F

from vitedu.models.activation import ACTIVATIONS, QuickGELU


def test_it_is_x_times_the_sigmoid_and_never_far_from_gelu():
    x = torch.linspace(-8, 8, 10_001, dtype=torch.float64)
    quick = QuickGELU()(x)
    torch.testing.assert_close(quick, x / (1 + torch.exp(-1.702 * x)))
    worst = (quick - F.gelu(x)).abs().max().item()
    assert 0.0203 < worst < 0.021
    assert (quick - F.gelu(x, approximate="tanh")).abs().max() > 0.0203  # and it is not the other approximation


def test_the_names_build_the_layers_they_say():
    x = torch.randn(5)
    assert torch.equal(ACTIVATIONS["gelu"]()(x), F.gelu(x))
    assert torch.equal(ACTIVATIONS["quick_gelu"]()(x), QuickGELU()(x))
