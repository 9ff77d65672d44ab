"""`load`: one door to all data sets."""

import pytest
import torch
from PIL import Image

from vitedu.data import NAMES, DatasetUnavailable, draw_shapes, load


def test_the_one_line_is_printed_unless_quiet(capsys):
    data = load("digits")
    assert capsys.readouterr().out == data.describe() + "\n"
    load("digits", quiet=True)
    assert capsys.readouterr().out == ""


def test_options_reach_the_set(capsys):
    data = load("shapes", image_size=(16, 24), counts=(30, 12, 12), seed=2, colour="agree")
    assert torch.equal(data.train.images, draw_shapes(30, seed=6, image_size=(16, 24), colour="agree").images)
    assert "30 train, 12 val, 12 test; 6 classes, images 3×16×24" in capsys.readouterr().out


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(ValueError, match="did you mean 'fashion-mnist'"):
        load("Fashion_MNIST")
    with pytest.raises(ValueError, match=r"neither a data set .* nor a folder"):
        load("no/such/path")


@pytest.mark.parametrize("name", ["digits", "fashion-mnist", "cifar10", "cifar100"])
def test_a_set_of_fixed_size_refuses_another(name, tmp_path):
    with pytest.raises(ValueError, match="not 17; leave"):
        load(name, root=tmp_path, image_size=17)


@pytest.mark.parametrize("name", ["digits", "shapes", "cifar10"])
def test_an_unknown_option_is_refused(name, tmp_path):
    with pytest.raises(TypeError, match="colours"):
        load(name, root=tmp_path, quiet=True, colours=3)


@pytest.mark.parametrize("name", NAMES[2:])
def test_the_root_is_that_of_the_environment_and_a_missing_set_says_what_to_do(name, tmp_path, monkeypatch):
    monkeypatch.setenv("VITEDU_DATA", str(tmp_path / "mine"))
    monkeypatch.setenv("VITEDU_MIRRORS", "http://127.0.0.1:9/")  # nobody listens there
    with pytest.raises(DatasetUnavailable) as caught:
        load(name)
    for part in (name, "load('digits')", "load('shapes')", "VITEDU_DATA", str(tmp_path / "mine"), f"{name}.zip"):
        assert part in str(caught.value)


def test_a_path_may_be_given_a_name_of_its_own(tmp_path, capsys):
    for number, name in enumerate(f"{label}/{i}.png" for label in "ab" for i in range(3)):
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / "p" / name)
    assert load(tmp_path / "p", name="pets").name == "pets"
    assert capsys.readouterr().out.startswith("pets (folder p; no splits")


@pytest.mark.parametrize("name", ["a" * 300, "~nobody/pets", "a\0b", "loop", "loop/train"])
def test_what_cannot_even_be_a_path_is_no_traceback_of_another_kind(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ValueError, match=r"is neither a data set .* nor a folder or file here"):
        load(name)
