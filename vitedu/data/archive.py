"""One way to look into a folder, a .zip and a .tgz: the names in it, then the bytes. Nothing is unpacked to disk."""

import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path


def list_names(source: Path) -> list[str]:
    """All names under `source`, parts joined by `/`, folders ending in it. ValueError if it cannot be read."""
    if source.is_dir():
        paths = sorted(source.rglob("*"))
        return [path.relative_to(source).as_posix() + "/" * path.is_dir() for path in paths]
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            return archive.namelist()
    try:
        with tarfile.open(source) as archive:
            return [member.name + "/" * member.isdir() for member in archive]
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise ValueError(f"{source} is neither a folder nor a whole .zip or .tgz file: {error}") from error


def read_files(source: Path, names: set[str]) -> Iterator[tuple[str, bytes]]:
    """The named files of `source` with their bytes, in the order of `list_names`. ValueError names a damaged one."""
    if source.is_dir():
        yield from ((name, (source / name).read_bytes()) for name in list_names(source) if name in names)
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            yield from ((name, _read_zipped(archive, name)) for name in archive.namelist() if name in names)
    else:
        with tarfile.open(source) as archive:
            yield from ((member.name, archive.extractfile(member).read()) for member in archive if member.name in names)


def _read_zipped(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:  # damaged, or with a password
        raise ValueError(f"{archive.filename}: {name} cannot be read: {error}; replace it") from error
