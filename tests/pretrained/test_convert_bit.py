"""`load_bit`: every published weight has one place in ours; other networks are refused."""

import pytest
import timm
import torch
from torch import nn

from tests.models.test_bit import timms
from tests.random_weights import random_images
from vitedu.models.bit import BiT, preset
from vitedu.pretrained import load_bit
from vitedu.pretrained.carry import published_name
from vitedu.pretrained.convert_bit import TIMM


@pytest.mark.parametrize(
    ("name", "size", "entries"),
    [
        ("resnetv2_50x1_bit", "R50x1", 153),
        ("resnetv2_101x1_bit", "R101x1", 306),
        ("resnetv2_152x4_bit", "R152x4", 459),
    ],
)
def test_the_names_are_a_bijection_onto_timms(name, size, entries):
    with torch.device("meta"):
        theirs, ours = timm.create_model(name).state_dict(), BiT(preset(size)).state_dict()
    assert sorted(published_name(key, TIMM) for key in ours) == sorted(theirs)
    assert len(theirs) == entries


def test_sizes_are_read_from_the_weights_and_files_come_back(tmp_path, capsys):
    theirs, images = timms((2, 1, 1), in_chans=1, num_classes=9), random_images(1, 1, 64, 64)
    torch.save({"model": theirs.state_dict()}, tmp_path / "bit.pth")
    ours = load_bit(tmp_path / "bit.pth")
    assert (ours.config.depths, ours.config.in_channels, ours.config.num_classes) == ((2, 1, 1), 1, 9)
    assert not ours.training
    torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=0)
    assert capsys.readouterr().out == "load_bit: taken from model\n"


def test_a_wider_network_is_known_by_its_stem():
    theirs, images = timms((1,), width_factor=2), random_images(1, 3, 32, 32)
    ours = load_bit(theirs)
    assert ours.config.factor == 2
    torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=0)


def test_another_number_of_classes_gets_a_classifier_of_zeros():
    theirs, images = timms((1, 1)), random_images(2, 3, 32, 32)
    model = load_bit(theirs, num_classes=3)
    assert torch.equal(model(images), torch.zeros(2, 3))
    torch.testing.assert_close(model.features(images), load_bit(theirs).features(images))
    headless = {key: value for key, value in theirs.state_dict().items() if "head" not in key}
    assert load_bit(headless, num_classes=7).config.num_classes == 7
    with pytest.raises(ValueError, match=r"head.fc.\w+ is missing; pass num_classes"):
        load_bit(headless)


def test_other_networks_are_refused():
    with torch.device("meta"):
        plain = timm.create_model("resnetv2_50")  # batch norm, ordinary convolutions, the same names
    with pytest.raises(TypeError, match="a ResNetV2 has no standardised convolutions; pass timm's resnetv2_50x1_bit"):
        load_bit(plain)
    with pytest.raises(ValueError, match="has no place in this BiT"):
        load_bit(plain.state_dict())
    with pytest.raises(ValueError, match="pass those of a resnetv2_"):
        load_bit({"fc.weight": torch.zeros(2, 2)})
    weights = timms((1,)).state_dict()
    with pytest.raises(ValueError, match=r"norm.bias has shape \(2,\), expected \(256,\)"):
        load_bit(weights | {"norm.bias": torch.zeros(2)})
    with pytest.raises(TypeError, match="a Linear has no standardised convolutions"):
        load_bit(nn.Linear(2, 2))
