"""`load_hf`: every published weight of CvT has one place in ours, under both kinds of names, and files come back."""

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests import cvt_reference
from tests.random_weights import random_images
from vitedu.files import CheckpointError
from vitedu.models.cvt import CvT, CvTConfig, preset
from vitedu.pretrained import load_hf
from vitedu.pretrained.carry import carry, published_name
from vitedu.pretrained.convert_cvt import CVT_MODELS, PRACTICES

NAMES = {"Hugging Face": cvt_reference.HUGGING_FACE, "Microsoft": cvt_reference.MICROSOFT}
BOTH = pytest.mark.parametrize("base", NAMES)
ENTRIES = {"CvT-13": 459, "CvT-21": 731, "CvT-W24": 833}


@pytest.fixture(scope="module")
def published() -> dict[str, dict[str, Tensor]]:
    """The weights of a CvT-13 under the names of each code base, the same numbers."""
    config = preset("CvT-13", num_classes=7)
    return {
        base: cvt_reference.random_weights(names, config.dims, config.depths, 7, loud=True)
        for base, names in NAMES.items()
    }


@BOTH
@pytest.mark.parametrize("name", ENTRIES)
def test_the_names_are_a_bijection_onto_the_published_ones(base, name):
    config = preset(name)
    with torch.device("meta"):
        ours = list(CvT(config).state_dict())
        theirs = set(published_keys(NAMES[base], config.depths))
    found = [published_name(key, PRACTICES[base][0]) for key in ours]
    assert len(found) == len(set(found)) == len(theirs) == ENTRIES[name]
    assert set(found) == theirs


def published_keys(names: dict, depths: tuple) -> list[str]:
    """Written out from what each part has, and not from the names of ours."""
    affine, statistics = ("weight", "bias"), ("running_mean", "running_var", "num_batches_tracked")
    parts = [("norm", affine, [{}]), ("head", affine, [{}])]
    for i, depth in enumerate(depths):
        blocks = [{"i": i, "j": j} for j in range(depth)]
        each = [block | {"x": x} for block in blocks for x in names["qkv"]]
        parts += [("embed", affine, [{"i": i}]), ("embed_norm", affine, [{"i": i}])]
        parts += [(part, affine, blocks) for part in ("norm1", "norm2", "out", "fc1", "fc2")]
        parts += [("conv", ("weight",), each), ("bn", affine + statistics, each), ("linear", affine, each)]
    places = [(names[part].format(**at), kinds) for part, kinds, where in parts for at in where]
    return [names["cls"], *(f"{place}.{kind}" for place, kinds in places for kind in kinds)]


def test_both_names_lead_to_the_same_weights_and_their_own_activation(published):
    models = {base: load_hf("cvt-13", weights) for base, weights in published.items()}
    a, b = (models[base].state_dict() for base in NAMES)
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
    assert [model.config.activation for model in models.values()] == ["gelu", "quick_gelu"]
    assert not any(model.training for model in models.values())
    images = random_images(1, 3, 64, 64)
    asked = load_hf("cvt-13", published["Hugging Face"], activation="quick_gelu")
    torch.testing.assert_close(asked(images), models["Microsoft"](images))
    assert (models["Hugging Face"](images) - asked(images)).abs().max() > 1e-3


def test_batch_norm_counts_its_batches_in_whole_numbers_and_keeps_its_statistics(published):
    weights = published["Microsoft"].items()
    model = load_hf("cvt-13", {key: w.half() if w.is_floating_point() else w for key, w in weights})
    norm = model.stages[2].blocks[9].attention.k_proj.norm
    assert norm.num_batches_tracked.dtype == torch.int64
    assert norm.num_batches_tracked == 3
    expected = published["Microsoft"]["stage2.blocks.9.attn.conv_proj_k.bn.running_var"].half().float()
    assert torch.equal(norm.running_var, expected)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@BOTH
@pytest.mark.parametrize("wrap", [lambda w: w, lambda w: {"state_dict": {f"module.{key}": v for key, v in w.items()}}])
def test_files_of_both_kinds_are_read_with_what_is_wrapped_around_them(tmp_path, published, base, wrap, capsys):
    images, expected = random_images(1, 3, 32, 32), load_hf("cvt-13", published[base])
    torch.save(wrap(published[base]), tmp_path / "weights.pth")
    assert torch.equal(load_hf("cvt-13", tmp_path / "weights.pth")(images), expected(images))
    save_file(published[base], tmp_path / "weights.safetensors")
    assert torch.equal(load_hf("cvt-13", str(tmp_path / "weights.safetensors"))(images), expected(images))
    assert ("taken from state_dict.module" in capsys.readouterr().out) == ("state_dict" in wrap(published[base]))


