"""What the tests of masked attention share."""

import torch


def some_mask(*shape: int) -> torch.Tensor:
    """Random, and its first query may look nowhere."""
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.6
    mask[..., 0, :] = False
    return mask
