"""`botnet`: relative positions against a loop over all pairs, attention against the book's; strides; costs."""

import math
import re

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vitedu.attention import MultiHeadAttention, scaled_dot_product_attention
from vitedu.cost import count_parameters
from vitedu.models.botnet import (
    BoTBlock,
    RelativePositions2d,
    SelfAttention2d,
    attention_macs,
    botnet,
    convolution_macs,
)
from vitedu.models.cnn import Bottleneck, CNNConfig, ResNet

SIZES = [(1, 1), (3, 5), (4, 2), (1, 6)]
CONFIG = CNNConfig(num_classes=5, widths=(16, 32), depths=(1, 3), block="bottleneck")


def maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def attention(size: tuple[int, int], channels: int = 8, num_heads: int = 2) -> SelfAttention2d:
    torch.manual_seed(0)
    return SelfAttention2d(channels, size, num_heads)


def plain_attention(module: SelfAttention2d) -> MultiHeadAttention:
    """The book's multi-head attention with the same projections, and none at the end."""
    dim = module.q_proj.in_channels
    plain = MultiHeadAttention(dim, module.num_heads, bias=False)
    for name in ("q_proj", "k_proj", "v_proj"):
        getattr(plain, name).weight.data.copy_(getattr(module, name).weight.data[:, :, 0, 0])
    nn.init.eye_(plain.out_proj.weight)
    return plain


def as_tokens(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, N, C)


@pytest.mark.parametrize("size", SIZES)
def test_relative_logits_equal_a_loop_over_all_pairs(size):
    """From every query to every key: q · (R_h[rows down] + R_w[columns to the right])."""
    torch.manual_seed(0)
    (H, W), B, h, d = size, 2, 3, 4
    positions, q = RelativePositions2d(size, d), maps(B, h, H * W, d)
    expected = torch.empty(B, h, H * W, H * W)
    for i in range(H * W):
        for j in range(H * W):
            down, right = j // W - i // W, j % W - i % W
            r = positions.rel_h[down + H - 1] + positions.rel_w[right + W - 1]
            expected[:, :, i, j] = q[:, :, i] @ r
    torch.testing.assert_close(positions(q), expected)


def test_relative_logits_depend_on_the_offset_alone():
    """The same query everywhere: two pairs as far apart in the same direction get the same logit."""
    torch.manual_seed(0)
    H, W = 4, 5
    q = maps(1, 1, 1, 6).expand(1, 1, H * W, 6)
    logits = RelativePositions2d((H, W), 6)(q).view(H, W, H, W)
    torch.testing.assert_close(logits[1:, 1:, 1:, 1:], logits[:-1, :-1, :-1, :-1])
    offsets = {}
    for r, c, r2, c2 in torch.cartesian_prod(*map(torch.arange, (H, W, H, W))).tolist():
        offsets.setdefault((r2 - r, c2 - c), []).append(logits[r, c, r2, c2].item())
    assert len(offsets) == (2 * H - 1) * (2 * W - 1)
    assert all(max(values) - min(values) < 1e-5 for values in offsets.values())
    assert len({round(values[0], 4) for values in offsets.values()}) == len(offsets)  # and each offset its own


def test_every_relative_position_is_used():
    positions = RelativePositions2d((3, 4), 2)
    assert positions.rel_h.shape == (5, 2)
    assert positions.rel_w.shape == (7, 2)
    positions(torch.ones(1, 1, 12, 2)).sum().backward()
    pairs = torch.tensor([1.0, 2, 3, 2, 1])  # of rows at each difference, times 4 · 4 pairs of columns
    torch.testing.assert_close(positions.rel_h.grad[:, 0], pairs * 16)
    torch.testing.assert_close(positions.rel_w.grad[:, 0], torch.tensor([1.0, 2, 3, 4, 3, 2, 1]) * 9)


@pytest.mark.parametrize("num_heads", [1, 2, 4])
@pytest.mark.parametrize("size", SIZES)
def test_without_positions_it_is_plain_attention(size, num_heads):
    module, x = attention(size, num_heads=num_heads), maps(2, 8, *size)
    assert not torch.allclose(as_tokens(module(x)), plain_attention(module)(as_tokens(x)), atol=1e-3) or size == (1, 1)
    nn.init.zeros_(module.positions.rel_h)
    nn.init.zeros_(module.positions.rel_w)
    torch.testing.assert_close(as_tokens(module(x)), plain_attention(module)(as_tokens(x)))


