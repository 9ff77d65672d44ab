"""Decoded pixels, kept in a file that is mapped into memory. Everything here can be deleted and is made again."""

import hashlib
import json
import math
import shutil
import struct
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vitedu.data.archive import identity
from vitedu.data.mapped import map_bytes
from vitedu.data.paths import cache_root, locked
from vitedu.files import whole_file

VERSION = 2  # raise it when the same source should decode to other pixels
MEMORY = 2**30  # bytes that may be decoded into memory where there is no place on the disk
WORTH_SAYING = 10 * 2**20  # bytes from which on it is said beforehand what decoding will take
FOOTER, MAGIC = struct.Struct("<Q8s"), b"vitedu 2"  # at the end of a file: how long the JSON before it is


@dataclass
class Plan:
    """Pictures that are going to be decoded: all labels (N,), and pixels uint8 (C, H, W) with their place among the N.

    `about` is what else is to be kept, as JSON can hold it; it may grow until the last picture has come.
    """

    labels: Tensor
    pictures: Iterator[tuple[int, np.ndarray]]
    about: dict


@dataclass
class Decoded:
    """All images (N, C, H, W), mostly on the disk, with their labels (N,) and what else was kept."""

    images: Tensor
    labels: Tensor
    about: dict


def cached(source: Path, options: dict, plan: Callable[[], Plan], quiet: bool = False) -> Decoded:
    """What `plan()` describes, decoded now or the last time that it was asked for with the same source and options.

    One file serves one source (by its path) and one set of options. It is used as long as the sizes and times in the
    source stay as they were, and replaced otherwise; it appears under its name only once it is whole. Processes that
    ask for the same wait for one another. If it cannot be written, a warning says so, and the pictures are decoded into
    memory.

    Raises:
        ValueError: a picture cannot be read, or they would need more than 1 GiB and there is no place on the disk.
    """
    key = hashlib.sha256(json.dumps([str(source), options]).encode()).hexdigest()[:16]
    path = cache_root() / "decoded" / f"{source.stem[:40]}-{key}" / "pictures"
    stamp = f"{VERSION} {identity(source)}"
    if (found := _read(path, stamp)) is not None:
        return found
    try:
        with locked(path.parent):
            found = _read(path, stamp)  # it may have come while we waited
            if found is None:
                _write(path, plan(), stamp, quiet)
                found = _read(path, stamp)
        if found is None:
            raise OSError(f"{path} cannot be read back")
    except OSError as error:
        return _in_memory(source, plan(), error)
    return found


def _write(path: Path, plan: Plan, stamp: str, quiet: bool) -> None:
    """Write the pixels of all pictures, the labels, and then what they are. OSError if there is no room."""
    with whole_file(path) as file:
        shape, count = None, len(plan.labels)
        for place, pixels in plan.pictures:
            if shape is None:
                shape = pixels.shape
                _check_room(path.parent, count, shape, quiet)
            file.seek(place * pixels.nbytes)
            file.write(pixels.tobytes())
        file.seek(count * math.prod(shape))
        file.write(plan.labels.numpy().astype("<i8").tobytes())
        about = json.dumps({"stamp": stamp, "shape": [count, *shape], "about": plan.about}).encode()
        file.write(about + FOOTER.pack(len(about), MAGIC))


def _check_room(folder: Path, count: int, shape: tuple[int, ...], quiet: bool) -> None:
    need, free = count * math.prod(shape), shutil.disk_usage(folder).free
    if not quiet and need >= WORTH_SAYING:
        size = "×".join(map(str, shape))
        print(
            f"decoding {count:,} pictures of {size} once, {in_words(need)}, into {folder}", file=sys.stderr, flush=True
        )
    if need > free:
        raise OSError(f"{in_words(need)} are needed in {folder}, and {in_words(free)} are free")


def in_words(size: int) -> str:
    """A number of bytes, rounded: 1.9 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _read(path: Path, stamp: str) -> Decoded | None:
    """What was kept; None if it is of another source, damaged, or not there."""
    try:
        with open(path, "rb") as file:
            end = file.seek(-FOOTER.size, 2)
            length, magic = FOOTER.unpack(file.read())
            if magic != MAGIC:
                return None
            file.seek(end - length)
            kept = json.loads(file.read(length))
            count, size = kept["shape"][0], math.prod(kept["shape"])
            if kept["stamp"] != stamp or end - length != size + 8 * count:
                return None
            file.seek(size)
            labels = np.frombuffer(file.read(8 * count), "<i8").astype(np.int64)
        return Decoded(map_bytes(path, tuple(kept["shape"])), torch.from_numpy(labels), kept["about"])
    except (OSError, ValueError):
        return None


def _in_memory(source: Path, plan: Plan, reason: OSError) -> Decoded:
    images = None
    for place, pixels in plan.pictures:
        if images is None:
            need = len(plan.labels) * pixels.nbytes
            if need > MEMORY:
                raise ValueError(
                    f"{source.name} takes {in_words(need)} once decoded, and there is no place on the disk ({reason}); "
                    "make room, or let XDG_CACHE_HOME name a folder that has it"
                ) from reason
            images = torch.empty(len(plan.labels), *pixels.shape, dtype=torch.uint8)
        images[place] = torch.from_numpy(pixels)
    kept = f"{source.name} was decoded but not cached ({reason}); it will be decoded again"
    warnings.warn(kept, stacklevel=4)
    return Decoded(images, plan.labels, plan.about)
