"""`vitedu.inspection.positions`: similarity by hand, and scores that know rows, columns and waves from noise."""

import math

import pytest
import torch

from vitedu.inspection import line_score, patch_positions, position_similarity, wave_share
from vitedu.inspection.positions import offsets
from vitedu.position import KINDS, PositionEmbedding


def random_table(grid, dim=64, seed=0):
    return torch.randn(grid[0] * grid[1], dim, generator=torch.Generator().manual_seed(seed))


def line_table(grid):
    """Places share a direction with their row and another with their column, and nothing else."""
    rows, columns = torch.meshgrid(*map(torch.arange, grid), indexing="ij")
    return torch.cat([torch.eye(grid[0])[rows.flatten()], torch.eye(grid[1])[columns.flatten()]], dim=1)


def near_table(grid):
    """A blob around every place: the nearer, the more alike, whether in the same row or not."""
    down, across = offsets(grid)
    return torch.linalg.cholesky(torch.exp(-(down**2 + across**2) / 8) + 1e-4 * torch.eye(len(down)))


def test_similarity_is_the_cosine_of_each_pair():
    table = random_table((2, 3))
    similarity = position_similarity(table, (2, 3))
    assert similarity.shape == (2, 3, 2, 3)
    for first in range(6):
        for second in range(6):
            a, b = table[first], table[second]
            expected = (a @ b / (a.norm() * b.norm())).item()
            found = similarity[first // 3, first % 3, second // 3, second % 3].item()
            assert found == pytest.approx(expected, abs=1e-6)


def test_the_class_token_is_left_out():
    positions = PositionEmbedding((2, 3), 8, "learned", num_prefix=1)
    torch.testing.assert_close(patch_positions(positions), positions.table[1:].detach())
    assert len(patch_positions(PositionEmbedding((2, 3), 8, "learned", num_prefix=0))) == 6
    with pytest.raises(ValueError, match="7 positions do not fill a grid of 2×3; leave out that of CLS"):
        position_similarity(positions.table, (2, 3))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "none"])
def test_every_kind_of_positions_can_be_looked_at(kind):
    similarity = position_similarity(patch_positions(PositionEmbedding((3, 4), 16, kind)), (3, 4))
    diagonal = similarity.flatten(2).flatten(0, 1).diagonal()
    torch.testing.assert_close(diagonal, torch.ones(12))


@pytest.mark.parametrize("no_nearer", [False, True])
def test_line_score_is_one_for_rows_and_columns_and_a_half_for_noise(no_nearer):
    grid = (6, 7)
    assert line_score(position_similarity(line_table(grid), grid), no_nearer) == 1
    noise = [line_score(position_similarity(random_table(grid, seed=s), grid), no_nearer) for s in range(20)]
    assert sum(noise) / 20 == pytest.approx(0.5, abs=0.02)
    constant = torch.ones(42, 3)
    assert line_score(position_similarity(constant, grid).round(), no_nearer) == 0.5


def test_nearness_alone_counts_for_the_line_only_where_it_is_not_ruled_out():
    """Places of the same row or column are nearer on average: the plain score sees that, the other one does not."""
    grid = (8, 8)
    similarity = position_similarity(near_table(grid), grid)
    assert line_score(similarity) > 0.6
    assert line_score(similarity, no_nearer=True) < 0.1


def test_line_score_counts_pairs_by_hand():
    """On 2×2, each place has two on its lines and one outside, at distance √2: none at least as far on the line."""
    similarity = torch.zeros(2, 2, 2, 2)
    similarity[0, 0, 0, 1] = 1  # one win in eight comparisons, the rest ties
    assert line_score(similarity) == pytest.approx((1 + 7 * 0.5) / 8)


def test_a_single_row_has_nothing_outside():
    with pytest.raises(ValueError, match="a grid of 1×4 has no place outside"):
        line_score(position_similarity(random_table((1, 4)), (1, 4)))


def test_a_table_of_one_wave_is_all_in_one_wave():
    rows, columns = torch.meshgrid(torch.arange(6), torch.arange(8), indexing="ij")
    wave = torch.cos(math.pi * 2 * (rows + 0.5) / 6) * torch.cos(math.pi * 3 * (columns + 0.5) / 8)
    table = wave.flatten()[:, None] * torch.randn(1, 10) + 5  # a constant added to all places is not counted
    assert wave_share(table, (6, 8), waves=1) == pytest.approx(1, abs=1e-6)


def test_noise_spreads_over_all_waves():
    assert wave_share(random_table((8, 8), 2000), (8, 8)) == pytest.approx(8 / 63, abs=0.02)
    assert wave_share(random_table((8, 8)), (8, 8), waves=63) == pytest.approx(1)


def test_turning_the_table_changes_nothing():
    table = near_table((5, 6))
    turn = torch.linalg.qr(torch.randn(30, 30, generator=torch.Generator().manual_seed(0)))[0]
    assert wave_share(table @ turn, (5, 6)) == pytest.approx(wave_share(table, (5, 6)), abs=1e-5)


def test_sines_and_cosines_are_waves_and_noise_is_not():
    grid = (8, 8)
    fixed = patch_positions(PositionEmbedding(grid, 64, "sincos2d"))
    assert wave_share(fixed, grid) > 0.8 > 0.3 > wave_share(random_table(grid), grid)
