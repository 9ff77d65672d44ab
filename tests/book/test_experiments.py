"""The scripts behind the recorded results: each runs, a table is recorded whole, a row can be repeated by itself."""

import importlib
import json
import math
import os
import runpy
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from book.tools import results
from vitedu.data.pairs import SIDE
from vitedu.pretrained import WEIGHTS

BOOK = Path(__file__).resolve().parents[2] / "book"
EXPERIMENTS, RESULTS = BOOK / "experiments", BOOK / "results"
SCRIPTS = sorted(path.stem for path in EXPERIMENTS.glob("[!_]*.py") if path.stem != "gpu")  # it has records by step
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
ORIGIN = {"command", "commit", "date", "processor", "versions"}  # what a row that was run by itself says besides


@pytest.fixture
def call(monkeypatch, tmp_path):
    """What sets a command line; the modules that scripts share, which read it as they are imported, are so anew."""
    names, threads = [path.stem for path in EXPERIMENTS.rglob("*.py")], torch.get_num_threads()
    monkeypatch.syspath_prepend(EXPERIMENTS)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where a trial run writes
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield lambda *arguments: monkeypatch.setattr(sys, "argv", list(arguments))
    torch.set_num_threads(threads)
    for name in names:
        sys.modules.pop(name, None)


def kept_files() -> dict[Path, int]:
    """What no trial run may touch, by its time of change."""
    return {path: path.stat().st_mtime_ns for folder in (RESULTS, WEIGHTS) for path in folder.iterdir()}


def fields(result: dict) -> set[frozenset[str]]:
    """The names of the fields of each kind of row."""
    return {frozenset(row.keys() - ORIGIN) for row in result["rows"]}


def holes(node: object) -> list:
    """What holds a number that is none, but for the spread of a single value."""
    if isinstance(node, dict):
        whole = {key: value for key, value in node.items() if key != "std" or len(node["values"]) > 1}
        return [hole for value in whole.values() for hole in holes(value)]
    if isinstance(node, list):
        return [hole for value in node for hole in holes(value)]
    return [node] if isinstance(node, float) and not math.isfinite(node) else []


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_runs_and_would_record_the_fields_of_its_record(call, name, device, tmp_path):
    before, script = kept_files(), str(EXPERIMENTS / f"{name}.py")
    call(script, "--smoke", "--device", device)
    runpy.run_path(script, run_name="__main__")
    (written,) = tmp_path.glob(f"*/{name}.json")
    made, known = (json.loads(path.read_text(encoding="utf-8")) for path in (written, RESULTS / f"{name}.json"))
    assert made.keys() == known.keys()
    expected = fields(known)
    if device != "cpu":  # some kinds of row say that there is no GPU
        expected &= fields(made)
    assert fields(made) == expected
    assert made["device"].startswith(device)
    assert holes(made["rows"]) == []
    assert kept_files() == before


@pytest.fixture
def table(call, monkeypatch, tmp_path):
    """What records two rows, whose accuracy over the seeds is known, into a folder of its own."""

    def record(*options: str) -> list[dict]:
        call("two_rows.py", *options)
        shared = importlib.import_module("_record")
        monkeypatch.setattr(shared, "RESULTS", tmp_path)
        monkeypatch.setattr("vitedu.recorded.FOLDERS", (tmp_path,))

        def row(base: float):
            return lambda seeds: {"accuracy": shared.spread([base + 0.01 * seed for seed in seeds])}

        rows = {"first": row(0.5), "second": row(0.8)}
        return shared.compute(shared.start("A test.", rows=True), "a test", ["no data"], rows)

    return record


def test_a_table_is_recorded_whole(table, tmp_path):
    done = table()
    content = json.loads((tmp_path / "two_rows.json").read_text())
    assert content["rows"] == done
    assert [row["name"] for row in done] == ["first", "second"]
    assert done[1]["accuracy"]["values"] == pytest.approx([0.8, 0.81, 0.82])
    assert done[1]["accuracy"]["std"] == pytest.approx(0.01)


def test_processes_side_by_side_record_what_one_after_the_other_does(table):
    assert table("--jobs", "2") == table()


@pytest.mark.parametrize("jobs", [1, 3])
def test_each_case_has_a_process_of_its_own_and_the_answers_keep_their_order(call, jobs):
    call("a_script.py", "--jobs", str(jobs))
    run = importlib.import_module("_record").start("A test.")
    found = run.each(lambda case: (case**2, os.getpid()), range(5))
    assert [square for square, _ in found] == [0, 1, 4, 9, 16]
    assert len({process for _, process in found} - {os.getpid()}) == (5 if jobs > 1 else 0)


def test_a_fault_in_a_process_comes_out_as_in_one(call):
    call("a_script.py", "--jobs", "2")
    run = importlib.import_module("_record").start("A test.")
    with pytest.raises(ZeroDivisionError):
        run.each(lambda case: 1 / case, [1, 0])


