"""Decoded pixels are kept as long as their source stays the same, and made again otherwise."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from vitedu.data import cache
from vitedu.data.cache import Plan, cached


class Decoder:
    """Stands for the decoding of a source: two pictures of one value, and how often it was asked."""

    def __init__(self, value: int = 1):
        self.value, self.calls = value, 0

    def __call__(self) -> Plan:
        self.calls += 1
        about = {"names": ["a", "b"]}

        def pictures():
            yield 1, np.full((1, 2, 3), self.value + 1, dtype=np.uint8)
            yield 0, np.full((1, 2, 3), self.value, dtype=np.uint8)
            about["late"] = "é"

        return Plan(torch.tensor([5, 7]), pictures(), about)


def value(found) -> int:
    """The value that was decoded; everything else is as it has to be."""
    assert found.images.shape == (2, 1, 2, 3)
    assert found.labels.tolist() == [5, 7]
    assert found.about == {"names": ["a", "b"], "late": "é"}
    (first,), (second,) = (image.unique().tolist() for image in found.images)
    assert second == first + 1
    return first


@pytest.fixture
def archive(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "pets.zip"
    path.write_bytes(b"archive")
    return path


def kept(tmp_path) -> list:
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.name != ".lock"]


def test_the_second_time_the_same_comes_back_without_decoding(archive):
    decode = Decoder()
    assert value(cached(archive, {"size": (2, 3)}, decode)) == value(cached(archive, {"size": (2, 3)}, decode)) == 1
    assert decode.calls == 1


def test_other_options_and_other_archives_are_kept_apart(archive, tmp_path):
    other = tmp_path / "elsewhere" / "pets.zip"
    other.parent.mkdir()
    other.write_bytes(b"archive")
    cases = [(archive, {"size": None}), (archive, {"size": (8, 8)}), (other, {"size": None}), (tmp_path, {})]
    for number, (path, options) in enumerate(cases[:3]):
        cached(path, options, Decoder(number))
    for number, (path, options) in enumerate(cases[:3]):
        assert value(cached(path, options, Decoder(99))) == number


@pytest.mark.parametrize("change", ["size", "time", "version"])
def test_a_changed_archive_is_decoded_anew_in_the_place_of_the_old(archive, tmp_path, monkeypatch, change):
    cached(archive, {}, Decoder(1))
    if change == "size":
        times = os.stat(archive)
        archive.write_bytes(b"a longer archive")
        os.utime(archive, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif change == "time":
        os.utime(archive, ns=(1, 1))
    else:
        monkeypatch.setattr(cache, "VERSION", cache.VERSION + 1)
    assert value(cached(archive, {}, Decoder(2))) == 2
    assert len(kept(tmp_path)) == 1


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_cut_cache_file_is_made_again(archive, tmp_path, share):
    cached(archive, {}, Decoder(1))
    (path,) = kept(tmp_path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    decode = Decoder(2)
    for _ in range(2):
        assert value(cached(archive, {}, decode)) == 2
    assert decode.calls == 1


@pytest.mark.parametrize("reason", ["no folder", "no locks", "disk full at once", "disk full later"])
def test_without_a_place_for_it_a_warning_says_that_nothing_is_kept(archive, tmp_path, monkeypatch, reason):
    if reason == "no folder":
        (tmp_path / "cache").write_text("a file where the folder should be")
    elif reason == "no locks":
        monkeypatch.setattr(cache, "locked", lambda _: fail(errno.ENOLCK))
    elif reason == "disk full at once":
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    else:
        monkeypatch.setattr(cache.math, "prod", lambda _: fail(errno.ENOSPC))
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"pets\.zip was decoded but not cached \(.+\); it will be decoded again"):
            assert value(cached(archive, {}, Decoder(3))) == 3
    assert not (tmp_path / "cache").is_dir() or kept(tmp_path) == []


def fail(number: int):
    raise OSError(number, os.strerror(number))


def test_what_fits_neither_on_the_disk_nor_into_memory_is_refused_with_a_remedy(archive, monkeypatch):
    monkeypatch.setattr(cache, "MEMORY", 11)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(
        ValueError, match=r"pets\.zip takes 0 MB once decoded, .*\(0 MB are needed in .*; make room, or"
    ):
        cached(archive, {}, Decoder())


def test_the_size_is_said_beforehand_unless_quiet(archive, monkeypatch, capfd):
    monkeypatch.setattr(cache, "WORTH_SAYING", 1)
    cached(archive, {"quiet": 1}, Decoder(), quiet=True)
    assert capfd.readouterr() == ("", "")
    cached(archive, {}, Decoder())
    assert capfd.readouterr().err.startswith("decoding 2 pictures of 1×2×3 once, 0 MB, into ")
    assert [cache.in_words(size) for size in (61_400_000, 1_940_000_000)] == ["61 MB", "1.9 GB"]


def test_a_decoder_that_fails_leaves_nothing(archive, tmp_path):
    def plan():
        raise ValueError("a corrupt image")

    def half():
        decode = Decoder()()
        return Plan(decode.labels, (pair if not pair[0] else plan() for pair in decode.pictures), {})

    for way in (plan, half):
        with pytest.raises(ValueError, match="a corrupt image"):
            cached(archive, {}, way)
        assert kept(tmp_path) == []


SLOWLY = """
import sys, time
from pathlib import Path
import numpy as np, torch
from vitedu.data.cache import Plan, cached

def pictures():
    for i in range(2):
        yield i, np.full((1, 2, 3), 40 + i, dtype=np.uint8)
        print("decoded", flush=True)
        time.sleep(float(sys.argv[2]))

print(cached(Path(sys.argv[1]), {}, lambda: Plan(torch.tensor([5, 7]), pictures(), {})).images.sum().item())
"""


def start(archive, seconds: float) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", SLOWLY, str(archive), str(seconds)], stdout=subprocess.PIPE, text=True
    )


def test_a_decoding_that_was_killed_is_begun_anew(archive, tmp_path):
    process = start(archive, 60)
    assert process.stdout.readline() == "decoded\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert [path.name for path in kept(tmp_path)] == ["pictures.part"]
    assert value(cached(archive, {}, Decoder(2))) == 2
    assert [path.name for path in kept(tmp_path)] == ["pictures"]


def test_of_two_processes_one_decodes_and_the_other_waits(archive):
    outputs = [process.communicate()[0].split() for process in [start(archive, 0.5) for _ in range(2)]]
    assert sorted(map(len, outputs)) == [1, 3]
    assert {output[-1] for output in outputs} == {str(6 * 81)}
