"""Published Swin weights: each is used once, whatever it is called, and what does not fit is said."""

import re

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision

from vitedu.models.swin import Swin, SwinBlock, SwinConfig
from vitedu.models.window_attention import partition, reverse, shift_mask
from vitedu.pretrained.convert_swin import carry, load_swin, published_name

SIZES = {"embed_dim": 24, "depths": (2, 3), "num_heads": (3, 6)}


def of_timm(**changes) -> torch.nn.Module:
    torch.manual_seed(0)
    sizes = {"img_size": 56, "patch_size": 4, "window_size": 7, "num_classes": 5}
    model = timm.models.SwinTransformer(**SIZES | sizes | changes).eval()
    for name, parameter in model.named_parameters():  # biases and tables start at zero, and would hide a mistake
        if parameter.ndim == 1 or "table" in name:
            torch.nn.init.normal_(parameter)
    return model


@torch.no_grad()
def test_scores_are_timms_where_windows_divide_the_map():
    theirs, images = of_timm(), torch.randn(2, 3, 56, 56)
    torch.testing.assert_close(load_swin(theirs)(images), theirs(images), rtol=1e-5, atol=1e-5)


def rolled_first(block: SwinBlock, x: torch.Tensor) -> torch.Tensor:
    """`SwinBlock.attend` in timm's order: roll, then pad to whole windows."""
    (H, W), M = x.shape[1:3], block.window
    down, across = (0 if side <= M else block.shift for side in (H, W))
    x = F.pad(x.roll((-down, -across), (1, 2)), (0, 0, 0, -W % M, 0, -H % M))
    mask = shift_mask(tuple(x.shape[1:3]), M, (down, across)) if down or across else None
    x = reverse(block.attention(partition(x, M), mask), M, x.shape[2])[:, :H, :W]
    return x.roll((down, across), (1, 2))


@torch.no_grad()
def test_where_windows_do_not_divide_the_map_timm_rolls_before_it_pads(monkeypatch):
    theirs, images = of_timm(img_size=(64, 96), depths=(2,), num_heads=(3,)), torch.randn(1, 3, 64, 96)
    for weight in theirs.parameters():  # attention that tells one token from another
        torch.nn.init.normal_(weight, std=1.0 if weight.ndim == 1 else weight[0].numel() ** -0.5)
    ours, expected = load_swin(theirs, image_size=(64, 96)), theirs(images)
    assert (ours(images) - expected).abs().max() > 1e-3 * expected.abs().max()
    monkeypatch.setattr(SwinBlock, "attend", rolled_first)
    torch.testing.assert_close(ours(images), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


@torch.no_grad()
def test_microsofts_files_merge_at_the_end_of_a_stage():
    theirs, images = of_timm(), torch.randn(1, 3, 56, 56)
    renamed = {
        key.replace("layers.1.downsample", "layers.0.downsample").replace("head.fc", "head"): w
        for key, w in theirs.state_dict().items()
    }
    torch.testing.assert_close(load_swin({"model": renamed})(images), theirs(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("build", ["swin_t", "swin_s", "swin_b"])
def test_every_published_name_stands_for_one_of_ours(build):
    with torch.device("meta"):
        theirs = torchvision.models.get_model(build).state_dict()
    keys = {key for key in theirs if not key.endswith("index")}
    depths = tuple(len({key.split(".")[2] for key in keys if key.startswith(f"features.{i}.")}) for i in (1, 3, 5, 7))
    config = SwinConfig(
        dim=len(theirs["features.0.0.bias"]),
        depths=depths,
        num_heads=tuple(theirs[f"features.{i}.0.attn.relative_position_bias_table"].shape[1] for i in (1, 3, 5, 7)),
    )
    with torch.device("meta"):
        ours = Swin(config).state_dict()
    names = [published_name(name, "torchvision") for name in ours]
    assert set(names) == keys
    assert all(names.count(key) == (3 if ".qkv." in key else 1) for key in keys)


def test_the_rows_of_a_stacked_projection_are_queries_keys_values():
    theirs = of_timm()
    ours, stacked = load_swin(theirs), theirs.layers[0].blocks[1].attn.qkv.weight
    mine = ours.stages[0].blocks[1].attention
    torch.testing.assert_close(torch.cat([mine.q_proj.weight, mine.k_proj.weight, mine.v_proj.weight]), stacked)


def test_a_new_classifier_starts_at_zero_and_the_weights_are_copies():
    theirs = of_timm()
    ours = load_swin(theirs, num_classes=3, image_size=112, dtype=torch.float64)
    assert ours.head.weight.shape == (3, 48)
    assert ours.head.weight.eq(0).all()
    assert ours.grid == (14, 14)
    assert ours.norm.weight.dtype == torch.float64
    ours.norm.weight.data.zero_()
    assert theirs.norm.weight.abs().sum() > 0


def test_a_file_is_read(tmp_path):
    theirs, path, images = of_timm(), tmp_path / "swin.pt", torch.randn(1, 3, 56, 56)
    torch.save({"model": theirs.state_dict()}, path)
    with torch.no_grad():
        torch.testing.assert_close(load_swin(path)(images), theirs(images), rtol=1e-5, atol=1e-5)


def changed(change) -> dict[str, torch.Tensor]:
    weights = dict(of_timm().state_dict())
    change(weights)
    return weights


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda w: w.pop("norm.weight"), "norm.weight is missing"),
        (lambda w: w.pop("head.fc.bias"), "head.fc.bias is missing; pass num_classes"),
        (lambda w: w.update(extra=torch.zeros(1)), "extra has no place in a Swin"),
        (lambda w: w.update({"norm.weight": torch.zeros(7)}), r"norm.weight has shape \(7,\), expected \(48,\)"),
        (
            lambda w: w.pop("layers.0.blocks.0.attn.relative_position_bias_table"),
            "this is no Swin of version 1",
        ),
    ],
)
def test_what_does_not_fit_is_said_with_its_key(change, told):
    with pytest.raises(ValueError, match=told):
        load_swin(changed(change))


def test_an_index_in_another_order_is_refused():
    theirs = torchvision.models.SwinTransformer([4, 4], 24, [2], [3], [7, 7], num_classes=5)
    weights = theirs.state_dict()
    weights["features.1.0.attn.relative_position_index"] = weights["features.1.0.attn.relative_position_index"].flip(0)
    with pytest.raises(ValueError, match="numbers the distances in another order"):
        load_swin(weights)


def test_weights_without_a_name_are_refused():
    with pytest.raises(ValueError, match=re.escape("go with a name, one of swin_t, swin_s, swin_b")):
        load_swin(of_timm(), weights="IMAGENET1K_V1")


def test_a_shape_that_the_model_has_not_is_refused_by_carry():
    weights = {key: w for key, w in of_timm().state_dict().items() if not key.endswith("index")}
    config = SwinConfig(image_size=56, dim=24, depths=(2, 3), num_heads=(3, 6), window=5, num_classes=5)
    with pytest.raises(ValueError, match=r"bias_table has shape \(169, 3\), expected \(81, 3\)"):
        carry(weights, "timm", config)
