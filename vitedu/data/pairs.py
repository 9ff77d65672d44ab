"""Two things that have to be seen together, near each other or out of reach of a small window: cues and pairs.

Things are about 8 pixels wide and drawn with the outlines of `shapes`, on a noisy grey ground of 40×40 pixels.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from vitedu.data import Dataset, Split
from vitedu.data.shapes import distance_to

SIDE, RADIUS = 40, 3.2  # of the picture, and of the circle with a thing's area, in pixels
KINDS = ("triangle", "cross", "ring")
COLOURS = torch.tensor([[0.95, 0.25, 0.2], [0.3, 0.4, 1.0], [0.25, 0.8, 0.3]])  # red, blue, green
FAR = 24  # pixels between two centres, in rows or in columns: no window of 19 pixels holds more than a sliver of both
APART, BESIDE = 9, 8  # between things that must not touch, and between two that do
CUES = ("ground", "patch", "none")


def draw_cued(count: int, seed: int, cue: str) -> Split:
    """Two things of different kind, one red and one blue; the label is the kind of the one in the cue's colour.

    The cue is the tint of the whole ground ("ground"), a patch far from both things ("patch"), or ("none") that patch
    in green, which says nothing; the same things in the same places each time. Images (N, 3, 40, 40), labels (N,).
    ValueError for another `cue`.
    """
    if cue not in CUES:
        raise ValueError(f"cue {cue!r} is not one of {', '.join(CUES)}")
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.rand(count, 3, generator=generator).argsort(1)  # (N, 3)
    meant = torch.randint(2, (count,), generator=generator)  # the colour of the thing to name, 0 red, 1 blue
    centres = _places(count, 3, generator, _cue_is_far)  # (N, 3, 2): the patch, the thing meant, the other one
    shown = torch.full_like(meant, 2) if cue == "none" else meant
    pictures = _ground(COLOURS[shown] if cue == "ground" else torch.full((count, 3), 0.5), generator)
    if cue != "ground":
        rows, columns = _seen_from(centres[:, 0])
        pictures = _paint(pictures, ((rows.abs() < 2.5) & (columns.abs() < 2.5)).float(), COLOURS[shown])
    for thing, colour in enumerate((meant, 1 - meant)):
        pictures = _paint(pictures, _cover(kinds[:, thing], centres[:, 1 + thing]), COLOURS[colour])
    return Split(_bytes(pictures), kinds[:, 0])


def draw_pairs(count: int, seed: int, far: bool) -> Split:
    """Two things of different kind, far apart or side by side; the label is 1 where they have the same colour.

    Images (N, 3, 40, 40), labels 0, 1, 0, 1, …
    """
    generator = torch.Generator().manual_seed(seed)
    kinds, colours = (torch.rand(count, 3, generator=generator).argsort(1) for _ in range(2))
    labels = torch.arange(count) % 2
    second = torch.where(labels == 1, colours[:, 0], colours[:, 1])
    centres = _places(count, 2, generator, _far if far else _beside)  # (N, 2, 2)
    pictures = _ground(torch.full((count, 3), 0.5), generator)
    for thing, colour in enumerate((colours[:, 0], second)):
        pictures = _paint(pictures, _cover(kinds[:, thing], centres[:, thing]), COLOURS[colour])
    return Split(_bytes(pictures), labels)


def load_pairs(name: str, draw: Callable[[int, int], Split], counts: tuple[int, int, int], seed: int) -> Dataset:
    """Training, validation and test pictures, `counts` of each, from draws of their own: `draw(count, seed)`.

    Each of 3·seed, 3·seed + 1 and 3·seed + 2 is the seed of one split, so that no two data sets share a picture.
    """
    splits = [draw(count, 3 * seed + index) for index, count in enumerate(counts)]
    classes = KINDS if splits[0].labels.max() > 1 else ("different", "same")
    return Dataset(name, f"drawn with seed {seed}", classes, *splits, flip=False, drawn=True)


def _places(count: int, things: int, generator: torch.Generator, fits: Callable[[Tensor], Tensor]) -> Tensor:
    """Centres in whole pixels, rows and columns, drawn anew until they fit: (N, things, 2)."""
    centres, open_ = torch.zeros(count, things, 2, dtype=torch.long), torch.ones(count, dtype=torch.bool)
    while open_.any():
        centres[open_] = torch.randint(5, SIDE - 4, (int(open_.sum()), things, 2), generator=generator)
        open_ = ~fits(centres)
    return centres


def _apart(centres: Tensor, a: int, b: int) -> Tensor:
    """Pixels between two centres, in rows or columns, whichever are more: (N,)."""
    return (centres[:, a] - centres[:, b]).abs().amax(1)


def _cue_is_far(centres: Tensor) -> Tensor:
    far = torch.minimum(_apart(centres, 0, 1), _apart(centres, 0, 2)) >= FAR
    return far & (_apart(centres, 1, 2) >= APART)


def _far(centres: Tensor) -> Tensor:
    return _apart(centres, 0, 1) >= FAR


def _beside(centres: Tensor) -> Tensor:
    return _apart(centres, 0, 1) == BESIDE


def _seen_from(centre: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the pixels, counted from each centre (N, 2): (N, H, 1) and (N, 1, W)."""
    pixel = torch.arange(SIDE)
    return (pixel - centre[:, :1])[:, :, None], (pixel - centre[:, 1:])[:, None, :]


def _cover(kinds: Tensor, centre: Tensor) -> Tensor:
    """How much of each pixel the thing covers, 0 to 1: (N, H, W)."""
    rows, columns = (offset.expand(-1, SIDE, SIDE) / RADIUS for offset in _seen_from(centre))
    cover = torch.zeros_like(rows)
    for index, kind in enumerate(KINDS):
        mine = kinds == index
        cover[mine] = (0.5 - RADIUS * distance_to(kind, columns[mine], rows[mine])).clamp(0, 1)
    return cover


def _ground(tint: Tensor, generator: torch.Generator) -> Tensor:
    """Dull noise around half of a colour (N, 3): (N, 3, H, W)."""
    noise = 0.04 * torch.randn(len(tint), 3, SIDE, SIDE, generator=generator)
    return 0.15 + 0.35 * tint[:, :, None, None] + F.avg_pool2d(noise, 3, 1, 1)


def _paint(pictures: Tensor, cover: Tensor, colour: Tensor) -> Tensor:
    """Lay a colour (N, 3) over pictures (N, 3, H, W), as far as they are covered (N, H, W)."""
    return pictures + cover[:, None] * (colour[:, :, None, None] - pictures)


def _bytes(pictures: Tensor) -> Tensor:
    return (255 * pictures.clamp(0, 1)).round().to(torch.uint8)
