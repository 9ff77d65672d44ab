"""`vitedu.vit`: the assembled model, its presets, and what its configuration refuses."""

import dataclasses
import re

import pytest
import torch
from torch import nn

from vitedu.cost import count_parameters
from vitedu.patch import fitting_patch_side, pair, patchify, unpatchify
from vitedu.vit import PRESETS, ViT, ViTConfig, preset

SMALL = {"image_size": 8, "patch_size": 4, "num_classes": 5, "dim": 16, "depth": 2, "num_heads": 4}
PUBLISHED = {  # trainable parameters with 1,000 classes at 224 pixels, as counted in torchvision and DeiT's weights
    "Ti/16": 5_717_416,
    "S/16": 22_050_664,
    "B/16": 86_567_656,
    "B/32": 88_224_232,
    "L/16": 304_326_632,
    "L/32": 306_535_400,
    "H/14": 632_045_800,
}


def small(**changes) -> ViT:
    torch.manual_seed(0)
    return ViT(ViTConfig(**SMALL | changes))


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def images_for(model: ViT, B: int) -> torch.Tensor:
    return images(B, model.config.in_channels, *pair(model.config.image_size))


@pytest.mark.parametrize(("name", "count"), PUBLISHED.items())
def test_presets_have_the_published_number_of_parameters(name, count):
    with torch.device("meta"):
        assert count_parameters(ViT(preset(name))) == count


def test_the_published_presets_are_all_counted():
    assert set(PRESETS) - set(PUBLISHED) == {"tiny", "small"}


def test_parameters_add_up_by_hand():
    D, K, N, patch, hidden = 16, 5, 4, 48, 64
    block = 4 * (D * D + D) + (D * hidden + hidden) + (hidden * D + D) + 2 * 2 * D
    expected = (patch * D + D) + D + (N + 1) * D + 2 * block + 2 * D + (D * K + K)
    assert count_parameters(small()) == expected
    assert count_parameters(small(pool="mean")) == expected - 2 * D  # neither CLS nor its position


def test_only_trainable_parameters_count():
    layer = nn.Linear(3, 2)
    layer.bias.requires_grad_(False)
    assert count_parameters(layer) == 6


CASES = {
    "cls": {},
    "mean": {"pool": "mean"},
    "post-norm": {"norm": "post"},
    "post-norm mean": {"norm": "post", "pool": "mean"},
    "five channels": {"in_channels": 5},
    "non-square": {"image_size": (8, 12), "patch_size": (2, 6), "in_channels": 1},
    "normal": {"init": "normal"},
    "fixed positions": {"positions": "sincos2d"},
    "pre-training head": {"representation_size": 6},
}


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES.keys())
def test_gradients_reach_every_parameter(changes):
    """All but the bias of the keys, which softmax cannot see."""
    model = small(**changes)
    nn.functional.cross_entropy(model(images_for(model, 3)), torch.arange(3)).backward()
    for name, parameter in model.named_parameters():
        if name.endswith("k_proj.bias"):
            assert parameter.grad.abs().max() < 1e-5, name
        else:
            assert parameter.grad.view(len(parameter), -1).any(1).all(), name  # no row of a matrix is left out


def test_the_pre_training_head_is_a_linear_layer_a_tanh_and_a_linear_layer():
    model, batch = small(representation_size=9), images(2, 3, 8, 8)
    hidden, tanh = model.pre_logits
    assert (hidden.in_features, hidden.out_features, model.head.in_features) == (16, 9, 9)
    assert isinstance(tanh, nn.Tanh)
    between = torch.tanh(model.represent(batch) @ hidden.weight.T + hidden.bias)
    torch.testing.assert_close(model(batch), between @ model.head.weight.T + model.head.bias)


def test_h_14_with_its_pre_training_head_has_the_published_count():
    with torch.device("meta"):
        assert count_parameters(ViT(preset("H/14", representation_size=1280))) == 633_685_480


@pytest.mark.parametrize("init", ["xavier", "normal", "torch"])
@pytest.mark.parametrize("representation", [0, 9])
def test_a_zero_head_gives_zero_scores_and_leaves_the_rest_as_it_starts(representation, init):
    zero, plain = (small(zero_head=z, representation_size=representation, init=init) for z in (True, False))
    assert torch.equal(zero(images(2, 3, 8, 8)), torch.zeros(2, 5))
    for (name, a), b in zip(zero.named_parameters(), plain.parameters(), strict=True):
        assert name.startswith("head.") or torch.equal(a, b), name


