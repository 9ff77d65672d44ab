"""The picture files that somebody names on a command line."""

from collections.abc import Iterable
from pathlib import Path

from vitedu.data.layout import IMAGE_TYPES


def picture_files(named: Iterable[str | Path]) -> list[Path]:
    """Files as they are named, and of each folder the pictures in it and below, sorted; hidden ones are passed by.

    ValueError if something is not there, or a folder holds no picture.
    """
    return [file for path in map(Path, named) for file in _files(path.expanduser())]


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ValueError(f"{path} is not there; is the name misspelt?")
    found = [file for file in path.rglob("*") if file.suffix.lower() in IMAGE_TYPES and file.is_file()]
    shown = [file for file in found if not any(part.startswith(".") for part in file.relative_to(path).parts)]
    if not shown:
        raise ValueError(f"{path} holds no picture of the types {' '.join(IMAGE_TYPES)}; convert others to .png")
    return sorted(shown)
