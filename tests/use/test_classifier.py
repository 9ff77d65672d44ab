"""A trained model with what it takes to classify a picture: prepared as in training, equal to the evaluation there."""

import json
import shutil

import pytest
import torch
from PIL import Image

from tests.use.conftest import CLASSES, draw
from vitedu.data import load
from vitedu.files import CheckpointError
from vitedu.models.table import CLASSIFIERS
from vitedu.patch import pair
from vitedu.pretrained import available, describe, save
from vitedu.train import evaluate
from vitedu.train.cli import main
from vitedu.train.run import RESULT_FILE
from vitedu.use import classifier


def edited(run, tmp_path, change):
    """A copy of a run whose settings were changed by hand."""
    folder = tmp_path / "edited"
    shutil.copytree(run, folder)
    settings = json.loads((folder / "run.json").read_text())
    change(settings["data"]["about"])
    (folder / "run.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_run_of_each_model_answers_as_it_did_when_it_was_evaluated(trained, photos, kind):
    clf, data = classifier(trained("--model", kind)), load(photos, image_size=16, quiet=True)
    found = clf.probabilities(data.test.images)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(len(found)))
    result = json.loads((trained("--model", kind) / RESULT_FILE).read_text())
    right = (found.argmax(dim=1) == data.test.labels).float().mean()
    assert right == pytest.approx(result["test_accuracy"])
    assert evaluate(clf.model, data.test, data).accuracy == pytest.approx(result["test_accuracy"])
    loss = -found.gather(1, data.test.labels[:, None]).log().mean()
    assert loss.item() == pytest.approx(result["test_loss"], abs=1e-4)


def test_a_file_is_read_as_it_was_for_training(run, photos):
    """Every picture of the loaded set is one of the files, read again: the same resize, the same crop."""
    clf, data = classifier(run), load(photos, image_size=16, quiet=True)
    seen = {image.numpy().tobytes() for split in (data.train, data.val, data.test) for image in split.images}
    assert {clf.read(file).numpy().tobytes() for file in photos.rglob("*.png")} == seen
    assert clf.class_names == tuple(CLASSES)
    torch.testing.assert_close(clf.mean, data.mean)
    torch.testing.assert_close(clf.std, data.std)


def test_a_picture_in_three_lines(run, tmp_path):
    draw(CLASSES["red brick"], 99).save(tmp_path / "wall.png")
    ((best, second),) = classifier(run)([tmp_path / "wall.png"])
    assert best[0] == "red brick"
    assert best[1] > 0.5
    assert best[1] + second[1] == pytest.approx(1)
    assert classifier(run)(tmp_path / "wall.png", top=1) == [[best]]


