"""What the patch embedding looks for: the principal components of E, drawn as patches.

Dosovitskiy et al., "An Image Is Worth 16x16 Words", 2020, section 4.5 and Figure 7 (left), arXiv:2010.11929.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from vitedu.patch import PatchEmbed


class Components(NamedTuple):
    """Directions in the space of patches (R, C, P, P), strongest first, and the share of E's variance of each (R,)."""

    filters: Tensor
    share: Tensor


def embedding_filters(embed: PatchEmbed) -> Components:
    """The principal components of the D filters in E, as pictures of one patch; R = min(D, C·P·P) of them.

    Each filter is one row of E, C·P·P numbers. The filters are centred first, so a component says in which ways they
    differ from each other. Components have length 1 and no sign of their own; the largest number of each is made
    positive, so that the same filters always give the same pictures. TypeError for the embedding of another library.
    """
    if not isinstance(embed, PatchEmbed):
        raise TypeError(f"a {type(embed).__name__} is no PatchEmbed of vitedu; load_timm or load_torchvision makes one")
    filters = embed.proj.weight.detach().cpu().double()  # (D, C·P·P)
    _, strengths, directions = torch.linalg.svd(filters - filters.mean(dim=0), full_matrices=False)
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))  # (R, 1)
    pictures = (directions * largest.sign()).unflatten(1, (embed.in_channels, *embed.patch_size))
    return Components(pictures.float(), (strengths**2 / (strengths**2).sum()).float())


def filters_to_pictures(filters: Tensor) -> Tensor:
    """Filters (R, C, P, P) -> pictures in [0, 1]: 0.5 where a filter is zero, each scaled by its own largest number."""
    largest = filters.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
    return 0.5 + 0.5 * filters / largest  # (R, C, P, P)


def smoothness(filters: Tensor) -> Tensor:
    """How alike neighbouring pixels of a filter are: (R, C, P, P) -> correlations (R,), 1 for a flat one, 0 for noise.

    The product of each pixel with its right and its lower neighbour, over the mean square, averaged over all pairs.
    """
    pairs = [(filters[..., :, 1:], filters[..., :, :-1]), (filters[..., 1:, :], filters[..., :-1, :])]
    products = [(a * b).mean(dim=(1, 2, 3)) for a, b in pairs]
    return sum(products) / 2 / filters.square().mean(dim=(1, 2, 3)).clamp(min=1e-12)
