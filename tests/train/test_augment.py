"""`vitedu.train.augment`: every output is one of the pictures it may be, each as often as it should be."""

import re

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.v2 import functional as TF

from vitedu.data import normalise
from vitedu.train.augment import (
    Augment,
    random_crop,
    random_erase,
    random_flip,
    random_tones,
    random_window,
    random_zoom,
)

SIZES = [(3, 8, 8), (1, 6, 9), (5, 7, 4)]


def images(B: int, *shape: int) -> torch.Tensor:
    """Different numbers in every pixel, none of them zero."""
    return torch.arange(1.0, B * torch.Size(shape).numel() + 1).view(B, *shape)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_normalise_equals_torchvisions(channels):
    pixels = torch.randint(256, (4, channels, 6, 5), dtype=torch.uint8)
    mean, std = torch.rand(channels), 0.1 + torch.rand(channels)
    expected = TF.normalize(pixels.float() / 255, mean.tolist(), std.tolist())
    torch.testing.assert_close(normalise(pixels, mean, std), expected, atol=1e-5, rtol=1e-5)


def test_normalising_with_their_own_statistics_gives_mean_zero_and_std_one():
    pixels = torch.randint(256, (50, 3, 16, 16), dtype=torch.uint8)
    share = pixels.float() / 255
    mean, std = share.mean((0, 2, 3)), share.std((0, 2, 3), correction=0)
    result = normalise(pixels, mean, std)
    torch.testing.assert_close(result.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(result.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-4, rtol=0)


def all_shifts(image: torch.Tensor, padding: int) -> torch.Tensor:
    """The (2·padding + 1)² windows that a crop may give, row by row."""
    _, H, W = image.shape
    padded = F.pad(image, [padding] * 4)
    offsets = range(2 * padding + 1)
    return torch.stack([padded[:, top : top + H, left : left + W] for top in offsets for left in offsets])


@pytest.mark.parametrize("padding", [1, 2, 9])
@pytest.mark.parametrize("shape", SIZES)
def test_a_crop_is_one_of_the_possible_shifts_of_that_image(shape, padding):
    batch = images(20, *shape)
    cropped = random_crop(batch, padding)
    assert cropped.shape == batch.shape
    for image, window in zip(batch, cropped, strict=True):
        assert (all_shifts(image, padding) == window).flatten(1).all(1).any()


def test_every_shift_comes_equally_often_and_images_move_independently():
    """Chi-squared over the 9 shifts, and over the 81 pairs of shifts of neighbouring images; 0.1 % is at 26 and 125."""
    count, image = 9_000, images(1, 1, 5, 5)[0]
    windows = random_crop(image.expand(count, -1, -1, -1), 1)
    shift = (windows[:, None] == all_shifts(image, 1)).flatten(2).all(2).int().argmax(1)
    for observed in (torch.bincount(shift, minlength=9), torch.bincount(9 * shift[::2] + shift[1::2], minlength=81)):
        expected = observed.sum() / len(observed)
        assert ((observed - expected) ** 2 / expected).sum() < {9: 26, 81: 125}[len(observed)]


@pytest.mark.parametrize("shape", SIZES)
def test_a_flip_is_the_image_or_its_mirror_image(shape):
    batch = images(40, *shape)
    flipped = random_flip(batch)
    same = (flipped == batch).flatten(1).all(1)
    mirrored = (flipped == batch.flip(-1)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert same.any()
    assert mirrored.any()


def test_half_of_the_images_are_flipped_each_on_its_own_toss():
    flipped = random_flip(images(1, 1, 1, 2).expand(10_000, -1, -1, -1))[:, 0, 0, 0] == 2
    assert abs(flipped.float().mean() - 0.5) < 0.02  # four standard errors
    assert abs((flipped[1:] == flipped[:-1]).float().mean() - 0.5) < 0.02


def holes(H: int, W: int, count: int = 4_000, probability: float = 1.0) -> torch.Tensor:
    """Where pixels were erased, (count, H, W)."""
    return random_erase(torch.ones(count, 2, H, W), probability).eq(0).all(1)


@pytest.mark.parametrize(("H", "W"), [(32, 32), (28, 28), (24, 48)])
def test_a_hole_is_one_full_rectangle(H, W):
    hole = holes(H, W)
    height, width = hole.any(2).sum(1), hole.any(1).sum(1)
    assert torch.equal(hole.sum((1, 2)), height * width)  # as many pixels as the box around them: nothing is left out
    rows = hole.any(2).int()
    assert ((rows[:, 1:] - rows[:, :-1]).abs().sum(1) <= 2).all()  # and the box is in one piece


def test_the_area_is_spread_evenly_from_2_to_20_per_cent_up_to_whole_pixels():
    area = holes(128, 128, count=1_000).float().mean((1, 2))
    assert area.min() > 0.016
    assert area.max() < 0.21
    assert abs(area.mean() - 0.11) < 0.007  # four standard errors
    assert abs((area < 0.065).float().mean() - 0.25) < 0.055


def test_sides_stay_within_3_to_10_and_tall_is_as_frequent_as_wide():
    hole = holes(128, 128, count=1_000)
    ratio = hole.any(2).sum(1) / hole.any(1).sum(1)
    assert ratio.min() > 0.26
    assert ratio.max() < 3.8
    assert abs((ratio > 1).float().mean() - 0.5) < 0.065


def test_holes_reach_every_pixel():
    assert holes(16, 16).any(0).all()


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_images_are_erased_with_the_probability_and_all_channels_together(probability):
    batch = torch.ones(4_000, 3, 32, 32)
    erased = random_erase(batch, probability)
    assert torch.equal(erased[:, :1].expand(-1, 3, -1, -1), erased)
    share = (erased == 0).flatten(1).any(1).float().mean()
    assert abs(share - probability) < 0.028  # four standard errors


def test_rarely_erased_images_lose_as_much_as_often_erased_ones():
    area = holes(32, 32, probability=0.25).float().mean((1, 2))
    assert abs(area[area > 0].mean() - 0.11) < 0.007  # four standard errors


def test_outside_the_hole_nothing_changes():
    batch = images(50, 3, 16, 16)
    erased = random_erase(batch, 1.0)
    assert torch.equal(erased, torch.where(erased == 0, 0.0, batch))


FULL = Augment(crop=2, flip=True, erase=0.5)


@pytest.mark.parametrize("shape", SIZES)
def test_the_seed_decides_and_the_input_is_left_alone(shape):
    batch = images(16, *shape)
    before = batch.clone()
    torch.manual_seed(1)
    first, later = FULL(batch), FULL(batch)
    torch.manual_seed(1)
    assert torch.equal(FULL(batch), first)
    assert not torch.equal(later, first)
    assert torch.equal(batch, before)


def test_equal_images_of_a_batch_are_changed_differently():
    changed = FULL(images(1, 3, 16, 16).expand(64, -1, -1, -1))
    assert len(torch.unique(changed.flatten(1), dim=0)) > 40


@pytest.mark.parametrize("augment", [FULL, Augment(crop=3), Augment(flip=True), Augment(erase=1.0)])
@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_shape_and_dtype_stay_also_for_one_image(augment, shape, dtype):
    batch = images(1, *shape).to(dtype)
    assert augment(batch).shape == batch.shape
    assert augment(batch).dtype == dtype


def test_each_field_switches_its_own_change_and_the_default_changes_nothing():
    batch = images(32, 3, 8, 8)
    assert torch.equal(Augment()(batch), batch)
    for augment, function in [
        (Augment(crop=2), lambda: random_crop(batch, 2)),
        (Augment(flip=True), lambda: random_flip(batch)),
        (Augment(erase=0.7), lambda: random_erase(batch, 0.7)),
        (FULL, lambda: random_erase(random_flip(random_crop(batch, 2)), 0.5)),
    ]:
        torch.manual_seed(3)
        changed = augment(batch)
        torch.manual_seed(3)
        assert torch.equal(changed, function())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"crop": -1}, "crop is -1; it has to be at least 0"),
        ({"erase": 1.5}, "erase 1.5 is outside [0, 1]; it is a probability"),
        ({"erase": -0.1}, "erase -0.1 is outside [0, 1]; it is a probability"),
    ],
)
def test_impossible_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Augment(**fields)


