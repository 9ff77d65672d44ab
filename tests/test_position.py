"""`vitedu.position`: closed forms of the fixed tables, and what interpolation keeps."""

import math
import re

import pytest
import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed
from torchvision.models.vision_transformer import interpolate_embeddings

from vitedu.position import KINDS, PositionEmbedding, interpolate_positions, sincos_1d, sincos_2d

GRIDS = [((4, 4), (7, 7)), ((4, 4), (3, 3)), ((3, 5), (6, 4)), ((2, 8), (8, 2)), ((5, 6), (5, 9))]


@pytest.mark.parametrize("dim", [2, 8, 64])
@pytest.mark.parametrize("base", [10_000.0, 100.0])
def test_sincos_1d_is_the_formula_of_the_paper_sines_before_cosines(dim, base):
    positions = [0, 1, 2, 7, 500]
    angles = [[p / base ** (2 * i / dim) for i in range(dim // 2)] for p in positions]
    expected = [[math.sin(a) for a in row] + [math.cos(a) for a in row] for row in angles]
    torch.testing.assert_close(sincos_1d(torch.tensor(positions), dim, base), torch.tensor(expected))


def test_every_sincos_row_has_length_root_of_half_the_width():
    torch.testing.assert_close(sincos_1d(torch.arange(300), 64).norm(dim=1), torch.full((300,), math.sqrt(32)))
    torch.testing.assert_close(sincos_2d((9, 11), 64).norm(dim=1), torch.full((99,), math.sqrt(32)))


def test_the_dot_product_of_two_sincos_rows_depends_on_their_distance_alone():
    table = sincos_1d(torch.arange(40), 32)
    products = table @ table.T
    for distance in range(40):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-4, rtol=0)
    assert products[0].argmax() == 0
    assert products[0, 1] > products[0, 2] > products[0, 3]


def test_positions_may_lie_between_whole_numbers():
    torch.testing.assert_close(sincos_1d(torch.tensor([0.5]), 2), torch.tensor([[math.sin(0.5), math.cos(0.5)]]))


@pytest.mark.parametrize("grid", [(3, 3), (2, 5), (6, 1)])
def test_half_of_a_2d_row_is_its_row_and_half_its_column(grid):
    table = sincos_2d(grid, 16).view(*grid, 16)
    for row in range(grid[0]):
        for column in range(grid[1]):
            expected = sincos_1d(torch.tensor([row, column]), 8).flatten()
            torch.testing.assert_close(table[row, column], expected)


def test_the_2d_dot_product_depends_on_the_two_offsets_alone():
    table = sincos_2d((5, 6), 32).view(5, 6, 32)
    for down, across in [(0, 1), (1, 0), (2, 3), (4, 5)]:
        products = (table[: 5 - down, : 6 - across] * table[down:, across:]).sum(-1)
        torch.testing.assert_close(products, products[:1, :1].expand_as(products), atol=1e-4, rtol=0)


def test_no_two_places_share_a_vector():
    for table in (sincos_1d(torch.arange(196), 64), sincos_2d((14, 14), 64)):
        distances = torch.cdist(table, table) + 10 * torch.eye(196)
        assert distances.min() > 0.1


@pytest.mark.parametrize(("function", "dim", "divisor"), [(sincos_1d, 7, 2), (sincos_2d, 6, 4), (sincos_2d, 7, 4)])
def test_a_width_that_sines_and_cosines_cannot_share_is_refused(function, dim, divisor):
    argument = torch.arange(4) if function is sincos_1d else (2, 2)
    with pytest.raises(ValueError, match=f"width {dim} is not divisible by {divisor}; "):
        function(argument, dim)


@pytest.mark.parametrize("convention", ["torchvision", "timm"])
@pytest.mark.parametrize("num_prefix", [0, 1, 2])
@pytest.mark.parametrize(("old", "new"), GRIDS)
def test_the_prefix_is_kept_and_the_patches_are_resized_as_a_picture(old, new, num_prefix, convention):
    table = torch.randn(num_prefix + old[0] * old[1], 6)
    resized = interpolate_positions(table, old, new, num_prefix, convention)
    assert torch.equal(resized[:num_prefix], table[:num_prefix])
    picture = table[num_prefix:].view(*old, 6).permute(2, 0, 1)[None]
    aligned = convention == "torchvision"
    expected = F.interpolate(picture, new, mode="bicubic", align_corners=aligned, antialias=not aligned)
    torch.testing.assert_close(resized[num_prefix:].view(*new, 6), expected[0].permute(1, 2, 0))


@pytest.mark.parametrize(("old", "new"), [(7, 12), (14, 24), (12, 7), (4, 4)])
def test_the_torchvision_convention_is_torchvisions_own_function(old, new):
    table = torch.randn(1 + old * old, 6)
    theirs = interpolate_embeddings(16 * new, 16, {"encoder.pos_embedding": table[None].clone()})
    expected = theirs["encoder.pos_embedding"][0]
    torch.testing.assert_close(interpolate_positions(table, (old, old), (new, new)), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("num_prefix", [0, 1, 2])
@pytest.mark.parametrize(("old", "new"), [*GRIDS, ((14, 14), (24, 24)), ((12, 12), (7, 7))])
def test_the_timm_convention_is_timms_own_function(old, new, num_prefix):
    table = torch.randn(num_prefix + old[0] * old[1], 6)
    theirs = resample_abs_pos_embed(table[None], list(new), list(old), num_prefix)[0]
    ours = interpolate_positions(table, old, new, num_prefix, "timm")
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("convention", ["torchvision", "timm"])
def test_the_same_grid_gives_the_same_table(convention):
    table = torch.randn(13, 6)
    assert torch.equal(interpolate_positions(table, (3, 4), (3, 4), 1, convention), table)


@pytest.mark.parametrize("convention", ["torchvision", "timm"])
@pytest.mark.parametrize(("old", "new"), GRIDS)
def test_a_constant_table_stays_constant(old, new, convention):
    table = torch.full((old[0] * old[1], 3), 1.7)
    resized = interpolate_positions(table, old, new, 0, convention)
    torch.testing.assert_close(resized, torch.full((new[0] * new[1], 3), 1.7))


def test_with_aligned_corners_a_finer_grid_passes_through_the_old_points_and_leads_back():
    table = torch.randn(1 + 4 * 5, 6)
    finer = interpolate_positions(table, (4, 5), (7, 9))
    torch.testing.assert_close(finer[1:].view(7, 9, 6)[::2, ::2], table[1:].view(4, 5, 6))
    torch.testing.assert_close(interpolate_positions(finer, (7, 9), (4, 5)), table)


def test_a_linear_ramp_stays_linear_away_from_the_edge():
    """Cubic convolution is exact for straight lines where all four neighbours lie on the grid."""
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(10.0), indexing="ij")
    ramp = torch.stack([rows, columns, 2 * rows - 3 * columns], dim=-1).view(80, 3)
    finer = interpolate_positions(ramp, (8, 10), (15, 19), num_prefix=0).view(15, 19, 3)
    rows, columns = torch.meshgrid(torch.arange(15) / 2, torch.arange(19) / 2, indexing="ij")
    expected = torch.stack([rows, columns, 2 * rows - 3 * columns], dim=-1)
    torch.testing.assert_close(finer[2:-2, 2:-2], expected[2:-2, 2:-2], atol=1e-5, rtol=0)
    torch.testing.assert_close(finer[::14, ::18], expected[::14, ::18])


def test_only_the_timm_convention_smooths_before_shrinking():
    """A checkerboard at half the resolution: its average is grey, its samples at the corners are not."""
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2
    table = board.float().view(64, 1)
    smooth = interpolate_positions(table, (8, 8), (4, 4), 0, "timm").view(4, 4)
    torch.testing.assert_close(smooth[1:3, 1:3], torch.full((2, 2), 0.5), atol=0.05, rtol=0)
    sampled = interpolate_positions(table, (8, 8), (4, 4), 0, "torchvision").view(4, 4)
    assert sampled[0, 0] == 0
    assert sampled[0, 3] == 1


def test_gradients_pass_through_the_interpolation():
    table = torch.randn(10, 4, requires_grad=True)
    interpolate_positions(table, (3, 3), (5, 5)).sum().backward()
    assert (table.grad.abs() > 0).all()


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (17, {"num_prefix": 0}, "table has 17 rows, expected 0 + 4·4; check the old grid"),
        (16, {}, "table has 16 rows, expected 1 + 4·4; check the old grid"),
        (17, {"convention": "jax"}, "convention 'jax' is not one of torchvision, timm"),
    ],
)
def test_a_table_or_convention_that_does_not_fit_is_refused(rows, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        interpolate_positions(torch.zeros(rows, 8), (4, 4), (5, 5), **options)


@pytest.mark.parametrize("num_prefix", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_the_embedding_adds_one_table_to_every_image(kind, num_prefix):
    embedding = PositionEmbedding((2, 3), 8, kind, num_prefix)
    tokens = torch.randn(4, num_prefix + 6, 8)
    added = embedding(tokens) - tokens
    expected = torch.zeros(num_prefix + 6, 8) if kind == "none" else embedding.vectors()
    torch.testing.assert_close(added, expected.expand(4, -1, -1), atol=1e-6, rtol=0)


def test_a_learned_table_is_a_parameter_and_starts_at_its_std():
    torch.manual_seed(0)
    embedding = PositionEmbedding((20, 20), 64, std=0.3)
    assert dict(embedding.named_parameters()).keys() == embedding.state_dict().keys() == {"table"}
    assert abs(embedding.table.std() - 0.3) < 0.005  # one standard error of 25,664 draws is 0.0013
    assert abs(embedding.table.mean()) < 0.01


@pytest.mark.parametrize("grid", [(2, 3), (4, 4), (1, 5)])
def test_half_of_a_learned_2d_vector_is_its_rows_and_half_its_columns(grid):
    embedding = PositionEmbedding(grid, 8, "learned2d", num_prefix=1, std=0.3)
    shapes = {name: tuple(parameter.shape) for name, parameter in embedding.named_parameters()}
    assert shapes == {"prefix": (1, 8), "rows": (grid[0], 4), "columns": (grid[1], 4)}
    vectors = embedding.vectors()
    assert torch.equal(vectors[:1], embedding.prefix)
    for n, vector in enumerate(vectors[1:]):
        row, column = divmod(n, grid[1])
        assert torch.equal(vector, torch.cat([embedding.rows[row], embedding.columns[column]]))


def test_a_learned_2d_vector_of_a_row_learns_from_all_tokens_of_that_row():
    embedding = PositionEmbedding((2, 3), 4, "learned2d", num_prefix=1)
    weights = torch.randn(7, 4)
    (embedding(torch.zeros(1, 7, 4)) * weights).sum().backward()
    patches = weights[1:].view(2, 3, 4)
    torch.testing.assert_close(embedding.rows.grad, patches[..., :2].sum(1))
    torch.testing.assert_close(embedding.columns.grad, patches[..., 2:].sum(0))


def test_learned_2d_positions_start_at_their_std():
    torch.manual_seed(0)
    assert abs(PositionEmbedding((60, 60), 64, "learned2d", std=0.3).vectors().std() - 0.3) < 0.02


def test_there_are_no_vectors_where_there_are_no_positions():
    with pytest.raises(ValueError, match="positions 'none'; choose another kind"):
        PositionEmbedding((2, 2), 8, "none").vectors()


@pytest.mark.parametrize(("kind", "std"), [("sincos1d", 1.0), ("sincos2d", 1.0), ("sincos2d", 0.02)])
def test_a_fixed_table_is_scaled_to_its_std_and_leaves_the_prefix_alone(kind, std):
    embedding = PositionEmbedding((5, 7), 32, kind, num_prefix=2, std=std)
    assert (embedding.table[:2] == 0).all()
    torch.testing.assert_close(embedding.table[2:].square().mean().sqrt(), torch.tensor(std))
    fixed = sincos_2d((5, 7), 32) if kind == "sincos2d" else sincos_1d(torch.arange(35), 32)
    torch.testing.assert_close(embedding.table[2:], fixed * std * math.sqrt(2))


@pytest.mark.parametrize("kind", ["sincos1d", "sincos2d", "none"])
def test_a_fixed_table_cannot_be_trained_is_not_saved_and_moves_with_the_module(kind):
    embedding = PositionEmbedding((2, 2), 8, kind)
    assert list(embedding.parameters()) == []
    assert embedding.state_dict() == {}
    assert embedding.double()(torch.zeros(1, 5, 8, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize(
    ("kind", "dim", "message"),
    [
        ("sine", 8, "positions 'sine' is not one of learned, sincos1d, sincos2d, none, learned2d"),
        ("sincos1d", 7, "width 7 is not divisible by 2"),
        ("sincos2d", 6, "width 6 is not divisible by 4"),
        ("learned2d", 7, "width 7 is not divisible by 2"),
    ],
)
def test_an_unknown_kind_or_an_impossible_width_is_refused(kind, dim, message):
    with pytest.raises(ValueError, match=message):
        PositionEmbedding((2, 2), dim, kind)