def test_a_row_is_shown_beside_its_record_which_stays(table, tmp_path, capsys):
    (tmp_path / "two_rows.json").write_text(
        json.dumps({"rows": [{"name": "second", "accuracy": {"mean": 0.9, "std": 0.02, "values": [0.88, 0.9, 0.92]}}]})
    )
    before = (tmp_path / "two_rows.json").read_bytes()
    assert table("--row", "second", "--seeds", "1") == []
    assert capsys.readouterr().out.splitlines() == ["recorded: 90.00 ± 2.00 % (3 seeds)", "now:      80.00 % (1 seed)"]
    assert (tmp_path / "two_rows.json").read_bytes() == before


def test_a_new_row_can_replace_the_recorded_one_and_says_where_it_is_from(table, tmp_path):
    table()
    before = json.loads((tmp_path / "two_rows.json").read_text())
    before["rows"][0]["accuracy"]["mean"] = 0.1  # as if another script had measured it
    (tmp_path / "two_rows.json").write_text(json.dumps(before))
    table("--row", "first", "--update")
    after = json.loads((tmp_path / "two_rows.json").read_text())
    assert after["rows"][0]["accuracy"]["mean"] == pytest.approx(0.51)
    assert after["rows"][0]["command"] == "python book/experiments/two_rows.py --row first --update"
    assert after["rows"][1] == before["rows"][1]
    assert {**after, "rows": None} == {**before, "rows": None}


def test_a_row_can_be_run_before_anything_is_recorded(table, capsys):
    table("--row", "first")
    assert capsys.readouterr().out.splitlines() == ["recorded: not yet", "now:      51.00 ± 1.00 % (3 seeds)"]


def test_an_unknown_row_names_the_nearest(table):
    with pytest.raises(SystemExit, match="two_rows has no row 'secand'; did you mean 'second'"):
        table("--row", "secand")


def test_make_results_hands_its_options_on(monkeypatch):
    commands = []

    class Done:
        returncode = 0

    monkeypatch.setattr(results.subprocess, "run", lambda command, **_: commands.append(command) or Done)
    assert results.main(["ablations", "--row", "no warm-up", "--seeds", "1", "--smoke", "--device", "cpu"]) == 0
    assert commands[0][1].endswith("book/experiments/ablations.py")
    assert commands[0][2:] == ["--row", "no warm-up", "--seeds", "1", "--smoke", "--device", "cpu"]


def test_what_no_script_is_called_is_refused(capsys):
    assert results.main(["ablation"]) == 2
    assert "no script is called ablation; there are: " in capsys.readouterr().err


LADDER = (1, 2, 4, 8, 16, 32)


@pytest.mark.parametrize(
    ("peak", "tried"), [(4, [2, 4, 8]), (8, [4, 8, 16]), (2, [1, 2, 4, 8]), (32, [4, 8, 16, 32]), (1, [1, 2, 4, 8])]
)
def test_a_rate_is_chosen_between_two_that_are_worse_or_at_an_end_of_the_ladder(call, peak, tried):
    call("a_script.py", "--seeds", "3")
    rates, run = importlib.import_module("_rates"), importlib.import_module("_record").start("A test.")
    calls = []

    def train(arm: str, rate: float, seed: int) -> dict:
        calls.append((arm, rate, seed))
        return {"val": -abs(math.log2(rate / (peak if arm == "moved" else 4)))}

    runs, chosen = rates.tuned(run, train, ["fixed", "moved"], LADDER)
    assert chosen == {"fixed": 4, "moved": peak}
    assert sorted(runs["moved"]) == tried
    assert [len(runs["moved"][rate]) for rate in tried] == [3 if rate == peak else 1 for rate in tried]
    assert len(calls) == len(set(calls)) == len(tried) + 2 + 3 + 2


def test_validation_pictures_are_looked_at_evenly_and_last_at_the_end(call, monkeypatch):
    call("a_script.py")
    rates = importlib.import_module("_rates")
    monkeypatch.setattr(rates, "evaluate", lambda *_: SimpleNamespace(accuracy=0.5))
    measure = rates.sparsely(24, 6)
    looked = [bool(measure(None, None, None)) for _ in range(24)]
    assert [epoch for epoch, look in enumerate(looked, 1) if look] == [4, 8, 12, 16, 20, 24]


def test_the_plain_network_sees_nineteen_pixels_and_the_deeper_one_the_whole_picture(call, monkeypatch):
    call("a_script.py")
    networks = importlib.import_module("far_apart")
    for name, sees in (("plain", 19), ("deeper", SIDE)):
        images = torch.randn(1, 3, SIDE, SIDE, requires_grad=True)
        networks.build(name, "cue").eval().features(images)[0, :, 2, 2].sum().backward()
        assert (images.grad.abs().amax((0, 1, 3)) > 0).sum() == sees
