"""What the model answers quote of changed cells: the changes still fit the chapters, and the quotes the record."""

import importlib
import sys
from dataclasses import replace

import pytest

from book.tools.site.chapters import all_chapters
from tests.book.test_experiments import EXPERIMENTS, call  # noqa: F401  (`call` is a fixture)
from vitedu.recorded import recorded


@pytest.fixture
def reruns(call):  # noqa: F811
    call(str(EXPERIMENTS / "reruns.py"))
    sys.modules.pop("reruns", None)
    return importlib.import_module("reruns")


def test_every_change_fits_its_chapter_and_sets_the_seed(reruns):
    for name, rerun in reruns.ROWS.items():
        first, second = rerun.source(0), rerun.source(1)
        compile(first, name, "exec")
        assert first != second, name
        assert "SEED" not in first, name


def test_a_change_that_fits_no_more_is_named(reruns):
    rerun = reruns.ROWS["chapter 5: pieces of side 4"]
    with pytest.raises(SystemExit, match=r"05_patch_partitioning has 'P = 3' 0 times in these cells, expected 1"):
        replace(rerun, edits={"P = 3": "P = 4"}).source(0)
    with pytest.raises(SystemExit, match="so no seed can be set"):
        replace(rerun, seed=("range(7)", "")).source(0)


def test_the_chapters_quote_the_record(reruns):
    texts = {chapter.path.stem: chapter for chapter in all_chapters()}
    rows = {row["name"]: row for row in recorded("reruns")["rows"]}
    assert rows.keys() == reruns.ROWS.keys()
    for name, rerun in reruns.ROWS.items():
        cells = texts[rerun.chapter].notebook["cells"]
        said = " ".join(" ".join("".join(c["source"]).split()) for c in cells if c["cell_type"] == "markdown")
        means = {key: value["mean"] for key, value in rows[name]["numbers"].items()}
        for quote in rerun.says(means):
            assert quote in said, f"{name}: the chapter has to say {quote!r}"
