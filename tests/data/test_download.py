"""Downloading, tried out on hosts of our own on the loopback address that fail in every way we could think of.

All tests run on four small files made here; the main ones also on the real Fashion-MNIST files, where `VITEDU_DATA` has
them.
"""

import errno
import gzip
import hashlib
import io
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import FashionMNIST

from vitedu.data import DatasetUnavailable, download, load

FILES = [name for name, _ in FashionMNIST.resources]
IMAGES = FILES[0]  # the training images: the largest file, and the first


class Host(ThreadingHTTPServer):
    """Serves `files`. `faults[name]` is what goes wrong at the first, second, … request for a file."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.faults, self.requests = files, {}, Counter()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        self.server.requests[name] += 1
        faults = self.server.faults.get(name, [])
        fault = faults.pop(0) if faults else None
        body = self.server.files[name]
        if fault in ("404", "503"):
            return self.send_error(int(fault))
        self.send_response(200)
        if fault != "cut, length unknown":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault == "wrong bytes":
            body = body[:-1] + bytes([body[-1] ^ 1])
        if fault in ("cut", "cut, length unknown", "silent half way"):
            body = body[: len(body) // 2]
        self.wfile.write(body)
        if fault == "silent half way":
            time.sleep(1)

    def log_message(self, *_) -> None:
        pass


def idx(array: np.ndarray) -> bytes:
    """The gzipped IDX form of an array of bytes."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0)


def small_files() -> dict[str, bytes]:
    random = np.random.default_rng(0)
    images, tests = random.integers(0, 256, (200, 28, 28)), random.integers(0, 256, (20, 28, 28))
    return dict(zip(FILES, map(idx, (images, np.arange(200) % 10, tests, np.arange(20) % 10)), strict=True))


REAL = Path(os.environ.get("VITEDU_DATA", "no-such-folder")) / "FashionMNIST" / "raw"
HAVE_REAL = all((REAL / name).is_file() for name in FILES)


def real_files() -> dict[str, bytes]:
    if not HAVE_REAL:
        pytest.skip("the real Fashion-MNIST files are not here: no FashionMNIST/raw/*.gz under VITEDU_DATA")
    return {name: (REAL / name).read_bytes() for name in FILES}


@pytest.fixture
def files(request, monkeypatch) -> dict[str, bytes]:
    """The bytes of the four files; torchvision's checksums are replaced by those of the small ones."""
    if getattr(request, "param", "small") == "real":
        return real_files()
    small = small_files()
    monkeypatch.setattr(FashionMNIST, "resources", [(n, hashlib.md5(small[n]).hexdigest()) for n in FILES])
    return small


@pytest.fixture
def host(files, monkeypatch):
    """A host that has all files, and is the only one known."""
    server = Host(files)
    monkeypatch.setenv("VITEDU_MIRRORS", server.address)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def second_host(files, host, monkeypatch):
    """Another host that is asked after the first."""
    server = Host(files)
    monkeypatch.setenv("VITEDU_MIRRORS", f"{host.address}, {server.address}")
    yield server
    server.shutdown()
    server.server_close()


small_and_real = pytest.mark.parametrize("files", ["small", "real"], indirect=True)


def on_disk(root: Path) -> dict[str, bytes]:
    """All files under `root`, but for the empty lock."""
    return {p.name: p.read_bytes() for p in root.rglob("*") if p.is_file() and p.name != ".lock"}


def assert_loads_whole(root: Path, files: dict[str, bytes]) -> None:
    """The set loads, its files are the published ones, nothing else is left, and the images are those in the files."""
    data = load("fashion-mnist", root=root, quiet=True)
    assert on_disk(root) == files
    tests = np.frombuffer(gzip.decompress(files["t10k-images-idx3-ubyte.gz"])[16:], dtype=np.uint8)
    assert np.array_equal(data.test.images.numpy().ravel(), tests)
    trains = np.frombuffer(gzip.decompress(files[IMAGES])[16:], dtype=np.uint8)
    joined = data.train_and_val()
    assert joined.images.sum(dtype=torch.int64) == trains.sum(dtype=np.int64)
    assert len(joined) == len(trains) // 784


