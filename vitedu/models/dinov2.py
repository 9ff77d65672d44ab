"""DINOv2's Vision Transformer: each branch scaled by learned numbers, and register tokens that belong to no patch.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", 2023, arXiv:2304.07193. Registers: Darcet
et al., "Vision Transformers Need Registers", 2023, section 2.2, arXiv:2309.16588. LayerScale: Touvron et al., "Going
deeper with Image Transformers", 2021, section 2, arXiv:2103.17239. Under the same weights equal to the authors' code.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitedu.block import EncoderBlock, Stack
from vitedu.initialise import at_least, count, initialise, one_of
from vitedu.patch import Size
from vitedu.vit import PRESETS, ViT, ViTConfig


@dataclass(frozen=True, kw_only=True)
class DINOv2Config(ViTConfig):
    """Everything that decides the shape and the start of a `DINOv2`; `ValueError` if the numbers do not fit."""

    image_size: Size = 518
    patch_size: Size = 14
    num_registers: int = 0  # R; the published models have 0 or 4
    layer_scale: float = 1.0  # at which the numbers start that scale the branches; small in a deep model

    def __post_init__(self) -> None:
        super().__post_init__()
        count("num_registers", self.num_registers, 0)
        at_least("layer_scale", self.layer_scale, 0)
        if self.pool != "cls":
            raise ValueError(f"pool {self.pool!r}: the mean would count the registers among the patches; use 'cls'")

    @property
    def num_tokens(self) -> int:
        """N, the registers and CLS."""
        return super().num_tokens + self.num_registers


class ScaledBlock(EncoderBlock):
    """An `EncoderBlock` whose branches are multiplied, number by number, by learned ones: (B, N, D) -> (B, N, D)."""

    def __init__(self, dim: int, num_heads: int, **options):
        super().__init__(dim, num_heads, **options)
        self.scale1, self.scale2 = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.ones(dim))

    def attention_branch(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return self.scale1 * super().attention_branch(x, mask)  # LayerScale, section 2: diag(λ) · branch

    def mlp_branch(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return self.scale2 * super().mlp_branch(x)


class ScaledEncoder(Stack):
    """A stack of `ScaledBlock`s: (B, N, D) -> (B, N, D)."""

    kind = ScaledBlock


class DINOv2(ViT):
    """Images (B, C, H, W) in, class scores (B, K) out, read from CLS. The tokens are CLS, R registers, N patches.

    Registers have no position, and nothing reads them at the end: they are room in which blocks can keep what concerns
    the whole image.

    >>> model = DINOv2(DINOv2Config(image_size=28, dim=8, depth=1, num_heads=2, num_classes=3, num_registers=4))
    >>> model(torch.zeros(2, 3, 28, 28)).shape, model.encode(torch.zeros(2, 3, 28, 28)).shape
    (torch.Size([2, 3]), torch.Size([2, 9, 8]))
    """

    def __init__(self, config: DINOv2Config):
        super().__init__(config)
        self.encoder = ScaledEncoder(config.depth, config.dim, config.num_heads, **config.block_options)
        initialise(self.encoder, config.init)
        for block in self.encoder.blocks:
            nn.init.constant_(block.scale1, config.layer_scale)
            nn.init.constant_(block.scale2, config.layer_scale)
        self.registers = nn.Parameter(torch.empty(1, config.num_registers, config.dim))
        nn.init.normal_(self.registers, std=1e-6)

    def encode(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> tokens after the last LayerNorm, (B, 1 + R + N, D): CLS, the registers, the patches."""
        self._check_size(images)
        patches = self.patch_embed(images)  # (B, N, D)
        cls, registers = (token.expand(len(patches), -1, -1) for token in (self.cls_token, self.registers))
        tokens = self.dropout(self.positions(torch.cat([cls, patches], dim=1)))  # (B, 1 + N, D)
        tokens = torch.cat([tokens[:, :1], registers, tokens[:, 1:]], dim=1)  #    (B, 1 + R + N, D)
        return self.encoder(tokens)


def preset(name: str, **changes) -> DINOv2Config:
    """Of S/14, B/14 and L/14 the sizes of `vitedu.vit`'s S/16, …, with `changes` to any field. ValueError for others.

    The paper's g/14 has another MLP, with gates.
    """
    one_of("preset", name, ("S/14", "B/14", "L/14"))
    return DINOv2Config(**PRESETS[name.replace("14", "16")] | {"patch_size": 14} | changes)
