"""Decoded pixels, kept so that the next load takes a second. Everything here can be deleted and is made again."""

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vitedu.data.paths import cache_root, locked
from vitedu.files import whole_file

VERSION = 1  # raise it when the same archive should decode to other pixels

Decoded = tuple[dict[str, Tensor], tuple[str, ...]]  # tensors by name, class names


def cached(archive: Path, options: dict, decode: Callable[[], Decoded]) -> Decoded:
    """`decode()`, or what it gave last time for the same archive and options.

    One cache file serves one archive (by its path) and one set of options. It is used as long as the archive keeps its
    size and time of change, and overwritten otherwise. A folder is decoded every time: there is no cheap way to know
    that nothing in it has changed. If the cache cannot be written, a warning says so.
    """
    if not archive.is_file():
        return decode()
    key = hashlib.sha256(json.dumps([str(archive.resolve()), options]).encode()).hexdigest()[:16]
    path, status = cache_root() / "decoded" / f"{archive.stem}-{key}.safetensors", archive.stat()
    identity = json.dumps([VERSION, status.st_size, status.st_mtime_ns])
    if (found := _read(path, identity)) is not None:
        return found
    tensors, class_names = decode()
    try:
        with locked(path.parent), whole_file(path) as file:
            file.write(save(tensors, {"identity": identity, "class_names": json.dumps(class_names)}))
    except OSError as error:
        warnings.warn(f"{archive.name} was decoded but not cached ({error}); it will be decoded again", stacklevel=2)
    return tensors, class_names


def _read(path: Path, identity: str) -> Decoded | None:
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("identity") != identity:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
            return tensors, tuple(json.loads(about["class_names"]))
    except (OSError, SafetensorError):  # not there, or damaged: decode again
        return None
