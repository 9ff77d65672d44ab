"""Random crops, mirror images, zooms, tones and erased rectangles, for a whole batch at once, on its device.

Erasing: Zhong et al. 2017, arXiv:1708.04896.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vitedu.initialise import at_least, count, probability
from vitedu.patch import Size, pair


@dataclass(frozen=True, kw_only=True)
class Augment:
    """How far a training image may be changed. The default changes nothing.

    Args:
        crop: zero-pad by this many pixels on every side and cut a random window of the old size, image by image.
        flip: whether to mirror each image left to right with probability one half.
        zoom: cut a random window of at least 1 - `zoom` of the area, its sides in a ratio of 9:10 to 10:9, and stretch
            it to the old size.
        erase: probability with which an image loses a rectangle of about 2 to 20 per cent of its area.

    Raises:
        ValueError: a negative crop, or a probability outside [0, 1].
    """

    crop: int = 0
    flip: bool = False
    zoom: float = 0.0
    erase: float = 0.0

    def __post_init__(self) -> None:
        count("crop", self.crop, 0)
        probability("zoom", self.zoom)
        probability("erase", self.erase, below_one=False)

    def __call__(self, images: Tensor) -> Tensor:
        """Normalised images (B, C, H, W) -> changed copies of them, drawn with torch's global generator."""
        if self.crop:
            images = random_crop(images, self.crop)
        if self.flip:
            images = random_flip(images)
        if self.zoom:
            images = random_zoom(images, self.zoom)
        return random_erase(images, self.erase) if self.erase else images


def random_crop(images: Tensor, padding: int) -> Tensor:
    """Shift each image by up to `padding` pixels in each direction; zeros (the mean colour) move in from outside."""
    (B, C, H, W), device = images.shape, images.device
    padded = F.pad(images, [padding] * 4)  # (B, C, H + 2·padding, W + 2·padding)
    top = torch.randint(2 * padding + 1, (B, 1), device=device)
    left = torch.randint(2 * padding + 1, (B, 1), device=device)
    rows = (top + torch.arange(H, device=device))[:, None, :, None]  #     (B, 1, H, 1)
    columns = (left + torch.arange(W, device=device))[:, None, None, :]  # (B, 1, 1, W)
    index = rows * padded.shape[-1] + columns  #                            (B, 1, H, W)
    return padded.flatten(2).gather(2, index.flatten(2).expand(-1, C, -1)).view(B, C, H, W)


def random_flip(images: Tensor) -> Tensor:
    """Mirror each image left to right with probability one half, each on its own toss."""
    heads = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(heads, images.flip(-1), images)


def random_zoom(images: Tensor, most: float) -> Tensor:
    """A random window of each image, 1 - `most` to all of its area, read at the old size between the pixels."""
    area, *draws = torch.rand(4, len(images), device=images.device)
    return _window(images, 1 - most * area, draws, images.shape[-2:])


def random_window(images: Tensor, least: float, most: float, size: Size) -> Tensor:
    """A random window of each image, `least` to `most` of its area, read at another size between the pixels.

    The sides of a window are in a ratio of 9:10 to 10:9 times that of the image. ValueError for shares that are none.

    >>> random_window(torch.zeros(2, 3, 32, 48), 0.05, 0.4, (16, 24)).shape
    torch.Size([2, 3, 16, 24])
    """
    probability("least", least)
    probability("most", most, below_one=False)
    at_least("most", most, least, above=True)
    area, *draws = torch.rand(4, len(images), device=images.device)
    return _window(images, least + (most - least) * area, draws, pair(size))


def _window(images: Tensor, area: Tensor, draws: list[Tensor], size: tuple[int, int]) -> Tensor:
    """Windows of these areas (B,), with numbers in [0, 1] for their ratio and their place: -> (B, C, *size)."""
    ratio, down, right = draws
    ratio = (10 / 9) ** (2 * ratio - 1)
    height, width = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)  # shares of the sides, (B,)
    pixels = images.to(torch.promote_types(images.dtype, torch.float32))  # half precision would miss the pixels
    theta = pixels.new_zeros(len(images), 2, 3)  # from [-1, 1]² to the window
    theta[:, 0, 0], theta[:, 0, 2] = width, (1 - width) * (2 * right - 1)
    theta[:, 1, 1], theta[:, 1, 2] = height, (1 - height) * (2 * down - 1)
    grid = F.affine_grid(theta, [*images.shape[:2], *size], align_corners=False)  # (B, h, w, 2)
    # not beyond the centres of the outermost pixels: padding_mode="border", which Apple's GPUs lack before torch 2.13
    sides = torch.stack([pixels.new_full((), side) for side in images.shape[:1:-1]])  # (2,): columns, rows; no copy
    outermost = 1 - 1 / sides
    return F.grid_sample(pixels, grid.clamp(-outermost, outermost), align_corners=False).to(images.dtype)


def random_tones(images: Tensor, brightness: float, contrast: float) -> Tensor:
    """Make each image lighter or darker by up to `brightness`, in its own units, and its contrast 1 ± `contrast` times.

    The contrast is changed around the image's mean colour, so what is brighter than what stays as it is. `ValueError`
    for a negative brightness, or a contrast outside [0, 1].

    >>> images = torch.ones(2, 3, 4, 4)
    >>> torch.equal(random_tones(images, 0, 0), images)
    True
    """
    at_least("brightness", brightness, 0)
    probability("contrast", contrast, below_one=False)
    lighter, stronger = 2 * torch.rand(2, len(images), 1, 1, 1, device=images.device) - 1  # (B, 1, 1, 1) each
    mean = images.mean(dim=(2, 3), keepdim=True)  # (B, C, 1, 1)
    return (images - mean) * (1 + contrast * stronger) + mean + brightness * lighter


def random_erase(images: Tensor, probability: float) -> Tensor:
    """Zero (the mean colour) in a rectangle of 2 to 20 per cent of the area, sides in a ratio of 3:10 to 10:3.

    That is before the sides are cut to the image and to whole pixels: on 8×8 images some holes hold no pixel at all.
    """
    # differs from the paper: the mean colour instead of random values, at most 20 instead of 40 per cent of the area
    (B, _, H, W), device = images.shape, images.device
    draw = torch.rand(5, B, 1, 1, device=device)
    area = (0.02 + 0.18 * draw[0]) * H * W
    ratio = (10 / 3) ** (2 * draw[1] - 1)
    height, width = (area * ratio).sqrt().clamp(max=H), (area / ratio).sqrt().clamp(max=W)
    top, left = draw[2] * (H - height), draw[3] * (W - width)
    y = torch.arange(H, device=device).view(1, H, 1) + 0.5  # pixel centres
    x = torch.arange(W, device=device).view(1, 1, W) + 0.5
    inside = (y > top) & (y < top + height) & (x > left) & (x < left + width)  # (B, H, W)
    hole = inside & (draw[4] < probability)
    return images.masked_fill(hole[:, None], 0.0)
