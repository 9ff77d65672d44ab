"""Patches as `vitedu.models.mae` predicts them: their pixels in the order of its authors' code, their mean and spread.

He et al. 2021, section 3, arXiv:2111.06377. And two ways to paint in what is missing that have learned nothing.
"""

import torch
import torch.nn.functional as F
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


def mean_fill(images: Tensor, hole: Tensor) -> Tensor:
    """Images (B, C, H, W) whose pixels in the hole (B, 1, H, W) are the mean of the image's others, channel by channel.

    >>> mean_fill(torch.tensor([[[[1.0, 3.0, 9.0]]]]), torch.tensor([[[[False, False, True]]]]))
    tensor([[[[1., 3., 2.]]]])
    """
    seen = (~hole).to(images.dtype)
    mean = (images * seen).sum(dim=(2, 3), keepdim=True) / seen.sum(dim=(2, 3), keepdim=True)  # (B, C, 1, 1)
    return torch.where(hole, mean, images)


def bilinear_fill(images: Tensor, hole: Tensor) -> Tensor:
    """Images (B, C, H, W) whose pixels in the hole (B, 1, H, W) lie between those around it, however far they are.

    A picture of half the size, in which a pixel is the mean of those of its four that are seen, is filled first, and is
    enlarged bilinearly into the hole. ValueError if a hole is left in a picture that cannot be halved.
    """
    if not hole.any():
        return images
    if images.shape[-2] % 2 or images.shape[-1] % 2:
        raise ValueError(f"a hole is left at {tuple(images.shape[-2:])} pixels; sides have to be powers of two")
    share = F.avg_pool2d((~hole).to(images.dtype), 2)  # of the four that is seen, (B, 1, H/2, W/2)
    coarse = F.avg_pool2d(images.masked_fill(hole, 0), 2) / share.clamp(min=0.25)
    coarse = bilinear_fill(coarse, share == 0)
    return torch.where(hole, F.interpolate(coarse, size=images.shape[-2:], mode="bilinear"), images)
