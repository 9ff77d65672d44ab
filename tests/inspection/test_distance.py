"""`vitedu.inspection.distance`: brute force over pairs, the closed form, and a class token that has no place."""

import math

import pytest
import torch

from vitedu.inspection import attention_distance, patch_distances, uniform_distance


def random_maps(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)).softmax(dim=-1)


@pytest.mark.parametrize(("grid", "patch"), [((3, 3), 4), ((2, 5), (4, 2)), ((1, 4), 3)])
def test_distances_are_those_of_the_centres(grid, patch):
    ph, pw = (patch, patch) if isinstance(patch, int) else patch
    found = patch_distances(grid, patch)
    for first in range(grid[0] * grid[1]):
        for second in range(grid[0] * grid[1]):
            (r1, c1), (r2, c2) = divmod(first, grid[1]), divmod(second, grid[1])
            expected = math.hypot((r1 - r2) * ph, (c1 - c2) * pw)
            assert found[first, second].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("num_prefix", [0, 1])
@pytest.mark.parametrize("B", [1, 3])
def test_the_mean_is_that_over_images_and_queries(B, num_prefix):
    grid, h = (2, 3), 2
    maps = random_maps(B, h, 6 + num_prefix, 6 + num_prefix)
    found = attention_distance(maps, grid, 4, num_prefix)
    distances = patch_distances(grid, 4)
    for head in range(h):
        total = 0.0
        for image in range(B):
            for query in range(6):
                row = maps[image, head, query + num_prefix, num_prefix:]
                total += (row / row.sum() * distances[query]).sum().item()
        assert found[head].item() == pytest.approx(total / (6 * B), rel=1e-5)


def test_attention_to_oneself_reaches_nowhere_and_to_the_next_patch_one_patch():
    assert attention_distance(torch.eye(5)[None, None], (1, 4), 8).item() == 0
    shifted = torch.eye(4).roll(1, dims=1)[None, None]  # the last looks back at the first, three patches away
    assert attention_distance(shifted, (1, 4), 8, num_prefix=0).item() == pytest.approx((3 * 8 + 24) / 4)


@pytest.mark.parametrize(("grid", "patch"), [((8, 8), 4), ((2, 5), (4, 2)), ((1, 7), 3), ((1, 1), 4)])
def test_uniform_attention_has_the_distance_of_the_closed_form(grid, patch):
    N = grid[0] * grid[1]
    maps = torch.full((2, 3, N + 1, N + 1), 1 / (N + 1))
    found = attention_distance(maps, grid, patch)
    torch.testing.assert_close(found, torch.full((3,), uniform_distance(grid, patch)), atol=1e-5, rtol=1e-5)


def test_with_ever_smaller_patches_the_closed_form_nears_that_of_points_in_a_square():
    limit = (2 + math.sqrt(2) + 5 * math.log(1 + math.sqrt(2))) / 15
    gaps = [abs(uniform_distance((side, side), 1) / side / limit - 1) for side in (4, 16, 64, 256)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-4


def test_what_goes_to_the_class_token_changes_nothing():
    """Half of every row given to CLS, the rest shared out as before."""
    patches = random_maps(1, 2, 6, 6)
    with_cls = torch.zeros(1, 2, 7, 7)
    with_cls[..., 1:, 1:] = patches / 2
    with_cls[..., 0] = 0.5
    expected = attention_distance(patches, (2, 3), 4, num_prefix=0)
    torch.testing.assert_close(attention_distance(with_cls, (2, 3), 4), expected)


def test_a_query_that_gives_all_to_the_class_token_is_no_error():
    maps = torch.zeros(1, 1, 5, 5)
    maps[..., 0] = 1
    assert attention_distance(maps, (2, 2), 4).item() == 0


def test_a_wrong_number_of_tokens_is_refused():
    with pytest.raises(ValueError, match=r"maps of 6×6 tokens, expected 7: 1 \+ 2·3; check num_prefix and the grid"):
        attention_distance(random_maps(1, 1, 6, 6), (2, 3), 4)
