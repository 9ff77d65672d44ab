"""`vitedu.pretrained`: what is saved comes back, what is damaged is refused, what ships finds the objects."""

import json
import re

import pytest
import torch
from torch import nn

from vitedu.data import DatasetUnavailable, draw_shapes, normalise
from vitedu.data import load as load_data
from vitedu.data.scenes import MEAN, STD, draw_scenes
from vitedu.files import CheckpointError
from vitedu.models.cnn import CNNConfig
from vitedu.models.detr import DETR, DETRConfig
from vitedu.models.hybrid import HybridViT
from vitedu.models.set_loss import score
from vitedu.pretrained import WEIGHTS, available, describe, load, save
from vitedu.train import evaluate
from vitedu.vit import ViTConfig

SHIPPED_MB = 6
ALL_MB = 12  # together
PHOTOGRAPHS = {"fashion-mnist-small": "fashion-mnist", "cifar10-small": "cifar10", "imagenette-small": "imagenette"}
PHOTOGRAPHS |= {
    "imagenette-hybrid": "imagenette",
    "imagenette-large": "imagenette",
}  # that once a GPU has made it


@pytest.fixture
def detr() -> DETR:
    torch.manual_seed(0)
    config = DETRConfig(image_size=(32, 48), dim=16, num_heads=2, widths=(4, 8), stem_stride=4)
    model = DETR(config)
    model(torch.randn(4, 3, 32, 48))  # in training mode, so that batch norm has counted something
    return model.eval()


def test_what_is_saved_comes_back_rounded_to_half_precision(detr, tmp_path):
    save("mine", detr, tmp_path, about="a test")
    loaded = load("mine", tmp_path)
    assert not loaded.training
    assert loaded.config == detr.config
    for key, tensor in detr.state_dict().items():
        expected = tensor.half().float() if tensor.is_floating_point() else tensor
        assert torch.equal(loaded.state_dict()[key], expected), key
    assert {t.dtype for t in loaded.state_dict().values()} == {torch.float32, torch.int64}


def test_a_vit_can_be_saved_too(small_model, tmp_path):
    save("vit", small_model, tmp_path)
    images = torch.randn(2, 1, 8, 12)
    with torch.no_grad():
        torch.testing.assert_close(load("vit", tmp_path)(images), small_model.eval()(images), atol=0.01, rtol=0.01)


def test_a_hybrid_is_built_from_both_its_configs(tmp_path):
    torch.manual_seed(0)
    config = ViTConfig(image_size=32, patch_size=8, num_classes=3, dim=16, depth=1, num_heads=2)
    model = HybridViT(config, CNNConfig(widths=(4, 8), depths=(1, 1), stem_stride=2))
    images = torch.randn(2, 3, 32, 32)
    model(images)  # in training mode, so that batch norm has counted something
    save("hybrid", model, tmp_path)
    loaded = load("hybrid", tmp_path)
    assert (loaded.config, loaded.cnn.config) == (model.config, model.cnn.config)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), model.eval()(images), atol=0.01, rtol=0.01)


def test_the_description_says_what_was_given(detr, tmp_path):
    save("mine", detr, tmp_path, class_names=("a", "b"))
    card = describe("mine", tmp_path)
    assert (card["model"], card["class_names"]) == ("DETR", ["a", "b"])
    assert card["config"]["dim"] == 16


def test_unknown_names_are_refused_and_the_known_ones_named(detr, tmp_path):
    with pytest.raises(ValueError, match="no weights called 'x'; there are: none"):
        load("x", tmp_path)
    save("one", detr, tmp_path)
    save("two", detr, tmp_path)
    with pytest.raises(ValueError, match="no weights called 'x'; there are: one, two"):
        load("x", tmp_path)


@pytest.mark.parametrize("damage", ["flip a bit", "cut", "delete"])
def test_damaged_tensors_are_refused(detr, tmp_path, damage):
    save("mine", detr, tmp_path)
    path = tmp_path / "mine.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    if damage == "delete":
        path.unlink()
    else:
        path.write_bytes(content if damage == "flip a bit" else content[:-8])
    with pytest.raises(
        CheckpointError, match=re.escape("is missing or damaged (its SHA-256 is not that of mine.json)")
    ):
        load("mine", tmp_path)


