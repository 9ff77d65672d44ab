"""Published weights into a model of ours: each is used once, under the name and in the shape that it was published in.

Used by `vitedu.pretrained.convert_cvt`, `convert_bit` and `convert_towers`.
"""

import re
from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vitedu.patch import pair
from vitedu.pretrained.store import cast

Names = Mapping[str, str]  # patterns, and what to replace them with in a name of ours, in this order


def published_name(ours: str, names: Names) -> str:
    """The published name of a weight of ours."""
    for pattern, new in names.items():
        ours = re.sub(pattern, new, ours)
    return ours


def carry(weights: Mapping[str, Tensor], kind: type[nn.Module], config: object, names: Names) -> nn.Module:
    """A model in evaluation mode with its own copy of published weights, in float32.

    Where the projections of queries, keys and values have one published name, it is that of their stack. Filters of
    patches are reshaped for `PatchEmbed`, and axes of length one in front do not count.

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
    parts, carried = Counter(wanted.values()), {}
    for ours, theirs in wanted.items():
        if theirs not in weights:
            remedy = "; pass num_classes for a new classifier" if ours.startswith("head.") else ""
            raise ValueError(f"{theirs} is missing{remedy}")
        value, shape = weights[theirs], published_shape(ours, shapes[ours], config, parts[theirs])
        if _without_ones(value.shape) != _without_ones(shape):
            raise ValueError(f"{theirs} has shape {tuple(value.shape)}, expected {tuple(shape)}")
        if parts[theirs] == len("qkv"):
            value = value.chunk(len("qkv"))["qkv".index(re.search(r"\.([qkv])_proj", ours)[1])]  # (3D, ...) -> (D, ...)
        carried[ours] = cast(value.detach().reshape(shapes[ours]), torch.float32).clone()
    model.load_state_dict(carried, assign=True)
    return model.eval()


def published_shape(ours: str, shape: torch.Size, config: object, parts: int) -> tuple[int, ...]:
    """The shape in which a weight of ours is published, with the other parts of its stack."""
    if ours == "patch_embed.proj.weight":
        return shape[0], config.in_channels, *pair(config.patch_size)
    return (shape[0] * parts, *shape[1:]) if parts > 1 else tuple(shape)


def _without_ones(shape: torch.Size) -> list[int]:
    """The shape without the axes of length one in front."""
    sides = list(shape)
    while sides and sides[0] == 1:
        sides.pop(0)
    return sides


def new_head(weights: Mapping[str, Tensor], names: Names, num_classes: int, width: int) -> dict[str, Tensor]:
    """The weights with a classifier of zeros for other classes, for fine-tuning."""
    weight, bias = (published_name(f"head.{part}", names) for part in ("weight", "bias"))
    return dict(weights) | {weight: torch.zeros(num_classes, width), bias: torch.zeros(num_classes)}
