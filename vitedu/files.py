"""Writing a file so that nobody ever sees half of it, and a line so that every output can hold it.

Checkpoints, downloads and caches all go through here.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor


class CheckpointError(RuntimeError):
    """Saved weights that are missing, damaged, or of another model."""


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write `path` entirely or not at all. Where several processes may write the same file, take a lock first.

    The bytes go to `path` + `.part`, which takes the place of `path` only after the block has ended without an error
    and the disk has confirmed it; after an error it is deleted. The next attempt overwrites what a killed process left.
    """
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write these bytes to `path`, entirely or not at all."""
    with whole_file(path) as file:
        file.write(content)


def write_json(path: Path, content: dict) -> None:
    """Write `content` as JSON, entirely or not at all. ValueError for numbers that JSON does not have, such as nan."""
    write_whole(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False).encode())


def read_json(path: Path, missing: str, remedy: str) -> dict:
    """What `write_json` wrote. CheckpointError, `missing` or one that ends with `remedy`, if there is no such file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(missing) from None
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}); {remedy}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no JSON object; {remedy}")
    return content


def read_safetensors(content: bytes, where: Path) -> dict[str, Tensor]:
    """The tensors in the bytes of a safetensors file. CheckpointError if the file is none, whatever its checksum."""
    try:
        return load(content)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{where} is no whole safetensors file ({error}); get it again") from None


def check_weights(found: dict[str, Tensor], wanted: dict[str, Tensor], problem: str) -> None:
    """CheckpointError, beginning with `problem` and naming the first, if names or shapes differ."""
    odd = sorted(found.keys() ^ wanted.keys())
    if odd:
        raise CheckpointError(f"{problem}: {odd[0]} is {'missing' if odd[0] in wanted else 'one too many'}")
    for name, tensor in wanted.items():
        if tensor.shape != found[name].shape:
            raise CheckpointError(f"{problem}: {name} is {tuple(found[name].shape)}, expected {tuple(tensor.shape)}")


PLAIN = str.maketrans({"×": "x", "±": "+-", "✓": "+", "·": "-", "…": "...", "–": "-", "’": "'", "²": "^2", "√": "sqrt"})


def say(text: str) -> None:
    """Print a line; what the output's encoding lacks, as on older Windows consoles, is written with what it has."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(PLAIN).encode(encoding, errors="replace").decode(encoding)
    print(text, flush=True)
