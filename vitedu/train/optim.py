"""The optimiser: which parameters decay, and how the learning rate moves.

AdamW: Loshchilov and Hutter 2017, arXiv:1711.05101, in PyTorch's form, see `adamw`. Cosine: the same, 2016,
arXiv:1608.03983. Warm-up: Goyal et al. 2017, arXiv:1706.02677. Muon: Jordan et al. 2024,
kellerjordan.github.io/posts/muon; the length of its steps: Liu et al. 2025, arXiv:2502.16982. Averaging the weights:
Polyak and Juditsky 1992, doi:10.1137/0330046. Lower rates for lower layers: Howard and Ruder 2018, arXiv:1801.06146.
"""

import copy
import math
from collections.abc import Callable

import torch
from torch import nn

SCHEDULES = ("cosine", "steps", "constant")
DROPS = (5 / 9, 5 / 6)  # where in training the schedule "steps" divides the rate by ten
MATRICES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def learning_rate(step: int, total_steps: int, warmup_steps: int, peak: float, schedule: str = "cosine") -> float:
    """The rate for one step: a straight line up to `peak`, then down again.

    Args:
        step: 0-based, below `total_steps`; steps `warmup_steps - 1` and `warmup_steps` are at the peak.
        total_steps, warmup_steps: numbers of optimiser steps.
        peak: the highest rate.
        schedule: "cosine" follows half a cosine that would be zero at `total_steps`; "steps" divides by ten at the
            shares `DROPS` of all steps; "constant" stays.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if schedule == "steps":
        return peak * 0.1 ** sum(step >= drop * total_steps for drop in DROPS)
    if schedule == "constant":
        return peak
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


def levels(model: nn.Module) -> dict[int, int]:
    """How high each parameter lies, by its `id`: 0 before the first block, then one higher with each, the head last.

    The blocks are those of the model's `stages`; what lies between two of them belongs to the lower one, and what comes
    after the last, such as the norm and the classifier, is a level of its own. ValueError for a model without `stages`.
    """
    blocks = [block for stage in getattr(model, "stages", []) for block in getattr(stage, "blocks", [])]
    if not blocks:
        raise ValueError(f"{type(model).__name__} has no blocks in its `stages` to count; take layer_decay 1")
    inside = {id(p): level for level, block in enumerate(blocks, start=1) for p in block.parameters()}
    found, level = {}, 0
    for parameter in model.parameters():  # in the order in which the model was put together
        level = inside.get(id(parameter), len(blocks) + 1 if level >= len(blocks) else level)
        found[id(parameter)] = level
    return found


def layer_wise(model: nn.Module, decay: float) -> Callable[[list[dict]], list[dict]]:
    """What splits parameter groups by level, with a factor "scale" for the rate: 1 at the top, `decay` less each."""
    if decay == 1:
        return lambda groups: groups
    level = levels(model)
    top = max(level.values())

    def split(groups: list[dict]) -> list[dict]:
        return [
            group | {"params": params, "scale": decay ** (top - height)}
            for group in groups
            for height in range(top + 1)
            if (params := [p for p in group["params"] if level[id(p)] == height])
        ]

    return split


def adamw(model: nn.Module, lr: float, weight_decay: float, layer_decay: float = 1.0) -> torch.optim.AdamW:
    """AdamW over the trainable parameters, with `weight_decay` on those that `split_parameters` lets decay.

    With a `layer_decay` below 1 each level of the model has that share of the rate of the next one, see `levels`.

    This is PyTorch's: a step multiplies the weights by 1 - rate · decay, so that half the rate is also half the decay.
    The paper's (algorithm 2) multiplies by 1 - schedule · decay, where the schedule is 1 at the peak whatever the rate.
    """
    # one kernel for the whole update, on CPU and GPU
    groups = layer_wise(model, layer_decay)(_groups(*split_parameters(model), weight_decay))
    return torch.optim.AdamW(groups, lr=lr, fused=True)


def sgd(model: nn.Module, lr: float, weight_decay: float, momentum: float) -> torch.optim.SGD:
    """Stochastic gradient descent, with `weight_decay` (here added to the gradient) on the same parameters."""
    return torch.optim.SGD(_groups(*split_parameters(model), weight_decay), lr=lr, momentum=momentum, fused=True)


def muon(model: nn.Module, lr: float, weight_decay: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, at steps as long as AdamW's, and AdamW for all else. ValueError if it lacks.

    Muon makes all singular values of a step about equal, which is meant for matrices between hidden layers only.
    """
    if not hasattr(torch.optim, "Muon"):
        raise ValueError(f"torch {torch.__version__} has no Muon; take torch 2.9 or later, or the optimizer 'adamw'")
    inside = {id(parameter) for stage in getattr(model, "stages", []) for parameter in stage.parameters()}
    decay, no_decay = split_parameters(model)
    matrices = [parameter for parameter in decay if id(parameter) in inside and parameter.ndim == 2]
    if not matrices:
        raise ValueError(f"{type(model).__name__} has no matrices in its `stages` for Muon; take the optimizer 'adamw'")
    mine = {id(parameter) for parameter in matrices}
    others = [parameter for parameter in decay if id(parameter) not in mine]
    rest = torch.optim.AdamW(_groups(others, no_decay, weight_decay), lr=lr, fused=True)
    return [torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"), rest]


def _groups(decay: list[nn.Parameter], no_decay: list[nn.Parameter], weight_decay: float) -> list[dict]:
    return [{"params": decay, "weight_decay": weight_decay}, {"params": no_decay, "weight_decay": 0.0}]


OPTIMIZERS = {  # the list of those that share a model's parameters
    "adamw": lambda model, config: [adamw(model, config.lr, config.weight_decay, config.layer_decay)],
    "sgd": lambda model, config: [sgd(model, config.lr, config.weight_decay, config.momentum)],
    "muon": lambda model, config: muon(model, config.lr, config.weight_decay),
}


class Average(nn.Module):
    """A copy of the model, `module`; each update moves its weights by a share 1 - decay of the way to the model's.

    The first steps count for more, or the untrained start would stay in the average for long: after n updates the
    decay is at most (1 + n) / (10 + n). Torch's own `AveragedModel` sends n to the GPU in each step, and waits for it.
    """

    def __init__(self, model: nn.Module, decay: float):
        super().__init__()
        self.module, self.decay = copy.deepcopy(model), decay
        self.register_buffer("n_averaged", torch.tensor(0))  # stays on the CPU, where reading it costs nothing

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move the weights towards those of `model`; its buffers are copied, and at first its weights, too."""
        averages, current, n = list(self.module.parameters()), list(model.parameters()), self.n_averaged
        if n == 0:
            torch._foreach_copy_(averages, current)
        else:
            way = torch._foreach_sub(current, averages)
            torch._foreach_mul_(way, (1 - ((1 + n) / (10 + n)).clamp(max=self.decay)).item())
            torch._foreach_add_(averages, way)
        for ours, theirs in zip(self.module.buffers(), model.buffers(), strict=True):
            ours.copy_(theirs)
        self.n_averaged += 1
