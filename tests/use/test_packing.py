"""Weights in few bytes stand for nearly the same model, and what no page can run is refused."""

import io

import pytest
import torch
from safetensors.torch import load as read

from vitedu.models.cnn import CNNConfig
from vitedu.models.hybrid import HybridViT
from vitedu.models.table import MODELS
from vitedu.position import KINDS
from vitedu.use.packing import from_bytes, in_bytes, pack
from vitedu.vit import ViT, ViTConfig

CONFIG = ViTConfig(image_size=(8, 12), patch_size=4, in_channels=3, num_classes=3, dim=16, depth=2, num_heads=2)
IMAGES = torch.rand(4, 3, 8, 12, generator=torch.Generator().manual_seed(0))


def build(kind: str = "vit", **changes):
    torch.manual_seed(0)
    config = ViTConfig(**{**vars(CONFIG), **changes})
    return MODELS[kind].classifier(config).eval()


def test_bytes_are_at_most_half_a_step_off():
    weights = build().state_dict()
    packed = in_bytes(weights)
    for key, tensor in from_bytes(packed).items():
        if packed[key].dtype == torch.int8:
            step = packed[f"{key}:scale"].view(-1, *[1] * (tensor.ndim - 1))
            assert ((tensor - weights[key]).abs() <= 0.5001 * step).all()
            assert (packed[key].flatten(1).abs().amax(dim=1) == 127).all()  # a scale for each row, not for the matrix
        else:
            torch.testing.assert_close(tensor, weights[key], atol=1e-6, rtol=2**-10)
    assert packed["head.weight"].dtype == torch.int8
    assert packed["positions.table"].dtype == packed["encoder.norm.weight"].dtype == torch.float16


def test_a_row_of_zeros_stays_zero():
    assert not from_bytes(in_bytes({"weight": torch.zeros(2, 3)}))["weight"].any()


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("kind", ["vit", "hybrid"])
def test_the_model_beside_the_bytes_is_the_one_they_make(kind, int8):
    packed = pack(build(kind), int8)
    read_back = from_bytes(read(packed.content))
    assert read_back.keys() == packed.model.state_dict().keys()
    for key, tensor in packed.model.state_dict().items():
        torch.testing.assert_close(tensor, read_back[key].to(tensor.dtype), atol=0, rtol=0)
    scores = build(kind)(IMAGES)
    difference = (packed.model(IMAGES) - scores).abs().max()
    assert 0 < difference < (0.1 if int8 else 0.01) * scores.abs().max()


def test_eight_bits_are_about_half_of_sixteen():
    half, eighth = (len(pack(build(dim=96, num_heads=4), int8).content) for int8 in (False, True))
    assert 0.5 < eighth / half < 0.62


@pytest.mark.parametrize("positions", KINDS)
@pytest.mark.parametrize("kind", ["vit", "hybrid"])
def test_positions_of_every_kind_become_a_table_or_stay_away(kind, positions):
    model = build(kind, positions=positions, position_std=0.5)
    packed = pack(model)
    assert packed.card["config"]["positions"] == ("none" if positions == "none" else "learned")
    torch.testing.assert_close(packed.model(IMAGES), model(IMAGES), atol=0.02, rtol=0)


def test_packing_leaves_the_model_as_it_was():
    model = build()
    before = io.BytesIO()
    torch.save(model.state_dict(), before)
    pack(model, int8=True)
    after = io.BytesIO()
    torch.save(model.state_dict(), after)
    assert before.getvalue() == after.getvalue()


@pytest.mark.parametrize("kind", ["resnet", "cvt", "deit", "swin"])
def test_what_no_page_runs_is_refused_by_name(kind):
    name = MODELS[kind].model.__name__
    with pytest.raises(ValueError, match=rf"a page cannot run a {name} yet; it runs a ViT and a HybridViT"):
        pack(build(kind, image_size=16))


def test_other_norms_and_cnns_are_refused():
    with pytest.raises(ValueError, match="cannot run blocks with norm 'post' yet; train with --norm pre"):
        pack(build(norm="post"))
    cnn = CNNConfig(widths=(16,), depths=(1,), stem_stride=4)
    with pytest.raises(ValueError, match="stem stride 1 or 2, not basic, 4"):
        pack(HybridViT(ViTConfig(**{**vars(CONFIG), "image_size": 32}), cnn))


def test_weights_beyond_half_precision_are_refused():
    model = build()
    with torch.no_grad():
        model.head.bias[0] = 1e6
    with pytest.raises(OverflowError, match=r"head.bias is not finite in half precision"):
        pack(model)
    assert isinstance(model, ViT)
