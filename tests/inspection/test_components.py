"""`vitedu.inspection.components`: scikit-learn's components up to sign, common to all images, and their colours."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from vitedu.inspection import components_to_pictures, token_components


def some_tokens(B=3, N=6, D=8, prefix=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(B, prefix + N, D, generator=generator) * (1 + torch.arange(D)) + 5


@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_components_are_scikit_learns_over_all_images_without_what_stands_before_the_patches(prefix):
    tokens = some_tokens(prefix=prefix)
    values, share = token_components(tokens, 4, num_prefix=prefix)
    flat = tokens[:, prefix:].flatten(0, 1).double().numpy()
    reference = PCA(4).fit(flat)
    expected = reference.transform(flat)
    found = values.flatten(0, 1).double().numpy()
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-4)
    np.testing.assert_allclose(share, reference.explained_variance_ratio_, atol=1e-6)
    assert values.shape == (3, 6, 4)


def test_a_direction_planted_in_the_tokens_is_the_first_component():
    inside = torch.rand(2, 6, generator=torch.Generator().manual_seed(1)) > 0.5
    tokens = 0.01 * some_tokens(2) + 7
    tokens[:, 1:] += 3 * inside[..., None] * torch.eye(8)[2]
    first = token_components(tokens).values[..., 0]
    assert first[inside].min() > first[~inside].max()


def test_signs_do_not_depend_on_the_order_of_the_images():
    tokens = some_tokens()
    values = token_components(tokens).values
    torch.testing.assert_close(token_components(tokens[[2, 0, 1]]).values, values[[2, 0, 1]], atol=1e-4, rtol=0)


def test_pictures_are_stretched_for_all_images_together_and_laid_out_in_raster_order():
    values = torch.zeros(2, 6, 3)
    values[0, 4] = torch.tensor([2.0, -1.0, 0.0])
    values[1, 1] = torch.tensor([-2.0, 0.0, 4.0])
    pictures = components_to_pictures(values, (2, 3))
    assert pictures.shape == (2, 3, 2, 3)
    assert pictures[0, :, 1, 1].tolist() == [1.0, 0.0, 0.0]
    assert pictures[1, :, 0, 1].tolist() == [0.0, 1.0, 1.0]
    assert pictures[0, :, 0, 0].tolist() == [0.5, 1.0, 0.0]


def test_what_cannot_be_asked_for_is_refused():
    with pytest.raises(ValueError, match="9 components of 18 tokens with 8 numbers each; ask for fewer"):
        token_components(some_tokens(), 9)
    with pytest.raises(ValueError, match=r"components have shape \(3, 6, 2\), expected \(B, 2·3, 3\)"):
        components_to_pictures(token_components(some_tokens(), 2).values, (2, 3))
