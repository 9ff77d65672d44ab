"""`vitedu.inspection.layout`: pictures of other models are those of the `ViT` that the loaders make of them."""

import pytest
import timm
import torch
from timm.models import VisionTransformer as TimmViT
from torch import nn
from torchvision.models import VisionTransformer

from tests.random_weights import random_images, randomise
from vitedu.inspection import (
    AttentionMaps,
    capture_attention,
    capture_tokens,
    embedding_filters,
    patch_positions,
    relevance_maps,
)
from vitedu.inspection.layout import layout_of
from vitedu.models.cnn import CNNConfig
from vitedu.models.detr import DETR, DETRConfig
from vitedu.models.hybrid import HybridViT
from vitedu.pretrained import load_timm, load_torchvision
from vitedu.vit import ViTConfig

IMAGES = random_images(2, 3, 16, 24)
SQUARE = random_images(2, 3, 16, 16)


def timm_vit(**changes) -> TimmViT:
    sizes = {"img_size": (16, 24), "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 3, "num_classes": 5}
    return randomise(TimmViT(**sizes | changes)).eval()


def torchvision_vit() -> VisionTransformer:
    return randomise(VisionTransformer(16, 8, 2, 3, 12, 48, num_classes=5)).eval()


@pytest.mark.parametrize(
    ("theirs", "load", "images"),
    [(timm_vit(), load_timm, IMAGES), (torchvision_vit(), load_torchvision, SQUARE)],
    ids=["timm", "torchvision"],
)
@pytest.mark.parametrize(
    "wrap", [lambda model: model, lambda model: torch.compile(model, backend="eager"), nn.DataParallel]
)
def test_pictures_of_other_peoples_models_are_those_of_the_same_weights_here(theirs, load, images, wrap):
    ours, model = load(theirs), theirs if wrap is nn.Identity else wrap(theirs)
    mine, expected = AttentionMaps(model, images, images.sigmoid()), AttentionMaps(ours, images, images.sigmoid())
    assert (mine.grid, mine.num_prefix, mine.patch_size) == (expected.grid, 1, (8, 8))
    torch.testing.assert_close(mine.maps, expected.maps, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mine.weights(1, 0, 2, None), expected.weights(1, 0, 2, None), atol=1e-5, rtol=1e-5)
    found, wanted = relevance_maps(model, images), relevance_maps(ours, images)
    assert found.keys() == wanted.keys()
    for name, picture in found.items():
        torch.testing.assert_close(picture, wanted[name], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "num_prefix", "has_cls", "pool"),
    [
        ({"reg_tokens": 4}, 5, True, "cls"),
        ({"reg_tokens": 4, "no_embed_class": True}, 5, True, "cls"),
        ({"reg_tokens": 3, "class_token": False, "global_pool": "avg"}, 3, False, "mean"),
        ({"class_token": False, "global_pool": "avg"}, 0, False, "mean"),
        ({"global_pool": "avg"}, 1, True, "mean"),
        ({"dynamic_img_size": True}, 1, True, "cls"),
    ],
)
def test_tokens_before_the_patches_are_counted_and_left_out(options, num_prefix, has_cls, pool):
    model = timm_vit(**options)
    with capture_attention(model) as maps:
        model(IMAGES)
    assert layout_of(model, IMAGES, maps) == ((2, 3), num_prefix, has_cls, pool)
    shown = AttentionMaps(model, IMAGES, IMAGES.sigmoid())
    row = shown.weights(0, 1, 0, query=4)
    torch.testing.assert_close(row, maps[1][0, 0, num_prefix + 4, num_prefix:].reshape(2, 3).detach())
    last = relevance_maps(model, IMAGES)["last layer"]
    rows = maps[1].mean(dim=1)  # (B, N, N), fused
    expected = rows[:, 0] if pool == "cls" else rows[:, num_prefix:].mean(dim=1)
    torch.testing.assert_close(last, expected[:, num_prefix:].reshape(2, 2, 3))
    if not has_cls:
        with pytest.raises(ValueError, match="asks the class token, and this model has none"):
            shown.weights(0, 0, 0, None)


@pytest.mark.parametrize("patch_size", [4, 8, 16])
def test_a_hybrid_has_the_grid_of_its_cnn_whatever_its_patch_side_says(patch_size):
    config = ViTConfig(image_size=32, patch_size=patch_size, dim=8, depth=1, num_heads=2, num_classes=3)
    model, images = (
        HybridViT(config, CNNConfig(widths=(4, 8), depths=(1, 1), stem_stride=2)).eval(),
        torch.zeros(1, 3, 32, 32),
    )
    assert {picture.shape for picture in relevance_maps(model, images).values()} == {(1, 8, 8)}
    assert AttentionMaps(model, images, images).weights(0, 0, 0, 63).shape == (8, 8)


@pytest.mark.parametrize(
    "build",
    [
        lambda: timm.create_model("swin_tiny_patch4_window7_224", img_size=32, window_size=2, depths=(1, 1, 1, 1)),
        lambda: timm_vit(img_size=32, global_pool="map"),
        lambda: DETR(DETRConfig(image_size=32, widths=(4, 8), dim=8, num_heads=2)),
        lambda: nn.TransformerEncoderLayer(32, 2, batch_first=True),
    ],
)
def test_a_model_whose_tokens_lie_on_no_one_grid_is_refused_with_the_remedy(build):
    model = build().eval()
    images = torch.zeros(1, 3, 32, 32)[0 if isinstance(model, nn.TransformerEncoderLayer) else slice(None)]
    for look in (relevance_maps, lambda model, images: AttentionMaps(model, images, images)):
        with pytest.raises(ValueError, match=r"lie on no one grid that is known here; .* as load_timm and load_to"):
            look(model, images)


@pytest.mark.parametrize(
    ("look", "error"),
    [
        (lambda model: embedding_filters(model.patch_embed), TypeError),
        (lambda model: patch_positions(model.pos_embed), TypeError),
        (lambda model: capture_tokens(model).__enter__(), ValueError),
    ],
)
def test_what_reads_parts_of_the_books_models_says_to_load_another_first(look, error):
    with pytest.raises(error, match="load_timm or load_torchvision makes"):
        look(timm_vit())
