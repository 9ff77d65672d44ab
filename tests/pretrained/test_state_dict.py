"""`state_dict`: names and sizes; that the numbers are right is the subject of test_parity_published.py."""

import re

import pytest
import torch
from torchvision.models import VisionTransformer

from vitedu.pretrained.convert import TIMM, TORCHVISION
from vitedu.pretrained.state_dict import HEADS, PublishedWeights, one_side, square
from vitedu.vit import ViT, ViTConfig

CONFIG = ViTConfig(image_size=8, patch_size=4, num_classes=5, dim=12, depth=11, num_heads=3, representation_size=6)


@pytest.mark.parametrize(
    ("names", "ours", "theirs"),
    [
        (TORCHVISION, "encoder.blocks.10.mlp.fc2.bias", "encoder.layers.encoder_layer_10.mlp.3.bias"),
        (TORCHVISION, "encoder.blocks.0.attention.k_proj.bias", "encoder.layers.encoder_layer_0.self_attention.in_proj_bias"),  # noqa: E501
        (TORCHVISION, "encoder.blocks.1.norm2.weight", "encoder.layers.encoder_layer_1.ln_2.weight"),
        (TORCHVISION, "encoder.norm.weight", "encoder.ln.weight"),
        (TORCHVISION, "head.bias", "heads.head.bias"),
        (TORCHVISION, "pre_logits.0.weight", "heads.pre_logits.weight"),
        (TIMM, "encoder.blocks.0.attention.v_proj.weight", "blocks.0.attn.qkv.weight"),
        (TIMM, "encoder.blocks.3.norm1.bias", "blocks.3.norm1.bias"),
        (TIMM, "encoder.norm.bias", "norm.bias"),
        (TIMM, "head.bias", "head.bias"),
    ],
)  # fmt: skip
def test_names_are_translated(names, ours, theirs):
    assert PublishedWeights({}, names).name(ours) == theirs


def test_every_name_of_a_model_has_one_at_torchvision_and_none_is_left_over():
    with torch.device("meta"):
        theirs = VisionTransformer(8, 4, 11, 3, 12, 48, num_classes=5, representation_size=6).state_dict()
        ours = ViT(CONFIG).state_dict()
    assert {PublishedWeights(theirs, TORCHVISION).name(name) for name in ours} == set(theirs)


def test_the_sizes_are_read_from_the_shapes():
    with torch.device("meta"):
        theirs = VisionTransformer(8, 4, 11, 3, 12, 48, num_classes=5, representation_size=6).state_dict()
    assert PublishedWeights(theirs, TORCHVISION).config(num_heads=3) == CONFIG


def test_the_published_widths_tell_the_heads():
    assert HEADS == {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}


def test_a_pair_of_equal_sides_is_one_side():
    assert (one_side((4, 4)), one_side((4, 8)), one_side([8, 4])) == (4, (4, 8), (8, 4))


def test_a_number_of_patches_tells_the_size_of_a_square_image_only():
    assert square(9, 4, 4) == 12
    assert square(9, 4, 8) == (12, 24)
    with pytest.raises(ValueError, match=re.escape("8 positions beside the class token's fill no square; pass")):
        square(8, 4, 4)
