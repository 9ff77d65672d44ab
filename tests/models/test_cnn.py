"""`cnn`: equal to torchvision's residual networks; shapes, strides, and where an attention module sits."""

import re

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import resnet

from vitedu.cost import count_parameters
from vitedu.models.cnn import BasicBlock, Bottleneck, CNNConfig, ResNet


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def randomise(model: nn.Module) -> nn.Module:
    """Draw what starts at 0 or 1, so that a swapped gain, shift, mean or variance shows."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return model


def from_torchvision(state: dict) -> dict:
    """Torchvision's names -> ours."""
    renamed = {}
    for name, tensor in state.items():
        name = re.sub(r"^conv1\.", "stem.0.", re.sub(r"^bn1\.", "stem.1.", re.sub(r"^fc\.", "head.", name)))
        name = re.sub(r"^layer(\d)\.", lambda match: f"stages.{int(match[1]) - 1}.", name)
        renamed[name.replace("downsample.", "shortcut.")] = tensor
    return renamed


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("in_channels", "out_channels"), [(16, 16), (8, 16)])
@pytest.mark.parametrize(
    ("kind", "published", "expansion"), [(BasicBlock, resnet.BasicBlock, 1), (Bottleneck, resnet.Bottleneck, 4)]
)
def test_a_block_equals_torchvisions(kind, published, expansion, in_channels, out_channels, stride, training):
    """Values, gradients, and in training the running statistics too."""
    same = stride == 1 and in_channels == out_channels
    downsample = (
        None
        if same
        else nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))
    )
    reference = randomise(published(in_channels, out_channels // expansion, stride, downsample)).train(training)
    block = kind(in_channels, out_channels, stride).train(training)
    block.load_state_dict({k.replace("downsample.", "shortcut."): v for k, v in reference.state_dict().items()})
    x, y = images(2, in_channels, 7, 10).requires_grad_(), images(2, in_channels, 7, 10).requires_grad_()
    ours, theirs = block(x), reference(y)
    torch.testing.assert_close(ours, theirs)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-4, atol=1e-4)
    expected = {k.replace("downsample.", "shortcut."): v for k, v in reference.named_buffers()}
    assert expected.keys() == dict(block.named_buffers()).keys()
    for name, buffer in block.named_buffers():
        torch.testing.assert_close(buffer, expected[name])


PUBLISHED = {
    "resnet18": {"widths": (64, 128, 256, 512), "depths": (2, 2, 2, 2)},
    "resnet50": {"widths": (256, 512, 1024, 2048), "depths": (3, 4, 6, 3), "block": "bottleneck"},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_networks_equal_torchvisions(name):
    torch.manual_seed(0)
    reference = randomise(torchvision.models.get_model(name)).eval()
    model = ResNet(CNNConfig(num_classes=1000, stem_stride=4, **PUBLISHED[name])).eval()
    model.load_state_dict(from_torchvision(reference.state_dict()))
    x = images(2, 3, 64, 48)
    ours, theirs = model(x), reference(x)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())


def test_the_published_networks_have_the_published_number_of_parameters():
    with torch.device("meta"):
        counts = [
            count_parameters(ResNet(CNNConfig(num_classes=1000, stem_stride=4, **PUBLISHED[n]))) for n in PUBLISHED
        ]
    assert counts == [11_689_512, 25_557_032]


@pytest.mark.parametrize("image_size", [(32, 32), (30, 49), (33, 17)])
@pytest.mark.parametrize("stem_stride", [1, 2, 4])
@pytest.mark.parametrize("widths", [(8,), (8, 12), (8, 12, 20)])
def test_every_stage_has_the_channels_and_the_size_that_the_configuration_says(widths, stem_stride, image_size):
    config = CNNConfig(in_channels=2, num_classes=5, widths=widths, depths=(1,) * len(widths), stem_stride=stem_stride)
    model, x = ResNet(config), images(1, 2, *image_size)
    assert model.features(x).shape == (1, widths[-1], *config.feature_size(image_size))
    assert model.eval()(x).shape == (1, 5)
    x = model.stem(x)
    for index, stage in enumerate(model.stages):
        x = stage(x)
        assert x.shape == (1, widths[index], *config.feature_size(image_size, index))


def test_the_stride_is_the_step_in_pixels_from_one_position_of_the_last_map_to_the_next():
    """Shift the image by it, and the map moves by one position, away from the zero padding of the rim."""
    torch.manual_seed(0)
    model = ResNet(CNNConfig(widths=(8, 8), depths=(1, 1), stem_stride=2)).eval()
    assert model.config.stride == 4
    x = images(1, 3, 64, 64)
    here, there = model.features(x), model.features(x.roll((4, 8), dims=(2, 3)))
    torch.testing.assert_close(there[..., 6:-5, 7:-5], here[..., 5:-6, 5:-7], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(there[..., 6:-5, 6:-5], here[..., 6:-5, 6:-5], atol=0.1)


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_attention_sits_in_every_block_on_the_branch_before_the_addition(block):
    """A module that returns zero leaves the shortcuts alone; one that returns its input changes nothing."""

    class Zero(nn.Module):
        def __init__(self, channels: int):
            super().__init__()
            self.channels = channels

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.shape[1] == self.channels
            return torch.zeros_like(x)

    config = CNNConfig(widths=(8, 16), depths=(2, 3), block=block)
    torch.manual_seed(0)
    plain, x = ResNet(config).eval(), images(2, 3, 12, 10)
    same, zero = ResNet(config, lambda _: nn.Identity()).eval(), ResNet(config, Zero).eval()
    for model in (same, zero):
        model.load_state_dict(plain.state_dict())
    assert torch.equal(same(x), plain(x))
    shortcuts = plain.stem(x)
    for stage in plain.stages:
        for residual in stage:
            shortcuts = residual.shortcut(shortcuts).relu()
    assert torch.equal(zero.features(x), shortcuts)
    assert sum(isinstance(module, Zero) for module in zero.modules()) == 5


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_gradients_reach_every_parameter(block):
    torch.manual_seed(0)
    model = ResNet(CNNConfig(widths=(8, 16), depths=(2, 1), block=block))
    nn.functional.cross_entropy(model(images(4, 3, 16, 12)), torch.arange(4)).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


def test_in_evaluation_each_image_is_judged_alone():
    torch.manual_seed(0)
    model, x = ResNet(CNNConfig(widths=(8, 16), depths=(1, 1))).eval(), images(5, 3, 12, 12)
    torch.testing.assert_close(model(x)[2:3], model(x[2:3]))


def test_convolutions_start_as_kaimings_rule_says():
    """A normal of variance 2 over the numbers that one input reaches: output channels times the kernel's area."""
    torch.manual_seed(0)
    model = ResNet(CNNConfig(widths=(64, 256), depths=(1, 1), block="bottleneck"))
    for conv in (module for module in model.modules() if isinstance(module, nn.Conv2d)):
        expected = (2 / (conv.out_channels * conv.kernel_size[0] ** 2)) ** 0.5
        assert abs(conv.weight.std() / expected - 1) < 4 / conv.weight.numel() ** 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block": "dense"}, "block 'dense' is not one of basic, bottleneck"),
        ({"stem_stride": 3}, "stem_stride 3 is not one of 1, 2, 4"),
        ({"widths": (8, 16)}, "2 widths but 3 depths; each stage needs one of both"),
        ({"widths": (), "depths": ()}, "0 widths but 0 depths"),
        ({"depths": (1, 0, 1)}, "has to be at least 1"),
        ({"num_classes": 0}, "has to be at least 1"),
        ({"widths": (8, 10, 16), "block": "bottleneck"}, "width 10 is not divisible by 4"),
    ],
)
def test_a_configuration_that_cannot_be_built_is_refused(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        CNNConfig(**changes)
