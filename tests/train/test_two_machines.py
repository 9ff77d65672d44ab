"""Two machines, played by two torchruns that meet on 127.0.0.1: one is lost, another takes its place, all goes on."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from vitedu.data import load
from vitedu.train import TrainingLoop, distributed, recipe
from vitedu.train.checkpoint import STATE_FILE, read_state
from vitedu.train.progress import Progress
from vitedu.vit import ViT

ROOT = Path(__file__).parents[2]
EPOCHS, BATCH = 30, 64  # the batch of one process of two
MODEL = {"dim": 16, "depth": 1, "num_heads": 1, "patch_size": 4}
OPTIONS = [part for name, value in MODEL.items() for part in (f"--{name.replace('_', '-')}", str(value))]
OPTIONS += f"--data digits --batch-size {BATCH} --epochs {EPOCHS} --optimizer sgd --lr 0.02".split()
PATIENCE = 250  # seconds: on an idle machine the whole test takes less than a tenth of the time that it may take

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch was built without processes")


class Machine:
    """A torchrun with one process; `first` keeps the list of who is there."""

    def __init__(self, out: Path, port: int, name: str, first: bool):
        self.log = out.with_name(f"{name}.log")
        # Times short enough for a test: how long a machine may be silent, and how long to wait for another.
        patience = f"keep_alive_interval=1,keep_alive_max_attempt=5,join_timeout={PATIENCE},is_host={int(first)}"
        command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
        command += ["--max-restarts=3", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}", "--rdzv-id=book"]
        command += [f"--rdzv-conf={patience}", "--local-addr=127.0.0.1", "-m", "vitedu.train", *OPTIONS]
        environment = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
        environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
        with self.log.open("w") as log:
            self.process = psutil.Popen(
                [*command, "--out", str(out)], env=os.environ | environment, stdout=log, stderr=subprocess.STDOUT
            )

    def lose(self) -> None:
        """What a cut of the power does."""
        for process in [*self.process.children(recursive=True), self.process]:
            process.kill()
        self.process.wait()


@pytest.fixture
def machine(tmp_path):
    """Starts machines, and ends those that are left."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []

    def start(name: str, first: bool = False) -> Machine:
        started.append(Machine(tmp_path / "run", port, name, first))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.lose()


def undisturbed() -> list[float]:
    """The losses of one process with the doubled batch; of 1,257 images one sits out, as with two processes."""
    changes = {"optimizer": "sgd", "lr": 0.02, "epochs": EPOCHS, "batch_size": 2 * BATCH}
    data = load("digits", quiet=True)
    config, settings = recipe(data, model=MODEL, train=changes)
    torch.manual_seed(0)
    loop = TrainingLoop(ViT(config), data, settings, len(data.train) - 1, torch.device("cpu"))
    return [loop.epoch(data.train, number, Progress(EPOCHS, False)) for number in range(1, EPOCHS + 1)]


def test_a_machine_that_is_lost_and_comes_back_changes_no_loss(machine, tmp_path):
    first, second, out = machine("first", first=True), machine("second"), tmp_path / "run"
    deadline = time.monotonic() + PATIENCE
    while not (out / STATE_FILE).exists() or read_state(out)["epoch"] < 3:
        assert time.monotonic() < deadline, first.log.read_text()[-2000:]
        assert first.process.poll() is second.process.poll() is None, first.log.read_text()[-2000:]
        time.sleep(0.01)
    second.lose()
    reached = read_state(out)["epoch"]
    assert 3 <= reached < EPOCHS
    back = machine("second, once more")
    for one in (first, back):
        assert one.process.wait(timeout=PATIENCE) == 0, one.log.read_text()[-3000:]
    history = json.loads((out / "result.json").read_text())["history"]
    assert [record["epoch"] for record in history] == list(range(1, EPOCHS + 1))
    assert [record["train_loss"] for record in history] == pytest.approx(undisturbed(), abs=5e-3)
    told = first.log.read_text() + back.log.read_text()
    assert told.count("validation loss") <= EPOCHS + 1  # what a checkpoint held was not done again


def test_machines_that_would_not_find_each_other_again_are_told_so(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    monkeypatch.setenv("GROUP_WORLD_SIZE", "1")
    assert distributed._store_outlives_restarts()
    monkeypatch.setenv("GROUP_WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 before torchrun on each"):
        distributed._store_outlives_restarts()
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "0")
    assert distributed._store_outlives_restarts()
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "False")
    assert not distributed._store_outlives_restarts()
