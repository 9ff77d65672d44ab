"""`shapes`: pictures drawn on the spot, whose shape, colour, texture, background and object mask we control.

For experiments on which cue a model reads, in the spirit of Geirhos et al., "ImageNet-Trained CNNs Are Biased Towards
Texture", 2018, arXiv:1811.12231. The label is always the shape; colour and texture agree with it, ignore it, or differ.
"""

import math

import numpy as np
import torch
from torch import Tensor

from vitedu.data.dataset import Dataset, Split
from vitedu.patch import Size, pair

SHAPES = ("circle", "square", "triangle", "cross", "ring", "star")  # class k; cues pointing to class k have
COLOURS = ("red", "yellow", "green", "cyan", "blue", "magenta")  #     the k-th colour and
TEXTURES = ("plain", "stripes", "checks", "dots", "mesh", "speckle")  # the k-th texture
CUES = ("random", "agree", "conflict")

CHUNK = 120  # pictures drawn together, from a random stream of their own: so a longer draw starts like a shorter one
RADIUS = (0.15, 0.25)  # of the circle with the object's area, in picture sides
REACH = 1.56  # how far the pointiest shape, the triangle, reaches, in such radii
MOST_CLUTTER = 16  # bars behind the object at clutter 1


def draw_shapes(
    count: int,
    *,
    seed: int,
    image_size: Size = 32,
    colour: str = "random",
    texture: str = "random",
    clutter: float = 0.5,
) -> Split:
    """Draw `count` pictures of one object each, of random shape, size, place and rotation, on a cluttered background.

    All shapes have the same range of areas and of places, all textures the same mean tone, and each object lies wholly
    inside its picture. Every 120 pictures hold each class equally often. A longer draw with the same seed starts with
    the shorter one, and a draw with other cues or clutter shows the same objects in the same places.

    Args:
        count: number of pictures N.
        seed: the same seed draws the same pictures (on another kind of processor, up to rounding).
        image_size: side, or (height, width), at least 16 pixels.
        colour, texture: "agree" with the shape, "random", or "conflict": each points to some other class, drawn evenly.
        clutter: 0 (a smooth background) to 1 (16 bars in the objects' own colours).

    Returns:
        A split with images (N, 3, H, W), labels, masks, and in `cues` the class that "colour" and "texture" point to.

    Raises:
        ValueError: an unknown cue, a side under 16, a clutter outside 0 to 1, or a count below 1.
    """
    size = pair(image_size)
    for cue in (colour, texture):
        if cue not in CUES:
            raise ValueError(f"cue {cue!r} is not one of {', '.join(CUES)}")
    if count < 1 or min(size) < 16 or not 0 <= clutter <= 1:
        raise ValueError(f"count {count}, side {min(size)}, clutter {clutter}: at least 1, at least 16, from 0 to 1")
    chunks = [_draw_chunk(seed, i, size, (colour, texture), clutter) for i in range(math.ceil(count / CHUNK))]
    images, labels, masks, colours, textures = (torch.cat(parts)[:count] for parts in zip(*chunks, strict=True))
    return Split(images, labels, masks, {"colour": colours, "texture": textures})


def load_shapes(
    image_size: Size | None = None, counts: tuple[int, int, int] = (10_000, 1_000, 2_000), seed: int = 0, **cues
) -> Dataset:
    """Training, validation and test pictures, `counts` of each, from the draws 3·seed, 3·seed + 1 and 3·seed + 2.

    `cues` are `colour`, `texture` and `clutter` of `draw_shapes`, the same for all three splits. A test under other
    cues is one more draw, for example `draw_shapes(2_000, seed=-1, texture="conflict")`.
    """
    splits = [draw_shapes(n, seed=3 * seed + i, image_size=image_size or 32, **cues) for i, n in enumerate(counts)]
    setting = ", ".join([f"seed {seed}", *(f"{key} {value}" for key, value in cues.items())])
    return Dataset("shapes", f"embedded: drawn with {setting}", SHAPES, *splits, flip=True, drawn=True)


