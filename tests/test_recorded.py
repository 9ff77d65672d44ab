"""Recorded results can be found from a notebook, and each says where it comes from."""

import json

import pytest

from vitedu import recorded as module
from vitedu.recorded import FOLDERS, provenance, recorded

NAMES = sorted(path.stem for folder in FOLDERS for path in folder.glob("*.json"))


def test_an_unknown_name_lists_the_known(tmp_path, monkeypatch):
    (tmp_path / "b.json").write_text("{}")
    (tmp_path / "a.json").write_text('{"rows": [1]}')
    monkeypatch.setattr(module, "FOLDERS", (tmp_path,))
    assert recorded("a") == {"rows": [1]}
    with pytest.raises(ValueError, match="no recorded result 'c'; there are: a, b"):
        recorded("c")


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_result_says_how_it_was_made(name):
    result = recorded(name)
    assert {"about", "command", "date", "commit", "data", "device", "processor", "versions", "seconds", "rows"} <= set(
        result
    )
    script = "gpu" if name.startswith("gpu_") else name  # whose steps have a record each
    assert f"book/experiments/{script}.py" in result["command"]
    assert (FOLDERS[1].parent / "experiments" / f"{script}.py").exists()
    assert result["date"] in provenance(result)


@pytest.mark.parametrize("name", NAMES)
def test_every_spread_is_over_three_seeds_or_more_and_adds_up(name):
    """Mean and standard deviation recomputed from the values beside them."""

    def spreads(node):
        if isinstance(node, dict):
            if {"mean", "std", "values"} <= set(node):
                yield node
            for child in node.values():
                yield from spreads(child)
        elif isinstance(node, list):
            for child in node:
                yield from spreads(child)

    rows = json.loads(json.dumps(recorded(name)["rows"]))
    found = list(spreads(rows))
    # the lent minutes of a GPU may buy one seed only, whose row has no "std" to be mistaken for a spread
    assert found or name.startswith("gpu_"), "a claim needs a spread: record three seeds or more"
    for node in found:
        values, count = node["values"], len(node["values"])
        assert count >= 3
        mean = sum(values) / count
        assert node["mean"] == pytest.approx(mean)
        assert node["std"] == pytest.approx((sum((v - mean) ** 2 for v in values) / (count - 1)) ** 0.5)
