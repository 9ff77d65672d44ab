"""One way to look into a folder, a .zip and a .tgz: the names in it, then the bytes. Nothing is unpacked to disk.

A link counts as what it leads to: on a disk anything that is there, in an archive what the archive holds. Hidden files
are left out. Whatever else is no plain file or folder is refused by name.
"""

import hashlib
import os
import posixpath
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

Entries = dict[str, int | str | None]  # clean name -> where its bytes are, None for a folder
Archive = zipfile.ZipFile | tarfile.TarFile

JUNK = ("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir", "$recycle.bin", "lost+found")
LARGEST = 2**30  # bytes: no picture is larger, and a lying archive could fill the memory
TOO_LARGE = f"is larger than {LARGEST:,} bytes; make the picture smaller"
NO_FILE = "is a pipe, a socket or a device, no file; remove it"
PACK = "pack the files themselves (tar -h, or zip without -y)"


class Fault(ValueError):
    """What is wrong with a file of `source`, in one line that can be printed, whatever the name is made of."""

    def __init__(self, source: Path, name: str, what: str):
        text = f"{source}: {name} {what}"
        super().__init__("".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text))


def list_entries(source: Path) -> Entries:
    """Everything in `source` by its name, parts joined by `/`. ValueError if it is damaged or holds what is no file."""
    if source.is_dir():
        return {name: None if stat.S_ISDIR(status.st_mode) else name for name, status in _walk(source)}
    with _opened(source) as archive:
        read = _list_zip if isinstance(archive, zipfile.ZipFile) else _list_tar
        entries, links = read(source, archive)
    _follow(source, entries, {name: target for name, target in links.items() if not _is_hidden(name)})
    return {name: place for name, place in entries.items() if not _is_hidden(name)}


def read_files(source: Path, files: Entries) -> Iterator[tuple[str, bytes]]:
    """The bytes of some of the files of `list_entries`, in the order of `source`. ValueError names a damaged one."""
    if source.is_dir():
        yield from ((name, _read_file(source, name)) for name in files)
        return
    names: dict[int, list[str]] = {}
    for name, place in files.items():
        names.setdefault(place, []).append(name)
    with _opened(source) as archive:
        is_zip = isinstance(archive, zipfile.ZipFile)
        for place, member in enumerate(archive.infolist() if is_zip else archive):
            if place in names:
                data = _read_member(source, names[place][0], archive, member)
                yield from ((name, data) for name in names.pop(place))
            if not names:
                return


def identity(source: Path) -> str:
    """What changes when any file of `source` does: a hash of names, sizes and times. ValueError if it is not there."""
    digest = hashlib.sha256()
    if not source.exists():
        raise ValueError(f"{source} is neither a folder nor a whole .zip or .tgz file: it is not there")
    for name, status in _walk(source) if source.is_dir() else [("", source.stat())]:
        digest.update(repr((name, status.st_size, status.st_mtime_ns, status.st_ctime_ns)).encode())
    return digest.hexdigest()


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part.casefold() in JUNK for part in name.split("/"))


