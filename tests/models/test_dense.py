"""Dense prediction: whose answer lands on which pixel, from any model's tokens, and how far one answer sees."""

import pytest
import torch

from vitedu.data import draw_shapes
from vitedu.data.tones import as_tones
from vitedu.models.cvt import CvT, CvTConfig
from vitedu.models.dense import DensePrediction, spread_out, token_map
from vitedu.models.swin import Swin, SwinConfig
from vitedu.patch import patchify
from vitedu.vit import ViT, ViTConfig

SIZE = {"image_size": (16, 24), "num_classes": 5}


def models(pool="cls"):
    torch.manual_seed(0)
    vit = ViT(ViTConfig(**SIZE, patch_size=4, dim=8, depth=1, num_heads=2, pool=pool))
    one = {"dims": (8,), "depths": (1,), "num_heads": (2,), "kernels": (7,), "strides": (4,), "kv_strides": (2,)}
    cvt = CvT(CvTConfig(**SIZE, **one, projections=("conv",), positions=("none",), pool=pool))
    swin = Swin(SwinConfig(**SIZE, patch_size=4, dim=8, depths=(2,), num_heads=(2,), window=2))
    return [model.eval() for model in (vit, cvt, swin)]


def test_answers_lie_as_the_pixels_of_their_patch_do():
    images = torch.randn(2, 1, 12, 8)
    torch.testing.assert_close(spread_out(patchify(images, 4).unflatten(1, (3, 2)), 4), images[:, 0])


@pytest.mark.parametrize("pool", ["cls", "mean"])
@torch.no_grad()
def test_tokens_of_every_model_lie_in_the_picture_and_cls_is_left_out(pool):
    images = torch.randn(2, 3, 16, 24)
    vit, cvt, swin = models(pool)
    for model in (vit, cvt, swin):
        assert token_map(model, images).shape == (2, 4, 6, 8)
    torch.testing.assert_close(token_map(vit, images)[:, 1, 2], vit.encode(images)[:, vit.config.num_prefix + 8])


@pytest.mark.parametrize("side", [1, 2, 4])
@torch.no_grad()
def test_one_score_a_pixel_and_one_answer_repeated_over_its_square(side):
    for model in models():
        scores = DensePrediction(model, 4, side)(torch.randn(2, 3, 16, 24))
        assert scores.shape == (2, 16, 24)
        squares = patchify(scores[:, None], 4 // side)  # (B, squares, pixels)
        torch.testing.assert_close(squares, squares[:, :, :1].expand_as(squares))
        assert scores[0].unique().numel() == 4 * 6 * side**2


def test_a_side_that_does_not_divide_is_an_error():
    with pytest.raises(ValueError, match="side 3 does not divide stride 4"):
        DensePrediction(models()[0], 4, 3)


def test_every_parameter_that_is_left_learns():
    for model in models("mean"):
        dense = DensePrediction(model, 4)
        dense(torch.randn(2, 3, 16, 24)).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in dense.parameters())


def test_tones_are_grey_and_half_of_them_negatives():
    split = draw_shapes(240, seed=0)
    tones, again = as_tones(split, 3), as_tones(split, 3)
    grey = split.images.float().mean(1, keepdim=True)
    same = (tones.images.float() - grey).abs().amax((1, 2, 3)) <= 0.5
    turned = (tones.images.float() - (255 - grey)).abs().amax((1, 2, 3)) <= 0.5
    assert (same ^ turned).all()
    assert 90 < turned.sum() < 150
    assert tones.images.dtype == torch.uint8
    assert torch.equal(tones.images, again.images)
    assert torch.equal(tones.masks, split.masks)
