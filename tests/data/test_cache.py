"""Decoded pixels are kept as long as their archive stays the same, and made again otherwise."""

import os

import pytest
import torch

from vitedu.data import cache
from vitedu.data.cache import cached


class Decoder:
    """Stands for the decoding of an archive: what it returns, and how often it was asked."""

    def __init__(self, value: int = 1):
        self.value, self.calls = value, 0

    def __call__(self):
        self.calls += 1
        return {"images": torch.full((2, 3), self.value, dtype=torch.uint8), "labels": torch.arange(2)}, ("a", "b")


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
    tensors, names = cached(archive, {"size": (2, 3)}, decode)
    again, names_again = cached(archive, {"size": (2, 3)}, decode)
    assert decode.calls == 1
    assert names == names_again == ("a", "b")
    assert tensors.keys() == again.keys()
    for name in tensors:
        assert torch.equal(tensors[name], again[name])
        assert tensors[name].dtype == again[name].dtype


def test_other_options_and_other_archives_are_kept_apart(archive, tmp_path):
    other = tmp_path / "elsewhere" / "pets.zip"
    other.parent.mkdir()
    other.write_bytes(b"archive")
    cases = [(archive, {"size": None}), (archive, {"size": (8, 8)}), (other, {"size": None})]
    for value, (path, options) in enumerate(cases):
        cached(path, options, Decoder(value))
    for value, (path, options) in enumerate(cases):
        assert cached(path, options, Decoder(99))[0]["images"].unique().tolist() == [value]


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
    assert cached(archive, {}, Decoder(2))[0]["images"].unique().tolist() == [2]
    assert len(kept(tmp_path)) == 1


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_cut_cache_file_is_made_again(archive, tmp_path, share):
    cached(archive, {}, Decoder(1))
    (path,) = kept(tmp_path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    decode = Decoder(2)
    for _ in range(2):
        assert cached(archive, {}, decode)[0]["images"].unique().tolist() == [2]
    assert decode.calls == 1


def test_without_a_place_for_it_a_warning_says_that_nothing_is_kept(archive, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match=r"pets\.zip was decoded but not cached"):
        assert cached(archive, {}, Decoder(3))[0]["images"].unique().tolist() == [3]


def test_a_decoder_that_fails_leaves_nothing(archive, tmp_path):
    def fail():
        raise ValueError("a corrupt image")

    with pytest.raises(ValueError, match="a corrupt image"):
        cached(archive, {}, fail)
    assert kept(tmp_path) == []
