"""What the tests of equality share: models and inputs in which every number is random, and none is zero."""

import math

import torch
from torch import Tensor, nn


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Draw every parameter anew, also norms, biases, CLS, positions and heads, so that activations stay near one."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        fan_in = parameter[0].numel() if parameter.ndim in (2, 4) else 4
        parameter.data = torch.randn(parameter.shape, generator=generator) / math.sqrt(fan_in)
        if "norm" in name or "ln" in name:
            parameter.data += 0.5
    return module


def random_images(*shape: int) -> Tensor:
    """Images (B, C, H, W), the same ones at every call."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))
