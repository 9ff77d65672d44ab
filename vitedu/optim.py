"""The optimiser: which parameters decay, and how the learning rate moves.

AdamW: Loshchilov and Hutter 2017, arXiv:1711.05101. Cosine: the same, 2016, arXiv:1608.03983. Warm-up: Goyal et al.
2017, arXiv:1706.02677.
"""

import math

import torch
from torch import nn


def learning_rate(step: int, total_steps: int, warmup_steps: int, peak: float) -> float:
    """The rate for one step: a straight line up to `peak`, then half a cosine down to zero.

    Args:
        step: 0-based; step `warmup_steps - 1` is the first at the peak.
        total_steps, warmup_steps: numbers of optimiser steps.
        peak: the highest rate.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The parameters that weight decay may shrink, and those it must leave alone: (decay, no_decay).

    Weight matrices of linear and convolution layers decay. Biases, LayerNorm's gains, position tables and the CLS token
    do not: shrinking a position towards zero makes it look like every other.
    """
    matrices = {id(layer.weight) for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decay = [parameter for parameter in trainable if id(parameter) in matrices]
    no_decay = [parameter for parameter in trainable if id(parameter) not in matrices]
    return decay, no_decay


def adamw(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW over the trainable parameters, with `weight_decay` on those that `split_parameters` lets decay."""
    decay, no_decay = split_parameters(model)
    groups = [{"params": decay, "weight_decay": weight_decay}, {"params": no_decay, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, fused=True)  # one kernel for the whole update, on CPU and GPU