def _draw_chunk(
    seed: int, index: int, size: tuple[int, int], cues: tuple[str, str], clutter: float
) -> tuple[Tensor, ...]:
    # Every number is drawn whatever the setting, so that changing one setting changes nothing else in the picture.
    random = np.random.Generator(np.random.PCG64([abs(seed), seed < 0, index]))

    def uniform(*shape: int) -> Tensor:
        return torch.from_numpy(random.random((CHUNK, *shape), dtype=np.float32))

    labels = torch.from_numpy(random.permutation(np.arange(CHUNK) % len(SHAPES)))  # (CHUNK,)
    colours, textures = (_cue_labels(labels, cue, uniform()) for cue in cues)
    across, down, radius = _object_coordinates(size, uniform(4))  # (CHUNK, H, W) twice, (CHUNK,)
    coverage = _coverage(across, down, radius * min(size), labels)  # (CHUNK, H, W)
    paint = _tone(across, down, textures, uniform(2), uniform(*size))[:, None] * _colour(colours, uniform(3))
    background = _background(size, uniform(7))
    background = _draw_bars(background, uniform(MOST_CLUTTER, 7), round(clutter * MOST_CLUTTER))
    picture = background + coverage[:, None] * (paint - background)  # (CHUNK, 3, H, W)
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8), labels, coverage > 0.5, colours, textures


def _cue_labels(labels: Tensor, cue: str, uniform: Tensor) -> Tensor:
    """The class (N,) to which a cue points, from labels and random numbers (N,)."""
    if cue == "agree":
        return labels.clone()
    if cue == "random":
        return (uniform * len(SHAPES)).long()
    return (labels + 1 + (uniform * (len(SHAPES) - 1)).long()) % len(SHAPES)  # 1 to 5 classes further: never its own