@small_and_real
def test_a_healthy_host_is_asked_once_for_each_file_and_never_again(tmp_path, files, host):
    assert_loads_whole(tmp_path, files)
    assert_loads_whole(tmp_path, files)
    assert host.requests == dict.fromkeys(FILES, 1)


@small_and_real
def test_after_a_404_the_next_mirror_delivers(tmp_path, files, host, second_host):
    host.faults = {name: ["404"] for name in FILES}
    assert_loads_whole(tmp_path, files)
    assert host.requests == second_host.requests == dict.fromkeys(FILES, 1)


@pytest.mark.parametrize("fault", ["cut", "cut, length unknown", "wrong bytes", "503"])
def test_a_transfer_that_failed_once_is_repeated(tmp_path, files, host, fault):
    host.faults = {IMAGES: [fault]}
    assert_loads_whole(tmp_path, files)
    assert host.requests[IMAGES] == 2


@pytest.mark.parametrize(
    ("files", "fault"),
    [("small", f) for f in ("cut", "cut, length unknown", "wrong bytes", "503", "404")]
    + [("real", f) for f in ("cut", "cut, length unknown", "wrong bytes")],
    indirect=["files"],
)
def test_a_transfer_that_keeps_failing_leaves_nothing_and_the_next_call_recovers(tmp_path, files, host, fault):
    host.faults = {IMAGES: [fault] * 2}
    with pytest.raises(DatasetUnavailable):
        load("fashion-mnist", root=tmp_path, quiet=True)
    assert on_disk(tmp_path) == {}
    host.faults = {}
    assert_loads_whole(tmp_path, files)


def test_a_failure_at_the_last_file_keeps_the_whole_ones_before_it(tmp_path, files, host):
    host.faults = {FILES[3]: ["404"]}
    with pytest.raises(DatasetUnavailable, match="404"):
        load("fashion-mnist", root=tmp_path, quiet=True)
    assert on_disk(tmp_path) == {name: files[name] for name in FILES[:3]}
    assert_loads_whole(tmp_path, files)
    assert host.requests == {**dict.fromkeys(FILES, 1), FILES[3]: 2}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("cut", r"cut after [\d,]+ of [\d,]+ bytes"),
        ("cut, length unknown", "wrong checksum"),
        ("wrong bytes", "wrong checksum"),
        ("404", "HTTP 404"),
    ],
)
def test_the_message_says_what_went_wrong_where_and_what_can_be_done(tmp_path, files, host, fault, said):
    host.faults = {IMAGES: [fault] * 2}
    with pytest.raises(DatasetUnavailable, match=said) as caught:
        load("fashion-mnist", root=tmp_path, quiet=True)
    for part in (host.address + IMAGES, "fashion-mnist", "digits", "shapes", "VITEDU_DATA", str(tmp_path)):
        assert part in str(caught.value)


