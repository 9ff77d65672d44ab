"""Swin: attention inside windows, which every other block shifts, in stages that halve the map and double the width.

Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", 2021, arXiv:2103.14030. Maps are
(B, H, W, C) between the blocks. M is the side of a window, in positions.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitedu.block import MLP, BlockOptions, DropPath, Stack
from vitedu.initialise import count, initialise
from vitedu.models.window_attention import WindowAttention, partition, reverse, shift_mask
from vitedu.patch import PatchEmbed, Size, check_images, pair, patch_grid


@dataclass(frozen=True, kw_only=True)
class SwinConfig(BlockOptions):
    """Everything that decides the shape of a `Swin`; `ValueError` if the numbers do not fit together.

    `depths` and `num_heads` have an entry for each stage. Images of other sizes than `image_size` run as well.
    """

    image_size: Size = 224  # in pixels
    patch_size: Size = 4
    in_channels: int = 3  # C
    num_classes: int = 1000  # K
    dim: int = 96  # width of the first stage; each later one is twice as wide
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = 7  # M
    shifted: bool = True  # whether every other block moves its windows by M // 2
    relative_bias: bool = True  # whether the logits know how far query and key are apart
    drop_path: float = 0.2  # of the last block; it grows linearly over the blocks of all stages
    eps: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        patch_grid(self.image_size, self.patch_size)
        if self.norm != "pre":
            raise ValueError(f"norm is {self.norm!r}; a Swin block normalises before its branches, 'pre'")
        if len(self.depths) != len(self.num_heads) or not self.depths:
            raise ValueError(f"{len(self.depths)} depths but {len(self.num_heads)} num_heads; each stage needs both")
        for name in ("in_channels", "num_classes", "dim", "window"):
            count(name, getattr(self, name))
        for depth, heads, width in zip(self.depths, self.num_heads, self.widths, strict=True):
            count("depth", depth)
            count("num_heads", heads)
            if width % heads:
                raise ValueError(f"width {width} is not divisible by {heads} heads; choose a width of h·d, d whole")

    @property
    def widths(self) -> tuple[int, ...]:
        """The width of each stage."""
        return tuple(self.dim * 2**stage for stage in range(len(self.depths)))

    @property
    def grids(self) -> tuple[tuple[int, int], ...]:
        """Height and width of the map of each stage, in positions; halves round up."""
        height, width = patch_grid(self.image_size, self.patch_size)
        return tuple((-(-height // 2**stage), -(-width // 2**stage)) for stage in range(len(self.depths)))


class SwinBlock(nn.Module):
    """Attention in windows, then the MLP, each a residual branch with a LayerNorm before it: (B, H, W, C) -> the same.

    Args:
        dim: C.
        num_heads: heads h.
        window: M.
        shift: by how many positions the windows are moved, 0 or M // 2.
        relative_bias: of the attention.
        options: the fields of `BlockOptions`, by name.
    """

    def __init__(self, dim: int, num_heads: int, window: int, shift: int, relative_bias: bool = True, **options):
        super().__init__()
        o = BlockOptions(**options)
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(dim, eps=o.eps)
        self.attention = WindowAttention(dim, num_heads, window, relative_bias, o.attention_dropout)
        self.norm2 = nn.LayerNorm(dim, eps=o.eps)
        self.mlp = MLP(dim, round(dim * o.mlp_ratio), o.dropout)
        self.dropout, self.drop_path = nn.Dropout(o.dropout), DropPath(o.drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        x = x + self.drop_path(self.dropout(self.attend(self.norm1(x))))  # (B, H, W, C)
        return x + self.drop_path(self.mlp(self.norm2(x)))  #               (B, H, W, C)

    def attend(self, x: Tensor) -> Tensor:
        """Pad to whole windows, roll, attend inside each window, and undo both: (B, H, W, C) -> (B, H, W, C)."""
        (H, W), M = x.shape[1:3], self.window
        x = F.pad(x, (0, 0, 0, -W % M, 0, -H % M))  # (B, H', W', C), zeros on the right and below, as in torchvision
        size = (x.shape[1], x.shape[2])
        down, across = (0 if side <= M else self.shift for side in size)  # one window has nowhere to move
        mask = shift_mask(size, M, (down, across)).to(x) if down or across else None
        windows = partition(x.roll((-down, -across), (1, 2)), M)  #          (B, windows, M·M, C)
        x = reverse(self.attention(windows, mask), M, size[1])  #            (B, H', W', C)
        return x.roll((down, across), (1, 2))[:, :H, :W]


class PatchMerging(nn.Module):
    """Each 2×2 of positions becomes one, twice as wide: (B, H, W, C) -> (B, H/2, W/2, 2C), halves rounded up."""

    def __init__(self, dim: int, eps: float = 1e-5):
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim, eps=eps)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H/2, W/2, 2C); an odd side is padded with zeros."""
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        four = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]  # the rows change first, as published
        return self.reduction(self.norm(torch.cat(four, dim=-1)))  # (B, H/2, W/2, 2C)