def _object_coordinates(size: tuple[int, int], uniform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each pixel as seen from the object, in units of the side, turned with it: (N, H, W) twice; its radius (N,)."""
    height, width = (side / min(size) for side in size)
    radius = RADIUS[0] + (RADIUS[1] - RADIUS[0]) * uniform[:, 0]
    margin = REACH * radius + 1 / min(size)
    centre_x = margin + (width - 2 * margin) * uniform[:, 1]
    centre_y = margin + (height - 2 * margin) * uniform[:, 2]
    x, y = (torch.arange(side) + 0.5 for side in (size[1], size[0]))
    x = (x / min(size) - centre_x[:, None])[:, None, :]  # (N, 1, W)
    y = (y / min(size) - centre_y[:, None])[:, :, None]  # (N, H, 1)
    cos, sin = (f(2 * math.pi * uniform[:, 3])[:, None, None] for f in (torch.cos, torch.sin))
    return cos * x + sin * y, cos * y - sin * x, radius


def _coverage(across: Tensor, down: Tensor, pixels: Tensor, labels: Tensor) -> Tensor:
    """How much of each pixel the object covers, 0 to 1: its edge is smoothed over one pixel."""
    coverage = torch.empty_like(across)
    radius = pixels / min(across.shape[1:])
    for label, shape in enumerate(SHAPES):
        of_class = labels == label
        scale = radius[of_class, None, None]
        distance = distance_to(shape, across[of_class] / scale, down[of_class] / scale)
        coverage[of_class] = (0.5 - distance * pixels[of_class, None, None]).clamp(0, 1)
    return coverage


def distance_to(shape: str, x: Tensor, y: Tensor) -> Tensor:
    """Signed distance to the outline, negative inside. Every shape has the area π of the unit circle."""
    length = torch.hypot(x, y)
    if shape == "circle":
        return length - 1
    if shape == "ring":  # outer radius R, inner R / 2: π (R² - R²/4) = π
        outer = math.sqrt(4 / 3)
        return (length - 0.75 * outer).abs() - 0.25 * outer
    if shape == "cross":  # two bars, 2a by 2a/3: 20 a² / 9 = π
        x, y, arm = x.abs(), y.abs(), math.sqrt(9 * math.pi / 20)
        return torch.minimum(torch.maximum(x - arm, y - arm / 3), torch.maximum(x - arm / 3, y - arm))
    points, notch = {"triangle": (3, 1 / 2), "square": (4, math.sqrt(1 / 2)), "star": (5, 0.5)}[shape]
    return _star(x, y, length, points, notch)


def _star(x: Tensor, y: Tensor, length: Tensor, points: int, notch: float) -> Tensor:
    """A star with `points` tips, notches at `notch` times their radius; cos(π / points) makes it a polygon."""
    sector = math.pi / points
    tip = math.sqrt(math.pi / (points * notch * math.sin(sector)))  # the radius at which the area is π
    angle = (torch.remainder(torch.atan2(y, x) + sector, 2 * sector) - sector).abs()  # fold all half tips onto one
    along, above = length * angle.cos() - tip, length * angle.sin()  # the edge runs from (0, 0) to (edge_x, edge_y)
    edge_x, edge_y = tip * (notch * math.cos(sector) - 1), tip * notch * math.sin(sector)
    return (along * edge_y - above * edge_x) / math.hypot(edge_x, edge_y)


def _tone(across: Tensor, down: Tensor, textures: Tensor, phase: Tensor, noise: Tensor) -> Tensor:
    """Brightness of the object's surface (N, H, W). Every texture has mean 0.62: brightness does not betray it."""
    tone = torch.full_like(across, 0.62)
    sharp = min(across.shape[1:]) / 14  # a wave turns from dark to bright within about a pixel; 7 of them make a side
    u, v = (2 * math.pi * (7 * axis + phase[:, i, None, None]) for i, axis in enumerate((across, down)))
    waves = {
        "stripes": lambda u, v, _: (sharp * u.sin() + 0.5).clamp(0, 1) - 0.5,
        "checks": lambda u, v, _: (sharp * 2 * (u / 1.5).sin() * (v / 1.5).sin() + 0.5).clamp(0, 1) - 0.5,
        "dots": lambda u, v, _: (sharp * (u.cos() + v.cos() - 0.7) + 0.5).clamp(0, 1) - 0.26,
        "mesh": lambda u, v, _: 0.34 - (sharp * (torch.maximum(u.cos(), v.cos()) - 0.8) + 0.5).clamp(0, 1),
        "speckle": lambda u, v, noise: (noise > 0.5).float() - 0.5,
    }
    for k, name in enumerate(TEXTURES[1:], start=1):
        of = textures == k
        tone[of] += 0.6 * waves[name](u[of], v[of], noise[of])
    return tone


def _colour(colours: Tensor, uniform: Tensor) -> Tensor:
    """RGB of each object (N, 3, 1, 1): a bright hue of its class, varied a little."""
    hue = (colours + 0.4 * (uniform[:, 0] - 0.5)) / len(COLOURS)
    return rgb(hue, 0.75 + 0.25 * uniform[:, 1], 0.8 + 0.15 * uniform[:, 2])


def rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Hue, saturation, value (N,), each 0 to 1 -> red, green, blue (N, 3, 1, 1)."""
    ramp = ((hue[:, None] * 6 + torch.tensor([0.0, 4.0, 2.0])) % 6 - 3).abs() - 1  # (N, 3)
    return (value[:, None] * (1 - saturation[:, None] * (1 - ramp.clamp(0, 1))))[:, :, None, None]


def _background(size: tuple[int, int], uniform: Tensor) -> Tensor:
    """A dull colour (N, 3, H, W) that changes slowly across the picture."""
    y, x = (torch.linspace(-0.5, 0.5, side) for side in size)
    wave = 0.0
    for i in (0, 1):  # two slow waves in random directions
        angle, phase = 2 * math.pi * uniform[:, 2 * i], 2 * math.pi * uniform[:, 2 * i + 1]
        axis = angle.cos()[:, None, None] * x + angle.sin()[:, None, None] * y[:, None]
        wave = wave + 0.06 * (5 * axis + phase[:, None, None]).sin()
    return rgb(uniform[:, 4], 0.3 * uniform[:, 5], 0.25 + 0.35 * uniform[:, 6]) + wave[:, None]


def _draw_bars(picture: Tensor, uniform: Tensor, bars: int) -> Tensor:
    """Short bars in random places and in dimmed versions of the objects' colours: uniform (N, bars or more, 7)."""
    side, (height, width) = min(picture.shape[2:]), picture.shape[2:]
    x, y = (torch.arange(width) + 0.5) / side, ((torch.arange(height) + 0.5) / side)[:, None]
    for u in uniform[:, :bars].unbind(1):  # u (N, 7)
        x0, y0, angle = u[:, 0] * width / side, u[:, 1] * height / side, math.pi * u[:, 2]
        dx, dy = x - x0[:, None, None], y - y0[:, None, None]
        cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
        length, breadth = (0.05 + 0.1 * u[:, 3])[:, None, None], (0.015 + 0.025 * u[:, 4])[:, None, None]
        distance = torch.maximum((cos * dx + sin * dy).abs() - length, (cos * dy - sin * dx).abs() - breadth)
        paint = rgb(u[:, 5], 0.6 * torch.ones(len(u)), 0.35 + 0.4 * u[:, 6])
        picture = picture + (0.5 - distance * side).clamp(0, 1)[:, None] * (paint - picture)
    return picture
