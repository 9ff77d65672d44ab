"""Fetching published files over unreliable networks: a file is either whole, with the right checksum, or not there.

torchvision's classes remain the source of the addresses and MD5 sums (see `published.py`). Its own downloader writes in
place and knows no deadline; this one is for classrooms, notebooks and firewalls.
"""

import hashlib
import os
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from vitedu.data.bar import progress_bar
from vitedu.data.paths import locked
from vitedu.files import whole_file

ANSWER_WITHIN = 10  # seconds until a host must have answered, name look-up and all of its addresses included
SILENT_FOR = 20  # seconds without a byte after which a transfer counts as cut
ROUNDS = 2  # a mirror that was cut or sent wrong bytes is asked this often


class DatasetUnavailable(RuntimeError):
    """A named data set is neither on this disk nor to be had from its hosts; the message says what can be done."""


@dataclass(frozen=True)
class Remote:
    """A published file: `path` under the data root, its MD5 sum, and the base addresses it can be had from."""

    path: str
    md5: str
    mirrors: tuple[str, ...]

    def urls(self) -> list[str]:
        """Where to ask, in order. `$VITEDU_MIRRORS`, base addresses joined by commas, replaces the published ones."""
        override = os.environ.get("VITEDU_MIRRORS")
        mirrors = override.split(",") if override else self.mirrors
        return [mirror.strip().rstrip("/") + "/" + Path(self.path).name for mirror in mirrors]

    def is_whole(self, root: Path) -> bool:
        """Whether the file is there with the right checksum: reads all of it, about 0.2 s for 100 MB."""
        return _has_md5(root / self.path, self.md5)


def _has_md5(path: Path, md5: str) -> bool:
    if not path.is_file():
        return False
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest() == md5


class _MirrorFailed(Exception):
    """One mirror did not deliver; `again` says whether asking it once more could help."""

    def __init__(self, reason: str, again: bool):
        super().__init__(reason)
        self.again = again


def fetch(name: str, files: list[Remote], root: Path) -> None:
    """Make sure that all `files` of the set `name` are whole under `root`, downloading those that are not.

    Processes that ask for the same root at once wait for each other, so each file is downloaded once.

    Raises:
        DatasetUnavailable: no mirror delivered a file, or it could not be written. Nothing partial stays behind, and
            the next call goes on with the files that are missing.
    """
    try:
        for remote in files:
            if not remote.is_whole(root):
                with locked((root / remote.path).parent):
                    if not remote.is_whole(root):  # it may have come while we waited
                        _download(remote, root / remote.path)
    except _MirrorFailed as error:
        raise DatasetUnavailable(_advice(name, root, str(error))) from error
    except OSError as error:  # the network's own errors have become _MirrorFailed; these are the disk's
        raise DatasetUnavailable(_advice(name, root, f"{root} cannot be used: {error}")) from error


def _download(remote: Remote, path: Path) -> None:
    """Try the mirrors in turn. _MirrorFailed with all reasons if none delivers, OSError if the disk is full."""
    urls, reasons = remote.urls(), []
    for _ in range(ROUNDS):
        for url in list(urls):
            try:
                return _download_from(url, remote.md5, path)
            except _MirrorFailed as error:
                reasons.append(f"{url}: {error}")
                if not error.again:
                    urls.remove(url)
    raise _MirrorFailed("\n  ".join(["no mirror delivered it", *dict.fromkeys(reasons)]), again=False)


def _download_from(url: str, md5: str, path: Path) -> None:
    received = 0
    with whole_file(path) as file, closing(_open(url)) as response:
        expected = int(response.headers.get("Content-Length", -1))  # -1: the host does not say
        for chunk in _chunks(response, path.name, expected):
            file.write(chunk)
            received += len(chunk)
        # Raised inside the block, so that whole_file throws the bytes away.
        if received < expected:
            raise _MirrorFailed(f"the connection was cut after {received:,} of {expected:,} bytes", again=True)
        file.flush()
        if not _has_md5(Path(file.name), md5):  # of what is on the disk, not of what came over the wire
            raise _MirrorFailed(f"wrong checksum: {received:,} bytes whose MD5 is not {md5}", again=True)


def _open(url: str) -> HTTPResponse:
    """The answer to a GET. _MirrorFailed if there is none within ANSWER_WITHIN seconds, or it is an error.

    urllib's own timeout starts anew with every address of a host and does not cover the name look-up, so behind a
    firewall that drops packets it can add up to minutes. Hence the thread; left waiting, it ends with its own timeouts.
    """
    answers: queue.SimpleQueue = queue.SimpleQueue()

    def ask() -> None:
        try:
            request = urllib.request.Request(url, headers={"User-Agent": "vitedu"})
            answers.put(urllib.request.urlopen(request, timeout=SILENT_FOR))
        except Exception as error:  # whatever it is belongs to the caller's thread
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=ANSWER_WITHIN)
    except queue.Empty:
        raise _MirrorFailed(f"no answer within {ANSWER_WITHIN} s", again=False) from None
    if isinstance(answer, urllib.error.HTTPError):
        raise _MirrorFailed(f"HTTP {answer.code} {answer.reason}", again=answer.code >= 500)
    if isinstance(answer, Exception):
        unreachable = isinstance(answer, (urllib.error.URLError, ValueError))  # ValueError: not an address at all
        raise _MirrorFailed(f"no answer: {getattr(answer, 'reason', answer)}", again=not unreachable)
    return answer


def _chunks(response: HTTPResponse, title: str, expected: int) -> Iterator[bytes]:
    """The body piece by piece, with a progress bar in a terminal or a notebook, and none in a log file."""
    total = expected if expected > 0 else None
    with progress_bar(desc=title, total=total, unit="B", unit_scale=True) as bar:
        while True:
            try:
                chunk = response.read(1 << 18)
            except (OSError, HTTPException) as error:  # reset, timed out, or cut between two pieces
                raise _MirrorFailed(f"the connection was cut: {error!r}", again=True) from error
            if not chunk:
                return
            bar.update(len(chunk))
            yield chunk


def _advice(name: str, root: Path, reason: str) -> str:
    return (
        f"{name} is not on this disk and could not be downloaded: {reason}\n"
        f"What you can do: load('digits') and load('shapes') need no download. If you have a copy of {name}, point the "
        f"environment variable VITEDU_DATA to its folder (now {root}), or put {name}.zip there, laid out as "
        "train/<class>/*.jpg and test/<class>/*.jpg."
    )