def _walk(source: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Files and folders under `source`, those of a folder sorted, each with what `stat` says of it."""
    root = os.stat(source)
    waiting = [("", ((root.st_dev, root.st_ino),))]  # names of folders, each with itself and those that hold it
    while waiting:
        folder, above = waiting.pop()
        try:
            found = sorted(os.listdir(source / folder))
        except OSError as error:
            raise Fault(source, folder or ".", f"cannot be read: {error.strerror}; make it readable") from error
        for name in (folder + "/" * bool(folder) + part for part in found if not _is_hidden(part)):
            try:
                status = os.stat(source / name)
            except OSError as error:
                link = "is a link that leads nowhere" if os.path.islink(source / name) else "cannot be read"
                raise Fault(source, name, f"{link}: {error.strerror}; mend or remove it") from error
            place = (status.st_dev, status.st_ino)
            if stat.S_ISDIR(status.st_mode):
                if place in above:
                    raise Fault(source, name, "is a link to a folder that holds it; remove it")
                waiting.append((name, (*above, place)))
            elif not stat.S_ISREG(status.st_mode):
                raise Fault(source, name, NO_FILE)
            yield name, status


def _read_file(source: Path, name: str) -> bytes:
    try:
        if (source / name).stat().st_size > LARGEST:
            raise Fault(source, name, TOO_LARGE)
        return (source / name).read_bytes()
    except OSError as error:
        raise Fault(source, name, f"cannot be read: {error.strerror}; make it readable, or remove it") from error


@contextmanager
def _opened(source: Path) -> Iterator[Archive]:
    """The archive at `source`. ValueError for whatever goes wrong with it, here or in the block."""
    try:
        if not source.is_file():
            raise OSError("it is a pipe, a socket or a device")
        with open(source, "rb") as file:  # the tail of a .tar may look like that of a .zip
            packed = file.read(2) == b"PK" or (not tarfile.is_tarfile(source) and zipfile.is_zipfile(source))
        with zipfile.ZipFile(source) if packed else tarfile.open(source) as archive:
            yield archive
    except Fault:
        raise
    except Exception as error:  # of a damaged archive the many decoders raise errors of many kinds
        reason = "it has another format" if "\n" in str(error) else error
        raise ValueError(f"{source} is neither a folder nor a whole .zip or .tgz file: {reason}; replace it") from error


def _read_member(source: Path, name: str, archive: Archive, member: zipfile.ZipInfo | tarfile.TarInfo) -> bytes:
    """The bytes of one member. ValueError if they are too many, damaged, locked, or packed in an unknown way."""
    is_zip = isinstance(archive, zipfile.ZipFile)
    if (member.file_size if is_zip else member.size) > LARGEST:
        raise Fault(source, name, TOO_LARGE)
    try:
        return archive.read(member) if is_zip else archive.extractfile(member).read()
    except Exception as error:
        raise Fault(source, name, f"cannot be read: {error}; replace it") from error


def _list_zip(source: Path, archive: zipfile.ZipFile) -> tuple[Entries, dict[str, str]]:
    entries, links = {}, {}
    for place, member in enumerate(archive.infolist()):
        packed = member.filename.replace("\\", "/")  # as some programs for Windows write it
        name, mode = _clean(source, packed), member.external_attr >> 16
        if stat.S_ISLNK(mode):
            links[name] = _target(name, _read_member(source, name, archive, member).decode(errors="replace"))
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise Fault(source, name, NO_FILE)
        else:
            _add(entries, name, None if packed.endswith("/") else place)
    return entries, links


def _list_tar(source: Path, archive: tarfile.TarFile) -> tuple[Entries, dict[str, str]]:
    entries, links = {}, {}
    for place, member in enumerate(archive):
        name = _clean(source, member.name)
        if member.issym() or member.islnk():
            link = member.linkname
            links[name] = _clean(source, link) if member.islnk() else _target(name, link)
        elif not (member.isdir() or member.isreg()):
            raise Fault(source, name, NO_FILE)
        else:
            links.pop(name, None)
            _add(entries, name, None if member.isdir() else place)
    # tarfile takes a damaged header for the end, and does not read on to the checksum of a .gz.
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(512) != bytes(512):
        raise tarfile.ReadError("it ends in the middle")
    while rest := archive.fileobj.read(2**20):
        if rest.strip(b"\0"):
            raise tarfile.ReadError("it goes on after its end")
    return entries, links


def _clean(source: Path, name: str) -> str:
    """The name without `./`, `//` and a `/` in front. ValueError if it leads out of the archive."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Fault(source, name, "has .. in its path, which may lead out of the archive; pack it again without")
    return "/".join(parts)


def _target(name: str, link: str) -> str:
    """What the symbolic link `name` leads to; it is no clean name if that lies outside the archive."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), link))


def _add(entries: Entries, name: str, place: int | None) -> None:
    """Enter a file or folder, and the folders that hold it; of a file that was packed twice the last one counts."""
    for folder in [*accumulate(name.split("/"), "{}/{}".format)][:-1]:
        entries.setdefault(folder, None)
    if name and (place is not None or name not in entries):
        entries[name] = place


def _follow(source: Path, entries: Entries, links: dict[str, str]) -> None:
    """Enter each link as what it leads to; one that leads to other links waits for them."""
    while links:
        ready = {
            name: target
            for name, target in links.items()
            if target in entries
            and (entries[target] is not None or not any(other.startswith(target + "/") for other in links))
        }
        if not ready:
            lost = (name for name, target in links.items() if target not in entries and target not in links)
            name = next(lost, next(iter(links)))
            where = "leads back to it" if links[name] in entries or links[name] in links else "is not in the archive"
            raise Fault(source, name, f"is a link to {links[name]}, which {where}; {PACK}")
        for name, target in ready.items():
            del links[name]
            inside = (
                [target] if entries[target] is not None else [e for e in entries if f"{e}/".startswith(target + "/")]
            )
            for found in inside:
                _add(entries, name + found[len(target) :], entries[found])
