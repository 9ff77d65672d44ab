"""The optimiser: which parameters decay, and how the learning rate moves.

AdamW: Loshchilov and Hutter 2017, arXiv:1711.05101. Cosine: the same, 2016, arXiv:1608.03983. Warm-up: Goyal et al.
2017, arXiv:1706.02677.
"""

import math

import torch
from torch import nn

MATRICES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def learning_rate(step: int, total_steps: int, warmup_steps: int, peak: float) -> float:
    """The rate for one step: a straight line up to `peak`, then half a cosine that would be zero at `total_steps`.

    Args:
        step: 0-based, below `total_steps`; steps `warmup_steps - 1` and `warmup_steps` are at the peak.
        total_steps, warmup_steps: numbers of optimiser steps.
        peak: the highest rate.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The parameters that weight decay may shrink, and those it must leave alone: (decay, no_decay).

    The weights of `nn.Linear` and of convolutions decay. Everything else does not: biases, LayerNorm's gains, position
    tables and the CLS token (shrinking a position towards zero makes it look like every other). Frozen parameters are
    in neither list.
    """
    matrices = {id(layer.weight) for layer in model.modules() if isinstance(layer, MATRICES)}
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decay = [parameter for parameter in trainable if id(parameter) in matrices]
    no_decay = [parameter for parameter in trainable if id(parameter) not in matrices]
    return decay, no_decay


def adamw(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW over the trainable parameters, with `weight_decay` on those that `split_parameters` lets decay."""
    decay, no_decay = split_parameters(model)
    groups = [{"params": decay, "weight_decay": weight_decay}, {"params": no_decay, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, fused=True)  # one kernel for the whole update, on CPU and GPU
