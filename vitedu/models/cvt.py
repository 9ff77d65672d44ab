"""CvT: a Vision Transformer of three stages that embeds, and projects, with convolutions.

Wu et al., "CvT: Introducing Convolutions to Vision Transformers", 2021, arXiv:2103.15808. Under the same weights equal
to the authors' code with activation "quick_gelu", and to Hugging Face's with "gelu".
"""

from dataclasses import dataclass
from functools import partial
from operator import eq

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitedu.attention import MultiHeadAttention
from vitedu.block import BlockOptions, EncoderBlock, Stack
from vitedu.initialise import SCHEMES, at_least, count, initialise, one_of
from vitedu.models.activation import ACTIVATIONS
from vitedu.patch import Size, check_images, pair, patch_grid
from vitedu.position import KINDS, PositionEmbedding
from vitedu.vit import POOLS

COUNTS = ("dims", "depths", "num_heads", "kernels", "strides", "kv_strides")  # one whole number a stage
WORDS = {"projections": ("conv", "linear"), "positions": KINDS}  # one of these a stage


@dataclass(frozen=True, kw_only=True)
class CvTConfig(BlockOptions):
    """Everything that decides the shape and the start of a `CvT`; `ValueError` if the numbers do not fit together.

    A tuple has one entry a stage. What the paper takes away to see what it is worth is a field: `positions` (table 5),
    overlapping `kernels` (6), `kv_strides` (7), `projections` (8). Only the last stage has stochastic depth, as there.
    """

    image_size: Size = 224  # pixels, one side or (height, width); without positions, images of other sizes pass as well
    in_channels: int = 3  # C
    num_classes: int = 1000  # K
    dims: tuple[int, ...] = (64, 192, 384)  # D
    depths: tuple[int, ...] = (1, 2, 10)
    num_heads: tuple[int, ...] = (1, 3, 6)  # h
    kernels: tuple[int, ...] = (7, 3, 3)  # of the token embeddings; those as large as their stride cut patches, as ViT
    strides: tuple[int, ...] = (4, 2, 2)
    kv_strides: tuple[int, ...] = (2, 2, 2)  # of the convolutions that make keys and values
    projections: tuple[str, ...] = ("conv", "conv", "conv")  # "linear": as in ViT, without a convolution or a stride
    positions: tuple[str, ...] = ("none", "none", "none")  # added before the blocks, to the patches' tokens
    position_std: float = 0.02
    padding: str = "zeros"  # around every convolution; with "circular" what lies across the opposite edge
    activation: str = "gelu"
    pool: str = "cls"  # what the classifier reads: a CLS token that joins before the last stage, or the patches' mean
    init: str = "normal"
    eps: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        known = {"padding": ("zeros", "circular"), "activation": ACTIVATIONS, "pool": POOLS, "init": SCHEMES}
        for name, values in known.items():
            one_of(name, getattr(self, name), values)
        for name in (*COUNTS, *WORDS):
            if len(getattr(self, name)) != len(self.dims) or not self.dims:
                raise ValueError(f"{len(getattr(self, name))} {name} but {len(self.dims)} dims; a stage needs one each")
            for value in getattr(self, name):
                one_of(name, value, WORDS[name]) if name in WORDS else count(name, value)
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            if kernel < stride:
                raise ValueError(f"kernel {kernel} leaves out pixels at stride {stride}; use {stride} or more")
        count("in_channels", self.in_channels)
        count("num_classes", self.num_classes)
        at_least("position_std", self.position_std, 0)
        _ = self.grids  # ValueError if the image is not divisible into patches

    @property
    def grids(self) -> list[tuple[int, int]]:
        """Patch tokens down and across in each stage, for images of `image_size`."""
        grids, size = [], pair(self.image_size)
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            if kernel == stride:
                patch_grid(size, stride)  # ValueError if it is not divisible
            size = tuple((side + 2 * margin(kernel, stride) - kernel) // stride + 1 for side in size)
            grids.append(size)
        return grids

    @property
    def num_prefix(self) -> int:
        """Tokens before the patches in the last stage: 1 with CLS, else 0."""
        return 1 if self.pool == "cls" else 0


def margin(kernel: int, stride: int) -> int:
    """The padding of a token embedding, with which it divides sides by its stride: 2 for 7 at 4, 1 for 3 at 2."""
    return (kernel - stride + 1) // 2


def as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """The last gh·gw tokens of (B, N, D) as a feature map (B, D, gh, gw); CLS, which stands before, is left out."""
    return tokens[:, -grid[0] * grid[1] :].mT.unflatten(2, grid)


class ConvEmbed(nn.Module):
    """Token embedding (section 3.1): a convolution whose windows overlap, LayerNorm over the channels, and positions.

    (B, C, H, W) -> tokens (B, N, D), and how many there are down and across.
    """

    def __init__(self, in_channels: int, stage: int, config: CvTConfig):
        super().__init__()
        dim, kernel, stride = config.dims[stage], config.kernels[stage], config.strides[stage]
        self.proj = nn.Conv2d(in_channels, dim, kernel, stride, margin(kernel, stride), padding_mode=config.padding)
        self.norm = nn.LayerNorm(dim, eps=config.eps)
        self.positions = PositionEmbedding(
            config.grids[stage], dim, config.positions[stage], num_prefix=0, std=config.position_std
        )

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """(B, C, H, W) -> (B, N, D) and (gh, gw), N = gh·gw."""
        x = self.proj(x)  #                    (B, D, gh, gw)
        tokens = self.norm(x.flatten(2).mT)  # (B, N, D)
        return self.positions(tokens), (x.shape[2], x.shape[3])


class ConvProjection(nn.Module):
    """To queries, keys or values (section 3.2): a depthwise 3×3 convolution and BatchNorm, then the linear map of ViT.

    (B, N, D) -> (B, N', D), N' being the places where the convolution stops, and CLS, which does not meet it.
    """

    def __init__(self, dim: int, kind: str, stride: int, padding: str):
        super().__init__()
        self.conv = self.norm = None
        if kind == "conv":
            self.conv = nn.Conv2d(dim, dim, 3, stride, 1, groups=dim, bias=False, padding_mode=padding)
            self.norm = nn.BatchNorm2d(dim)
        self.linear = nn.Linear(dim, dim)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """x (B, N, D), of which the last gh·gw tokens are the grid's in raster order -> (B, N', D)."""
        if self.conv is not None:
            features = self.norm(self.conv(as_map(x, grid)))  #  (B, D, gh', gw')
            before = x[:, : -grid[0] * grid[1]]  #               (B, 1, D) with CLS, else (B, 0, D)
            x = torch.cat([before, features.flatten(2).mT], 1)  # (B, N', D)
        return self.linear(x)


class ConvAttention(MultiHeadAttention):
    """Multi-head attention on convolutional projections: (B, N, D) -> (B, N, D). ValueError if h does not divide D."""

    def __init__(self, dim: int, num_heads: int, stage: int, config: CvTConfig):
        super().__init__(dim, num_heads, dropout=config.attention_dropout)
        self.scale = dim**-0.5  # the released weights need √D; the Transformer and ViT divide by √d, which is √h less
        kind, stride, padding = config.projections[stage], config.kv_strides[stage], config.padding
        self.q_proj = ConvProjection(dim, kind, 1, padding)
        self.k_proj = ConvProjection(dim, kind, stride, padding)
        self.v_proj = ConvProjection(dim, kind, stride, padding)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """x (B, N, D), the last gh·gw tokens being the grid's in raster order -> (B, N, D)."""
        q, k, v = (self.split_heads(project(x, grid)) for project in (self.q_proj, self.k_proj, self.v_proj))
        dropout = self.dropout if self.training else 0.0
        heads = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=self.scale)  # (B, h, N, d)
        return self.out_proj(heads.transpose(1, 2).flatten(2))  #                               (B, N, D)

    def weights(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """The same arguments -> what each query gives to each key, (B, h, N, S); S is near N/4 with a stride of 2."""
        q, k = (self.split_heads(project(x, grid)) for project in (self.q_proj, self.k_proj))
        return (q @ k.mT * self.scale).softmax(dim=-1)  # (B, h, N, S)


class CvTBlock(EncoderBlock):
    """The plain encoder block, with `ConvAttention` for its attention: x (B, N, D) and a grid -> (B, N, D)."""

    def __init__(self, dim: int, num_heads: int, stage: int, config: CvTConfig, **options):
        super().__init__(dim, num_heads, **options)
        self.attention = ConvAttention(dim, num_heads, stage, config)
        self.mlp.activation = ACTIVATIONS[config.activation]()

    def attention_branch(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """x (B, N, D), the last gh·gw tokens being the grid's -> (B, N, D): attention, dropout, stochastic depth."""
        return self.drop_path(self.dropout(self.attention(x, grid)))


class CvTStage(Stack):
    """The blocks of one stage: x (B, N, D) and a grid -> (B, N, D). A LayerNorm follows the last stage's."""

    def __init__(self, stage: int, config: CvTConfig):
        self.kind = partial(CvTBlock, stage=stage, config=config)
        last = stage == len(config.dims) - 1
        options = config.block_options | ({} if last else {"drop_path": 0.0})
        super().__init__(config.depths[stage], config.dims[stage], config.num_heads[stage], **options)
        if not last:
            self.norm = nn.Identity()


class CvT(nn.Module):
    """Images (B, C, H, W) in, class scores (B, K) out.

    >>> model = CvT(preset("CvT-13", image_size=64, num_classes=10))
    >>> model.config.grids, model(torch.zeros(2, 3, 64, 64)).shape
    ([(16, 16), (8, 8), (4, 4)], torch.Size([2, 10]))
    """

    def __init__(self, config: CvTConfig):
        super().__init__()
        self.config, self.width, self.grid = config, config.dims[-1], config.grids[-1]
        stages, channels = range(len(config.dims)), (config.in_channels, *config.dims)
        self.embeds = nn.ModuleList(ConvEmbed(channels[stage], stage, config) for stage in stages)
        self.stages = nn.ModuleList(CvTStage(stage, config) for stage in stages)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, self.width)) if config.num_prefix else None
        self.head = nn.Linear(self.width, config.num_classes)
        initialise(self, config.init)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> class scores before the softmax, (B, K)."""
        tokens = self.encode(images)  # (B, 1 + N, D), or (B, N, D) without CLS
        return self.head(tokens[:, 0] if self.config.pool == "cls" else tokens.mean(dim=1))  # (B, K)

    def encode(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> tokens after the last LayerNorm, (B, 1 + N, D) with CLS first, or (B, N, D) without it."""
        self._check_size(images)
        x = images
        for embed, stage in zip(self.embeds, self.stages, strict=True):
            tokens, grid = embed(x)  # (B, N, D)
            if stage is self.stages[-1] and self.cls_token is not None:
                tokens = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), tokens], dim=1)  # (B, 1 + N, D)
            tokens = stage(tokens, grid)
            x = as_map(tokens, grid)  # (B, D, gh, gw)
        return tokens

    def _check_size(self, images: Tensor) -> None:
        c, size = self.config, tuple(images.shape[-2:])
        check_images(images, c.in_channels, self.embeds[0].proj.weight)
        if size != pair(c.image_size) and ({*c.positions} != {"none"} or any(map(eq, c.kernels, c.strides))):
            raise ValueError(f"images are {size}, built for {pair(c.image_size)}; resize them, or build for that size")


# Section 4.1 and table 2, with the number of parameters at K = 1000.
PRESETS: dict[str, dict[str, object]] = {
    "CvT-13": {"dims": (64, 192, 384), "depths": (1, 2, 10), "num_heads": (1, 3, 6)},  #       19,997,480
    "CvT-21": {"dims": (64, 192, 384), "depths": (1, 4, 16), "num_heads": (1, 3, 6)},  #       31,622,696
    "CvT-W24": {"dims": (192, 768, 1024), "depths": (2, 2, 20), "num_heads": (3, 12, 16)},  # 277,196,392
}


def preset(name: str, **changes) -> CvTConfig:
    """The configuration called `name`, with `changes` to any field of `CvTConfig`. ValueError for an unknown name."""
    one_of("preset", name, PRESETS)
    return CvTConfig(**PRESETS[name] | changes)
