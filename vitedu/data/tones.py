"""Pictures whose tone does not tell figure from ground: in grey, and half of them as negatives."""

from dataclasses import replace

import torch

from vitedu.data.dataset import Split


def as_tones(split: Split, seed: int) -> Split:
    """The same pictures as the mean of their channels, (N, C, H, W) with equal channels; a random half as negatives.

    A patch of one tone may then lie on the object or on the ground; which it is shows only beside its neighbours.
    """
    grey = split.images.float().mean(dim=1, keepdim=True)  # (N, 1, H, W)
    random = torch.rand(len(split), 1, 1, 1, generator=torch.Generator().manual_seed(seed))
    tones = torch.where(random < 0.5, 255 - grey, grey).round().to(torch.uint8)
    return replace(split, images=tones.repeat(1, split.images.shape[1], 1, 1))
