"""Published weights into a model of ours whose weights have the same shapes, and other names.

Used by `vitedu.pretrained.convert_cvt` and `convert_bit`.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vitedu.pretrained.store import cast

Names = Mapping[str, str]  # patterns, and what to replace them with in a name of ours, in this order


def published_name(ours: str, names: Names) -> str:
    """The published name of a weight of ours."""
    for pattern, new in names.items():
        ours = re.sub(pattern, new, ours)
    return ours


def carry(weights: Mapping[str, Tensor], kind: type[nn.Module], config: object, names: Names) -> nn.Module:
    """A model in evaluation mode with its own copy of published weights, in float32.

    Args:
        weights: the state dict, whole numbers such as batch norm's count among them.
        kind: the class of the model.
        config: what it is built from.
        names: how the weights are called.

    Raises:
        ValueError: a weight is missing, has another shape than the model needs, or has no place in the model.
    """
    with torch.device("meta"):  # no numbers are drawn that would be replaced at once
        model = kind(config)
    shapes = {ours: value.shape for ours, value in model.state_dict().items()}
    wanted = {ours: published_name(ours, names) for ours in shapes}
    if unknown := sorted(set(weights) - set(wanted.values())):
        raise ValueError(f"{unknown[0]} has no place in this {kind.__name__} ({len(unknown)} such weights)")
    for ours, theirs in wanted.items():
        if theirs not in weights:
            remedy = "; pass num_classes for a new classifier" if ours.startswith("head.") else ""
            raise ValueError(f"{theirs} is missing{remedy}")
        if weights[theirs].shape != shapes[ours]:
            raise ValueError(f"{theirs} has shape {tuple(weights[theirs].shape)}, expected {tuple(shapes[ours])}")
    carried = {ours: cast(weights[theirs].detach(), torch.float32).clone() for ours, theirs in wanted.items()}
    model.load_state_dict(carried, assign=True)
    return model.eval()


def new_head(weights: Mapping[str, Tensor], names: Names, num_classes: int, width: int) -> dict[str, Tensor]:
    """The weights with a classifier of zeros for other classes, for fine-tuning."""
    weight, bias = (published_name(f"head.{part}", names) for part in ("weight", "bias"))
    return dict(weights) | {weight: torch.zeros(num_classes, width), bias: torch.zeros(num_classes)}
