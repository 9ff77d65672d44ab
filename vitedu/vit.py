"""The Vision Transformer, assembled from patches, positions and encoder blocks.

Dosovitskiy et al., "An Image Is Worth 16x16 Words", 2020, arXiv:2010.11929. Sizes Ti and S: Touvron et al., "Training
data-efficient image transformers", 2020, table 1, arXiv:2012.12877.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitedu.block import BlockOptions, Encoder, Stack
from vitedu.initialise import SCHEMES, at_least, count, initialise, one_of
from vitedu.patch import PatchEmbed, Size, check_images, fitting_patch_side, pair, patch_grid
from vitedu.position import KINDS, PositionEmbedding

POOLS = ("cls", "mean")


@dataclass(frozen=True, kw_only=True)
class ViTConfig(BlockOptions):
    """Everything that decides the shape and the start of a `ViT`; `ValueError` if the numbers do not fit together.

    Sizes are in pixels, one side or (height, width). The options of the blocks are fields, too.
    """

    image_size: Size = 224
    patch_size: Size = 16
    in_channels: int = 3  # C
    num_classes: int = 1000  # K
    dim: int = 768  # D
    depth: int = 12
    num_heads: int = 12  # h
    pool: str = "cls"  # what the classifier reads: the CLS token, or the mean over all patch tokens
    representation_size: int = 0  # width of the pre-training head's hidden layer; 0 for the fine-tuning head, one layer
    zero_head: bool = False  # whether the classifier starts at zero, as the paper fine-tunes (section 3.2)
    positions: str = "learned"
    position_std: float = 1.0  # at which learned positions start, and to which fixed ones are scaled: see chapter 9
    init: str = "xavier"

    def __post_init__(self) -> None:
        super().__post_init__()
        patch_grid(self.image_size, self.patch_size)
        for name, known in {"pool": POOLS, "positions": KINDS, "init": SCHEMES}.items():
            one_of(name, getattr(self, name), known)
        for name in ("in_channels", "num_classes", "dim", "depth", "num_heads"):
            count(name, getattr(self, name))
        count("representation_size", self.representation_size, 0)
        at_least("position_std", self.position_std, 0)
        if self.dim % self.num_heads:
            raise ValueError(
                f"dim {self.dim} is not divisible by num_heads {self.num_heads}; choose dim = h·d, d whole"
            )
        if self.positions == "sincos2d" and self.dim % 4:
            raise ValueError(f"dim {self.dim} is not divisible by 4; sines and cosines of rows and columns need that")

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across, (H / P, W / P)."""
        return patch_grid(self.image_size, self.patch_size)

    @property
    def num_prefix(self) -> int:
        """Tokens before the patches: 1 with CLS, else 0."""
        return 1 if self.pool == "cls" else 0

    @property
    def num_tokens(self) -> int:
        """N, and CLS where there is one."""
        return math.prod(self.grid) + self.num_prefix


class ViT(nn.Module):
    """Images (B, C, H, W) in, class scores (B, K) out.

    >>> model = ViT(preset("tiny", image_size=28, in_channels=1, num_classes=10))
    >>> model(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(self, config: ViTConfig):
        super().__init__()
        self.config, self.width, self.grid = config, config.dim, config.grid
        self.patch_embed = PatchEmbed(config.patch_size, config.in_channels, config.dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim)) if config.num_prefix else None
        self.positions = PositionEmbedding(
            config.grid, config.dim, config.positions, config.num_prefix, config.position_std
        )
        self.dropout = nn.Dropout(config.dropout)
        self.encoder = Encoder(config.depth, config.dim, config.num_heads, **config.block_options)
        hidden = config.representation_size
        self.pre_logits = nn.Sequential(nn.Linear(config.dim, hidden), nn.Tanh()) if hidden else nn.Identity()
        self.head = nn.Linear(hidden or config.dim, config.num_classes)
        initialise(self, config.init)
        if config.zero_head:
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    @property
    def stages(self) -> list[Stack]:
        """The stacks of blocks, in the order in which they run: one here, several in other models."""
        return [self.encoder]

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> class scores before the softmax, (B, K)."""
        representation = self.represent(images)  #           (B, D)
        return self.head(self.pre_logits(representation))  # (B, K)

    def represent(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> the vector that the head reads, (B, D)."""
        tokens = self.encode(images)  # (B, 1 + N, D), or (B, N, D) without CLS
        return tokens[:, 0] if self.config.pool == "cls" else tokens.mean(dim=1)  # (B, D)   ViT Eq. 4: y = LN(z_L^0)

    def encode(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> tokens after the last LayerNorm, (B, 1 + N, D) with CLS first, or (B, N, D) without it."""
        self._check_size(images)
        tokens = self.patch_embed(images)  # (B, N, D)
        if self.cls_token is not None:
            cls = self.cls_token.expand(tokens.shape[0], -1, -1)  # (B, 1, D)
            tokens = torch.cat([cls, tokens], dim=1)  #         (B, 1 + N, D)   ViT Eq. 1: [x_class; x_p E]
        tokens = self.dropout(self.positions(tokens))  #        (B, 1 + N, D)   ViT Eq. 1: + E_pos
        return self.encoder(tokens)

    def _check_size(self, images: Tensor) -> None:
        check_images(images, self.config.in_channels)
        if not torch.jit.is_tracing() and tuple(images.shape[-2:]) != pair(self.config.image_size):
            height, width = pair(self.config.image_size)
            raise ValueError(
                f"images are {images.shape[-2]}×{images.shape[-1]}, the model was built for {height}×{width}; resize, "
                "or build a model of that image_size and carry the positions across with interpolate_positions"
            )


# Width D, depth, heads h and patch side P. Ti and S are DeiT's (table 1), B, L and H the ViT paper's (table 1).
# `tiny` and `small` are this book's: they train from scratch on two CPU cores. Their P fits the image (see `preset`).
PRESETS: dict[str, dict[str, int]] = {
    "tiny": {"dim": 64, "depth": 4, "num_heads": 2},
    "small": {"dim": 128, "depth": 6, "num_heads": 4},
    "Ti/16": {"dim": 192, "depth": 12, "num_heads": 3, "patch_size": 16},
    "S/16": {"dim": 384, "depth": 12, "num_heads": 6, "patch_size": 16},
    "B/16": {"dim": 768, "depth": 12, "num_heads": 12, "patch_size": 16},
    "B/32": {"dim": 768, "depth": 12, "num_heads": 12, "patch_size": 32},
    "L/16": {"dim": 1024, "depth": 24, "num_heads": 16, "patch_size": 16},
    "L/32": {"dim": 1024, "depth": 24, "num_heads": 16, "patch_size": 32},
    "H/14": {"dim": 1280, "depth": 32, "num_heads": 16, "patch_size": 14},
}


def preset(name: str, **changes) -> ViTConfig:
    """The configuration called `name`, with `changes` to any field of `ViTConfig`.

    Without a `patch_size`, `tiny` and `small` cut each side into about 8 patches (28 -> P = 4, 32 -> 4, 96 -> 12).
    ValueError for an unknown name.
    """
    if name not in PRESETS:
        raise ValueError(f"preset {name!r} is not one of {', '.join(PRESETS)}")
    fields = PRESETS[name] | changes
    if "patch_size" not in fields:
        fields["patch_size"] = tuple(fitting_patch_side(side) for side in pair(fields.get("image_size", 224)))
    return ViTConfig(**fields)
