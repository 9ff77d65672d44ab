"""`channel_attention`: equal to torchvision's and to loops; what each gate sees, and what it cannot."""

import re

import pytest
import torch
from torch import nn
from torchvision.ops import SqueezeExcitation

from vitedu.models.channel_attention import CBAM, ChannelGate, SpatialGate, SqueezeExcite
from vitedu.models.cnn import CNNConfig, ResNet

SHAPES = [(1, 8, 5, 7), (3, 8, 1, 1), (2, 8, 6, 4)]
BUILDERS = {
    "SE": lambda: SqueezeExcite(8, 4),
    "channel": lambda: ChannelGate(8, 4),
    "spatial": lambda: SpatialGate(3),
    "CBAM": lambda: CBAM(8, 4, 3),
}


def maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return BUILDERS[name]()


def gates(module: nn.Module) -> list[nn.Module]:
    return [part for part in module.modules() if hasattr(part, "gate")]


def open_gates(module: nn.Module) -> None:
    """Set the last bias so high that the sigmoid is 1 in float32, whatever comes in."""
    for part in gates(module):
        last = part.conv if isinstance(part, SpatialGate) else part.fc2
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, 50.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_squeeze_and_excitation_equals_torchvisions(shape):
    module, reference = build("SE"), SqueezeExcitation(8, 2)
    reference.load_state_dict(
        {k: v[:, :, None, None] if k.endswith("weight") else v for k, v in module.state_dict().items()}
    )
    x, y = maps(*shape).requires_grad_(), maps(*shape).requires_grad_()
    torch.testing.assert_close(module(x), reference(y))
    module(x).square().sum().backward()
    reference(y).square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


@pytest.mark.parametrize("reduction", [1, 3, 4, 16])
def test_the_hidden_layer_has_the_channels_over_the_reduction(reduction):
    hidden = 16 // reduction
    count = sum(parameter.numel() for parameter in SqueezeExcite(16, reduction).parameters())
    assert count == 16 * hidden + hidden + hidden * 16 + 16


def test_the_channel_gate_is_the_sigmoid_of_one_mlp_on_the_mean_and_on_the_maximum():
    module, x = build("channel"), maps(2, 8, 3, 4)
    for image in range(2):
        total = 0
        for pooled in (x[image].flatten(1).mean(1), x[image].flatten(1).max(1).values):
            total = total + module.fc2(torch.clamp(module.fc1(pooled), min=0))
        torch.testing.assert_close(module.gate(x)[image], 1 / (1 + torch.exp(-total)))
    torch.testing.assert_close(module(x), x * module.gate(x).reshape(2, 8, 1, 1))


def test_the_spatial_gate_is_a_convolution_of_the_mean_and_the_maximum_over_channels():
    """Position by position, with zeros around the map."""
    module, x = build("spatial"), maps(2, 5, 4, 6)
    summary = torch.stack([x.mean(1), x.max(1).values], 1)  # (B, 2, H, W)
    padded = nn.functional.pad(summary, [1] * 4)
    expected = torch.empty(2, 1, 4, 6)
    for r in range(4):
        for c in range(6):
            window = padded[:, :, r : r + 3, c : c + 3]
            expected[:, 0, r, c] = (window * module.conv.weight[0]).sum((1, 2, 3)) + module.conv.bias
    torch.testing.assert_close(module.gate(x), expected.sigmoid())
    torch.testing.assert_close(module(x), x * expected.sigmoid())


