"""`vitedu.pretrained.module`: what only a module tells is honoured, and what `ViT` computes differently is refused."""

import re
from functools import partial

import pytest
import torch
from timm.models import VisionTransformer as TimmViT
from timm.models.vision_transformer import ResPostBlock
from torch import nn
from torchvision.models import VisionTransformer

from tests.random_weights import random_images, randomise
from vitedu.pretrained import load_timm, load_torchvision

SIZES = {"embed_dim": 192, "depth": 2, "num_heads": 3, "num_classes": 5, "img_size": 16, "patch_size": 4}


def timm_vit(**changes) -> TimmViT:
    return randomise(TimmViT(**SIZES | changes)).eval()


@pytest.mark.parametrize(
    "changes",
    [
        {"embed_dim": 384, "num_heads": 12, "depth": 1},  # MoCo v3's small model
        {"embed_dim": 768, "num_heads": 8, "depth": 1},  # timm's small model of 2020
        {"num_heads": 12},
        {"num_heads": 1, "embed_dim": 20},
        {"norm_layer": partial(nn.LayerNorm, eps=1e-2)},
        {"img_size": (12, 24), "patch_size": (4, 8)},
        {"dynamic_img_size": True, "act_layer": "gelu"},
    ],
)
def test_a_module_tells_heads_epsilon_and_size_and_nothing_is_assumed(changes, capsys):
    theirs, size = timm_vit(**changes), changes.get("img_size", (16, 16))
    images = random_images(2, 3, *size)
    torch.testing.assert_close(load_timm(theirs)(images), theirs(images), atol=2e-5, rtol=1e-5)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("width", "heads", "assumed"), [(384, 12, 6), (768, 8, 12), (192, 12, 3)])
def test_weights_alone_say_what_is_assumed_or_are_told(width, heads, assumed, capsys):
    theirs, images = timm_vit(embed_dim=width, num_heads=heads, depth=1), random_images(2, 3, 16, 16)
    assert load_timm(theirs.state_dict()).config.num_heads == assumed
    said = f"{assumed} heads, GELU, ε = 1e-06, a classifier that reads CLS (pass num_heads, or the model itself)"
    assert capsys.readouterr().out == f"load_timm: assumed, for weights do not tell: {said}\n"
    ours = load_timm(theirs.state_dict(), num_heads=heads)
    torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=1e-5)
    assert "heads" not in capsys.readouterr().out
    with pytest.raises(ValueError, match=f"num_heads is 2, and the model has {heads}; leave it out"):
        load_timm(theirs, num_heads=2)


def test_a_name_tells_the_heads_and_has_to_fit(capsys):
    weights = timm_vit().state_dict()
    assert load_timm(weights, name="deit_tiny_patch16_224").config.num_heads == 3
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="a model of that name is 384 wide, and the weights 192; check the name"):
        load_timm(weights, name="vit_small_patch16_224")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"act_layer": nn.ReLU}, "blocks.0.mlp.act is a ReLU, not the exact GELU"),
        ({"act_layer": nn.Identity}, "blocks.0.mlp.act is a Identity, not the exact GELU"),
        ({"act_layer": "quick_gelu"}, "blocks.0.mlp.act is a QuickGELU, not the exact GELU"),
        ({"act_layer": "gelu_tanh"}, "blocks.0.mlp.act is a GELUTanh, not the exact GELU"),
        ({"act_layer": partial(nn.GELU, approximate="tanh")}, "blocks.0.mlp.act is a GELU, not the exact GELU"),
        ({"global_pool": "avg", "fc_norm": False}, "its classifier does not read CLS (global_pool 'avg')"),
        ({"global_pool": "max", "fc_norm": False}, "its classifier does not read CLS (global_pool 'max')"),
        ({"global_pool": ""}, "its classifier does not read CLS (global_pool '')"),
        ({"global_pool": "avg"}, "its classifier reads the mean over the patches (fc_norm.weight)"),
        ({"block_fn": ResPostBlock}, "blocks.0 is a ResPostBlock"),
        ({"norm_layer": "rmsnorm"}, "blocks.0.norm1 is a RmsNorm"),
        ({"patch_drop_rate": 0.1}, "patch_drop is a PatchDropout"),
        ({"scale_attn_norm": True}, "it has a LayerNorm in a place of its own (blocks.0.attn.norm.weight)"),
    ],
)
def test_what_vit_would_compute_differently_is_refused_with_the_part(changes, reason):
    message = f"this model is not a plain Vision Transformer: {reason}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        load_timm(timm_vit(**changes))


