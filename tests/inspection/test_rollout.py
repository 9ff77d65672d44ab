"""`vitedu.inspection.rollout`: paths counted one by one, rows that sum to one, and models with and without CLS."""

import itertools
import re

import pytest
import torch

from vitedu.inspection import discard_lowest, fuse_heads, relevance, rollout
from vitedu.inspection.rollout import FUSIONS


def random_maps(layers, *shape, seed=0):
    return list(torch.rand(layers, *shape, generator=torch.Generator().manual_seed(seed)).mul(3).softmax(dim=-1))


def test_rollout_is_the_sum_over_all_paths():
    """Entry (i, j): over all ways to step from i in the last layer down to j, the product of the steps' weights."""
    maps = random_maps(3, 2, 4, 5, 5)
    steps = [(m.mean(dim=1) + torch.eye(5)) / 2 for m in maps]
    found = rollout(maps)
    for b, i, j in [(0, 0, 3), (1, 2, 2), (1, 4, 0)]:
        total = 0.0
        for via in itertools.product(range(5), repeat=2):
            total += (steps[2][b, i, via[0]] * steps[1][b, via[0], via[1]] * steps[0][b, via[1], j]).item()
        assert found[b, i, j].item() == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("discard", [0.0, 0.5, 0.9])
def test_rows_sum_to_one(fusion, discard):
    found = rollout(random_maps(4, 2, 3, 7, 7), fusion, discard)
    assert found.shape == (2, 7, 7)
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(2, 7))
    assert (found >= 0).all()


def test_attention_to_oneself_stays_where_it_is():
    maps = [torch.eye(4).expand(2, 3, 4, 4)] * 5
    torch.testing.assert_close(rollout(maps), torch.eye(4).expand(2, 4, 4))


def test_the_residual_keeps_half_in_every_layer():
    """All attention goes to token 0: after L layers a token still holds (1/2)^L of itself."""
    maps = [torch.eye(4)[[0, 0, 0, 0]].expand(1, 1, 4, 4)] * 3
    found = rollout(maps)[0]
    torch.testing.assert_close(found[1], torch.tensor([7 / 8, 1 / 8, 0.0, 0.0]))


def test_order_of_the_layers_matters():
    maps = random_maps(2, 1, 1, 4, 4)
    assert not torch.allclose(rollout(maps), rollout(maps[::-1]))
    steps = [(m[:, 0] + torch.eye(4)) / 2 for m in maps]
    torch.testing.assert_close(rollout(maps), steps[1] @ steps[0])


def test_images_do_not_mix():
    maps = random_maps(3, 4, 2, 5, 5)
    alone = rollout([m[2:3] for m in maps], "max", 0.5)
    torch.testing.assert_close(rollout(maps, "max", 0.5)[2:3], alone)


def test_heads_are_fused_by_mean_largest_and_smallest():
    attention = torch.tensor([[0.1, 0.9], [0.5, 0.5], [0.3, 0.7]]).view(1, 3, 1, 2)
    for fusion, expected in {"mean": [0.3, 0.7], "max": [0.5, 0.9], "min": [0.1, 0.5]}.items():
        torch.testing.assert_close(fuse_heads(attention, fusion).flatten(), torch.tensor(expected))
    with pytest.raises(ValueError, match="fusion 'median' is not one of mean, max, min"):
        fuse_heads(attention, "median")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.99])
def test_the_lowest_of_each_row_are_dropped_and_the_others_stay(share):
    weights = random_maps(1, 2, 8, 10)[0]
    before, kept = weights.clone(), discard_lowest(weights, share)
    assert ((kept == 0).sum(dim=-1) == int(share * 10)).all()
    torch.testing.assert_close(kept[kept > 0], weights[kept > 0])
    for row, left in zip(weights.flatten(0, 1), kept.flatten(0, 1), strict=True):
        assert share == 0 or row[left == 0].max() <= row[left > 0].min()
    torch.testing.assert_close(weights, before)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_nothing_or_all_cannot_be_discarded(share):
    with pytest.raises(ValueError, match="outside"):
        discard_lowest(torch.ones(1, 2, 2), share)


def test_maps_are_not_changed():
    maps = random_maps(2, 1, 2, 5, 5)
    before = [m.clone() for m in maps]
    rollout(maps, "max", 0.5)
    assert all(torch.equal(a, b) for a, b in zip(maps, before, strict=True))


@pytest.mark.parametrize("form", [torch.stack, iter, tuple, lambda maps: torch.stack(maps).numpy()])
def test_maps_come_one_by_one_or_stacked(form):
    maps = random_maps(3, 2, 4, 5, 5)
    assert torch.equal(rollout(form(maps)), rollout(maps))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([], "0 maps; run the model inside"),
        (
            [(2, 5, 5)],
            "map 0 has shape (2, 5, 5), expected (B, h, N, N) of each layer; pass [maps] for one layer, or map[:",
        ),
        ([(2, 3, 5, 5), (5, 5)], "map 1 has shape (5, 5), expected (B, h, N, N) of each layer"),
        (
            [(2, 3, 5, 5), (2, 3, 6, 6)],
            "map 1 has shape (2, 3, 6, 6), expected (B, h, N, N) with B = 2 and N = 5 as in map 0",
        ),
        ([(2, 3, 5, 5), (1, 3, 5, 5)], "map 1 has shape (1, 3, 5, 5), expected (B, h, N, N) with B = 2 and N = 5"),
        (
            [(2, 3, 4, 6)],
            "map 0 has shape (2, 3, 4, 6), expected (B, h, N, N) with B = 2 and N = 6 as in map 0; rollout",
        ),
    ],
)
def test_maps_that_cannot_be_multiplied_are_refused_with_what_is_wanted(shapes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        rollout([torch.ones(shape) for shape in shapes])


def test_half_precision_maps_are_multiplied_in_full():
    maps = random_maps(6, 1, 2, 50, 50)
    found = rollout([m.bfloat16() for m in maps])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(1, 50))


def test_relevance_is_the_row_of_cls_or_the_mean_of_all_rows():
    weights = random_maps(1, 2, 7, 7)[0]
    torch.testing.assert_close(relevance(weights, (2, 3), "cls"), weights[:, 0, 1:].reshape(2, 2, 3))
    patches = weights[:, 1:, 1:]
    expected = sum(patches[:, i] for i in range(6)) / 6
    torch.testing.assert_close(relevance(patches, (2, 3), "mean"), expected.reshape(2, 2, 3))
    with pytest.raises(ValueError, match="7 tokens, expected 0"):
        relevance(weights, (2, 3), "mean")
    with pytest.raises(ValueError, match=r"weights have shape \(2, 1, 7, 7\), expected \(B, N, N\); fuse_heads"):
        relevance(weights[:, None], (2, 3), "cls")
    with pytest.raises(ValueError, match="pool 'map' is not one of cls, mean"):
        relevance(weights, (2, 3), "map")
