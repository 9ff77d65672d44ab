"""Where data live, and turns taken there."""

import threading
import time
from pathlib import Path

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