def test_a_model_that_could_not_be_loaded_is_not_saved(tmp_path):
    with pytest.raises(TypeError, match=r"Linear is not one of ViT, HybridViT, .*DETR; add it"):
        save("linear", nn.Linear(2, 2), tmp_path)
    assert available(tmp_path) == []


def test_numbers_too_large_for_half_precision_are_refused(detr, tmp_path):
    detr.queries.data[0, 0] = 1e6
    with pytest.raises(OverflowError, match="queries is not finite in half precision, whose largest number is 65504"):
        save("mine", detr, tmp_path)


# --- what ships ---


@pytest.mark.parametrize("name", available())
def test_each_shipped_checkpoint_loads_is_small_and_has_a_card(name):
    model = load(name)
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    assert (WEIGHTS / f"{name}.safetensors").stat().st_size < SHIPPED_MB * 1e6
    card = (WEIGHTS / f"{name}.md").read_text(encoding="utf-8")
    for word in ("licence: mit", "python book/experiments/", describe(name)["sha256"]):
        assert word in card.lower(), word


def test_all_that_ships_stays_small():
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < ALL_MB * 1e6


@pytest.mark.parametrize("name", [name for name in PHOTOGRAPHS if name in available()])
def test_a_model_of_photographs_is_as_good_as_its_card_says(name):
    """On 2,000 test images, always the same, against the accuracy on all of them: four standard errors either way."""
    card, model = describe(name), load(name)
    try:
        data = load_data(PHOTOGRAPHS[name], image_size=model.config.image_size, quiet=True)
    except DatasetUnavailable as error:
        pytest.skip(str(error).splitlines()[0])
    assert card["class_names"] == list(data.class_names)
    if name == "imagenette-hybrid":  # which began with another set's weights, and kept its mean and deviation
        data = data.normalised_by(torch.tensor(card["mean"]), torch.tensor(card["std"]))
        assert card["mean"] == describe("cifar10-small")["mean"]
    torch.testing.assert_close(torch.tensor(card["mean"]), data.mean)
    sample = data.test.subset(torch.randperm(len(data.test), generator=torch.Generator().manual_seed(0))[:2000])
    accuracy, known = evaluate(model, sample, data).accuracy, card["accuracy"]
    assert accuracy == pytest.approx(known, abs=4 * (known * (1 - known) / 2000) ** 0.5)
    assert accuracy > {"fashion-mnist": 0.9, "cifar10": 0.7, "imagenette": 0.4}[PHOTOGRAPHS[name]]


def test_no_file_of_weights_is_without_its_description():
    assert sorted(path.stem for path in WEIGHTS.glob("*.safetensors")) == available()
    assert sorted(path.stem for path in WEIGHTS.glob("*.md")) == available()


def test_the_shipped_detr_finds_the_objects():
    """On scenes that training never saw: the demand, and the recorded figures within the spread of 200 scenes."""
    scenes, model = draw_scenes(200, seed=-77), load("shapes-detr")
    with torch.no_grad():
        result = score(model(normalise(scenes.images, MEAN, STD)), scenes.labels, scenes.boxes)
    recorded = json.loads((WEIGHTS / "shapes-detr.json").read_text(encoding="utf-8"))["accuracy"]
    measured = {name: values.float().mean().item() for name, values in result._asdict().items()}
    assert measured["iou"] > max(0.6, recorded["iou"] - 0.06)
    assert measured["right_count"] > max(0.8, recorded["right_count"] - 0.1)
    assert measured["right_class"] > max(0.8, recorded["right_class"] - 0.1)


@pytest.mark.parametrize(("name", "at_least", "at_most"), [("shapes-vit", 0.85, 1), ("shapes-vit-shuffled", 0, 0.3)])
def test_the_shipped_vit_names_the_objects_and_its_control_does_not(name, at_least, at_most):
    """On drawings that training never saw: the demand, and the recorded figure within the spread of 300 drawings."""
    drawn, card, model = draw_shapes(300, seed=-77, clutter=0.5, texture="agree"), describe(name), load(name)
    with torch.no_grad():
        answers = model(normalise(drawn.images, torch.tensor(card["mean"]), torch.tensor(card["std"]))).argmax(dim=1)
    right = (answers == drawn.labels).float().mean().item()
    assert at_least <= right <= at_most
    assert right == pytest.approx(card["accuracy"], abs=0.08)
