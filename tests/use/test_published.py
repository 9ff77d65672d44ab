"""Photographs are prepared for published models as the libraries prepare them, and counted both ways."""

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
import torchvision.models as tv
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torch import nn
from torchvision.datasets import Imagenette
from transformers import ConvNextImageProcessor

from vitedu.cost import count_parameters
from vitedu.data import Dataset, Split
from vitedu.models.bit import BiT, BiTConfig
from vitedu.models.cvt import CvT, CvTConfig, preset
from vitedu.train import TrainConfig
from vitedu.use.evaluate import TEN, build_parser, count_right, evaluate, main, read_photographs
from vitedu.use.fine_tune import Enlarged, fine_tune
from vitedu.use.published import BIT_BASE, IMAGENET, PUBLISHED, STARTS, VIT_BASE, Preparation, zero_linear
from vitedu.vit import ViT, ViTConfig

SIZES = [(500, 375), (375, 500), (333, 500), (500, 332), (256, 256), (180, 700)]


def photograph(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """Smooth colours and some noise, width × height."""
    random = np.random.RandomState(sum(size))
    coarse = Image.fromarray(random.randint(0, 256, (9, 12, 3)).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    noisy = np.array(coarse).astype(int) + random.randint(-20, 20, (size[1], size[0], 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).convert(mode)


def timms(name: str):
    """timm's own transform for evaluation, from the settings of the published weights."""
    return create_transform(**resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict()))


LIBRARIES = {
    ("resnet50-v1", 1e-6): tv.ResNet50_Weights.IMAGENET1K_V1.transforms(),
    ("resnet50-v2", 1e-6): tv.ResNet50_Weights.IMAGENET1K_V2.transforms(),
    ("vit-b16", 1e-6): tv.ViT_B_16_Weights.IMAGENET1K_V1.transforms(),
    ("vit-b16-21k", 1e-6): timms(f"{VIT_BASE}_ft_in1k"),
    ("bit-50x1-21k", 1e-6): timms(f"{BIT_BASE}_ft_in1k"),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("name", "near"), LIBRARIES)
def test_a_photograph_is_prepared_as_the_library_does(name, near, size):
    picture = photograph(size)
    ours, theirs = PUBLISHED[name].prepare(picture), LIBRARIES[name, near](picture)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("name", "model"), [("vit-b16-21k", VIT_BASE), ("bit-50x1-21k", BIT_BASE)])
def test_so_it_is_for_what_is_fine_tuned(name, model, size):
    picture = photograph(size)
    torch.testing.assert_close(STARTS[name].prepare(picture), timms(model)(picture), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", SIZES[:-1])  # of one as long as the last it cuts another middle
def test_a_photograph_for_cvt_is_that_of_hugging_faces_processor_to_a_grey_level(size):
    # whose resizing rounds otherwise than Pillow's here and there: never by more than a level or two of 255
    moments = {"image_mean": list(IMAGENET[0]), "image_std": list(IMAGENET[1])}
    processor = ConvNextImageProcessor(size={"shortest_edge": 224}, crop_pct=0.875, resample=3, **moments)
    picture = photograph(size)
    theirs = torch.as_tensor(processor(picture, return_tensors="pt")["pixel_values"][0])
    apart = (PUBLISHED["cvt-13"].prepare(picture) - theirs).abs()
    assert apart.max() < 2.01 / 255 / 0.224
    assert apart.mean() < 0.5 / 255 / 0.224


def test_other_settings_give_other_pixels():
    picture = photograph((500, 375))
    right = PUBLISHED["cvt-13"].prepare
    wrong = {
        "crop": Preparation(resize=232, crop=224),
        "interpolation": Preparation(resize=256, crop=224, interpolation="bilinear"),
        "mean": PUBLISHED["vit-b16-21k"].prepare,
    }
    for name, prepare in wrong.items():
        assert (prepare(picture) - right(picture)).abs().max() > 0.05, name


def test_squashing_keeps_all_of_the_picture():
    prepare, picture = Preparation(resize=32, crop=32, squash=True), photograph((64, 48))
    expected = torch.from_numpy(np.array(picture.resize((32, 32), Image.Resampling.BICUBIC))).permute(2, 0, 1) / 255
    torch.testing.assert_close(
        prepare(picture) * torch.tensor(prepare.std).view(3, 1, 1), expected - torch.tensor(prepare.mean).view(3, 1, 1)
    )


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK"])
def test_photographs_of_all_kinds_become_colour(mode):
    assert Preparation(resize=40, crop=32)(photograph((60, 50), mode)).shape == (3, 32, 32)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="crop 40 is larger than resize 32"):
        Preparation(resize=32, crop=40)
    with pytest.raises(ValueError, match="nearest"):
        Preparation(resize=32, crop=32, interpolation="nearest")


@pytest.mark.parametrize("table", [PUBLISHED, STARTS])
def test_parameters_are_those_of_the_models(table):
    with torch.device("meta"):
        counts = {
            "cvt-13": count_parameters(CvT(preset("CvT-13"))),
            "cvt-21": count_parameters(CvT(preset("CvT-21"))),
            "cvt-13-22k": count_parameters(CvT(preset("CvT-13"))),
            "resnet50-v1": sum(p.numel() for p in tv.resnet50().parameters()),
            "vit-b16": sum(p.numel() for p in tv.vit_b_16().parameters()),
        }
    counts["resnet50-v2"] = counts["resnet50-v1"]
    for name, known in table.items():
        if name in counts:
            assert known.parameters == counts[name], name
    for name, weights in {"vit-b16": tv.ViT_B_16_Weights, "resnet50-v1": tv.ResNet50_Weights}.items():
        if name in table:
            assert table[name].accuracy == weights.IMAGENET1K_V1.meta["_metrics"]["ImageNet-1K"]["acc@1"]


def test_the_ten_classes_have_the_places_that_torchvision_gives_them():
    names = tv.ResNet50_Weights.IMAGENET1K_V1.meta["categories"]
    for wnid, place in TEN.items():
        assert names[place] in Imagenette._WNID_TO_CLASS[wnid]
    assert set(TEN) == set(Imagenette._WNID_TO_CLASS)


# --- counting --------------------------------------------------------------------------------------------------------


class ByColour(nn.Module):
    """Scores of 1,000 classes: red says 217, green 0, and blue a class that no folder has, 999."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images):
        red, green, blue = images.mean(dim=(2, 3)).T
        scores = torch.zeros(len(images), 1_000)
        scores[:, 217], scores[:, 0], scores[:, 999] = 10 + red, 10 + green, 10 + blue
        return self.scale * scores


COLOURS = {"n02102040": (220, 30, 30), "n01440764": (30, 220, 30)}


@pytest.fixture(params=["folder", "zip", "val inside"])
def source(tmp_path, request):
    files = {}
    for wnid, colour in COLOURS.items():
        for number in range(3):
            dyed = (*colour[:2], 30 + 110 * number)  # ever more blue: in the last it is louder than the rest
            buffer = io.BytesIO()
            Image.new("RGB", (40, 30), dyed).save(buffer, "PNG")
            files[f"{wnid}/{number}.png"] = buffer.getvalue()
    if request.param == "zip":
        with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
            for name, data in reversed(files.items()):
                archive.writestr(f"imagenette/val/{name}", data)
            archive.writestr("imagenette/train/n02102040/9.png", b"not looked at")
        return tmp_path / "some.zip"
    within = tmp_path / "val" if request.param == "val inside" else tmp_path
    for name, data in files.items():
        (within / name).parent.mkdir(parents=True, exist_ok=True)
        (within / name).write_bytes(data)
    return tmp_path


def test_right_among_all_classes_and_among_those_of_the_folder(source):
    model = ByColour().train()
    found = evaluate(model, read_photographs(source), Preparation(resize=20, crop=16), batch_size=4)
    assert (found.count, found.classes) == (6, 2)
    assert found.restricted == 1.0
    assert found.accuracy == pytest.approx(4 / 6)
    assert model.training


def test_fewer_photographs_can_be_asked_for(source):
    prepare = Preparation(resize=20, crop=16)
    assert evaluate(ByColour(), read_photographs(source, every=3), prepare).count == 2
    assert evaluate(ByColour(), read_photographs(source), prepare, batch_size=2, most=3).count == 3
    with pytest.raises(ValueError, match="0 photographs"):
        evaluate(ByColour(), [], prepare)


def test_restricting_needs_the_columns_in_their_order():
    torch.manual_seed(0)
    scores, labels = torch.randn(200, 30), torch.tensor([4, 9, 25]).repeat(70)[:200]
    masked = torch.full_like(scores, -torch.inf)
    masked[:, [4, 9, 25]] = scores[:, [4, 9, 25]]
    among_those = (masked.argmax(dim=1) == labels).float().mean().item()
    assert count_right(scores, labels) == (200, 3, (scores.argmax(1) == labels).float().mean().item(), among_those)


def test_folders_that_are_no_classes_of_imagenet_are_refused(tmp_path):
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match="has folders of 0 classes; expected all 1,000"):
        next(read_photographs(tmp_path))
    (tmp_path / "n00000001").mkdir()
    (tmp_path / "n00000001" / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match="1 classes, n00000001 among them"):
        next(read_photographs(tmp_path))


def test_the_command_prints_a_row_and_what_was_published(source, monkeypatch, capsys):
    monkeypatch.setitem(vars(PUBLISHED["vit-b16"]), "load", lambda num_classes: ByColour())
    assert main(["imagenet", str(source), "--models", "vit-b16"]) == 0
    said = capsys.readouterr().out
    assert "66.67 % of 6  100.00 % among these 2" in said
    assert "published 81.072 % (torchvision's page of weights)" in said
    assert build_parser().parse_args(["cifar10", "--epochs", "1"]).models == list(STARTS)


# --- fine-tuning -----------------------------------------------------------------------------------------------------

TWO = {"kv_strides": (2, 2), "projections": ("conv", "conv"), "positions": ("none", "none"), "pool": "mean"}
CVT = CvTConfig(image_size=32, dims=(8, 16), depths=(1, 1), num_heads=(1, 1), kernels=(7, 3), strides=(4, 2), **TWO)
SMALL = {
    "ViT": lambda K: ViT(ViTConfig(image_size=32, patch_size=8, dim=16, depth=1, num_heads=2, num_classes=K)),
    "CvT": lambda K: CvT(replace(CVT, num_classes=K)),
    "BiT": lambda K: BiT(BiTConfig(depths=(1, 1), num_classes=K)),
}


@pytest.mark.parametrize("kind", SMALL)
def test_every_kind_is_fine_tuned_on_enlarged_pictures(kind):
    torch.manual_seed(0)
    labels = torch.arange(24) % 2
    images = (labels.view(-1, 1, 1, 1) * 120 + torch.randint(100, (24, 3, 8, 8))).to(torch.uint8)
    split = Split(images, labels)
    data = Dataset("tones", "drawn here", ("dark", "light"), split, split, split, flip=True)
    model, config = SMALL[kind](2), TrainConfig(epochs=4, batch_size=8, lr=3e-3)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    accuracy, seconds = fine_tune(
        model, data, Preparation(resize=32, crop=32), config, device=torch.device("cpu"), shown=False
    )
    assert accuracy > 0.9
    assert seconds > 0
    assert [name for name, weight in model.named_parameters() if torch.equal(weight, before[name])] == []


def test_enlarging_leaves_the_rest_to_the_model():
    torch.manual_seed(0)
    model = SMALL["ViT"](3)
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(Enlarged(model, 32)(images), model(images))
    assert Enlarged(model, 32)(torch.randn(2, 3, 8, 8)).shape == (2, 3)
    assert Enlarged(model, 32).stages == model.stages


def test_a_new_classifier_starts_at_zero():
    assert zero_linear(3, 2).weight.count_nonzero() == 0
    assert zero_linear(3, 2).bias.count_nonzero() == 0
