"""Weights under the names that others published them with: which sizes they have, and the same numbers for `ViT`.

Used by `vitedu.pretrained.convert`. An error names the published key and both shapes.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vitedu.models.deit import DistilledViT
from vitedu.patch import Size, pair
from vitedu.vit import PRESETS, ViT, ViTConfig

HEADS = {size["dim"]: size["num_heads"] for name, size in PRESETS.items() if "/" in name}  # not stored with weights


@dataclass(frozen=True)
class PublishedWeights:
    """Published weights and how to find `ViT`'s among them.

    Args:
        weights: the state dict.
        names: what to replace in a name of `ViT` to have the published one, in this order. The projections of queries,
            keys and values, stacked in one matrix (3D, D), are called `qkv` there.
    """

    weights: Mapping[str, Tensor]
    names: dict[str, str]

    def name(self, ours: str) -> str:
        """`encoder.blocks.0.attention.q_proj.weight` -> `blocks.0.attn.qkv.weight`, and so on."""
        ours = re.sub(r"attention\.[qkv]_proj", "attention.qkv", ours)
        for old, new in self.names.items():
            ours = ours.replace(old, new)
        return ours

    def holds(self, ours: str) -> bool:
        """Whether the weight is there."""
        return self.name(ours) in self.weights

    @property
    def kind(self) -> type[ViT]:
        """The class that has such weights: with a distillation token, or the plain one."""
        return DistilledViT if self.holds("dist_token") else ViT

    @property
    def num_prefix(self) -> int:
        """Tokens before the patches: CLS, and the one for distillation if there is one."""
        return len(self.heads)

    @property
    def heads(self) -> list[str]:
        """The classifiers of ours, one for each of those tokens."""
        return ["head", "head_dist"] if self.holds("dist_token") else ["head"]

    def find(self, ours: str, axes: int) -> Tensor:
        """The published weight itself. ValueError if it is missing, has another number of axes or holds no floats."""
        theirs = self.name(ours)
        if theirs not in self.weights:
            remedy = "; pass num_classes for a new classifier" if ours.startswith("head") else ""
            raise ValueError(f"{theirs} is missing{remedy}")
        value = self.weights[theirs]
        if value.ndim != axes:
            raise ValueError(f"{theirs} has shape {tuple(value.shape)}, expected {axes} axes")
        if not value.is_floating_point():
            raise ValueError(f"{theirs} holds {value.dtype}; pass the weights from before they were quantised")
        return value.detach()

    def config(self, num_heads: int | None = None, image_size: Size | None = None) -> ViTConfig:
        """The sizes that the shapes tell, K = 1 if there is no classifier.

        Args:
            num_heads: shapes do not tell it; None takes that of the published model of this width.
            image_size: of the images the model was trained on; None if they were square.

        Raises:
            ValueError: a weight is missing, or the heads or the image size cannot be known.
        """
        D, C, *patch = self.find("patch_embed.proj.weight", 4).shape
        if num_heads is None and D not in HEADS:
            raise ValueError(f"the weights do not tell how many heads share the width {D}; pass num_heads")
        first = self.name("encoder.blocks.")
        blocks = {key.removeprefix(first).partition(".")[0] for key in self.weights if key.startswith(first)}
        representation = "pre_logits.0.weight"
        return ViTConfig(
            image_size=image_size or square(self.find("positions.table", 3).shape[1] - self.num_prefix, *patch),
            patch_size=one_side(patch),
            in_channels=C,
            num_classes=len(self.find("head.weight", 2)) if self.holds("head.weight") else 1,
            dim=D,
            depth=len(blocks),
            num_heads=num_heads or HEADS[D],
            mlp_ratio=len(self.find("encoder.blocks.0.mlp.fc1.weight", 2)) / D,
            representation_size=len(self.find(representation, 2)) if self.holds(representation) else 0,
        )

    def carry(self, config: ViTConfig, with_head: bool = True, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """A state dict for a `ViT` of this configuration, in memory of its own and of this dtype.

        ValueError if a weight is missing, has another shape than the model needs, or has no place in the model.
        """
        with torch.device("meta"):
            model = self.kind(config).state_dict()
        unknown = sorted(set(self.weights) - {self.name(ours) for ours in model})
        if unknown:
            raise ValueError(f"{unknown[0]} has no place in a plain Vision Transformer ({len(unknown)} such weights)")
        wanted = [ours for ours in model if with_head or not ours.startswith(("pre_logits", "head"))]
        return {ours: self._take(ours, model[ours], config).to(dtype, copy=True) for ours in wanted}

    def _take(self, ours: str, target: Tensor, config: ViTConfig) -> Tensor:
        """One published weight in the shape of ours."""
        part = re.search(r"attention\.([qkv])_proj", ours)
        shape = list(target.shape)  # what is published
        if part:
            shape[0] *= 3
        elif ours == "patch_embed.proj.weight":
            shape = [config.dim, config.in_channels, *pair(config.patch_size)]
        elif ours == "positions.table":
            shape = [1, *shape]
        value = self.find(ours, len(shape))
        if list(value.shape) != shape:
            raise ValueError(f"{self.name(ours)} has shape {tuple(value.shape)}, expected {tuple(shape)}")
        if part:
            value = value.chunk(3)["qkv".index(part[1])]  # (3D, ...) -> (D, ...)
        return value.reshape(target.shape)


def one_side(sides: Sequence[int]) -> Size:
    """`(16, 16)` -> `16`; a pair of different sides stays."""
    height, width = sides
    return height if height == width else (height, width)


def square(patches: int, patch_height: int, patch_width: int) -> Size:
    """The size in pixels of images that are a square of so many patches. ValueError if there is none."""
    side = math.isqrt(patches)
    if side**2 == patches:
        return one_side((side * patch_height, side * patch_width))
    raise ValueError(
        f"{patches} positions beside the class token's fill no square; pass trained_size if the images were not square "
        "(and if the class token has no position, this is another model)"
    )
