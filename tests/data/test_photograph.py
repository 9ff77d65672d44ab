"""`vitedu.data.photograph`: the whole width or height of the picture, centred, never stretched."""

import numpy as np
import pytest
import torch
from matplotlib.cbook import get_sample_data
from PIL import Image

from vitedu.data.photograph import photograph


def original() -> Image.Image:
    with get_sample_data("grace_hopper.jpg") as file:
        return Image.open(file).convert("RGB")


def as_tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def test_at_its_own_size_it_is_the_file_pixel_by_pixel():
    image = original()
    assert torch.equal(photograph((image.height, image.width)), as_tensor(image))


@pytest.mark.parametrize("size", [32, 100, 224, (60, 90), (200, 50), (7, 300)])
def test_it_is_the_largest_centred_window_of_the_wanted_shape_resized(size):
    """Cut first, at whole pixels, then resized: equal up to the rounding of the cut, one brightness step on average."""
    height, width = (size, size) if isinstance(size, int) else size
    image = original()
    scale = min(image.width / width, image.height / height)
    left, top = (image.width - scale * width) / 2, (image.height - scale * height) / 2
    box = [round(edge) for edge in (left, top, left + scale * width, top + scale * height)]
    assert min(box[:2]) == 0  # it touches two opposite edges
    expected = as_tensor(image.crop(box).resize((width, height), Image.Resampling.LANCZOS))
    shown = photograph(size)
    assert shown.shape == (3, height, width)
    assert (shown.float() - expected.float()).abs().mean() < 1.5


def test_it_is_the_same_every_time_and_safe_to_write_into():
    first = photograph(32)
    assert first.dtype == torch.uint8
    assert first.is_contiguous()
    first.zero_()
    assert torch.equal(photograph(32), photograph(32))
    assert photograph(32).float().std() > 20


def test_the_default_is_224_pixels_square():
    assert torch.equal(photograph(), photograph((224, 224)))


@pytest.mark.parametrize("size", [0, (10, -1)])
def test_a_size_that_is_no_size_is_refused(size):
    with pytest.raises(ValueError, match="is not a positive whole number"):
        photograph(size)
