"""Bytes in a file that act as a tensor."""

import gc
from pathlib import Path

import numpy as np
import pytest
import torch

from vitedu.data import mapped
from vitedu.data.dataset import Split, concatenate, hold_out
from vitedu.data.mapped import is_mapped, map_bytes, take


@pytest.fixture(autouse=True)
def small_is_large(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "vitedu").mkdir()
    monkeypatch.setattr(mapped, "LARGE", 100)


@pytest.fixture(params=["copy on write", "read only", "refused"])
def images(request, tmp_path, monkeypatch):
    """40 mapped images (3, 2, 4); `ordinary(images)` has the same bytes in memory."""
    (tmp_path / "file").write_bytes(np.random.default_rng(0).bytes(40 * 24) + b"something else")
    if request.param == "read only":
        monkeypatch.setattr(mapped, "_is_limited", lambda: True)
    elif request.param == "refused":
        monkeypatch.setattr(np, "memmap", refuse_copies(np.memmap))
    return map_bytes(tmp_path / "file", (40, 3, 2, 4))


def refuse_copies(real):
    def memmap(file, dtype, mode, **options):
        if mode == "c":
            raise OSError("cannot allocate memory")
        return real(file, dtype, mode, **options)

    return memmap


def ordinary(tmp_path: Path) -> torch.Tensor:
    data = (tmp_path / "file").read_bytes()[: 40 * 24]
    return torch.frombuffer(bytearray(data), dtype=torch.uint8).view(40, 3, 2, 4)


INDICES = [torch.tensor([3, 39, 3, -1]), torch.arange(40) % 3 != 0, slice(2, 38), torch.randperm(40), torch.arange(0)]


@pytest.mark.parametrize("indices", INDICES, ids=["few", "mask", "slice", "all", "none"])
def test_a_selection_is_that_of_an_ordinary_tensor(images, tmp_path, indices):
    found, expected = take(images, indices), ordinary(tmp_path)[indices]
    assert torch.equal(found, expected)
    assert is_mapped(found) == (len(expected) > 4)
    assert torch.equal(take(ordinary(tmp_path), indices), expected)


def test_splits_of_a_mapped_set_stay_on_the_disk(images, tmp_path):
    split = Split(images, torch.arange(40) % 2)
    train, val = hold_out(split)
    parts = Split(images[:30], split.labels[:30]), Split(images[30:], split.labels[30:])
    joined, mixed = concatenate(*parts), concatenate(train, val)
    assert split.to("cpu").images is images
    for part in (train, joined, mixed):
        assert is_mapped(part.images)
    assert joined.images.data_ptr() == images.data_ptr()
    assert torch.equal(joined.images, images)
    assert torch.equal(mixed.images, torch.cat([train.images, val.images]))
    assert torch.equal(concatenate(parts[1], parts[0]).images, ordinary(tmp_path).roll(10, 0))


def test_a_file_that_nobody_uses_any_more_goes_and_its_place_is_forgotten(images, tmp_path):
    gc.collect()  # what earlier tests have left
    before = dict(mapped._places)
    copy = take(images, torch.arange(40))
    assert len(mapped._places) == len(before) + 1
    del copy
    gc.collect()
    assert mapped._places == before
    assert [path.name for path in (tmp_path / "vitedu").iterdir()] == []


def test_writing_into_a_map_leaves_the_file_alone(tmp_path):
    (tmp_path / "file").write_bytes(bytes(40 * 24))
    map_bytes(tmp_path / "file", (40, 3, 2, 4))[:] = 7
    assert not any((tmp_path / "file").read_bytes())


def test_ordinary_images_are_joined_as_a_copy():
    whole = torch.zeros(6, 1, 2, 2, dtype=torch.uint8)
    parts = (Split(part, torch.zeros(3, dtype=torch.int64)) for part in whole.split(3))
    concatenate(*parts).images[:] = 1
    assert not whole.any()