def ramps(count: int, H: int, W: int) -> torch.Tensor:
    """Pictures whose two channels are the row and the column of a pixel's centre, as shares of the sides."""
    y, x = (torch.arange(H) + 0.5) / H, (torch.arange(W) + 0.5) / W
    return torch.stack(torch.meshgrid(y, x, indexing="ij")).expand(count, 2, H, W).contiguous()


def windows(zoomed: torch.Tensor) -> torch.Tensor:
    """The window (top, left, height, width) behind each zoomed ramp, as shares of the sides, from its inner pixels."""
    _, _, H, W = zoomed.shape
    rows, columns = zoomed[:, 0, 2:-2, W // 2], zoomed[:, 1, H // 2, 2:-2]
    height, width = (rows[:, 1] - rows[:, 0]) * H, (columns[:, 1] - columns[:, 0]) * W
    return torch.stack([rows[:, 0] - 2.5 / H * height, columns[:, 0] - 2.5 / W * width, height, width], dim=1)


def test_a_zoom_is_a_straight_window_of_the_area_it_may_have():
    pictures = ramps(2_000, 16, 24)
    top, left, height, width = windows(random_zoom(pictures, 0.36)).T
    area, ratio = height * width, height / width
    assert area.min() > 0.63  # 0.64, up to the rounding of float32
    assert area.max() <= 1.0 + 1e-4
    assert area.mean().item() == pytest.approx(0.82, abs=0.01)  # evenly spread, but where a side would stick out
    assert ratio.min() > 0.899
    assert ratio.max() < 1.112
    assert min(top.min(), left.min()) > -1e-4
    assert max((top + height).max(), (left + width).max()) < 1 + 1e-4


def test_a_zoom_invents_no_colour_and_none_is_asked_for_by_default():
    """What is read lies between the pixels of the picture, on its rim too: a flat picture stays as it is."""
    flat = torch.full((50, 2, 9, 12), 3.0)
    torch.testing.assert_close(random_zoom(flat, 0.5), flat)
    pictures = images(3, 2, 9, 12)
    assert Augment()(pictures) is pictures
    zoomed = random_zoom(pictures, 0.5)
    low, high = pictures.amin((2, 3)), pictures.amax((2, 3))
    assert ((zoomed.amin((2, 3)) >= low - 1e-3) & (zoomed.amax((2, 3)) <= high + 1e-3)).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 9, 12), (1, 28, 28), (3, 32, 32), (3, 224, 160)])
