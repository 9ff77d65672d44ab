"""`make gpu`: each step runs and records row by row, keeps its limit, and without a GPU it is said what would run."""

import importlib
import json
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from tests.book.test_experiments import EXPERIMENTS, call, holes, kept_files  # noqa: F401  (`call` is a fixture)
from vitedu.data import load

ROOT = EXPERIMENTS.parents[1]
ABOUT = {"about", "command", "commit", "data", "date", "device", "processor", "rows", "seconds", "versions"}
TRAINED = {"name", "validation", "images_seen", "seconds", "compile_seconds", "parameters"}
ROWS = {  # how many, and with which fields
    "speed": (2, {"name", "batch", "images_per_second", "utilisation", "product_flops", "peer", "times_peer"}),
    "cifar10": (2, TRAINED | {"accuracy"}),
    "fashion": (2, TRAINED | {"accuracy"}),
    "curve": (8, TRAINED),
    "imagenette": (5, TRAINED | {"accuracy"}),
    "inspect": (1, TRAINED | {"accuracy"}),
}


@pytest.fixture
def gpu(call, monkeypatch, tmp_path):  # noqa: F811
    """What imports gpu.py anew, as if called with these arguments."""

    def build(*arguments: str):
        call(str(EXPERIMENTS / "gpu.py"), *arguments)
        for name in ("_gpu", "_gpu_speed", "gpu"):
            sys.modules.pop(name, None)
        return importlib.import_module("gpu")

    monkeypatch.setenv("VITEDU_DATA", str(tmp_path))
    return build


def record_of(folder: Path, name: str) -> dict:
    (path,) = folder.glob(f"*/gpu_{name}.json")
    return json.loads(path.read_text(encoding="utf-8"))


def test_each_step_runs_in_seconds_and_would_record_its_rows(gpu, tmp_path, capsys):
    before = kept_files()
    assert gpu("--smoke", "--device", "cpu").main() == 0
    for name, (count, fields) in ROWS.items():
        record = record_of(tmp_path, name)
        assert record.keys() == ABOUT
        assert [row.keys() for row in record["rows"]] == [fields] * count, name
        assert holes(record["rows"]) == []
        assert "NaN" not in json.dumps(record)
        assert record["command"] == "python book/experiments/gpu.py --smoke --device cpu"
    assert kept_files() == before
    said = capsys.readouterr().out
    assert all(f"{name} begins, at most" in said and f"{name} ended after" in said for name in ROWS)
    assert list(tmp_path.glob("*/imagenette-large.safetensors"))


def test_steps_are_chosen_by_name(gpu, tmp_path, capsys):
    assert gpu("fashion", "--smoke", "--device", "cpu").main() == 0
    assert [path.name for path in tmp_path.glob("*/gpu_*.json")] == ["gpu_fashion.json"]
    with pytest.raises(SystemExit):
        gpu("fasion", "--smoke").main()
    assert "no step is called fasion; there are: speed, cifar10, fashion, curve" in capsys.readouterr().err


def test_without_a_gpu_it_says_what_would_run_and_runs_nothing(gpu, monkeypatch, tmp_path, capsys):
    script = gpu("--device", "cpu")
    (tmp_path / "cifar10.tar.xz").touch()
    monkeypatch.setattr(script, "run_step", None)
    assert script.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == ["speed", "cifar10", "fashion"]
    assert "aim 94 %" in lines[2]
    assert "found" in lines[2]
    assert "NOT FOUND" in lines[3]
    assert all("not yet measured" in line or "recorded on" in line for line in lines[1:-1])


def test_the_steps_that_run_unless_others_are_named_take_less_than_nine_minutes(gpu):
    script = gpu("--device", "cpu")
    assert sum(script.TASKS[name].limit for name in script.DEFAULT) <= 530  # ten seconds are for importing torch
    assert sum(task.limit for name, task in script.TASKS.items() if name not in script.DEFAULT) <= 600


COMPILING, AGAIN, LOADING = 30, 4, 10  # seconds: a model for the first time and later on, and a set; guesses


def test_one_seed_of_each_row_fits_into_the_limit_of_its_step(gpu):
    script = gpu("--device", "cpu")
    curve, imagenette = (script.TASKS[name].limit for name in ("curve", "imagenette"))
    models, sizes = len(script.entrants(script.PLAIN, 1)), len(script.CURVE_SIZES)
    again = (sizes - 1) * (script.CURVE_SECONDS + AGAIN)
    assert LOADING + (models - 1) * (COMPILING + script.CURVE_SECONDS + again) <= curve  # without Swin
    assert LOADING + models * (COMPILING + script.IMAGENETTE_SECONDS) <= imagenette


def test_each_row_has_one_seed_before_any_has_two(gpu, monkeypatch, tmp_path):
    script = gpu("curve", "--smoke", "--device", "cpu", "--seeds", "2")
    names, trained = [], script.measure_all.__globals__["train"]

    def note(step, contender, data, seed, seconds, test):
        names.append((seed, len(data.train)))
        if len(names) == 11:
            raise TimeoutError("the time is up")
        return trained(step, contender, data, seed, seconds, test)

    monkeypatch.setitem(script.measure_all.__globals__, "train", note)
    assert script.main() == 1
    assert names == [(0, 10), (0, 20)] * 4 + [(1, 10), (1, 20), (1, 10)]
    counts = [len(row["validation"]["values"]) for row in record_of(tmp_path, "curve")["rows"]]
    assert counts == [2, 2, 1, 1, 1, 1, 1, 1]