def test_transparent_parts_lie_on_the_ground_of_the_training_pictures(tmp_path):
    """Pale drawings on nothing were laid on black; a new one is as well, and not on white."""
    for name, grey in {"pale": 250, "paler": 255}.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(4):
            picture = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
            picture.paste((grey, grey - number, grey, 255), (2, 2, 6, 6))
            picture.save(tmp_path / "data" / name / f"{number}.png")
    arguments = ["--data", str(tmp_path / "data"), "--image-size", "8", "--dim", "8", "--depth", "1", "--epochs", "1"]
    assert main([*arguments, "--num-heads", "1", "--patch-size", "4", "--out", str(tmp_path / "run")]) == 0
    clf = classifier(tmp_path / "run")
    assert clf.ground == "black"
    assert clf.read(tmp_path / "data/pale/0.png")[:, 0, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", [name for name in available() if name != "shapes-detr"])
def test_shipped_weights_know_their_pictures(name):
    clf, card = classifier(name), describe(name)
    assert clf.class_names == tuple(card["class_names"])
    assert clf.shape == (card["config"]["in_channels"], *pair(card["config"]["image_size"]))
    assert clf.probabilities(torch.zeros(2, *clf.shape, dtype=torch.uint8)).shape == (2, len(clf.class_names))


def test_shipped_digits_are_as_accurate_as_their_card_says():
    data = load("digits", quiet=True)
    right = classifier("digits-vit").probabilities(data.test.images).argmax(dim=1) == data.test.labels
    assert right.float().mean().item() == pytest.approx(describe("digits-vit")["accuracy"], abs=1e-6)


def test_what_does_not_classify_is_refused_by_name():
    with pytest.raises(ValueError, match=r"shapes-detr is a DETR, which does not classify; CvT, .*ViT do"):
        classifier("shapes-detr")


def test_saved_weights_and_every_file_of_a_run_are_found(run, tmp_path):
    """NAME.safetensors or .json of `save`; run.json, checkpoint.json and the checkpoint that it names."""
    clf, images = classifier(run), torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8)
    about = {"class_names": clf.class_names, "mean": clf.mean.tolist(), "std": clf.std.tolist()}
    save("mine", clf.model, tmp_path, **about)
    for file in (*tmp_path.glob("mine.*"), *run.glob("*.safetensors"), run / "run.json", run / "checkpoint.json"):
        torch.testing.assert_close(classifier(file).probabilities(images), clf.probabilities(images), atol=1e-3, rtol=0)


def test_weights_without_their_preprocessing_are_refused(run, tmp_path):
    save("bare", classifier(run).model, tmp_path)
    with pytest.raises(CheckpointError, match=r"bare does not say the class_names .*; save it again with class_names"):
        classifier(tmp_path / "bare.json")


def test_a_run_from_before_says_what_to_do_and_then_works(trained, tmp_path):
    """A run that did not note mean and std is resumed once, which trains nothing and notes them."""

    def forget(about):
        for key in ("mean", "std", "ground", "image_shape"):
            del about[key]

    folder = edited(trained(), tmp_path, forget)
    before = (folder / "checkpoint.json").read_text()
    with pytest.raises(
        CheckpointError, match=rf"does not say the mean .*; run python -m vitedu.train --resume {folder}"
    ):
        classifier(folder)
    assert main(["--resume", str(folder)]) == 0
    assert classifier(folder).mean.equal(classifier(trained()).mean)
    assert (folder / "checkpoint.json").read_text() == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"class_names": ["one"]}, "class_names is .'one'., expected 2 of them"),
        ({"mean": [0.5]}, "mean is .0.5., expected 3 of them"),
        ({"std": "x"}, "std is 'x', expected 3 of them"),
        ({"ground": "pink"}, "ground is 'pink', expected one of white, black, grey"),
    ],
)
def test_damaged_notes_are_refused(run, tmp_path, change, says):
    with pytest.raises(CheckpointError, match=says):
        classifier(edited(run, tmp_path, lambda about: about.update(change)))


def test_what_is_no_run_is_refused_with_the_remedy(run, tmp_path):
    with pytest.raises(
        ValueError, match=r"no run .*nothing here, and no weights of that name; there are: cifar10-small"
    ):
        classifier(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match=r"no run.json in .*; name a folder that python -m vitedu.train --out"):
        classifier(tmp_path)
    shutil.copy(run / "run.json", tmp_path)
    with pytest.raises(CheckpointError, match=r"has no checkpoint yet; train it with"):
        classifier(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/weights.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"no checkpoint of a run, and has no weights.json beside it"):
        classifier(tmp_path / "other/weights.safetensors")


def test_pictures_of_another_shape_are_refused(run):
    with pytest.raises(ValueError, match=r"pictures are torch.uint8 \(3, 8, 8\), .* takes uint8 \(3, 16, 16\)"):
        classifier(run).probabilities(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"top is 0"):
        classifier(run)([], top=0)


def test_a_damaged_picture_is_named(run, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"broken.jpg is not a readable picture: its format is unknown; replace it"):
        classifier(run)([tmp_path / "broken.jpg"])
