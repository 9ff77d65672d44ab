"""Bytes in a file that act as a tensor: what does not fit into memory is read from the disk when it is looked at."""

import tempfile
import warnings
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from vitedu.data.paths import cache_root

LARGE = 2**23  # bytes of a selection that goes into a file of its own
_places: dict[int, int] = {}  # where the maps of this process begin and end in memory


def map_bytes(file: Path | BinaryIO, shape: tuple[int, ...]) -> Tensor:
    """The first bytes of a file as a uint8 tensor of this shape.

    What is written into it stays in this process. The system may count such a map as memory in full; where memory is
    limited, or the map larger than all of it, it can only be read, and writing into it ends Python.
    """
    try:
        array = np.memmap(file, np.uint8, "r" if _is_limited() else "c", shape=shape)
    except OSError:
        array = np.memmap(file, np.uint8, "r", shape=shape)
    _places[array.ctypes.data] = array.ctypes.data + array.nbytes
    weakref.finalize(array, _places.pop, array.ctypes.data, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the array cannot be written to
        return torch.from_numpy(array)


def is_mapped(images: Tensor) -> bool:
    """Whether these images lie in a file."""
    return any(start <= images.data_ptr() < end for start, end in _places.items()) if images.is_cpu else False


def take(images: Tensor, indices: Tensor) -> Tensor:
    """`images[indices]`; much of what lies in a file is copied into another one, which goes when nobody uses it."""
    if not is_mapped(images):
        return images[indices]
    chosen = torch.arange(len(images))[indices]
    if len(chosen) * images[0].numel() <= LARGE:
        return images[chosen]
    return _in_file((images[part] for part in chosen.split(_few(images))), (len(chosen), *images.shape[1:]))


def join(first: Tensor, second: Tensor) -> Tensor:
    """One after the other; of what lies in files as a view if they lie so, and in a file otherwise."""
    shape = (len(first) + len(second), *first.shape[1:])
    if not (is_mapped(first) or is_mapped(second)) or first.shape[1:] != second.shape[1:]:
        return torch.cat([first, second])
    one_file = first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr()
    whole = first.is_contiguous() and second.is_contiguous()
    if one_file and whole and first.data_ptr() + first.nbytes == second.data_ptr():
        return first.as_strided(shape, first.stride())
    return _in_file((*first.split(_few(first)), *second.split(_few(first))), shape)


def _few(images: Tensor) -> int:
    return max(1, LARGE // 4 // images[0].numel())


def _in_file(parts: Iterable[Tensor], shape: tuple[int, ...]) -> Tensor:
    with tempfile.TemporaryFile(dir=cache_root()) as file:  # not in /tmp, which may be memory
        for part in parts:
            file.write(part.contiguous().numpy())
        file.flush()
        return map_bytes(file, shape)


def _is_limited() -> bool:
    try:
        import resource
    except ImportError:  # Windows
        return False
    return resource.getrlimit(resource.RLIMIT_DATA)[0] != resource.RLIM_INFINITY
