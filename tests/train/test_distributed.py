"""`vitedu.train.distributed`, with two processes on the CPU: they do together what one does with twice the batch."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.train.distributed_worker import BATCH, train, train_sharded
from vitedu.train import distributed

WORKER = Path(__file__).with_name("distributed_worker.py")
CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch was built without processes")


def torchrun(*arguments: str) -> subprocess.CompletedProcess:
    """Two processes on this machine, found by each other through a port that is free."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(WORKER.parents[2]),
    }
    return subprocess.run(
        [*command, "--max-restarts=0", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def two_processes(task: str, folder: Path) -> list[dict]:
    """What each of the two found."""
    done = torchrun(str(WORKER), task, str(folder))
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"{number}.pt") for number in range(2)]


def without_times(history: list[dict]) -> list[list[float]]:
    return [[value for key, value in record.items() if key not in ("waiting", "seconds")] for record in history]


@pytest.fixture(scope="module")
def alone() -> tuple[dict, list[dict]]:
    model, history = train(None, CPU, 2 * BATCH)
    return model.state_dict(), history


def test_two_processes_follow_the_curve_of_one_with_the_doubled_batch(tmp_path, alone):
    first, second = two_processes("train", tmp_path)
    weights, history = alone
    assert (first["world"], second["world"]) == (2, 2)
    torch.testing.assert_close(first["weights"], second["weights"], rtol=0, atol=0)  # they never part
    torch.testing.assert_close(first["weights"], weights, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        torch.tensor(without_times(first["history"])), torch.tensor(without_times(history)), rtol=1e-4, atol=1e-5
    )
    assert sorted([*first["shares"].tolist(), *second["shares"].tolist()]) == list(range(7))


def test_parts_of_a_batch_are_added_up_before_they_are_shared(tmp_path, alone):
    """Two processes, three parts each and blocks computed twice: still the curve of one with the whole batch."""
    first, second = two_processes("parts", tmp_path)
    torch.testing.assert_close(first["weights"], alone[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(first["own"], second["own"], rtol=1e-2)  # not averaged yet
    torch.testing.assert_close(first["shared"], second["shared"], rtol=0, atol=0)
    torch.testing.assert_close(first["shared"], first["own"] + second["own"])  # mean of twice the one, twice the other


def test_a_sharded_model_learns_as_a_whole_one_and_each_process_holds_half(tmp_path):
    first, second = two_processes("shard", tmp_path)
    whole = train_sharded(CPU, sharded=False)
    torch.testing.assert_close(first["weights"], whole["weights"], rtol=1e-4, atol=1e-5)
    mean = [(a + b) / 2 for a, b in zip(first["losses"], second["losses"], strict=True)]
    assert mean == pytest.approx(whole["losses"], rel=1e-4)
    assert first["held"] + second["held"] == whole["held"]
    assert 0.4 < first["held"] / whole["held"] < 0.6


def test_the_command_line_trains_in_two_processes_and_speaks_once(tmp_path):
    small = ["--dim", "16", "--depth", "1", "--num-heads", "1", "--patch-size", "4", "--epochs", "1"]
    small += ["--accumulate", "2", "--recompute"]
    done = torchrun("-m", "vitedu.train", "--data", "digits", *small, "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("test accuracy") == 1
    assert "in each of 2 processes" in done.stdout
    assert (tmp_path / "run" / "result.json").is_file()


def test_alone_nothing_is_shared():
    with distributed.processes():
        assert (distributed.rank(), distributed.world_size(), distributed.restarts()) == (0, 1, 0)
        assert torch.equal(distributed.local_shard(torch.arange(5)), torch.arange(5))
        assert distributed.all_reduce(torch.ones(2)).tolist() == [1.0, 1.0]
        layer = torch.nn.Linear(2, 2)
        assert distributed.data_parallel(layer) is layer
        with distributed.no_sync(layer):
            layer(torch.ones(1, 2)).sum().backward()
        assert layer.bias.grad.tolist() == [1.0, 1.0]


def test_several_processes_on_a_mac_leave_its_gpu_alone(monkeypatch):
    """gloo cannot carry tensors that lie there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in {"WORLD_SIZE": 1, "RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(distributed, "pick_device", lambda: torch.device("mps"))
    with distributed.processes() as device:
        assert device == CPU
        assert distributed.world_size() == 1


def test_a_torch_that_cannot_split_a_model_on_a_cpu_says_so(small_model, monkeypatch):
    monkeypatch.delattr(torch.cpu.Stream, "record_event")
    with pytest.raises(RuntimeError, match=r"splits no model on a CPU; take torch 2\.7 or later, or a GPU"):
        distributed.shard(small_model)
