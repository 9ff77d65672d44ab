"""`vitedu.inspection.filters`: the components are those of scikit-learn, and pictures keep zero grey."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from tests.random_weights import randomise
from vitedu.inspection import embedding_filters, filters_to_pictures, smoothness
from vitedu.patch import PatchEmbed, patchify


@pytest.mark.parametrize(("patch", "channels", "dim"), [(4, 3, 20), ((2, 3), 1, 40), (2, 3, 8)])
def test_components_are_scikit_learns_up_to_sign(patch, channels, dim):
    embed = randomise(PatchEmbed(patch, channels, dim))
    filters, share = embedding_filters(embed)
    weight = embed.proj.weight.detach().double().numpy()
    reference = PCA().fit(weight)
    count = min(dim - 1, weight.shape[1])  # centring takes one dimension away
    assert filters.shape == (min(weight.shape), channels, *embed.patch_size)
    np.testing.assert_allclose(share[:count], reference.explained_variance_ratio_[:count], atol=1e-5)
    dots = (filters.flatten(1)[:count].double().numpy() * reference.components_[:count]).sum(axis=1)
    np.testing.assert_allclose(np.abs(dots), 1, atol=1e-4)


def test_the_strongest_is_the_direction_along_which_the_filters_were_spread():
    direction = torch.randn(3 * 4 * 4)
    embed = PatchEmbed(4, 3, 30)
    with torch.no_grad():
        embed.proj.weight.copy_(torch.randn(30, 1) * direction + 0.7 + 0.001 * torch.randn(30, 48))
    filters, share = embedding_filters(embed)
    assert share[0] > 0.99
    cosine = torch.nn.functional.cosine_similarity(filters[0].flatten(), direction, dim=0)
    assert abs(cosine) > 0.999


def test_signs_do_not_depend_on_the_order_of_the_filters():
    embed = randomise(PatchEmbed(2, 3, 30))
    first = embedding_filters(embed).filters
    with torch.no_grad():
        embed.proj.weight.copy_(embed.proj.weight[torch.randperm(30, generator=torch.Generator().manual_seed(1))])
    torch.testing.assert_close(embedding_filters(embed).filters, first, atol=1e-4, rtol=0)


def test_a_filter_is_laid_out_as_a_patch_is():
    """The answer of a component to a patch is their dot product, pixel by pixel."""
    embed = randomise(PatchEmbed(4, 3, 10))
    images = torch.randn(1, 3, 4, 4)
    filters = embedding_filters(embed).filters
    by_patch = patchify(images, 4)[0, 0] @ filters.flatten(1).T
    torch.testing.assert_close(by_patch, (images * filters).sum(dim=(1, 2, 3)))


def test_pictures_lie_between_zero_and_one_and_keep_zero_grey():
    filters = torch.randn(5, 3, 4, 4)
    filters[0] = 0
    filters[1, 0, 0, 0] = 0
    pictures = filters_to_pictures(filters)
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert (pictures[0] == 0.5).all()
    assert pictures[1, 0, 0, 0] == 0.5
    reach = (pictures[1:] - 0.5).abs().amax(dim=(1, 2, 3))
    torch.testing.assert_close(reach, torch.full((4,), 0.5))


def test_smoothness_of_flat_of_striped_and_of_random_filters():
    flat = torch.ones(1, 3, 6, 6)
    chequered = torch.ones(1, 1, 6, 6)
    chequered[..., ::2, ::2] = chequered[..., 1::2, 1::2] = -1
    noise = torch.randn(2000, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    assert smoothness(flat).item() == pytest.approx(1)
    assert smoothness(chequered).item() == pytest.approx(-1)
    assert abs(smoothness(noise).mean().item()) < 0.01