def test_under_a_zero_head_the_first_gradient_reaches_the_head_alone():
    model = small(zero_head=True)
    nn.functional.cross_entropy(model(images_for(model, 3)), torch.arange(3)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.any() == name.startswith("head."), name


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES.keys())
def test_an_image_is_scored_the_same_alone_and_in_a_batch(changes):
    model = small(**changes)
    batch = images_for(model, 3)
    scores = model(batch)
    assert scores.shape == (3, 5)
    torch.testing.assert_close(model(batch[1:2]), scores[1:2])
    assert (scores[0] - scores[1]).abs().max() > 1e-5


def test_cls_is_token_zero_and_the_classifier_reads_it():
    model = small()
    seen = []
    model.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    batch = images(2, 3, 8, 8)
    encoded = model.encode(batch)
    torch.testing.assert_close(seen[0][:, 0], (model.cls_token[0, 0] + model.positions.table[0]).expand(2, -1))
    torch.testing.assert_close(seen[0][:, 1:], model.patch_embed(batch) + model.positions.table[1:])
    assert torch.equal(model.represent(batch), encoded[:, 0])
    assert torch.equal(model(batch), model.head(encoded[:, 0]))


def test_mean_pooling_has_no_cls_and_averages_all_patches():
    model, batch = small(pool="mean"), images(2, 3, 8, 8)
    assert model.cls_token is None
    encoded = model.encode(batch)
    assert encoded.shape == (2, 4, 16)
    torch.testing.assert_close(model.represent(batch), encoded.mean(1))


def shuffled(batch: torch.Tensor, side: int) -> torch.Tensor:
    """Every image with its patches in one other order."""
    parts = patchify(batch, side)
    return unpatchify(parts.roll(1, dims=1), side, tuple(batch.shape[-2:]))


@pytest.mark.parametrize("pool", ["cls", "mean"])
@pytest.mark.parametrize("kind", ["none", "learned", "sincos1d", "sincos2d"])
def test_only_without_positions_is_the_model_blind_to_the_order_of_patches(kind, pool):
    model, batch = small(positions=kind, pool=pool, image_size=16), images(2, 3, 16, 16)
    difference = (model(shuffled(batch, 4)) - model(batch)).abs().max()
    assert difference < 1e-5 if kind == "none" else difference > 1e-2


def test_the_seed_decides_the_model_and_nothing_else_does():
    first, second = small(), small()
    torch.manual_seed(1)
    third = ViT(first.config)
    for (name, a), b, c in zip(first.named_parameters(), second.parameters(), third.parameters(), strict=True):
        assert torch.equal(a, b), name
        if not name.endswith(("bias",)) and "norm" not in name:
            assert not torch.equal(a, c), name


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES.keys())
def test_a_state_dict_carries_the_whole_model(changes):
    model = small(**changes).eval()
    torch.manual_seed(99)
    other = ViT(model.config).eval()
    other.load_state_dict(model.state_dict())
    batch = images_for(model, 2)
    assert torch.equal(other(batch), model(batch))


@pytest.mark.parametrize("option", ["dropout", "attention_dropout", "drop_path"])
def test_each_kind_of_dropout_reaches_the_model_and_is_off_in_evaluation(option):
    model, plain, batch = small(**{option: 0.5}), small(), images(4, 3, 8, 8)
    assert (model(batch) - plain(batch)).abs().max() > 1e-2
    assert torch.equal(model.eval()(batch), plain(batch))


@pytest.mark.parametrize(("option", "value"), [("mlp_ratio", 2.0), ("norm", "post"), ("eps", 0.5), ("depth", 3)])
def test_the_encoder_is_built_as_the_config_says(option, value):
    block = small(**{option: value}).encoder.blocks
    found = {
        "mlp_ratio": block[0].mlp.fc1.out_features / 16,
        "norm": "pre" if block[0].pre_norm else "post",
        "eps": block[1].norm2.eps,
        "depth": len(block),
    }
    assert found[option] == value