def test_cbam_gates_the_channels_first_and_then_the_places_of_what_is_left():
    module, x = build("CBAM"), maps(2, 8, 5, 6) * 3
    torch.testing.assert_close(module(x), module.spatial(module.channel(x)))
    assert not torch.allclose(module(x), module.channel(module.spatial(x)), atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", BUILDERS)
def test_the_shape_stays_and_every_gate_lies_between_0_and_1(name, shape):
    module, x = build(name), maps(*shape) * 5
    out = module(x)
    assert out.shape == x.shape
    assert (out.abs() < x.abs()).all()
    assert (out.sign() == x.sign()).all()
    for gate in gates(module):
        assert 0 < gate.gate(x).min() <= gate.gate(x).max() < 1


@pytest.mark.parametrize("name", BUILDERS)
def test_with_unit_gates_nothing_changes(name):
    module, x = build(name), maps(2, 8, 5, 7) * 10
    open_gates(module)
    assert torch.equal(module(x), x)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("attention", [lambda n: SqueezeExcite(n, 4), lambda n: CBAM(n, 4)], ids=["SE", "CBAM"])
def test_a_network_with_unit_gates_equals_the_plain_one(attention, block, training):
    torch.manual_seed(0)
    config = CNNConfig(widths=(8, 16), depths=(2, 1), block=block)
    plain, gated = ResNet(config), ResNet(config, attention)
    missing, unexpected = gated.load_state_dict(plain.state_dict(), strict=False)
    assert unexpected == []
    assert all(".attention." in name for name in missing)
    x = maps(3, 3, 12, 10)
    plain.train(training)
    gated.train(training)
    assert not torch.allclose(gated(x), plain(x), atol=1e-3)
    open_gates(gated)
    gated.load_state_dict(plain.state_dict(), strict=False)  # the running statistics too
    assert torch.equal(gated(x), plain(x))


@pytest.mark.parametrize("name", ["SE", "channel"])
def test_a_channel_gate_cannot_see_where_things_are(name):
    """Shuffle the positions, and the gates stay: the map is shuffled and nothing else."""
    module, x = build(name), maps(2, 8, 5, 7)
    order = torch.randperm(35, generator=torch.Generator().manual_seed(0))
    shuffled = x.flatten(2)[..., order].view_as(x)
    torch.testing.assert_close(module.gate(shuffled), module.gate(x))
    torch.testing.assert_close(module(shuffled), module(x).flatten(2)[..., order].view_as(x))


def test_the_spatial_gate_sees_where_things_are_and_not_which_channel():
    module, x = build("spatial"), maps(2, 8, 5, 7)
    channels = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(module.gate(x[:, channels]), module.gate(x))
    order = torch.randperm(35, generator=torch.Generator().manual_seed(0))
    shuffled = module.gate(x.flatten(2)[..., order].view_as(x)).flatten(2)
    assert not torch.allclose(shuffled, module.gate(x).flatten(2)[..., order], atol=0.01)


def test_the_spatial_gate_moves_with_the_picture_away_from_the_rim():
    module, x = SpatialGate(7), maps(1, 4, 20, 24)
    down, right = 2, 5
    moved = module(x.roll((down, right), dims=(2, 3)))
    expected = module(x).roll((down, right), dims=(2, 3))
    inside = (..., slice(3 + down, -3), slice(3 + right, -3))
    torch.testing.assert_close(moved[inside], expected[inside])
    assert not torch.allclose(moved, expected, atol=1e-3)  # the zeros around the map betray the rim


@pytest.mark.parametrize("name", BUILDERS)
def test_gradients_reach_every_parameter_and_are_right(name):
    """Against differences, in double precision."""
    module, x = build(name).double(), maps(2, 8, 3, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(module, (x,))
    module(x).square().sum().backward()
    assert [n for n, parameter in module.named_parameters() if not parameter.grad.abs().max() > 0] == []


@pytest.mark.parametrize("kind", [SqueezeExcite, ChannelGate, CBAM])
@pytest.mark.parametrize(("channels", "reduction"), [(8, 16), (8, 0), (8, -1)])
def test_a_reduction_that_leaves_no_unit_is_refused(kind, channels, reduction):
    message = f"{channels} channels reduced by {reduction} leave none; use a reduction of 1 to {channels}"
    with pytest.raises(ValueError, match=re.escape(message)):
        kind(channels, reduction)


@pytest.mark.parametrize("build_it", [SpatialGate, lambda size: CBAM(8, 4, size)])
@pytest.mark.parametrize("size", [0, 2, 6])
def test_an_even_kernel_is_refused(build_it, size):
    with pytest.raises(ValueError, match=f"kernel_size {size} is not odd, so it has no middle; use {size + 1}"):
        build_it(size)