def test_the_model_has_memory_of_its_own(published):
    weights = published["Microsoft"]
    model, before = load_hf("cvt-13", weights), weights["norm.bias"].clone()
    with torch.no_grad():
        model.stages[2].norm.bias.zero_()
    assert torch.equal(weights["norm.bias"], before)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_another_number_of_classes_gets_a_classifier_of_zeros(published):
    weights = published["Hugging Face"]
    model, images = load_hf("cvt-13", weights, num_classes=3, image_size=96), random_images(2, 3, 96, 96)
    assert torch.equal(model(images), torch.zeros(2, 3))
    assert model.grid == (6, 6)
    torch.testing.assert_close(model.encode(images), load_hf("cvt-13", weights).encode(images))
    headless = {key: value for key, value in weights.items() if not key.startswith("classifier")}
    assert load_hf("cvt-13", headless, num_classes=7).config.num_classes == 7
    with pytest.raises(ValueError, match=r"classifier\.\w+ is missing; pass num_classes for a new classifier"):
        load_hf("cvt-13", headless)
    assert load_hf("cvt-13", weights, num_classes=7).head.weight.any()  # the same number keeps it


@BOTH
def test_weights_that_do_not_fit_are_refused_with_their_key_and_shapes(published, base):
    weights, key = published[base], published_name("embeds.1.proj.weight", PRACTICES[base][0])
    with pytest.raises(ValueError, match="has no place in this CvT"):
        load_hf("cvt-13", weights | {"pos_embed": torch.zeros(1)})
    with pytest.raises(ValueError, match=f"{key} is missing"):
        load_hf("cvt-13", {name: value for name, value in weights.items() if name != key})
    with pytest.raises(ValueError, match=rf"{key} has shape \(192, 64, 2, 2\), expected \(192, 64, 3, 3\)"):
        load_hf("cvt-13", weights | {key: weights[key][..., 1:, 1:]})
    with pytest.raises(ValueError, match=r"stage.*is missing$"):
        load_hf("cvt-21", weights)
    with pytest.raises(ValueError, match="pass those of a CvT"):
        load_hf("cvt-13", nn.Linear(2, 2))
    with pytest.raises(ValueError, match="name 'cvt-14' is not one of cvt-13, "):
        load_hf("cvt-14", weights)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_hf("cvt-13", "nowhere.bin")


def test_without_a_path_the_file_comes_from_its_publisher_or_the_error_says_what_to_do(published, monkeypatch):
    asked = []

    def fetch(url: str, **options) -> dict:
        asked.append(url)
        return published["Hugging Face"]

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fetch)
    assert load_hf("cvt-13").config.num_classes == 7
    assert asked == ["https://huggingface.co/microsoft/cvt-13/resolve/main/pytorch_model.bin"]

    def cut(url: str, **options) -> dict:
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", cut)
    with pytest.raises(OSError, match="cannot be fetched: no route; pass the path of a file"):
        load_hf("cvt-13")


def test_names_of_models_are_presets_at_the_size_of_their_last_training():
    for name, (base, side) in CVT_MODELS.items():
        assert preset(base, image_size=side).grids[-1] == (side // 16, side // 16), name
        assert ("384" in name) == (side == 384)


# --- transformers itself, where it is installed ----------------------------------------------------------------------


@pytest.mark.parametrize("loud", [False, True])
def test_scores_are_those_of_transformers(loud):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    theirs = transformers.CvtForImageClassification(transformers.CvtConfig(num_labels=7)).eval()
    if loud:
        names = cvt_reference.HUGGING_FACE
        theirs.load_state_dict(cvt_reference.random_weights(names, (64, 192, 384), (1, 2, 10), 7, loud=True))
    ours = load_hf("cvt-13", theirs)
    assert len(ours.state_dict()) == len(theirs.state_dict())
    for size in ((2, 3, 96, 96), (1, 3, 224, 224), (1, 3, 65, 97)):
        images = random_images(*size)
        with torch.inference_mode():
            torch.testing.assert_close(ours(images), theirs(images).logits, atol=1e-5, rtol=0)


def test_a_step_of_training_leaves_the_batch_statistics_of_transformers():
    """In training their stochastic depth differs from the authors', so it is off; see exercise 12.4."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"embed_dim": [16, 32, 64], "num_heads": [1, 2, 4], "depth": [1, 2, 3], "drop_path_rate": [0.0, 0.0, 0.0]}
    config = transformers.CvtConfig(num_labels=5, **sizes)
    theirs = transformers.CvtForImageClassification(config)
    weights, images = theirs.state_dict(), random_images(4, 3, 48, 80)
    names, activation = PRACTICES["Hugging Face"]
    shape = CvTConfig(dims=(16, 32, 64), depths=(1, 2, 3), num_heads=(1, 2, 4), num_classes=5, activation=activation)
    ours = carry(weights, CvT, shape, names).train()
    torch.testing.assert_close(ours(images), theirs.train()(images).logits, atol=1e-5, rtol=0)
    after = theirs.state_dict()
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, after[published_name(name, names)], atol=1e-6, rtol=1e-5)
    moved = [name for name, value in after.items() if "running_mean" in name and value.abs().max() > 1e-5]
    assert len(moved) == 3 * sum(shape.depths)