def test_the_fused_kernel_equals_the_softmax_written_out():
    """softmax((q·k + q·r) / √d) v, head by head: both terms are scaled."""
    module, x = attention((3, 5)), maps(2, 8, 3, 5)
    q, k, v = (module.split_heads(project(x)) for project in (module.q_proj, module.k_proj, module.v_proj))
    logits = (q @ k.transpose(-2, -1) + module.positions(q)) / math.sqrt(4)
    expected = (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(as_tokens(module(x)), expected)
    unbiased, _ = scaled_dot_product_attention(q, k, v)
    assert not torch.allclose(as_tokens(module(x)), unbiased.transpose(1, 2).flatten(2), atol=1e-3)


def test_attention_without_positions_is_equivariant_to_any_order_and_with_them_is_not():
    module, x = attention((4, 6)), maps(2, 8, 4, 6)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))

    def shuffle(y: torch.Tensor) -> torch.Tensor:
        return y.flatten(2)[..., order].view_as(y)

    assert not torch.allclose(module(shuffle(x)), shuffle(module(x)), atol=1e-3)
    nn.init.zeros_(module.positions.rel_h)
    nn.init.zeros_(module.positions.rel_w)
    torch.testing.assert_close(module(shuffle(x)), shuffle(module(x)))


def test_the_logits_between_the_parts_of_an_object_move_with_it():
    """Content and relative position, both: nothing tells where on the map the object is."""
    module = attention((7, 9))
    x, moved = torch.zeros(1, 8, 7, 9), torch.zeros(1, 8, 7, 9)
    x[..., 1:3, 1:4] = maps(1, 8, 2, 3)
    moved[..., 4:6, 5:8] = x[..., 1:3, 1:4]
    q, k = (module.split_heads(project(x)) for project in (module.q_proj, module.k_proj))
    q2, k2 = (module.split_heads(project(moved)) for project in (module.q_proj, module.k_proj))
    logits = (q @ k.transpose(-2, -1) + module.positions(q)).unflatten(3, (7, 9)).unflatten(2, (7, 9))
    logits2 = (q2 @ k2.transpose(-2, -1) + module.positions(q2)).unflatten(3, (7, 9)).unflatten(2, (7, 9))
    torch.testing.assert_close(logits2[:, :, 4:6, 5:8, 4:6, 5:8], logits[:, :, 1:3, 1:4, 1:3, 1:4])


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (1, 3)])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_bot_block_gives_the_shape_that_the_bottleneck_gives(stride, size):
    torch.manual_seed(0)
    x = maps(2, 8, *size)
    block, plain = BoTBlock(8, 32, size, stride), Bottleneck(8, 32, stride)
    assert block(x).shape == plain(x).shape == (2, 32, *(-(-side // stride) for side in size))


def test_for_stride_2_attention_sees_the_whole_map_and_an_average_pool_follows():
    torch.manual_seed(0)
    block, whole = BoTBlock(8, 16, (5, 6), stride=2, num_heads=2).eval(), BoTBlock(8, 16, (5, 6), num_heads=2).eval()
    whole.load_state_dict(
        {name.replace("conv2.0.", "conv2."): tensor for name, tensor in block.state_dict().items()}, strict=False
    )
    x = maps(2, 4, 5, 6)
    attended = whole.conv2(x)
    expected = torch.stack(
        [torch.stack([attended[..., r : r + 2, c : c + 2].mean((2, 3)) for c in (0, 2, 4)], -1) for r in (0, 2, 4)], -2
    )
    torch.testing.assert_close(block.conv2(x), expected)  # the last row, alone, is the mean of what is there


def test_a_bot_block_is_the_bottleneck_but_for_its_middle():
    """Put the 3×3 convolution back, copy the rest, and the two are equal."""
    torch.manual_seed(0)
    block, plain, x = BoTBlock(8, 16, (4, 6), num_heads=2), Bottleneck(8, 16), maps(2, 8, 4, 6)
    assert set(dict(block.named_children())) == set(dict(plain.named_children()))
    assert not torch.allclose(block(x), plain(x), atol=1e-2)
    block.conv2 = plain.conv2
    block.load_state_dict(plain.state_dict())
    assert torch.equal(block(x), plain(x))


@pytest.mark.parametrize("image_size", [16, (16, 24), (18, 13)])
@pytest.mark.parametrize("stem_stride", [1, 2, 4])
def test_botnet_replaces_the_last_stage_and_nothing_else(image_size, stem_stride):
    torch.manual_seed(0)
    config = CNNConfig(num_classes=5, widths=(16, 32), depths=(2, 3), block="bottleneck", stem_stride=stem_stride)
    model = botnet(config, image_size)
    *earlier, last = model.stages
    assert [type(block) for block in last] == [BoTBlock] * 3
    assert [type(block) for stage in earlier for block in stage] == [Bottleneck] * 2
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    x = maps(2, 3, height, width)
    assert model(x).shape == (2, 5)
    assert model.features(x).shape == ResNet(config).features(x).shape


def test_a_botnet_of_one_stage_keeps_its_size():
    config = CNNConfig(widths=(16,), depths=(3,), block="bottleneck", stem_stride=2)
    assert botnet(config, (10, 7)).features(maps(2, 3, 10, 7)).shape == (2, 16, 5, 4)


def test_botnet_50_is_resnet_50_with_nine_c_squared_for_three_c_squared_and_the_tables():
    widths = (256, 512, 1024, 2048)
    config = CNNConfig(num_classes=1000, widths=widths, depths=(3, 4, 6, 3), block="bottleneck", stem_stride=4)
    with torch.device("meta"):
        count = count_parameters(botnet(config, 224))
    C, d = 512, 128
    tables = (27 + 27) * d + 2 * (13 + 13) * d  # on 14×14 in the first block of the stage, on 7×7 in the others
    assert count == 25_557_032 - 3 * 9 * C * C + 3 * 3 * C * C + tables


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    model = botnet(CONFIG, (8, 12))
    nn.functional.cross_entropy(model(maps(4, 3, 8, 12)), torch.arange(4)).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


def test_the_gradient_of_attention_is_right():
    """Against differences, in double precision: of the map and of both tables."""
    module, x = attention((2, 3), channels=4).double(), maps(1, 4, 2, 3).double().requires_grad_()
    tables = [module.positions.rel_h.detach().clone(), module.positions.rel_w.detach().clone()]

    def run(x: torch.Tensor, rel_h: torch.Tensor, rel_w: torch.Tensor) -> torch.Tensor:
        given = {"positions.rel_h": rel_h, "positions.rel_w": rel_w}
        return torch.func.functional_call(module, given, (x,))

    assert torch.autograd.gradcheck(run, (x, *(table.requires_grad_() for table in tables)))


def test_attention_runs_in_bfloat16():
    module, x = attention((4, 5)), maps(2, 8, 4, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = module(x)
        low.float().square().sum().backward()
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), module(x), atol=0.03, rtol=0.03)
    assert module.positions.rel_h.grad.abs().max() > 0


@pytest.mark.parametrize("size", [(1, 1), (7, 7), (5, 8)])
@pytest.mark.parametrize("channels", [8, 16])
def test_costs_equal_what_a_counter_counts(channels, size):
    x = maps(1, channels, *size)
    convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    counts = []
    for module in (convolution, attention(size, channels, 4)):
        with FlopCounterMode(display=False) as counter:
            module(x)
        counts.append(counter.get_total_flops() // 2)
    assert counts == [convolution_macs(channels, size), attention_macs(channels, size)]


def test_twice_the_side_costs_a_convolution_four_times_and_attention_towards_sixteen_times():
    assert convolution_macs(64, 112) == 4 * convolution_macs(64, 56)
    assert convolution_macs(64, 56, kernel=1) * 9 == convolution_macs(64, 56)
    ratios = [attention_macs(64, 2 * side) / attention_macs(64, side) for side in (1, 16, 256, 4096)]
    assert ratios == sorted(ratios)
    assert 4 <= ratios[0] < 6
    assert 15.9 < ratios[-1] < 16


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SelfAttention2d(10, 4, 4), "10 channels are not divisible by 4 heads; choose channels of h·d"),
        (lambda: SelfAttention2d(8, 4, 0), "8 channels are not divisible by 0 heads"),
        (lambda: SelfAttention2d(8, 0, 2), "size 0 is not a positive whole number"),
        (lambda: attention((3, 4))(maps(1, 8, 4, 3)), "feature map is (4, 3), built for (3, 4)"),
        (lambda: botnet(CNNConfig(), 32), "block is 'basic'; attention replaces the 3×3 convolution"),
        (lambda: botnet(CONFIG, 32, num_heads=3), "8 channels are not divisible by 3 heads"),
        (lambda: botnet(CONFIG, 32)(maps(1, 3, 16, 16)), "feature map is (16, 16), built for (32, 32)"),
    ],
)
def test_what_cannot_be_is_refused(build, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build()


@pytest.mark.parametrize("image_size", [(16, 24), (18, 13)])
def test_a_botnet_costs_the_residual_network_less_three_convolutions_plus_three_attentions(image_size):
    counts = []
    for model in (ResNet(CONFIG), botnet(CONFIG, image_size)):
        with FlopCounterMode(display=False) as counter:
            model(maps(2, 3, *image_size))
        counts.append(counter.get_total_flops() // 4)  # two images, two FLOPs for a multiply-add
    large, small = CONFIG.feature_size(image_size, 0), CONFIG.feature_size(image_size)
    convolutions = 3 * convolution_macs(8, small)
    attentions = attention_macs(8, large) + 2 * attention_macs(8, small)
    assert counts[1] - counts[0] == attentions - convolutions
