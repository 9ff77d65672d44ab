"""Scenes for detection: one to three objects of `shapes` on one canvas, each with its class, its box and its mask.

Objects are drawn by `vitedu.data.draw_shapes`, cut out along their masks and pasted in random places.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vitedu.data import Split, draw_shapes
from vitedu.data.shapes import SHAPES
from vitedu.patch import Size, pair

NO_OBJECT = len(SHAPES)  # the label of an empty slot: one class more than there are shapes
MEAN, STD = torch.full((3,), 0.4), torch.full((3,), 0.11)  # of pixels in [0, 1], rounded, for `augment.normalise`
TILE = 32  # an object is drawn on a picture of this side and cut out of it
TRIES = 24  # random places tried for an object before it takes the one that overlaps least
GAP = 1  # pixels kept free between two boxes


@dataclass(frozen=True, eq=False)
class Scenes:
    """N images with up to M objects each; a slot without an object has the label `NO_OBJECT`, and zeros otherwise.

    `images` uint8 (N, 3, H, W); `labels` int64 (N, M); `boxes` float32 (N, M, 4) as centre x, centre y, width, height
    in shares of the image's sides; `masks` bool (N, M, H, W), True where the object is seen.
    """

    images: Tensor
    labels: Tensor
    boxes: Tensor
    masks: Tensor

    def __len__(self) -> int:
        return len(self.images)

    @property
    def numbers(self) -> Tensor:
        """How many objects each image holds, (N,)."""
        return (self.labels != NO_OBJECT).sum(1)  # (N,)

    def subset(self, indices: Tensor | slice) -> "Scenes":
        """The scenes at `indices`, in that order."""
        return Scenes(self.images[indices], self.labels[indices], self.boxes[indices], self.masks[indices])

    def to(self, device: torch.device | str) -> "Scenes":
        """The same scenes on `device`."""
        return Scenes(*(getattr(self, name).to(device) for name in ("images", "labels", "boxes", "masks")))


def draw_scenes(count: int, *, seed: int, image_size: Size = 64, most: int = 3) -> Scenes:
    """Draw `count` scenes of 1 to `most` objects, each number equally likely, on a dull background.

    Class, colour, texture, turn and place are random and independent; an object is about 9 to 22 pixels wide whatever
    the canvas. Objects keep a gap of a pixel between their boxes. Where 24 random places were all taken, rare on 64×64
    pixels, the later object covers part of the earlier one, and mask and box are those of the part in sight.

    Args:
        count: number of scenes N.
        seed: the same seed and count draw the same scenes (on another kind of processor, up to rounding).
        image_size: side, or (height, width), at least 32 pixels.
        most: the highest number of objects M, 1 or more.

    Raises:
        ValueError: a side under 32, or a count or `most` below 1.
    """
    size = pair(image_size)
    if count < 1 or most < 1 or min(size) < TILE:
        raise ValueError(f"count {count}, most {most}, side {min(size)}: at least 1, at least 1, at least {TILE}")
    generator = torch.Generator().manual_seed(seed)
    objects = draw_shapes(count * most, seed=seed, image_size=TILE, clutter=0.0)
    exists = torch.arange(most) < torch.randint(1, most + 1, (count, 1), generator=generator)  # (N, M)
    corners = _corners(objects.masks).view(count, most, 4)  #                                    (N, M, 4)
    places = _places(corners[..., 2:] - corners[..., :2], size, generator)  #                    (N, M, 2)
    canvas = _background(count, size, generator)  #         (N, 3, H, W)
    masks = torch.zeros(count, most, *size, dtype=torch.bool)  # (N, M, H, W)
    for scene, slot in exists.nonzero().tolist():
        picture, mask = _cut(objects, scene * most + slot, corners[scene, slot])
        _paste(canvas[scene], masks[scene], slot, picture, mask, places[scene, slot])
    seen = masks.flatten(2).any(2)  # (N, M): not the empty slots, nor an object that others cover wholly
    labels = objects.labels.view(count, most).masked_fill(~seen, NO_OBJECT)  # (N, M)
    return Scenes(canvas, labels, mask_boxes(masks), masks)


def mask_boxes(masks: Tensor) -> Tensor:
    """The bounding boxes of masks: bool (..., H, W) -> centre x, centre y, width, height in shares, (..., 4).

    A box reaches from the left edge of the first column with a True to the right edge of the last. An empty mask has
    zeros.
    """
    height, width = masks.shape[-2:]
    left, top, right, bottom = _corners(masks).float().unbind(-1)
    centre_x, centre_y = (left + right) / (2 * width), (top + bottom) / (2 * height)
    return torch.stack([centre_x, centre_y, (right - left) / width, (bottom - top) / height], dim=-1)  # (..., 4)


def _corners(masks: Tensor) -> Tensor:
    """bool (..., H, W) -> left, top, right, bottom in whole pixels, right and bottom excluded, (..., 4)."""
    ends = []
    for line in (masks.any(-2), masks.any(-1)):  # (..., W): which columns hold a part; (..., H): which rows
        line, empty = line.int(), ~line.any(-1)
        first, last = line.argmax(-1), line.shape[-1] - line.flip(-1).argmax(-1)
        ends.append((first.masked_fill(empty, 0), last.masked_fill(empty, 0)))
    (left, right), (top, bottom) = ends
    return torch.stack([left, top, right, bottom], dim=-1)  # (..., 4)


def _places(sides: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Where the upper left corners of boxes with these sides (N, M, 2) come: x and y in whole pixels, (N, M, 2)."""
    count, most, _ = sides.shape
    room = torch.tensor([size[1], size[0]]) - sides  # (N, M, 2): the last place at which the box is still inside
    tries = torch.rand(count, most, TRIES, 2, generator=generator)  # (N, M, T, 2)
    tries = (tries * (room[:, :, None] + 1)).long()
    places = tries[:, :, 0].clone()  # (N, M, 2); the first object may lie anywhere
    for slot in range(1, most):
        others, candidates = places[:, None, :slot], tries[:, slot, :, None]  # (N, 1, slot, 2), (N, T, 1, 2)
        after = candidates - (others + sides[:, None, :slot])  # pixels between the two, if the other comes first
        before = others - (candidates + sides[:, None, slot, None])  # and if it comes second
        free = torch.maximum(after, before).amax(-1).amin(-1)  # (N, T): gap to the nearest earlier box
        score = free.clamp(max=GAP) - torch.arange(TRIES) / TRIES  # among those with a gap, the first
        places[:, slot] = tries[torch.arange(count), slot, score.argmax(1)]
    return places


