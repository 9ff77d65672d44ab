"""The scripts behind the recorded results: a table is recorded whole, and a row can be repeated beside its record."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

BOOK = Path(__file__).resolve().parents[2] / "book"


def module(folder: str, name: str):
    """A module of the book's tools or experiments, which are no package."""
    spec = importlib.util.spec_from_file_location(name, BOOK / folder / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def rows(monkeypatch, tmp_path):
    """`_rows`, with a folder of its own for what it records."""
    monkeypatch.syspath_prepend(str(BOOK / "experiments"))
    for name in ("_common", "_rows"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import _common
    import _rows

    monkeypatch.setattr(_common, "RESULTS", tmp_path)
    monkeypatch.setattr("vitedu.recorded.FOLDERS", (tmp_path,))
    yield _rows
    for name in ("_common", "_rows"):
        sys.modules.pop(name, None)


def table(rows):
    """Two rows, whose accuracy over the seeds is known."""
    from _common import spread

    def run(base: float):
        return lambda seeds: {"accuracy": spread([base + 0.01 * seed for seed in seeds])}

    def compute():
        return rows.compute("two_rows", "a test", ["no data"], {"first": run(0.5), "second": run(0.8)}, "A test.")

    return compute


def test_a_table_is_recorded_whole(rows, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["two_rows.py"])
    done = table(rows)()
    content = json.loads((tmp_path / "two_rows.json").read_text())
    assert content["rows"] == done
    assert [row["name"] for row in done] == ["first", "second"]
    assert done[1]["accuracy"]["values"] == pytest.approx([0.8, 0.81, 0.82])
    assert done[1]["accuracy"]["std"] == pytest.approx(0.01)


def test_a_row_is_shown_beside_its_record_which_stays(rows, monkeypatch, tmp_path, capsys):
    (tmp_path / "two_rows.json").write_text(
        json.dumps({"rows": [{"name": "second", "accuracy": {"mean": 0.9, "std": 0.02, "values": [0.88, 0.9, 0.92]}}]})
    )
    before = (tmp_path / "two_rows.json").read_bytes()
    monkeypatch.setattr(sys, "argv", ["two_rows.py", "--row", "second", "--seeds", "1"])
    assert table(rows)() == []
    assert capsys.readouterr().out.splitlines() == ["recorded: 90.00 ± 2.00 % (3 seeds)", "now:      80.00 % (1 seed)"]
    assert (tmp_path / "two_rows.json").read_bytes() == before


def test_a_new_row_can_replace_the_recorded_one_and_says_where_it_is_from(rows, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["two_rows.py"])
    table(rows)()
    before = json.loads((tmp_path / "two_rows.json").read_text())
    before["rows"][0]["accuracy"]["mean"] = 0.1  # as if another script had measured it
    (tmp_path / "two_rows.json").write_text(json.dumps(before))
    monkeypatch.setattr(sys, "argv", ["two_rows.py", "--row", "first", "--update"])
    table(rows)()
    after = json.loads((tmp_path / "two_rows.json").read_text())
    assert after["rows"][0]["accuracy"]["mean"] == pytest.approx(0.51)
    assert after["rows"][0]["command"] == "python book/experiments/two_rows.py --row first --update"
    assert after["rows"][1] == before["rows"][1]
    assert {**after, "rows": None} == {**before, "rows": None}


def test_a_row_can_be_run_before_anything_is_recorded(rows, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["two_rows.py", "--row", "first"])
    table(rows)()
    assert capsys.readouterr().out.splitlines() == ["recorded: not yet", "now:      51.00 ± 1.00 % (3 seeds)"]


def test_an_unknown_row_names_the_nearest(rows, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["two_rows.py", "--row", "secand"])
    with pytest.raises(SystemExit) as ended:
        table(rows)()
    assert ended.value.code == 2
    assert "two_rows has no row 'secand'; did you mean 'second'?" in capsys.readouterr().err


def test_make_results_hands_its_options_on(monkeypatch):
    results, commands = module("tools", "results"), []

    class Done:
        returncode = 0

    monkeypatch.setattr(results.subprocess, "run", lambda command, **_: commands.append(command) or Done)
    assert results.main(["ablations", "--row", "no warm-up", "--seeds", "1"]) == 0
    assert commands[0][1].endswith("book/experiments/ablations.py")
    assert commands[0][2:] == ["--row", "no warm-up", "--seeds", "1"]


def test_what_no_script_is_called_is_refused(capsys):
    assert module("tools", "results").main(["ablation"]) == 2
    assert "no script is called ablation; there are: " in capsys.readouterr().err
