"""`python -m vitedu.predict`: one line for each picture, and one for each thing that cannot be done."""

import json
import os
import subprocess
import sys

import pytest

from tests.use.conftest import CLASSES, draw
from vitedu.use import classifier
from vitedu.use.predict import AT_ONCE, main


@pytest.fixture
def album(tmp_path):
    """Two pictures in a folder, one in a folder below, and what is no picture."""
    (tmp_path / "album/more").mkdir(parents=True)
    for name, (colour, seed) in {
        "b.png": ("blue sky", 1),
        "a.jpg": ("red brick", 2),
        "more/c.png": ("blue sky", 3),
    }.items():
        draw(CLASSES[colour], 100 + seed).save(tmp_path / "album" / name)
    (tmp_path / "album/notes.txt").write_text("about them")
    draw((0, 0, 0), 0).save(tmp_path / "album/.hidden.png")
    return tmp_path / "album"


def test_a_line_for_each_picture_in_order(run, album, capsys):
    assert main([str(run), str(album / "b.png"), str(album)]) == 0
    lines = capsys.readouterr().out.splitlines()
    named = [line.partition(": ")[0] for line in lines]
    assert named == [str(album / name) for name in ("b.png", "a.jpg", "b.png", "more/c.png")]
    firsts = [line.partition(": ")[2].partition(" %")[0].rpartition(" ") for line in lines]
    assert [name for name, _, _ in firsts] == ["blue sky", "red brick", "blue sky", "blue sky"]
    assert all(float(share) > 50 for _, _, share in firsts)


def test_json_says_what_python_says(run, album, capsys):
    assert main([str(run), str(album), "--json", "--top", "1"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = classifier(run)([line["picture"] for line in found], top=1)
    assert len(found) == 3
    for line, ((name, share),) in zip(found, expected, strict=True):
        assert line["classes"] == [{"name": name, "probability": pytest.approx(share, abs=1e-6)}]


@pytest.mark.parametrize("as_json", [False, True])
def test_a_picture_that_cannot_be_read_is_named_and_the_others_are_classified(run, album, capsys, as_json):
    (album / "a.jpg").write_bytes((album / "a.jpg").read_bytes()[:200])
    assert main([str(run), str(album), *["--json"] * as_json]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"error: {album / 'a.jpg'} is not a readable picture")
    assert len(said.err.splitlines()) == 1
    lines = said.out.splitlines()
    assert len(lines) == 3 if as_json else 2
    assert not as_json or "error" in json.loads(lines[0])


def test_more_pictures_than_go_through_at_once_keep_their_order(run, photos, capsys):
    """The last few make a smaller batch."""
    many = [str(photos / "blue sky/00.png"), str(photos / "red brick/00.png")] * (AT_ONCE // 2 + 2)
    assert main([str(run), *many, "--top", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == many
    assert {lines.index(line) for line in lines} == {0, 1}


def test_shipped_weights_by_name(album, capsys):
    assert main(["imagenette-small", str(album / "a.jpg"), "--top", "10"]) == 0
    assert capsys.readouterr().out.count("%") == 10


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{run}", "{tmp}/none.jpg"], "none.jpg is not there; is the name misspelt?"),
        (["{run}", "{tmp}"], "holds no picture of the types .jpg"),
        (["{tmp}", "{photos}"], "no run.json in"),
        (["imagenet", "{photos}"], "no run imagenet here, and no weights of that name; there are: cifar10-small"),
        (["{run}", "{photos}", "--top", "0"], "--top is 0"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_2(run, photos, tmp_path, capsys, arguments, says):
    assert main([argument.format(run=run, tmp=tmp_path, photos=photos) for argument in arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert says in said.err
    assert len(said.err.splitlines()) == 1


def test_the_module_runs_from_the_shell(run, album, tmp_path):
    command = [sys.executable, "-m", "vitedu.predict", str(run), str(album)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=os.environ, check=False)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 3), done.stderr