def test_a_step_that_is_too_slow_is_stopped_with_what_it_has_and_the_next_goes_on(gpu, monkeypatch, tmp_path, capsys):
    script = gpu("--smoke", "--device", "cpu")

    def slow(step, seeds):
        step.put({"name": "first"}, "done")
        time.sleep(60)

    def broken(step, seeds):
        raise RuntimeError("out of memory")

    works = [slow, broken, lambda step, seeds: step.put({"name": "third"}, "done")]
    task = script.TASKS["speed"]
    tasks = {f"step{n}": replace(task, work=work, limit=0.3) for n, work in enumerate(works)}
    monkeypatch.setattr(script, "TASKS", tasks)
    assert script.main() == 1
    assert record_of(tmp_path, "step0")["rows"] == [{"name": "first"}]
    assert record_of(tmp_path, "step2")["rows"] == [{"name": "third"}]
    said = capsys.readouterr()
    assert "step0 was cut off after" in said.out
    assert "stopped at its limit of 0 s" in said.err
    assert "out of memory" in said.err


def test_a_step_whose_data_are_missing_is_left_out(gpu, monkeypatch, tmp_path, capsys):
    script = gpu("cifar10", "--device", "cpu")
    run = script.start("", seeds=0, steps=tuple(script.TASKS))
    assert not script.run_step(run, *script.asked_for("cifar10"))
    assert f"cifar10 is not in {tmp_path}: one of cifar10.tar.xz, cifar10.zip" in capsys.readouterr().out


def test_without_timm_the_speed_stands_alone(gpu, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "timm", None)
    assert gpu("speed", "--smoke", "--device", "cpu").main() == 0
    for row in record_of(tmp_path, "speed")["rows"]:
        assert (row["times_peer"], row["peer"]) == (None, "timm is not installed here")
        assert len(row["images_per_second"]["values"]) >= 3


def counting(calls: list, **options):
    """`torch.compile` without a compiler: what is compiled is noted, and graphs have to be whole."""

    def backend(graph, inputs):
        calls.append(graph)
        return graph.forward

    return partial(torch.compile, backend=backend, fullgraph=True, **options)


def test_every_model_is_compiled_as_one_graph(gpu):
    script = gpu("--smoke", "--device", "cpu")
    for build in script.entrants(script.PLAIN, 1).values():
        torch._dynamo.reset()
        graphs = []
        counting(graphs)(build())(torch.randn(2, 3, 32, 32)).sum().backward()
        assert len(graphs) == 1


def test_blocks_are_alike_so_that_one_is_compiled_for_all(gpu, monkeypatch):
    speed = gpu("--smoke", "--device", "cpu").speed.__globals__
    config = replace(speed["SMALL"], depth=3)
    ours, (theirs, _) = speed["ViT"](config), speed["peer"](config)
    monkeypatch.setitem(speed, "COMPILE", True)
    for model, blocks in ((ours, ours.encoder.blocks), (theirs, theirs.blocks)):
        torch._dynamo.reset()
        graphs = []
        monkeypatch.setattr(torch, "compile", counting(graphs))
        speed["trainer"](model, blocks, speed["noise"](config, 2), torch.device("cpu"))()
        assert len(graphs) == 1


def test_rand_augment_keeps_bytes_and_shapes_and_changes_most_pictures(gpu):
    script = gpu("--smoke", "--device", "cpu")
    images = load("digits", quiet=True).train.images[:600].repeat(1, 3, 4, 4)  # three groups, the last one smaller
    torch.manual_seed(0)
    changed = script.measure.__globals__["rand_augment"](images)
    assert (changed.dtype, changed.shape) == (torch.uint8, images.shape)
    assert (changed != images).flatten(1).any(1).float().mean() > 0.5


def test_make_gpu_runs_from_a_checkout_without_installation(tmp_path):
    command = ["make", "gpu", f"PYTHON={sys.executable}", "VENV=none", "STEPS=curve inspect", f"DATA={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    if torch.cuda.is_available():
        pytest.skip("here it would train")
    assert done.returncode == 0, done.stderr
    assert "inspect    at most" in done.stdout
    assert f"data in {tmp_path}: NOT FOUND" in done.stdout


def test_a_step_can_be_given_other_seconds(gpu, capsys):
    assert gpu("speed:30", "fashion", "--device", "cpu").main() == 0
    told = capsys.readouterr().out
    assert "speed      at most  30 s" in told
    assert "fashion    at most  75 s" in told
    assert "in all at most 105 s" in told


@pytest.mark.parametrize("word", ["speed:x", "speed:0"])
def test_seconds_that_are_none_are_refused(gpu, word):
    with pytest.raises(SystemExit, match="write speed or"):
        gpu(word, "--device", "cpu").main()
