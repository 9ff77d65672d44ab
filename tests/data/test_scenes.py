"""`scenes`: boxes are those of the masks, masks are where the objects are, and each number is drawn as often."""

import re

import pytest
import torch

from vitedu.data import draw_shapes
from vitedu.data.scenes import MEAN, NO_OBJECT, STD, TILE, _background, _paste, draw_scenes, mask_boxes


@pytest.fixture(scope="module")
def scenes():
    return draw_scenes(600, seed=3)


def box_by_hand(mask: torch.Tensor) -> list[float]:
    """The bounding box of one mask (H, W), pixel by pixel."""
    height, width = mask.shape
    points = mask.nonzero().tolist()
    if not points:
        return [0.0] * 4
    rows, columns = zip(*points, strict=True)
    top, bottom, left, right = min(rows), max(rows) + 1, min(columns), max(columns) + 1
    return [(left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height]


@pytest.mark.parametrize("size", [64, (48, 80)])
def test_every_box_is_the_bounding_box_of_the_mask(size):
    scenes = draw_scenes(40, seed=0, image_size=size)
    expected = torch.tensor([[box_by_hand(mask) for mask in masks] for masks in scenes.masks])
    torch.testing.assert_close(scenes.boxes, expected)


def test_a_box_of_a_single_pixel_and_of_nothing():
    masks = torch.zeros(2, 4, 8, dtype=torch.bool)
    masks[0, 3, 0] = True
    assert mask_boxes(masks).tolist() == [[1 / 16, 7 / 8, 1 / 8, 1 / 4], [0, 0, 0, 0]]


def test_empty_slots_have_no_mask_and_no_box_and_the_others_have_both(scenes):
    empty = scenes.labels == NO_OBJECT
    assert torch.equal(scenes.masks.flatten(2).any(2), ~empty)
    assert torch.equal(scenes.boxes.abs().sum(-1) == 0, empty)
    assert torch.equal(scenes.numbers, (~empty).sum(1))


def test_the_picture_is_background_outside_the_masks_and_objects_inside():
    """The objects are drawn first and the background last from streams of their own, so both can be drawn again."""
    scenes, tiles = draw_scenes(40, seed=5), draw_shapes(120, seed=5, image_size=TILE, clutter=0.0)
    for n in range(40):
        for slot in range(int(scenes.numbers[n])):
            tile, mask = tiles.images[3 * n + slot], tiles.masks[3 * n + slot]
            seen = scenes.images[n][:, scenes.masks[n, slot]]  # (3, pixels), in raster order
            assert torch.equal(seen, tile[:, mask])
            assert scenes.labels[n, slot] == tiles.labels[3 * n + slot]
    outside = ~scenes.masks.any(1)[:, None]
    spread = (scenes.images.float().amax(1, keepdim=True) - scenes.images.float().amin(1, keepdim=True))[outside]
    assert spread.max() < 0.15 * 255 + 2  # a background is nearly grey; no object's colour is left outside its mask


def test_objects_lie_apart(scenes):
    """A pixel or more between the boxes of every two."""
    real = scenes.labels != NO_OBJECT
    low, high = scenes.boxes[..., :2] - scenes.boxes[..., 2:] / 2, scenes.boxes[..., :2] + scenes.boxes[..., 2:] / 2
    gap = (64 * (low[:, :, None] - high[:, None])).amax(-1)  # (N, M, M): how far a begins after b ends
    gap = torch.maximum(gap, gap.mT)
    pairs = (real[:, :, None] & real[:, None]) & ~torch.eye(3, dtype=torch.bool)
    assert pairs.sum() > 1_000
    assert gap[pairs].min() > 1 - 1e-3


def test_an_object_that_covers_another_takes_its_pixels_and_its_mask():
    canvas, masks = torch.zeros(3, 4, 4, dtype=torch.uint8), torch.zeros(2, 4, 4, dtype=torch.bool)
    for slot, value in enumerate((10, 20)):
        picture = torch.full((3, 2, 3), value, dtype=torch.uint8)
        _paste(canvas, masks, slot, picture, torch.ones(2, 3, dtype=torch.bool), torch.tensor([slot, slot]))
    assert canvas[0].tolist() == [[10, 10, 10, 0], [10, 20, 20, 20], [0, 20, 20, 20], [0, 0, 0, 0]]
    assert torch.equal(masks[0], canvas[0] == 10)
    assert torch.equal(masks[1], canvas[0] == 20)


def test_a_crowded_canvas_still_has_true_boxes_and_disjoint_masks():
    scenes = draw_scenes(60, seed=1, image_size=32, most=5)
    assert scenes.masks.sum(1).max() == 1
    assert torch.equal(scenes.masks.flatten(2).any(2), scenes.labels != NO_OBJECT)
    torch.testing.assert_close(scenes.boxes, mask_boxes(scenes.masks))
    low, high = scenes.boxes[..., :2] - scenes.boxes[..., 2:] / 2, scenes.boxes[..., :2] + scenes.boxes[..., 2:] / 2
    assert low.min() >= 0
    assert high.max() <= 1


def test_each_number_and_each_class_is_about_equally_likely(scenes):
    assert scenes.numbers.bincount(minlength=4)[1:].min() > 160  # 200 expected for each of three; four deviations
    assert scenes.labels.flatten().bincount()[:NO_OBJECT].min() > 150  # 200 expected for each of six


def test_centres_are_spread_over_the_whole_canvas(scenes):
    centres = scenes.boxes[scenes.labels != NO_OBJECT][:, :2]
    quadrant = 2 * (centres[:, 0] > 0.5) + (centres[:, 1] > 0.5)
    assert quadrant.bincount().min() > 0.2 * len(centres)


def test_the_seed_alone_decides():
    torch.manual_seed(0)
    first, state = draw_scenes(10, seed=-1), torch.get_rng_state()
    torch.manual_seed(1)
    second = draw_scenes(10, seed=-1)
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.boxes, second.boxes)
    assert not torch.equal(first.images, draw_scenes(10, seed=1).images)
    torch.manual_seed(0)
    assert torch.equal(state, torch.get_rng_state())


def test_a_subset_keeps_what_belongs_together(scenes):
    part = scenes.subset(torch.tensor([7, 2])).to("cpu")
    assert len(part) == 2
    for name in ("images", "labels", "boxes", "masks"):
        assert torch.equal(getattr(part, name)[1], getattr(scenes, name)[2])


def test_mean_and_std_are_about_those_of_the_pixels(scenes):
    pixels = scenes.images.float() / 255
    torch.testing.assert_close(pixels.mean((0, 2, 3)), MEAN, atol=0.02, rtol=0)
    torch.testing.assert_close(pixels.std((0, 2, 3)), STD, atol=0.02, rtol=0)


def test_a_background_changes_slowly():
    picture = _background(8, (64, 64), torch.Generator().manual_seed(0)).float()
    assert picture.diff(dim=2).abs().max() <= 4
    assert picture.diff(dim=3).abs().max() <= 4


@pytest.mark.parametrize("wrong", [{"count": 0}, {"most": 0}, {"image_size": (64, 31)}])
def test_what_cannot_be_drawn_is_refused(wrong):
    numbers = {"count": 4, "most": 3, "image_size": 64} | wrong
    side = 31 if "image_size" in wrong else 64
    expected = f"count {numbers['count']}, most {numbers['most']}, side {side}: at least 1, at least 1, at least 32"
    with pytest.raises(ValueError, match=re.escape(expected)):
        draw_scenes(**numbers, seed=0)
