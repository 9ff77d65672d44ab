"""Where data live, and files that are whole or absent."""

import os
import threading
import time
from pathlib import Path

import pytest

from vitedu.data.paths import cache_root, data_root, locked, whole_file


def test_the_environment_moves_root_and_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("VITEDU_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert data_root() == cache_root() == tmp_path / ".cache" / "vitedu"
    monkeypatch.setenv("VITEDU_DATA", "~/sets")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert data_root() == tmp_path / "sets"
    assert cache_root() == Path("/elsewhere/vitedu")


def test_a_file_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "a"
    with whole_file(path) as file:
        file.write(b"half")
        assert not path.exists()
        file.write(b" and half")
    assert path.read_bytes() == b"half and half"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_the_old_file_and_no_other(tmp_path, error):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def write_half() -> None:
        with whole_file(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a device that is always full (Linux)")
def test_a_really_full_disk_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    (tmp_path / "a.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"), whole_file(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_one_at_a_time_works_in_a_locked_folder(tmp_path):
    inside, most = [], []

    def work() -> None:
        with locked(tmp_path / "new"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 5
