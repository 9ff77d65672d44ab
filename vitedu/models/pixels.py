"""Patches as `vitedu.models.mae` predicts them: their pixels in the order of its authors' code, their mean and spread.

He et al. 2021, section 3, arXiv:2111.06377.
"""

from einops import rearrange
from torch import Tensor

from vitedu.patch import Size, pair, patch_grid


def to_patches(images: Tensor, patch_size: Size) -> Tensor:
    """(B, C, H, W) -> (B, N, P·P·C). Inside a patch the order is row, column, channel, unlike in `patchify`.

    >>> import torch
    >>> to_patches(torch.arange(8).view(1, 2, 2, 2), 2)  # the second channel counts on from 4
    tensor([[[0, 4, 1, 5, 2, 6, 3, 7]]])
    """
    ph, pw = pair(patch_size)
    return rearrange(images, "b c (gh ph) (gw pw) -> b (gh gw) (ph pw c)", ph=ph, pw=pw)


def to_images(patches: Tensor, patch_size: Size, image_size: Size) -> Tensor:
    """The inverse of `to_patches`: (B, N, P·P·C) -> (B, C, H, W)."""
    (gh, gw), (ph, pw) = patch_grid(image_size, patch_size), pair(patch_size)
    return rearrange(patches, "b (gh gw) (ph pw c) -> b c (gh ph) (gw pw)", gh=gh, gw=gw, ph=ph, pw=pw)


def moments(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each patch, (B, N, 1) twice; the variance is the unbiased one, plus 10⁻⁶."""
    return patches.mean(dim=2, keepdim=True), (patches.var(dim=2, keepdim=True) + 1e-6).sqrt()
