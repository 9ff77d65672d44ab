"""Images in folders, `train/<class>/*.jpg` and `test|val/<class>/*.jpg`, read from a folder, a .zip or a .tgz."""

import io
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from vitedu.data.archive import list_names, read_files
from vitedu.data.cache import cached
from vitedu.data.dataset import Dataset, Split, hold_out
from vitedu.patch import Size, pair

SPLITS = ("train", "val", "test")
IMAGE_TYPES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
BATCH = 1_024  # files held in memory while they are decoded


class Listing(NamedTuple):
    """What a folder or archive holds: its class folders, and each file's split and label."""

    class_names: tuple[str, ...]
    files: dict[str, tuple[str, int]]  # name -> split, label


def load_folder(
    source: Path, image_size: Size | None = None, channels: int = 3, flip: bool = True, name: str | None = None
) -> Dataset:
    """Load images laid out `train/<class>/<image>` and `val|test/<class>/<image>` from a folder, a .zip or a .tgz.

    One folder around it all is accepted; hidden files and `__MACOSX` are ignored. With both `val` and `test`, they are
    taken as they are. With one of them, it becomes the test split, and a fixed tenth of each class of `train` (5,000
    images at most in all) becomes the validation split. The images of a split come in one fixed mixed order, so that
    its first hundred are a fair sample. An archive is decoded once; the pixels are then kept in the cache.

    Args:
        image_size: side, or (height, width): every image is resized until it covers this, and its middle is kept. None
            if all images have one size already. Orientation notes of cameras are followed, transparency is dropped.
        channels: 3 for colour, 1 for grey.
        flip: whether a mirror image keeps its label; set False for letters, digits, traffic signs.
        name: what to call the data set; the name of the folder or file otherwise.

    Raises:
        ValueError: a split or class is missing or empty, the splits have different classes, an image cannot be read
            (the message names it), or sizes differ and `image_size` is None.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels is {channels}; pass 3 for colour or 1 for grey")
    size = None if image_size is None else pair(image_size)
    source = Path(source).expanduser().resolve()
    options = {"size": size, "channels": channels}
    tensors, class_names = cached(source, options, lambda: _decode_all(source, size, channels))
    splits = {s: Split(tensors[f"{s}_images"], tensors[f"{s}_labels"]) for s in SPLITS if f"{s}_images" in tensors}
    if len(splits) == 2:
        train, test = splits.values()
        train, val = hold_out(train)
        splits = {"train": train, "val": val, "test": test}
    kind = "folder" if source.is_dir() else "file"
    return Dataset(name or source.stem, f"{kind} {source.name}", tuple(class_names), **splits, flip=flip)


def list_images(source: Path) -> Listing:
    """Sort the files of `source` into splits and classes. ValueError says what does not fit the layout."""
    paths = {name: PurePosixPath(name) for name in list_names(source) if not _is_hidden(PurePosixPath(name))}
    tops = {path.parts[0] for path in paths.values() if path.parts}
    depth = 1 if len(tops) == 1 and not tops & set(SPLITS) else 0  # one folder around it all
    files, counts = {}, {}
    for name, path in paths.items():
        parts = path.parts[depth:]
        if name.endswith("/"):
            if len(parts) == 2 and parts[0] in SPLITS:
                counts.setdefault(parts, 0)
        elif len(parts) == 3 and parts[0] in SPLITS and path.suffix.lower() in IMAGE_TYPES:
            counts[parts[:2]] = counts.get(parts[:2], 0) + 1
            files[name] = parts[:2]
        elif path.suffix.lower() in IMAGE_TYPES or (parts and parts[0] in SPLITS):
            raise ValueError(
                f"{source}: {name} is not where or what an image should be: train|val|test/<class>/<image>, one of "
                f"the types {' '.join(IMAGE_TYPES)}; move, convert or remove it"
            )
    class_names = _check_classes(source, counts)
    return Listing(class_names, {name: (split, class_names.index(label)) for name, (split, label) in files.items()})


def _is_hidden(path: PurePosixPath) -> bool:
    named_hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return named_hidden or path.name in ("Thumbs.db", "desktop.ini")


def _check_classes(source: Path, counts: dict[tuple[str, str], int]) -> tuple[str, ...]:
    """The class names, sorted, from images per (split, class). ValueError if a split or class is missing or empty."""
    classes = {split: {label for s, label in counts if s == split} for split in SPLITS}
    if not classes["train"] or not (classes["val"] or classes["test"]):
        found = ", ".join(split for split in SPLITS if classes[split]) or "none of them"
        raise ValueError(f"{source} needs class folders under train/ and under val/ or test/; found: {found}")
    for split in ("val", "test"):
        if classes[split] and classes[split] != classes["train"]:
            differ = ", ".join(sorted(classes[split] ^ classes["train"]))
            raise ValueError(f"{source}: train/ and {split}/ differ in these classes: {differ}; both need all of them")
    least = 1 if classes["val"] and classes["test"] else 2  # one of the training images may have to be set aside
    for (split, label), count in counts.items():
        if count < (least if split == "train" else 1):
            need = " of at least 2: one is set aside for validation" if count else ""
            raise ValueError(f"{source}: {split}/{label} has {count} image(s){need}; add images, or remove the class")
    return tuple(sorted(classes["train"]))


def _decode_all(source: Path, size: tuple[int, int] | None, channels: int) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Images and labels of each split as `<split>_images`, `<split>_labels`, and the class names."""
    class_names, files = list_images(source)
    tensors = {}
    for split in SPLITS:
        names = sorted(name for name in files if files[name][0] == split)  # an archive lists its files in any order
        if names:
            names = [names[i] for i in np.random.RandomState(0).permutation(len(names))]
            tensors[f"{split}_labels"] = torch.tensor([files[name][1] for name in names])
            tensors[f"{split}_images"] = _decode_split(source, names, size, channels)
    sizes = {name: "×".join(map(str, images.shape[2:])) for name, images in tensors.items() if images.ndim == 4}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"{source}: the splits differ in size, {sizes}; pass image_size to equal them")
    return tensors, class_names