@pytest.mark.parametrize("std", [0.02, 1.0])
def test_position_std_sets_the_start_of_the_positions(std):
    table = small(image_size=64, dim=64, position_std=std).positions.table
    assert abs(table.std() / std - 1) < 0.05


def test_a_config_is_frozen_and_can_be_changed_by_copy():
    config = ViTConfig(**SMALL)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.dim = 3
    assert dataclasses.replace(config, depth=3) == ViTConfig(**SMALL | {"depth": 3})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 30}, "image side 30 is not divisible by patch side 4; use 28 or 32, or pad the image"),
        ({"image_size": 0}, "size 0 is not a positive whole number"),
        ({"dim": 18}, "dim 18 is not divisible by num_heads 4; choose dim = h·d, d whole"),
        ({"depth": 0}, "depth is 0; it has to be at least 1"),
        ({"representation_size": -1}, "representation_size is -1; it has to be at least 0"),
        ({"num_classes": 0}, "num_classes is 0; it has to be at least 1"),
        ({"in_channels": -1}, "in_channels is -1; it has to be at least 1"),
        ({"dim": 0}, "dim is 0; it has to be at least 1"),
        ({"num_heads": -2}, "num_heads is -2; it has to be at least 1"),
        ({"num_heads": 0}, "num_heads is 0; it has to be at least 1"),
        ({"drop_path": 1.5}, "drop_path 1.5 is outside [0, 1)"),
        ({"attention_dropout": -3}, "attention_dropout -3 is outside [0, 1)"),
        ({"dropout": 1}, "dropout 1 is outside [0, 1)"),
        ({"mlp_ratio": -1}, "mlp_ratio is -1; it has to be above 0"),
        ({"dim": 6, "num_heads": 2, "positions": "sincos2d"}, "dim 6 is not divisible by 4"),
        ({"pool": "max"}, "pool 'max' is not one of cls, mean"),
        ({"positions": "2d"}, "positions '2d' is not one of learned, sincos1d, sincos2d, none"),
        ({"init": "zero"}, "init 'zero' is not one of xavier, normal, torch"),
        ({"norm": "both"}, "norm 'both' is not one of pre, post"),
    ],
)
def test_numbers_that_do_not_fit_together_are_refused(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ViTConfig(**SMALL | changes)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 8, 12), "images are 8×12, the model was built for 8×8; resize, or build a model of that image_size"),
        ((1, 3, 16, 16), "images are 16×16, the model was built for 8×8"),
        ((1, 1, 8, 8), "images have shape (1, 1, 8, 8), expected (B, 3, H, W); pass what has that many"),
        ((1, 8, 8, 3), "images have shape (1, 8, 8, 3), expected (B, 3, H, W); pass images.movedim(-1, -3)"),
    ],
)
def test_images_the_model_was_not_built_for_are_refused(shape, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        small()(torch.zeros(shape))


def test_a_preset_can_be_changed_field_by_field_and_stays_as_it_was():
    config = preset("B/16", num_classes=7, depth=3)
    assert (config.num_classes, config.depth, config.dim, config.patch_size) == (7, 3, 768, 16)
    assert preset("B/16").depth == 12
    assert preset("tiny", image_size=28, patch_size=7).patch_size == 7


@pytest.mark.parametrize(
    ("image_size", "patch_size"),
    [(28, (4, 4)), (32, (4, 4)), (96, (12, 12)), (8, (1, 1)), ((32, 64), (4, 8)), (224, (28, 28))],
)
def test_tiny_and_small_cut_each_side_into_about_eight(image_size, patch_size):
    for name in ("tiny", "small"):
        assert preset(name, image_size=image_size).patch_size == patch_size


def test_the_fitting_patch_side_is_the_divisor_nearest_to_an_eighth_or_refused():
    for side in range(1, 100):
        counts = [side // other for other in range(1, side + 1) if side % other == 0]  # patches per side
        nearest = min(counts, key=lambda count: abs(count - 8))
        if 4 <= nearest <= 16:
            assert abs(side / fitting_patch_side(side) - 8) == abs(nearest - 8)
        else:
            with pytest.raises(ValueError, match=f"image side {side} cannot be cut into 4 to 16 patches; use"):
                fitting_patch_side(side)


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=re.escape("preset 'huge' is not one of tiny, small, Ti/16, S/16, B/16")):
        preset("huge")
