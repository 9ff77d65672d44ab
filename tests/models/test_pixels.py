"""Two fills that have learned nothing: what is seen stays, and what is missing is the mean, or lies in between."""

import pytest
import torch

from tests.random_weights import random_images
from vitedu.models.pixels import bilinear_fill, mean_fill

FILLS = pytest.mark.parametrize("fill", [mean_fill, bilinear_fill])


def holes(images: torch.Tensor, share: float = 0.7) -> torch.Tensor:
    """At random, with one pixel that is always seen."""
    hole = torch.rand(len(images), 1, *images.shape[2:], generator=torch.Generator().manual_seed(0)) < share
    hole[..., 0, 0] = False
    return hole


@FILLS
def test_what_is_seen_stays_and_what_is_hidden_does_not_matter(fill):
    images = random_images(3, 2, 8, 16)
    hole = holes(images)
    filled = fill(images, hole)
    assert torch.equal(filled.masked_select(~hole), images.masked_select(~hole))
    torch.testing.assert_close(fill(torch.where(hole, 1e6, images), hole), filled)
    assert torch.equal(fill(images, torch.zeros_like(hole)), images)


@FILLS
def test_a_fill_lies_between_the_least_and_the_most_of_what_is_seen(fill):
    images = random_images(4, 3, 16, 16)
    hole = holes(images, 0.9)
    filled = fill(images, hole)
    for image, one, gone in zip(images, filled, hole, strict=True):
        for channel, painted in zip(image, one, strict=True):
            seen = channel[~gone[0]]
            assert painted.min() >= seen.min() - 1e-6
            assert painted.max() <= seen.max() + 1e-6


@FILLS
def test_a_flat_picture_is_whole_again(fill):
    images = torch.tensor([0.3, -2.0, 1.0]).view(1, 3, 1, 1).expand(2, 3, 8, 8)
    torch.testing.assert_close(fill(images, holes(images, 0.95)), images.contiguous())


def test_the_mean_is_that_of_the_visible_pixels():
    images, hole = random_images(2, 3, 4, 6), holes(random_images(2, 3, 4, 6))
    filled = mean_fill(images, hole)
    for image, one, gone in zip(images, filled, hole[:, 0], strict=True):
        torch.testing.assert_close(one[:, gone], image[:, ~gone].mean(dim=1, keepdim=True).expand(-1, int(gone.sum())))


def test_bilinear_is_nearer_to_a_slope_than_the_mean():
    images = torch.linspace(0, 1, 16).expand(1, 1, 16, 16).contiguous()
    hole = holes(images)
    error = {fill: (fill(images, hole) - images).square().mean() for fill in (mean_fill, bilinear_fill)}
    assert error[bilinear_fill] < 0.1 * error[mean_fill]


def test_a_lone_pixel_fills_a_picture_and_sides_have_to_be_powers_of_two():
    images = random_images(1, 2, 8, 8)
    hole = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    hole[0, 0, 5, 2] = False
    torch.testing.assert_close(bilinear_fill(images, hole), images[:, :, 5:6, 2:3].expand_as(images))
    with pytest.raises(ValueError, match=r"\(3, 3\) pixels; sides have to be powers of two"):
        bilinear_fill(random_images(1, 1, 6, 6), torch.ones(1, 1, 6, 6, dtype=torch.bool))
