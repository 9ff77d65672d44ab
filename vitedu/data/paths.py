"""Where data lives on disk, and how processes take turns there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

WAIT = 600  # seconds, where a killed process may have left its lock behind


def data_root() -> Path:
    """The folder that holds the data sets: `$VITEDU_DATA`, else `~/.cache/vitedu`. Both may be missing or read-only."""
    return Path(os.environ.get("VITEDU_DATA") or "~/.cache/vitedu").expanduser()


def cache_root() -> Path:
    """The folder for what can be made again from the data: `$XDG_CACHE_HOME/vitedu`, else `~/.cache/vitedu`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "vitedu"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time work in `folder`, made if need be; others wait. OSError if it is not writable.

    The lock itself is an empty file, `.lock`, that stays: deleting it would let two waiting processes in at once. On a
    disk without locks, as network disks may be, the file `.busy` says that somebody is at work. It outlives a process
    that is killed, so waiting for it ends after ten minutes, with an OSError that says what to do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    busy = folder / ".busy"
    lock = FileLock(folder / ".lock") if _can_lock(folder / ".lock") else SoftFileLock(busy, timeout=WAIT)
    try:
        held = lock.acquire()
    except Timeout:
        raise OSError(
            f"another process has worked in {folder} for {WAIT} s, or was killed there; wait for it, or delete {busy}"
        ) from None
    with held:
        yield


def _can_lock(path: Path) -> bool:
    """Whether the disk that holds `path` has locks: some versions of filelock wait for ever where it has none."""
    try:
        import fcntl
    except ImportError:  # Windows, whose locks are others
        return True
    with open(path, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # somebody else has it
            return True
        except OSError:
            return False
    return True
