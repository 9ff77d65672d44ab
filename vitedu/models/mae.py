"""MAE: a Vision Transformer that learns without labels, by painting in the patches that were taken away.

He et al., "Masked Autoencoders Are Scalable Vision Learners", 2021, section 3, arXiv:2111.06377. Under the same weights
and the same choice of patches equal to the authors' code.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vitedu.block import BlockOptions, Encoder, Stack
from vitedu.initialise import SCHEMES, count, initialise, one_of, probability
from vitedu.models.pixels import moments, to_images, to_patches
from vitedu.patch import PatchEmbed, Size, check_images, pair, patch_grid
from vitedu.position import sincos_2d
from vitedu.vit import PRESETS, ViT, ViTConfig


@dataclass(frozen=True, kw_only=True)
class MAEConfig(BlockOptions):
    """Everything that decides the shape of a `MAE`, the blocks' options too; `ValueError` if the numbers do not fit."""

    image_size: Size = 224
    patch_size: Size = 16
    in_channels: int = 3  # C
    dim: int = 768  # D
    depth: int = 12
    num_heads: int = 12  # h
    decoder_dim: int = 512
    decoder_depth: int = 8
    decoder_heads: int = 16
    mask_ratio: float = 0.75  # share of the patches that are removed; of those that stay, a fraction is rounded down
    norm_pix_loss: bool = False  # whether each patch is to be painted as it is at mean 0 and variance 1 (table 1d)
    init: str = "xavier"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("init", self.init, SCHEMES)
        for name in ("in_channels", "dim", "depth", "num_heads", "decoder_dim", "decoder_depth", "decoder_heads"):
            count(name, getattr(self, name))
        probability("mask_ratio", self.mask_ratio)
        if not 0 < self.num_kept < self.num_patches:
            raise ValueError(
                f"mask_ratio {self.mask_ratio} keeps {self.num_kept} of {self.num_patches} patches; at least one has "
                "to stay, and one to go: choose another ratio, or smaller patches"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across, (H / P, W / P)."""
        return patch_grid(self.image_size, self.patch_size)

    @property
    def num_patches(self) -> int:
        """N, without CLS."""
        return self.grid[0] * self.grid[1]

    @property
    def num_kept(self) -> int:
        """n, the patches that the encoder sees."""
        return int(self.num_patches * (1 - self.mask_ratio))


class Painting(NamedTuple):
    """Images (B, C, H, W): the removed patches grey, zero; the same painted in; and (B, N), True where removed."""

    masked: Tensor
    painted: Tensor
    removed: Tensor


class MAE(nn.Module):
    """Images (B, C, H, W) in, every patch as it is predicted (B, N, P·P·C) and which were removed (B, N) out.

    The N patches are put into a random order, drawn with torch's global generator for each image. The encoder sees the
    first n of them and CLS, no removed one and nothing in its place; the decoder sees all, a learned vector instead of
    those that are missing.

    >>> model = MAE(MAEConfig(image_size=16, patch_size=4, dim=8, depth=1, num_heads=2, decoder_dim=8, decoder_heads=2))
    >>> predicted, removed = model(torch.zeros(2, 3, 16, 16))
    >>> predicted.shape, removed.sum(dim=1)
    (torch.Size([2, 16, 48]), tensor([12, 12]))
    """

    def __init__(self, config: MAEConfig):
        super().__init__()
        self.config, self.width, self.grid = config, config.dim, config.grid
        D, narrow, (ph, pw), options = config.dim, config.decoder_dim, pair(config.patch_size), config.block_options
        self.patch_embed = PatchEmbed(config.patch_size, config.in_channels, D)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, D))
        self.encoder = Encoder(config.depth, D, config.num_heads, **options)
        self.decoder_embed = nn.Linear(D, narrow)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, narrow))
        self.decoder = Encoder(config.decoder_depth, narrow, config.decoder_heads, **options)
        self.decoder_head = nn.Linear(narrow, ph * pw * config.in_channels)
        self.register_buffer("positions", sincos_columns_first(config.grid, D))
        self.register_buffer("decoder_positions", sincos_columns_first(config.grid, narrow))
        initialise(self, config.init)
        nn.init.normal_(self.mask_token, std=0.02)

    @property
    def stages(self) -> list[Stack]:
        """The stacks of blocks, in the order in which they run."""
        return [self.encoder, self.decoder]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) -> predictions (B, N, P·P·C), and True where a patch was removed, (B, N)."""
        order = torch.rand(len(images), self.config.num_patches, device=images.device).argsort(dim=1)  # (B, N)
        removed = order.argsort(dim=1) >= self.config.num_kept  #                                        (B, N)
        return self.decode(self.encode(images, order), order), removed

    def encode(self, images: Tensor, order: Tensor) -> Tensor:
        """Images, and an order of their patches (B, N) -> the tokens of CLS and of the first n, (B, 1 + n, D)."""
        self._check_size(images)
        patches = self.patch_embed(images) + self.positions[1:]  #  (B, N, D)
        patches = pick(patches, order[:, : self.config.num_kept])  # (B, n, D)
        cls = (self.cls_token + self.positions[:1]).expand(len(images), -1, -1)  # (B, 1, D)
        return self.encoder(torch.cat([cls, patches], dim=1))

    def decode(self, tokens: Tensor, order: Tensor) -> Tensor:
        """The encoder's tokens (B, 1 + n, D), in that order -> predictions in raster order, (B, N, P·P·C)."""
        cls, seen = self.decoder_embed(tokens).split([1, tokens.shape[1] - 1], dim=1)  # (B, 1, D'), (B, n, D')
        missing = self.mask_token.expand(len(order), order.shape[1] - seen.shape[1], -1)  # (B, N - n, D')
        patches = pick(torch.cat([seen, missing], dim=1), order.argsort(dim=1))  # (B, N, D')
        tokens = torch.cat([cls, patches], dim=1) + self.decoder_positions  #      (B, 1 + N, D')
        return self.decoder_head(self.decoder(tokens))[:, 1:]

    def targets(self, images: Tensor) -> Tensor:
        """What is to be predicted, (B, C, H, W) -> (B, N, P·P·C): pixels, or with `norm_pix_loss` normalised ones."""
        patches = to_patches(images, self.config.patch_size)
        if not self.config.norm_pix_loss:
            return patches
        mean, std = moments(patches)
        return (patches - mean) / std

    def loss(self, images: Tensor, predicted: Tensor, removed: Tensor) -> Tensor:
        """The mean squared error over the removed patches, a scalar; what is predicted for the others is left out."""
        error = (predicted - self.targets(images)).square().mean(dim=2)  # (B, N)
        return (error * removed).sum() / removed.sum()

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> Painting:
        """Remove patches of images (B, C, H, W) and paint them in; see `paint` for what this shows."""
        predicted, removed = self(images)
        hole = to_images(removed[:, :, None].expand_as(predicted), self.config.patch_size, self.config.image_size)
        return Painting(images.masked_fill(hole, 0), self.paint(images, predicted, removed), removed)

    def paint(self, images: Tensor, predicted: Tensor, removed: Tensor) -> Tensor:
        """Images whose removed patches are those predicted (B, N, P·P·C), the others the image's own: (B, C, H, W).

        With `norm_pix_loss` this leaks. The model predicts a patch at mean 0 and variance 1, and the mean and variance
        which it is drawn with are those of the removed patch itself, that the model has never seen. Predictions of
        zero show the leak alone: a coarse copy of the image.
        """
        patches = to_patches(images, self.config.patch_size)
        if self.config.norm_pix_loss:
            mean, std = moments(patches)
            predicted = predicted * std + mean
        patches = torch.where(removed[:, :, None], predicted.to(patches.dtype), patches)
        return to_images(patches, self.config.patch_size, self.config.image_size)

    def classifier(self, num_classes: int, **changes: object) -> ViT:
        """A `ViT` with a copy of the encoder and a classifier of zeros, for fine-tuning: it sees all patches.

        Its positions start at those of the encoder and are learned from there, as in the authors' code. `changes` go
        to any other field of `ViTConfig` that leaves the weights their shapes, such as `pool` or `drop_path`.
        """
        same = ("image_size", "patch_size", "in_channels", "dim", "depth", "num_heads")
        fields = {name: getattr(self.config, name) for name in same} | self.config.block_options
        model = ViT(ViTConfig(**fields | {"num_classes": num_classes, "zero_head": True} | changes))
        weights, own = model.state_dict(), self.state_dict()
        carried = {name: own[name] for name in weights if name in own}
        table = self.positions[1 - model.config.num_prefix :]
        model.load_state_dict(weights | carried | {"positions.table": table})
        return model.to(self.positions.device)

    def _check_size(self, images: Tensor) -> None:
        check_images(images, self.config.in_channels, self.patch_embed.proj.weight)
        if (found := tuple(images.shape[-2:])) != (wanted := pair(self.config.image_size)):
            raise ValueError(f"images are {found}, the model was built for {wanted}; resize them, or build another")


def sincos_columns_first(grid: tuple[int, int], dim: int) -> Tensor:
    """`sincos_2d` with its halves exchanged, as in the authors' code, under a row of zeros for CLS: (1 + N, D)."""
    rows, columns = sincos_2d(grid, dim).chunk(2, dim=1)  # (N, D/2) each
    return torch.cat([torch.zeros(1, dim), torch.cat([columns, rows], dim=1)])


def pick(tokens: Tensor, chosen: Tensor) -> Tensor:
    """Of each image's tokens (B, N, D) those with the numbers (B, n), in their order: (B, n, D)."""
    return tokens.gather(1, chosen[:, :, None].expand(-1, -1, tokens.shape[2]))


# Sizes as in vitedu.vit; the paper's are B/16, L/16 and H/14, with the decoder that is the default here.
def preset(name: str, **changes) -> MAEConfig:
    """The encoder called `name` in `vitedu.vit`, with `changes` to any field. ValueError for an unknown name."""
    one_of("preset", name, PRESETS)
    return MAEConfig(**PRESETS[name] | changes)