def _decode_split(source: Path, names: list[str], size: tuple[int, int] | None, channels: int) -> Tensor:
    """The images (N, C, H, W) in the order of `names`, whatever their order in `source`."""
    slots, images, first = {name: i for i, name in enumerate(names)}, None, ""
    for name, pixels in _decode(source, set(names), size, channels):
        if images is None:
            images, first = torch.empty(len(names), *pixels.shape, dtype=torch.uint8), name
        if pixels.shape != images.shape[1:]:
            here, there = ("×".join(map(str, shape[1:])) for shape in (pixels.shape, images.shape[1:]))
            raise ValueError(f"{source}: {name} has {here} pixels, {first} has {there}; pass image_size to equal them")
        images[slots[name]] = torch.from_numpy(pixels)
    return images


def _decode(
    source: Path, names: set[str], size: tuple[int, int] | None, channels: int
) -> Iterable[tuple[str, np.ndarray]]:
    """Each file's pixels (C, H, W), decoded by several threads at a time (the decoder runs outside Python's lock)."""
    files, bar = read_files(source, names), tqdm(total=len(names), desc="decoding", leave=False, disable=None)
    with ThreadPoolExecutor(os.cpu_count()) as pool, bar:
        while batch := list(islice(files, BATCH)):
            yield from pool.map(lambda file: (file[0], _decode_image(source, *file, size, channels)), batch)
            bar.update(len(batch))


def _decode_image(source: Path, name: str, data: bytes, size: tuple[int, int] | None, channels: int) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"it has mode {image.mode}, more than 8 bits; convert it to 8 bits")
            if size:
                image.draft(None, (2 * size[1], 2 * size[0]))  # lets a JPEG file be decoded at a smaller scale
            ImageOps.exif_transpose(image, in_place=True)
            converted = image.convert("RGB" if channels == 3 else "L")
            fitted = ImageOps.fit(converted, size[::-1]) if size else converted
    except Exception as error:  # Pillow's many decoders raise many kinds for a damaged file
        raise ValueError(f"{source}: {name} is not a readable image: {error}; replace or remove it") from error
    return np.array(fitted).reshape(*fitted.size[::-1], channels).transpose(2, 0, 1)  # (C, H, W)
