"""Where data lives on disk, and how processes take turns there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock


def data_root() -> Path:
    """The folder that holds the data sets: `$VITEDU_DATA`, else `~/.cache/vitedu`. Both may be missing or read-only."""
    return Path(os.environ.get("VITEDU_DATA") or "~/.cache/vitedu").expanduser()


def cache_root() -> Path:
    """The folder for what can be made again from the data: `$XDG_CACHE_HOME/vitedu`, else `~/.cache/vitedu`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "vitedu"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time work in `folder`, made if need be; others wait. OSError if it is not writable.

    The lock itself is an empty file, `.lock`, that stays: deleting it would let two waiting processes in at once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        yield
