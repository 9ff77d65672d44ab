"""Fixtures shared by the tests: a data set and a model small enough to train in a fraction of a second."""

import pytest
import torch

from vitedu.data import Dataset, Split
from vitedu.vit import ViT, ViTConfig


@pytest.fixture
def bright_or_dark() -> Dataset:
    """48 + 16 + 16 images 1×8×12 of two classes that differ in brightness: not square, and learnt at once."""
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        labels = torch.arange(count) % 2
        noise = torch.randint(60, (count, 1, 8, 12), generator=generator)
        return Split((noise + 150 * labels.view(-1, 1, 1, 1)).to(torch.uint8), labels)

    return Dataset("bright-or-dark", "made by a test", ("dark", "bright"), split(48), split(16), split(16), flip=True)


@pytest.fixture
def small_config() -> ViTConfig:
    """A ViT for 8×12 images with every kind of randomness switched on."""
    return ViTConfig(
        image_size=(8, 12),
        patch_size=4,
        in_channels=1,
        num_classes=2,
        dim=16,
        depth=2,
        num_heads=2,
        dropout=0.1,
        drop_path=0.1,
    )


@pytest.fixture
def small_model(small_config) -> ViT:
    torch.manual_seed(0)
    return ViT(small_config)
