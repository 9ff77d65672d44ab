"""Where data live, and turns taken there."""

import errno
import fcntl
import os
import threading
import time
from pathlib import Path

import pytest

from vitedu.data import paths
from vitedu.data.paths import cache_root, data_root, locked


def test_the_environment_moves_root_and_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("VITEDU_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert data_root() == cache_root() == tmp_path / ".cache" / "vitedu"
    monkeypatch.setenv("VITEDU_DATA", "~/sets")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert data_root() == tmp_path / "sets"
    assert cache_root() == Path("/elsewhere/vitedu")


@pytest.fixture(params=[None, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def disk(request, monkeypatch):
    """A disk with locks, and others whose `flock` fails in all the ways that were reported."""

    def fail(*_):
        raise OSError(request.param, os.strerror(request.param))

    if request.param:
        monkeypatch.setattr(fcntl, "flock", fail)


@pytest.mark.usefixtures("disk")
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
    assert not (tmp_path / "new" / ".busy").exists()


def test_what_a_killed_process_left_on_a_disk_without_locks_is_named_instead_of_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "_can_lock", lambda _: False)
    monkeypatch.setattr(paths, "WAIT", 0.2)
    (tmp_path / ".busy").touch()
    message = rf"in {tmp_path} for 0.2 s, or was killed there; .*delete {tmp_path}/.busy"
    with pytest.raises(OSError, match=message), locked(tmp_path):
        pass
