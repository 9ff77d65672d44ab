"""One picture file as bytes (C, H, W). Transparent parts are laid on a plain ground, the same for a whole data set."""

import io
from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageOps

GROUNDS = {"white": 255, "black": 0, "grey": 128}
FAINT = 32  # of 255: what differs less from its ground, in the mean over what is opaque, can hardly be seen
SIDE = 1_024  # pixels on a side that decide whether a picture can be seen


def decode_picture(
    data: bytes, size: tuple[int, int] | None, channels: int, ground: int = 255
) -> tuple[np.ndarray, float | None]:
    """The pixels uint8 (C, H, W), and by how much what is opaque differs from the ground; None where all is opaque.

    Orientation notes of cameras are followed. With a `size` the picture is resized until it covers that, and its middle
    is kept. Any error of Pillow's for a damaged file; ValueError for more than 8 bits a channel.
    """
    with Image.open(io.BytesIO(data)) as image:
        if image.mode.startswith(("I", "F")):
            raise ValueError(f"it has mode {image.mode}, more than 8 bits; convert it to 8 bits")
        if size:
            image.draft(None, (2 * size[1], 2 * size[0]))  # lets a JPEG file be decoded at a smaller scale
        ImageOps.exif_transpose(image, in_place=True)
        flat, layer = _flatten(image, "RGB" if channels == 3 else "L", ground)
        fitted = ImageOps.fit(flat, size[::-1]) if size else flat
    pixels = np.array(fitted).reshape(*fitted.size[::-1], channels).transpose(2, 0, 1)  # (C, H, W)
    return pixels, None if layer is None else _contrast(*layer, ground)


def contrasts(data: bytes, channels: int) -> list[float] | None:
    """By how much what is opaque in a picture differs from each of `GROUNDS`; None where all is opaque."""
    with Image.open(io.BytesIO(data)) as image:
        if not _may_be_transparent(image):
            return None
        layer = _flatten(image, "RGB" if channels == 3 else "L", 0)[1]
    return None if layer is None else [_contrast(*layer, ground) for ground in GROUNDS.values()]


def choose_ground(found: Iterable[list[float]]) -> str:
    """The first of white, black and grey on which the fewest pictures would hardly be seen."""
    faint = np.array([*found, [FAINT] * len(GROUNDS)]) < FAINT  # (n, 3)
    return list(GROUNDS)[faint.sum(0).argmin()]


def _may_be_transparent(image: Image.Image) -> bool:
    return image.mode in ("P", "PA", "LA", "RGBA") or (image.mode in ("1", "L", "RGB") and "transparency" in image.info)


def _flatten(image: Image.Image, mode: str, ground: int) -> tuple[Image.Image, tuple[Image.Image, Image.Image] | None]:
    """The picture on its ground, and its colours and its opacity by themselves; None for these where all is opaque."""
    layer = image.convert("RGBA") if _may_be_transparent(image) else None
    if layer is None or layer.getextrema()[3][0] == 255:
        return image.convert(mode), None
    colours, alpha = layer.convert("RGB").convert(mode), layer.getchannel("A")
    flat = Image.new("L", image.size, ground).convert(mode)
    flat.paste(colours, mask=alpha)
    return flat, (colours, alpha)


def _contrast(colours: Image.Image, alpha: Image.Image, ground: int) -> float:
    """The largest difference of a channel from the ground, in the mean over the pixels, each as far as it is opaque."""
    step = 1 + max(alpha.size) // SIDE
    pixels, weight = (np.asarray(part)[::step, ::step].astype(np.int64) for part in (colours, alpha))
    difference = np.abs(pixels - ground).reshape(*weight.shape, -1).max(-1)  # (H, W)
    return float((difference * weight).sum() / max(weight.sum(), 1))
