"""The tables of chapter 9 about CIFAR-10: what a budget buys, and rows that differ in what they say they differ in."""

import importlib
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

EXPERIMENTS = Path(__file__).resolve().parents[2] / "book" / "experiments"


@pytest.fixture
def script(monkeypatch):
    """What imports a script as its command line would, with --smoke; the modules that scripts share are so anew."""
    names, threads = [path.stem for path in EXPERIMENTS.rglob("*.py")], torch.get_num_threads()
    monkeypatch.syspath_prepend(EXPERIMENTS / "next")
    monkeypatch.syspath_prepend(EXPERIMENTS)
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)

    def load(name: str, *options: str):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", "--device", "cpu", *options])
        return importlib.import_module(name)

    yield load
    torch.set_num_threads(threads)
    for name in names:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("images", [1_000, 400_000, 1_249_999, 1_250_000, 4_500_000])
def test_the_batch_is_the_largest_that_leaves_enough_steps(script, images):
    wanted = script("what_to_expect")
    size = wanted.Case("ResNet", images, 0).batch_size
    larger = [other for other in wanted.BATCHES if other > size]
    assert images / size >= wanted.ENOUGH or size == wanted.BATCHES[0]
    assert all(images / other < wanted.ENOUGH for other in larger)


def test_a_run_sees_the_images_that_it_was_given_and_its_rate_ends_at_zero(script, monkeypatch):
    wanted = script("what_to_expect", "--smoke")
    data, run = wanted.load("cifar10"), wanted.start("A test.")
    loops, fine = [], replace(wanted.TRAIN, epochs=100)  # a trial run's schedule has a single rate
    monkeypatch.setattr(wanted, "TRAIN", fine)
    monkeypatch.setattr(wanted, "looped", lambda *given, make=wanted.looped: loops.append(make(*given)) or loops[-1])
    found = wanted.trained(run, data, wanted.Case("ViT, P = 16", 20 * 30, 0))
    assert found["images_seen"] == 600  # 20 pictures, 30 times
    assert 0 < loops[0].lr < 0.02 * wanted.RATE


def test_a_step_leaves_the_rows_of_the_others_and_says_where_they_are_from(script, monkeypatch, tmp_path):
    wanted = script("what_to_expect")
    shared = importlib.import_module("_record")
    monkeypatch.setattr(shared, "RESULTS", tmp_path)
    monkeypatch.setattr(wanted, "RESULTS", tmp_path)
    monkeypatch.setattr("vitedu.recorded.FOLDERS", (tmp_path,))
    run = wanted.start("A test.")
    object.__setattr__(run, "name", "what_to_expect")
    data = type("Data", (), {"describe": lambda self: "no data"})()
    wanted.put(run, data, [{"name": "a", "value": 1}, {"name": "b", "value": 1}])
    path = tmp_path / "what_to_expect.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"date": "before"}))
    wanted.put(run, data, [{"name": "b", "value": 2}, {"name": "c", "value": 2}])
    rows = {row.pop("name"): row for row in json.loads(path.read_text())["rows"]}
    assert rows == {"a": {"date": "before", "value": 1}, "b": {"value": 2}, "c": {"value": 2}}


def test_each_row_changes_the_one_it_names_in_one_respect(script):
    stuck = script("stuck_run")
    trial, rows = stuck.Trial(None, None, epochs=10, batch=250), {row.name: row for row in stuck.ROWS}
    together = {"schedule": "schedule", "warmup": "schedule", "optimizer": "optimizer", "weight_decay": "optimizer"}
    assert not stuck.ROWS[0].changes
    for row in stuck.ROWS[1:]:
        before, after = (asdict(trial.settings(one, 0.1)) | {"patch": one.patch} for one in (rows[row.changes], row))
        different = {together.get(key, key) for key in before if before[key] != after[key]}
        assert len(different) == 1, (row.name, different)
        assert row.tuned == (different <= {"schedule", "optimizer"}), row.name
