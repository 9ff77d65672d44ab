"""BiT: equal to timm's under the same weights, and mistakes in it are not."""

import math

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.layers import StdConv2d
from timm.models.resnetv2 import ResNetV2
from torch import nn

from tests.random_weights import random_images
from vitedu.cost import count_parameters
from vitedu.models.bit import BiT, BiTConfig, PreActBottleneck, StandardConv2d, preset
from vitedu.pretrained import load_bit


def loud(model: nn.Module, seed: int = 0) -> nn.Module:
    """Every parameter random; filters with a mean and at scales that standardisation has to take away."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / math.sqrt(fan_in))
            if "norm" in name and name.endswith("weight"):
                parameter += 0.5
            if parameter.ndim == 4 and "head" not in name:
                parameter += 0.5 / math.sqrt(fan_in)
    return model


def timms(depths: tuple, seed: int = 0, **options) -> ResNetV2:
    """timm's model with the settings of its `resnetv2_*_bit`, of other depths."""
    sizes = {"layers": list(depths), "channels": (256, 512, 1024, 2048)[: len(depths)], "num_classes": 7}
    conv = lambda *args, **kwargs: StdConv2d(*args, eps=1e-8, **kwargs)  # noqa: E731
    return loud(ResNetV2(**sizes | options, conv_layer=conv, stem_type="fixed"), seed).eval()


@pytest.mark.parametrize("size", [(2, 64, 64), (1, 64, 64), (1, 65, 97), (2, 96, 48)])
@pytest.mark.parametrize("draw", ["loud", "as it starts"])
def test_scores_are_timms(size, draw):
    theirs = timms((1, 2)) if draw == "loud" else ResNetV2([1, 2], (256, 512), 7, stem_type="fixed").eval()
    for module in theirs.modules():
        if isinstance(module, StdConv2d):
            module.eps = 1e-8
    ours, images = load_bit(theirs), random_images(size[0], 3, *size[1:])
    expected = theirs(images)
    assert expected.std() > 1e-3
    torch.testing.assert_close(ours(images), expected, atol=1e-5, rtol=0)


def test_r50x1_at_full_size_is_timms():
    theirs = loud(timm.create_model("resnetv2_50x1_bit")).eval()
    ours, images = load_bit(theirs.state_dict()), random_images(1, 3, 96, 96)
    assert ours.config == preset("R50x1")
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=0)


def test_gradients_are_timms_too():
    theirs = timms((1, 1))
    ours, images = load_bit(theirs), random_images(2, 3, 64, 64)
    for model in (ours, theirs):
        model(images).square().sum().backward()
    mine, expected = ours.stages[1][0].conv2.weight.grad, theirs.stages[1].blocks[0].conv2.weight.grad
    torch.testing.assert_close(mine, expected, atol=1e-5, rtol=1e-3)
    assert expected.abs().max() > 1e-3


def ordinary_pool(model: BiT) -> None:
    """The max pool's own border, below everything, where the authors' code has zeros."""
    plain = F.pad
    F.pad = lambda x, sides, *rest: plain(x, sides, value=-math.inf)
    model.restore = lambda: setattr(F, "pad", plain)


def unbiased_variance(model: BiT) -> None:
    for module in model.modules():
        if isinstance(module, StandardConv2d):
            n = module.weight[0].numel()
            module.standardised = lambda w=module, n=n: StandardConv2d.standardised(w) * math.sqrt((n - 1) / n)


def not_standardised(model: BiT) -> None:
    for module in model.modules():
        if isinstance(module, StandardConv2d):
            module.standardised = lambda w=module: w.weight


def mean_left_in(model: BiT) -> None:
    for module in model.modules():
        if isinstance(module, StandardConv2d):
            module.standardised = lambda w=module: w.weight / w.weight.std(dim=(1, 2, 3), correction=0, keepdim=True)


def shortcut_before_the_norm(model: BiT) -> None:
    block = model.stages[0][0]

    def forward(x):
        y = block.conv1(F.relu(block.norm1(x)))
        return block.shortcut(x) + block.conv3(F.relu(block.norm3(block.conv2(F.relu(block.norm2(y))))))

    block.forward = forward


def relu_after_the_sum(model: BiT) -> None:
    block = model.stages[0][0]
    block.forward = lambda x: F.relu(PreActBottleneck.forward(block, x))


def stride_in_the_first_convolution(model: BiT) -> None:
    block = model.stages[1][0]
    block.conv1.stride, block.conv2.stride = (2, 2), (1, 1)


def other_groups(model: BiT) -> None:
    model.norm.num_groups = 16


def last_norm_left_out(model: BiT) -> None:
    model.norm = nn.Identity()


MUTANTS = [
    ordinary_pool,
    unbiased_variance,
    not_standardised,
    mean_left_in,
    shortcut_before_the_norm,
    relu_after_the_sum,
    stride_in_the_first_convolution,
    other_groups,
    last_norm_left_out,
]


@pytest.mark.parametrize("mutate", MUTANTS)
def test_a_mistake_changes_the_scores(mutate):
    theirs, images = timms((1, 1)), random_images(1, 3, 64, 64)
    ours, expected = load_bit(theirs), theirs(images)
    torch.testing.assert_close(ours(images), expected, atol=1e-5, rtol=0)
    mutate(ours)
    try:
        assert (ours(images) - expected).abs().max() > 1e-4
    finally:
        getattr(ours, "restore", lambda: None)()


def test_filters_have_mean_0_and_variance_1_whatever_is_learned():
    layer = loud(StandardConv2d(32, 8, 3))
    filters = layer.standardised().flatten(1)
    torch.testing.assert_close(filters.mean(dim=1), torch.zeros(8), atol=1e-6, rtol=0)
    torch.testing.assert_close(filters.var(dim=1, correction=0), torch.ones(8))
    x = random_images(1, 32, 6, 6)
    before = layer(x)
    with torch.no_grad():
        layer.weight.mul_(3).add_(0.2)
    torch.testing.assert_close(layer(x), before, atol=1e-4, rtol=1e-4)


def test_no_image_of_a_batch_sees_another():
    """What batch normalisation could not promise in training."""
    model, images = BiT(BiTConfig(depths=(1, 1), num_classes=3)).train(), random_images(3, 3, 32, 32)
    torch.testing.assert_close(model(images)[:1], model(images[:1]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("R50x1", 25_549_352), ("R50x3", 217_319_080), ("R101x1", 44_541_480), ("R152x4", 936_533_224)],
)
def test_presets_have_the_published_numbers_of_parameters(name, parameters):
    with torch.device("meta"):
        assert count_parameters(BiT(preset(name))) == parameters


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": ()}, "number of stages 0 is not one of 1, 2, 3, 4"),
        ({"depths": (1, 0)}, "depths is 0; it has to be at least 1"),
        ({"factor": 1.5}, "factor is 1.5; it has to be at least 1, a whole number"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        BiTConfig(**changes)