def _cut(objects: Split, index: int, corners: Tensor) -> tuple[Tensor, Tensor]:
    """One object's picture (3, h, w) and mask (h, w), cut to its box."""
    left, top, right, bottom = corners.tolist()
    return objects.images[index, :, top:bottom, left:right], objects.masks[index, top:bottom, left:right]


def _paste(canvas: Tensor, masks: Tensor, slot: int, picture: Tensor, mask: Tensor, place: Tensor) -> None:
    """Put an object on the canvas (3, H, W) in place, and its mask into the scene's masks (M, H, W)."""
    (height, width), (x, y) = mask.shape, place.tolist()
    rows, columns = slice(y, y + height), slice(x, x + width)
    canvas[:, rows, columns] = torch.where(mask, picture, canvas[:, rows, columns])
    masks[:, rows, columns] &= ~mask  # what it covers is no longer seen
    masks[slot, rows, columns] = mask


def _background(count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Four dull colours, one for each corner, blended: uint8 (N, 3, H, W)."""
    grey = 0.2 + 0.4 * torch.rand(count, 1, 2, 2, generator=generator)
    tint = 0.15 * (torch.rand(count, 3, 2, 2, generator=generator) - 0.5)
    blend = F.interpolate(grey + tint, size=size, mode="bilinear", align_corners=True)  # (N, 3, H, W)
    return (blend * 255).round().to(torch.uint8)