class FullDisk(io.FileIO):
    """A file on a disk that has room for the first piece only."""

    def write(self, data) -> int:
        if self.tell():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data[: len(data) // 2])


class LossyDisk(io.FileIO):
    """A file on a disk that drops every last byte and does not say so."""

    def write(self, data) -> int:
        super().write(data[:-1])
        return len(data)


@small_and_real
@pytest.mark.parametrize(
    ("disk", "said"), [(FullDisk, "No space left on device"), (LossyDisk, "wrong checksum")], ids=["full", "lossy"]
)
def test_a_disk_that_fails_is_noticed_and_leaves_nothing(tmp_path, files, host, monkeypatch, disk, said):
    with monkeypatch.context() as patch:
        patch.setattr("vitedu.files.open", lambda path, _: io.BufferedWriter(disk(path, "w")), raising=False)
        with pytest.raises(DatasetUnavailable, match=said):
            load("fashion-mnist", root=tmp_path, quiet=True)
    assert on_disk(tmp_path) == {}
    if disk is FullDisk:
        assert host.requests == {IMAGES: 1}  # another mirror would not have helped
    assert_loads_whole(tmp_path, files)


def test_a_root_that_cannot_be_written_is_named(tmp_path, files, host):
    (tmp_path / "FashionMNIST").write_text("a file where the folder should be")
    with pytest.raises(DatasetUnavailable, match="cannot be used"):
        load("fashion-mnist", root=tmp_path, quiet=True)
    assert host.requests == {}


@pytest.mark.parametrize("damage", ["truncated", "altered", "empty"])
def test_a_damaged_file_that_was_there_before_is_replaced(tmp_path, files, host, damage):
    assert_loads_whole(tmp_path, files)
    path = tmp_path / "FashionMNIST" / "raw" / IMAGES
    whole = files[IMAGES]
    path.write_bytes({"truncated": whole[: len(whole) // 2], "altered": whole[:-9] + b"x" * 9, "empty": b""}[damage])
    assert_loads_whole(tmp_path, files)
    assert host.requests == {**dict.fromkeys(FILES, 1), IMAGES: 2}


def test_what_a_killed_download_left_is_cleared_away(tmp_path, files, host):
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    (folder / (IMAGES + ".part")).write_bytes(files[IMAGES][:1000])
    (folder / ".lock").touch()
    assert_loads_whole(tmp_path, files)


PROCESS = """
import json, sys
from torchvision.datasets import FashionMNIST
from vitedu.data import load
root, FashionMNIST.resources = json.loads(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(int(load("fashion-mnist", root=root, quiet=True).train_and_val().images.sum()), flush=True)
"""


@pytest.mark.parametrize("files", ["real" if HAVE_REAL else "small"], indirect=True)
def test_two_processes_that_ask_at_once_make_one_download(tmp_path, files, host):
    argument = json.dumps([str(tmp_path), FashionMNIST.resources])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", PROCESS, argument], **pipes) for _ in range(2)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2  # both have imported everything
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    sums = [int(process.communicate(timeout=120)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sums[0] == sums[1] == np.frombuffer(gzip.decompress(files[IMAGES])[16:], dtype=np.uint8).sum(dtype=np.int64)
    assert host.requests == dict.fromkeys(FILES, 1)
    assert on_disk(tmp_path) == files


def test_a_host_that_falls_silent_half_way_is_given_up(tmp_path, files, host, second_host, monkeypatch):
    monkeypatch.setattr(download, "SILENT_FOR", 0.3)
    host.faults = {IMAGES: ["silent half way"]}
    assert_loads_whole(tmp_path, files)
    assert second_host.requests == {IMAGES: 1}


def test_a_host_that_never_answers_is_given_up_soon(tmp_path, files, monkeypatch):
    monkeypatch.setattr(download, "ANSWER_WITHIN", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as mute:  # accepts, and says nothing
        monkeypatch.setenv("VITEDU_MIRRORS", f"http://127.0.0.1:{mute.getsockname()[1]}/")
        start = time.perf_counter()
        with pytest.raises(DatasetUnavailable, match=r"no answer within 0\.3 s"):
            load("fashion-mnist", root=tmp_path, quiet=True)
    assert time.perf_counter() - start < 5
    assert on_disk(tmp_path) == {}


@pytest.mark.parametrize("mirror", ["http://127.0.0.1:9/", "http://host.invalid/", "not an address"])
def test_a_host_that_is_not_there_is_given_up_soon(tmp_path, files, monkeypatch, mirror):
    monkeypatch.setenv("VITEDU_MIRRORS", mirror)
    monkeypatch.setattr(download, "ANSWER_WITHIN", 2)
    start = time.perf_counter()
    with pytest.raises(DatasetUnavailable, match="no answer"):
        load("fashion-mnist", root=tmp_path, quiet=True)
    assert time.perf_counter() - start < 8


def test_a_folder_can_stand_in_for_a_mirror(tmp_path, files, monkeypatch):
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    monkeypatch.setenv("VITEDU_MIRRORS", tmp_path.as_uri())
    assert_loads_whole(tmp_path / "root", files)


def test_without_an_override_the_published_mirrors_are_asked_in_order(monkeypatch):
    monkeypatch.delenv("VITEDU_MIRRORS", raising=False)
    remote = download.Remote("some/folder/a.gz", "0" * 32, ("https://one.invalid/x/", "https://two.invalid"))
    assert remote.urls() == ["https://one.invalid/x/a.gz", "https://two.invalid/a.gz"]
