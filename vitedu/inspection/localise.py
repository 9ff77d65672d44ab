"""Scoring maps against the true mask of the object: the pointing game, IoU, and what chance would give.

Pointing game: Zhang et al. 2016, section 4.1, arXiv:1608.00507. Gradient × input: Shrikumar et al. 2016,
arXiv:1605.01713.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitedu.capture import capture_attention
from vitedu.inspection.layout import layout_of
from vitedu.inspection.rollout import FUSIONS, fuse_heads, relevance, rollout

DISCARD = 0.9


class Localisation(NamedTuple):
    """For each picture, (B,): whether its highest patch hit the object (0 or 1), and its IoU with the mask."""

    hit: Tensor
    iou: Tensor


def relevance_maps(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Pictures of relevance (B, gh, gw) by every method: normalised images (B, C, H, W) -> {method: pictures}.

    The model, a `ViT` or a hybrid or torchvision's or timm's, has to be in evaluation mode, or dropout changes what
    gradient × input sees. ValueError if its tokens lie on no grid that is known.
    """
    with capture_attention(model) as maps, torch.no_grad():
        model(images)
    grid, num_prefix, _, pool = layout_of(model, images, maps)
    found = {f"rollout, {fusion}": rollout(maps, fusion) for fusion in FUSIONS}
    found |= {f"rollout, {fusion}, discarding": rollout(maps, fusion, DISCARD) for fusion in FUSIONS}
    found["last layer"] = fuse_heads(maps[-1])
    pictures = {name: relevance(weights, grid, pool, num_prefix) for name, weights in found.items()}
    return pictures | {"gradient × input": gradient_times_input(model, images, grid)}


def gradient_times_input(model: nn.Module, images: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
    """How strongly the winning class's score leans on each patch: (B, C, H, W) -> (B, gh, gw).

    The gradient of the score by the pixels times the pixels, summed over channels, without its sign, and averaged over
    the pixels of a patch so that it is as coarse as an attention map.
    """
    pixels = images.detach().clone().requires_grad_()
    with torch.enable_grad():
        scores = model(pixels).amax(dim=1)  # (B,)
        (gradient,) = torch.autograd.grad(scores.sum(), pixels)
    strength = (gradient * pixels.detach()).sum(dim=1).abs()  # (B, H, W)
    return F.adaptive_avg_pool2d(strength[:, None], grid or model.grid)[:, 0]  # (B, gh, gw)


def baselines(count: int, grid: tuple[int, int], seed: int = 0) -> dict[str, Tensor]:
    """Pictures (B, gh, gw) that know nothing of the image: "random" numbers, and a hill in the "centre"."""
    random = torch.rand(count, *grid, generator=torch.Generator().manual_seed(seed))
    down, across = (torch.linspace(-1, 1, side) for side in grid)
    hill = -(down[:, None] ** 2 + across**2)  # (gh, gw)
    return {"random": random, "centre": hill.expand(count, -1, -1)}


def coverage(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """How much of each patch the object covers, 0 to 1: (B, H, W) -> (B, gh, gw). No map of patches can know more."""
    return F.adaptive_avg_pool2d(masks[:, None].float(), grid)[:, 0]


def localise(pictures: Tensor, masks: Tensor) -> Localisation:
    """Score pictures (B, gh, gw) against masks (B, H, W), patch by patch.

    The pointing game asks whether the object covers at least half of the highest patch. IoU needs a region: the highest
    patches, as many as make up the object's area, the last of them in part; so no threshold has to be chosen and only
    the order of the patches counts. Equal patches count in raster order.

    Pictures are not enlarged to the pixels first, as is often done: the highest point of a bilinearly enlarged map lies
    too often on the rim, where a patch has fewer neighbours that pull it down, and chance would no longer be chance.
    """
    inside = coverage(masks, tuple(pictures.shape[1:])).flatten(1)  #                       (B, N)
    order = pictures.flatten(1).argsort(dim=1, descending=True, stable=True)
    ranked = inside.gather(1, order)  #                                                     (B, N)
    area = inside.sum(dim=1)  # in patches                                                  (B,)
    taken = (area[:, None] - torch.arange(ranked.shape[1], device=area.device)).clamp(0, 1)  # (B, N)
    overlap = (ranked * taken).sum(dim=1)  #                                                (B,)
    return Localisation((ranked[:, 0] >= 0.5).float(), overlap / (2 * area - overlap))


def bootstrap_interval(values: Tensor, resamples: int = 2_000, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the mean of values (B,): the images are drawn again, with replacement, and averaged."""
    random, values = np.random.default_rng(seed), values.double().numpy()
    means = values[random.integers(len(values), size=(resamples, len(values)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
