"""`vitedu.inspection.localise`: scores against brute force, perfect and hopeless maps, and intervals that cover."""

import math

import pytest
import torch

from tests.random_weights import randomise
from vitedu.data import draw_shapes
from vitedu.inspection import baselines, bootstrap_interval, coverage, localise, relevance_maps
from vitedu.inspection.localise import gradient_times_input
from vitedu.vit import ViT, ViTConfig

GRID = (8, 8)
MASKS = draw_shapes(120, seed=1).masks


def small_vit(pool="cls"):
    fields = {"image_size": (8, 12), "patch_size": 4, "num_classes": 5, "dim": 12, "depth": 2, "num_heads": 3}
    return randomise(ViT(ViTConfig(**fields, pool=pool))).eval()


def test_scores_are_those_of_brute_force():
    """The same with loops and sets: whole patches of 16 pixels, and of the last one a share."""
    pictures = torch.rand(10, *GRID, generator=torch.Generator().manual_seed(0))
    hit, iou = localise(pictures, MASKS[:10])
    for b, picture in enumerate(pictures):
        patches = sorted(range(64), key=lambda n, picture=picture: -picture.flatten()[n].item())
        counts = [int(MASKS[b, n // 8 * 4 :][:4, n % 8 * 4 :][:, :4].sum()) for n in patches]  # pixels of the object
        area = int(MASKS[b].sum())
        whole, rest = divmod(area, 16)
        common = sum(counts[:whole]) + counts[whole] * rest / 16
        assert hit[b].item() == float(counts[0] >= 8)
        assert iou[b].item() == pytest.approx(common / (2 * area - common), abs=1e-6)


def test_whole_patches_score_one_and_their_opposite_nothing():
    masks = torch.zeros(2, 32, 32, dtype=torch.bool)
    masks[0, 4:12, 8:20] = masks[1, :4, :4] = True
    exact, opposite = localise(coverage(masks, GRID), masks), localise(-coverage(masks, GRID), masks)
    assert torch.equal(exact.hit, torch.ones(2))
    torch.testing.assert_close(exact.iou, torch.ones(2))
    assert opposite.hit.tolist() == opposite.iou.tolist() == [0, 0]


def test_the_true_share_of_every_patch_is_the_ceiling():
    best = localise(coverage(MASKS, GRID), MASKS)
    assert (best.hit == 1).all()
    assert 0.6 < best.iou.mean() < 0.95
    for seed in range(5):
        noisy = coverage(MASKS, GRID) + 0.1 * torch.rand(120, *GRID, generator=torch.Generator().manual_seed(seed))
        assert (localise(noisy, MASKS).iou <= best.iou + 1e-6).all()


def test_only_the_order_of_the_values_counts():
    pictures = torch.rand(120, *GRID, generator=torch.Generator().manual_seed(0))
    before, after = localise(pictures, MASKS), localise(3 * pictures + 7, MASKS)
    torch.testing.assert_close(before, after)


def test_random_maps_hit_as_often_as_patches_lie_in_the_object():
    masks = draw_shapes(3_000, seed=2).masks
    maps = baselines(3_000, GRID)
    share = (coverage(masks, GRID) >= 0.5).float().mean().item()
    assert localise(maps["random"], masks).hit.mean().item() == pytest.approx(share, abs=0.03)
    # the objects lie wholly inside their pictures: the middle is a better guess than anywhere
    assert localise(maps["centre"], masks).hit.mean().item() > 1.3 * share


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_every_method_gives_one_number_for_each_patch_and_leaves_the_model_alone(pool):
    model, images = small_vit(pool), torch.randn(2, 3, 8, 12)
    maps = relevance_maps(model, images)
    assert len(maps) == 8
    assert {m.shape for m in maps.values()} == {(2, 2, 3)}
    assert all((m >= 0).all() and m.isfinite().all() for m in maps.values())
    assert all(p.grad is None for p in model.parameters())
    assert not images.requires_grad


def test_gradient_times_input_is_the_effect_of_each_patch_on_a_linear_model():
    """A model whose score is a weighted sum of pixels: the effect of a patch is the sum of its products."""
    weight = torch.randn(1, 3, 8, 12)

    class Linear(torch.nn.Module):
        grid = small_vit().grid

        def forward(self, images):
            return (images * weight).sum(dim=(1, 2, 3))[:, None].expand(-1, 5)

    images = torch.randn(2, 3, 8, 12)
    # amax over equal scores shares the gradient among them, so the sum is that of one score
    expected = (images * weight).sum(dim=1).abs().unflatten(1, (2, 4)).unflatten(3, (3, 4)).mean(dim=(2, 4))
    torch.testing.assert_close(gradient_times_input(Linear(), images), expected)


def test_gradient_times_input_works_where_gradients_are_off():
    model, images = small_vit(), torch.randn(1, 3, 8, 12)
    expected = gradient_times_input(model, images)
    with torch.no_grad():
        torch.testing.assert_close(gradient_times_input(model, images), expected)


def test_the_interval_is_that_of_the_normal_law_for_many_images():
    values = (torch.rand(2_000, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    mean = values.mean().item()
    half = 1.96 * math.sqrt(mean * (1 - mean) / 2_000)
    low, high = bootstrap_interval(values)
    assert low == pytest.approx(mean - half, abs=0.003)
    assert high == pytest.approx(mean + half, abs=0.003)
    assert bootstrap_interval(values) == (low, high)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    truth, covered = 0.4, 0
    for seed in range(200):
        values = (torch.rand(100, generator=torch.Generator().manual_seed(seed)) < truth).float()
        low, high = bootstrap_interval(values, resamples=400)
        covered += low <= truth <= high
    assert 0.88 < covered / 200 < 0.99