@pytest.mark.parametrize(
    ("part", "field", "value", "reason"),
    [
        ("blocks.1.norm1", "eps", 0.1, "it has more than one eps: 1e-06, 0.1"),
        ("blocks.1.attn", "scale", 0.25, "blocks.1.attn is an Attention that scales by 0.25, not 1/√64"),
        ("patch_embed.proj", "stride", (2, 2), "patch_embed.proj is a convolution whose windows are not the patches"),
    ],
)
def test_one_part_that_differs_is_found(part, field, value, reason):
    model = timm_vit()
    setattr(model.get_submodule(part), field, value)
    with pytest.raises(ValueError, match=re.escape(reason)):
        load_timm(model)


def test_dropout_is_taken_over_where_vit_can_have_it_and_else_its_absence_is_said(capsys):
    even = {"pos_drop_rate": 0.1, "proj_drop_rate": 0.1, "attn_drop_rate": 0.2, "drop_path_rate": 0.3}
    config = load_timm(timm_vit(**even)).config
    assert (config.dropout, config.attention_dropout, config.drop_path) == (0.1, 0.2, pytest.approx(0.3))
    assert capsys.readouterr().out == ""
    assert load_timm(timm_vit(proj_drop_rate=0.1)).config.dropout == 0
    assert capsys.readouterr().out == "load_timm: without dropout, whose rates differ\n"


# --- classifiers ---


def torchvision_vit(heads: nn.Module) -> VisionTransformer:
    model = VisionTransformer(16, 4, 2, 3, 12, 48, num_classes=5)
    model.heads = heads
    return randomise(model).eval()


@pytest.mark.parametrize("heads", [nn.Linear(12, 3), nn.Sequential(nn.Dropout(0.1), nn.Linear(12, 3))])
@pytest.mark.parametrize("num_classes", [None, 3, 4])
def test_a_classifier_that_was_put_in_its_place_is_kept_or_replaced(heads, num_classes):
    theirs, images = torchvision_vit(heads), random_images(2, 3, 16, 16)
    expected = torch.zeros(2, 4) if num_classes == 4 else theirs(images)
    ours = load_torchvision(theirs, num_classes=num_classes)
    torch.testing.assert_close(ours(images), expected, atol=1e-5, rtol=1e-5)
    alone = load_torchvision(theirs.state_dict(), num_classes=num_classes, num_heads=3)
    assert torch.equal(alone(images), ours(images))


def test_a_classifier_of_several_layers_is_refused_or_replaced_and_that_is_said(capsys):
    model = torchvision_vit(nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)))
    with pytest.raises(ValueError, match=re.escape("heads.1 is a ReLU")):
        load_torchvision(model)
    assert not load_torchvision(model, num_classes=3)(random_images(2, 3, 16, 16)).any()
    assert capsys.readouterr().out == "load_torchvision: with a new classifier instead of heads\n"
    with pytest.raises(ValueError, match=re.escape("heads.head.weight is missing; pass num_classes")):
        load_torchvision(torchvision_vit(nn.Identity()))


def test_an_activation_that_was_exchanged_is_found_in_torchvisions_model_too():
    model = torchvision_vit(nn.Linear(12, 3))
    model.encoder.layers[1].mlp[1] = nn.ReLU()
    with pytest.raises(ValueError, match=re.escape("encoder_layer_1.mlp.1 is a ReLU, not the exact GELU")):
        load_torchvision(model)


# --- precision ---


@pytest.mark.parametrize("given", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("asked", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_weights_of_every_precision_are_cast_to_the_one_that_is_asked_for(given, asked):
    weights = {key: value.to(given) for key, value in timm_vit().state_dict().items()}
    ours = load_timm(weights, dtype=asked, image_size=32, num_classes=3, num_heads=3)  # with positions interpolated
    assert {p.dtype for p in ours.parameters()} == {asked}
    plain = load_timm(weights, num_heads=3)
    assert plain.head.bias.dtype == torch.float32
    assert torch.equal(plain.head.bias, weights["head.bias"].float())
    assert ours(torch.zeros(1, 3, 32, 32, dtype=asked)).dtype == asked


def test_a_dtype_or_weights_without_fractions_are_refused():
    weights = timm_vit().state_dict()
    with pytest.raises(ValueError, match=re.escape("dtype torch.int8 holds no fractions; pass a floating-point type")):
        load_timm(weights, dtype=torch.int8)
    with pytest.raises(ValueError, match=re.escape("norm.weight holds torch.int8; pass the weights from before")):
        load_timm(weights | {"norm.weight": torch.ones(192, dtype=torch.int8)})