class SwinStage(Stack):
    """Blocks of one width, every other one with shifted windows. (B, H, W, C) -> (B, H, W, C).

    Args:
        dim, num_heads: C and h.
        rates: the rate of stochastic depth of each block.
        config: of the model; the rest is read from it.
    """

    kind = SwinBlock

    def __init__(self, dim: int, num_heads: int, rates: list[float], config: SwinConfig):
        nn.Module.__init__(self)
        shifts = [config.window // 2 if config.shifted and index % 2 else 0 for index in range(len(rates))]
        self.blocks = nn.ModuleList(
            SwinBlock(
                dim,
                num_heads,
                config.window,
                shift,
                config.relative_bias,
                **config.block_options | {"drop_path": rate},
            )
            for shift, rate in zip(shifts, rates, strict=True)
        )
        self.norm = nn.Identity()  # a LayerNorm stands before the next stage's linear map, and before the head


class Swin(nn.Module):
    """Images (B, C, H, W) in, class scores (B, K) out; no class token and no absolute positions.

    >>> import torch
    >>> config = SwinConfig(image_size=32, dim=8, depths=(2, 2), num_heads=(1, 2), window=4, num_classes=5)
    >>> model = Swin(config)
    >>> model.features(torch.zeros(2, 3, 32, 48)).shape, model(torch.zeros(2, 3, 32, 48)).shape
    (torch.Size([2, 4, 6, 16]), torch.Size([2, 5]))
    """

    def __init__(self, config: SwinConfig):
        super().__init__()
        self.config, self.width, self.grid = config, config.widths[-1], config.grids[-1]
        self.patch_embed = PatchEmbed(config.patch_size, config.in_channels, config.dim)
        self.patch_norm = nn.LayerNorm(config.dim, eps=config.eps)
        total = sum(config.depths)
        rates = iter([config.drop_path * index / max(1, total - 1) for index in range(total)])
        self.stages, self.merges = nn.ModuleList(), nn.ModuleList()
        for width, heads, depth in zip(config.widths, config.num_heads, config.depths, strict=True):
            self.merges.append(PatchMerging(width // 2, config.eps) if self.stages else nn.Identity())
            self.stages.append(SwinStage(width, heads, [next(rates) for _ in range(depth)], config))
        self.norm = nn.LayerNorm(self.width, eps=config.eps)
        self.head = nn.Linear(self.width, config.num_classes)
        initialise(self, "normal")

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> class scores before the softmax, (B, K)."""
        return self.head(self.features(images).mean(dim=(1, 2)))  # (B, K)

    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> the last map after its LayerNorm, (B, H', W', D), halves rounded up from stage to stage."""
        return self.norm(self.pyramid(images)[-1])

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """(B, C, H, W) -> the map that leaves each stage, (B, H', W', C'): what dense prediction reads."""
        check_images(images, self.config.in_channels)
        ph, pw = pair(self.config.patch_size)
        grid = (images.shape[2] // ph, images.shape[3] // pw)
        x, maps = self.patch_norm(self.patch_embed(images)).unflatten(1, grid), []  # (B, H', W', C)
        for merge, stage in zip(self.merges, self.stages, strict=True):
            x = stage(merge(x))
            maps.append(x)
        return maps


# Width, depths, heads and stochastic depth of the paper (section 3.3; rates for ImageNet-1K: section A2.1).
PRESETS: dict[str, dict] = {
    "Swin-T": {"dim": 96, "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24), "drop_path": 0.2},
    "Swin-S": {"dim": 96, "depths": (2, 2, 18, 2), "num_heads": (3, 6, 12, 24), "drop_path": 0.3},
    "Swin-B": {"dim": 128, "depths": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32), "drop_path": 0.5},
}


def swin_preset(name: str, **changes) -> SwinConfig:
    """The configuration called `name`, with `changes` to any field of `SwinConfig`. ValueError for an unknown name."""
    if name not in PRESETS:
        raise ValueError(f"preset {name!r} is not one of {', '.join(PRESETS)}")
    return SwinConfig(**PRESETS[name] | changes)