def test_a_zoom_reads_on_the_rim_what_border_padding_would_read(shape, monkeypatch):
    """It does without that padding, which Apple's GPUs lack in torch 2.6 to 2.12."""
    pictures, place, sample, windows = torch.rand(8, *shape), F.affine_grid, F.grid_sample, []
    monkeypatch.setattr(F, "affine_grid", lambda *args, **how: windows.append(place(*args, **how)) or windows[0])
    monkeypatch.setattr(F, "grid_sample", lambda images, grid, align_corners: sample(images, grid, align_corners=False))
    zoomed = random_zoom(pictures, 0.5)
    expected = sample(pictures, windows[0], padding_mode="border", align_corners=False)
    torch.testing.assert_close(zoomed, expected, atol=2e-6, rtol=0)


def test_a_zoom_of_half_precision_pictures_is_that_of_the_same_in_full():
    pictures = torch.rand(8, 3, 200, 120).half()
    torch.manual_seed(3)
    zoomed = random_zoom(pictures, 0.5)
    torch.manual_seed(3)
    assert torch.equal(zoomed, random_zoom(pictures.float(), 0.5).half())


def test_a_window_has_the_share_asked_for_and_the_size_asked_for():
    pictures = ramps(2_000, 16, 24)
    top, left, height, width = windows(random_window(pictures, 0.1, 0.4, (16, 24))).T
    area = height * width
    assert area.min() > 0.099
    assert area.max() < 0.401
    assert area.mean().item() == pytest.approx(0.25, abs=0.01)
    assert min(top.min(), left.min()) > -1e-4
    assert max((top + height).max(), (left + width).max()) < 1 + 1e-4
    torch.manual_seed(0)
    small = random_window(pictures, 0.1, 0.4, (8, 12))
    torch.manual_seed(0)
    same = random_window(pictures, 0.1, 0.4, (16, 24))
    inner = F.avg_pool2d(same, 2)[:, :, 1:-1, 1:-1]  # between the same edges: means of two by two are the same points
    torch.testing.assert_close(small[:, :, 1:-1, 1:-1], inner, atol=2e-3, rtol=0)


@pytest.mark.parametrize(("least", "most"), [(-0.1, 0.5), (0.5, 0.5), (0.5, 1.1)])
def test_shares_that_are_none_are_refused(least, most):
    with pytest.raises(ValueError, match=r"least|most"):
        random_window(torch.zeros(1, 1, 8, 8), least, most, 8)


def test_tones_change_brightness_and_contrast_and_nothing_else():
    torch.manual_seed(0)
    images = torch.randn(400, 3, 6, 5)
    changed, centred = random_tones(images, 0.8, 0.4), images - images.mean(dim=(2, 3), keepdim=True)
    shift = (changed - images).mean(dim=(2, 3))  # (N, 3)
    torch.testing.assert_close(
        shift, shift[:, :1].expand(-1, 3), atol=1e-5, rtol=1e-5
    )  # the colours keep their distances
    factor = (changed - changed.mean(dim=(2, 3), keepdim=True)).flatten(1).norm(dim=1) / centred.flatten(1).norm(dim=1)
    torch.testing.assert_close(
        changed, centred * factor.view(-1, 1, 1, 1) + images.mean(dim=(2, 3), keepdim=True) + shift[..., None, None]
    )
    for drawn, least, most in ((shift[:, 0], -0.8, 0.8), (factor, 0.6, 1.4)):
        assert least <= drawn.min() < least + 0.05 * (most - least)
        assert most >= drawn.max() > most - 0.05 * (most - least)
    assert torch.corrcoef(torch.stack([shift[:, 0], factor]))[0, 1].abs() < 0.2  # drawn apart


def test_tones_that_are_none_change_nothing_and_wrong_ones_are_refused():
    images = torch.randn(3, 1, 4, 4)
    torch.testing.assert_close(random_tones(images, 0.0, 0.0), images)
    with pytest.raises(ValueError, match="brightness"):
        random_tones(images, -0.1, 0.0)
    with pytest.raises(ValueError, match="contrast"):
        random_tones(images, 0.0, 1.1)
