"""`vitedu.block`: residual branches, stochastic depth, and the difference between pre- and post-norm."""

import math
import re

import pytest
import torch
from torch import nn

from vitedu.block import MLP, DropPath, Encoder, EncoderBlock
from vitedu.cost import kept_bytes

NORMS = ["pre", "post"]


def tokens(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_mlp_is_two_affine_maps_with_the_exact_gelu_between():
    """x·Φ(x) with the normal distribution's Φ, not its tanh approximation, which differs by up to 5e-4."""
    mlp, x = MLP(6, 24).double(), tokens(2, 5, 6).double() * 3
    hidden = x @ mlp.fc1.weight.T + mlp.fc1.bias
    hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
    torch.testing.assert_close(mlp(x), hidden @ mlp.fc2.weight.T + mlp.fc2.bias)


def test_the_mlp_works_on_each_token_alone():
    mlp, x = MLP(6, 12), tokens(2, 5, 6)
    torch.testing.assert_close(mlp(x)[1, 3], mlp(x[1, 3]))


def test_drop_path_does_nothing_in_evaluation_or_at_rate_zero():
    x = tokens(4, 3, 2)
    assert torch.equal(DropPath(0.9).eval()(x), x)
    assert torch.equal(DropPath(0.0).train()(x), x)


@pytest.mark.parametrize("shape", [(20_000, 2), (20_000, 3, 2), (20_000, 1, 2, 2)])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_drop_path_drops_whole_images_at_its_rate_and_scales_up_the_rest(shape, rate):
    torch.manual_seed(0)
    dropped = DropPath(rate)(torch.ones(shape)).flatten(1)
    kept = dropped[:, 0] != 0
    expected = kept[:, None].float() / (1 - rate)
    torch.testing.assert_close(dropped, expected.expand_as(dropped))
    assert abs(kept.float().mean() - (1 - rate)) < 0.015  # four standard errors at rate 0.5


def test_drop_path_keeps_the_expected_value():
    torch.manual_seed(0)
    x = torch.full((50_000, 1), 3.0)
    assert abs(DropPath(0.3)(x).mean() - 3) < 0.04  # four standard errors: 4·3·√(0.3/0.7)/√50,000


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5])
def test_a_drop_path_rate_outside_its_range_is_refused(rate):
    with pytest.raises(ValueError, match=re.escape(f"drop_path {rate} is outside [0, 1)")):
        DropPath(rate)


def silence(block: EncoderBlock) -> EncoderBlock:
    """Make both branches return zero."""
    for layer in (block.attention.out_proj, block.mlp.fc2):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return block


def test_with_silent_branches_a_pre_norm_block_is_the_identity_and_a_post_norm_block_normalises():
    x = tokens(2, 5, 8) * 3 + 1
    assert torch.equal(silence(EncoderBlock(8, 2))(x), x)
    torch.testing.assert_close(silence(EncoderBlock(8, 2, norm="post"))(x), nn.functional.layer_norm(x, [8]))


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("norm", NORMS)
def test_every_token_leaves_the_encoder_normalised(norm, depth):
    encoded = Encoder(depth, 16, 4, norm=norm)(tokens(2, 5, 16) * 10)
    torch.testing.assert_close(encoded.mean(-1), torch.zeros(2, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(encoded.std(-1, correction=0), torch.ones(2, 5), atol=1e-3, rtol=0)


def test_only_a_pre_norm_encoder_needs_a_last_layer_norm():
    assert isinstance(Encoder(2, 8, 2).norm, nn.LayerNorm)
    assert isinstance(Encoder(2, 8, 2, norm="post").norm, nn.Identity)


@pytest.mark.parametrize("norm", NORMS)
def test_the_encoder_is_equivariant_to_the_order_of_tokens(norm):
    encoder, x, order = Encoder(3, 16, 4, norm=norm), tokens(2, 7, 16), torch.randperm(7)
    torch.testing.assert_close(encoder(x[:, order]), encoder(x)[:, order], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_the_mask_reaches_every_block(norm):
    """Under a causal mask a later token changes nothing before it, at any depth."""
    encoder, x = Encoder(3, 16, 4, norm=norm), tokens(2, 7, 16)
    mask = torch.ones(7, 7, dtype=torch.bool).tril()
    changed = x.clone()
    changed[:, 4] += tokens(2, 16, seed=1)
    before, after = encoder(x, mask), encoder(changed, mask)
    torch.testing.assert_close(after[:, :4], before[:, :4])
    assert (after[:, 4:] - before[:, 4:]).abs().amax((0, 2)).min() > 1e-3
    assert (encoder(changed) - encoder(x))[:, :4].abs().max() > 1e-3


def test_depth_zero_blocks_apart_an_encoder_is_its_blocks_one_after_another():
    encoder, x = Encoder(3, 16, 4), tokens(2, 5, 16)
    first, second, third = encoder.blocks
    assert torch.equal(encoder(x), encoder.norm(third(second(first(x)))))


@pytest.mark.parametrize(
    ("depth", "rates"), [(5, [0, 0.1, 0.2, 0.3, 0.4]), (2, [0, 0.4]), (3, [0, 0.2, 0.4]), (12, None)]
)
def test_drop_path_rates_grow_linearly_from_zero_to_the_last_block(depth, rates):
    found = [block.drop_path.rate for block in Encoder(depth, 8, 2, drop_path=0.4).blocks]
    assert found == pytest.approx(rates or torch.linspace(0, 0.4, depth).tolist())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("option", ["dropout", "attention_dropout", "drop_path"])
def test_each_kind_of_dropout_acts_in_training_and_not_in_evaluation(option, norm):
    torch.manual_seed(0)
    x = tokens(8, 5, 16)
    encoder = Encoder(2, 16, 4, norm=norm, **{option: 0.5})
    plain = Encoder(2, 16, 4, norm=norm)
    plain.load_state_dict(encoder.state_dict())
    assert not torch.allclose(encoder(x), plain(x), atol=1e-2)
    assert torch.equal(encoder.eval()(x), plain(x))


def test_drop_path_skips_a_branch_so_that_a_dropped_image_keeps_its_tokens():
    torch.manual_seed(0)
    block, x = EncoderBlock(8, 2, drop_path=0.5), tokens(400, 3, 8)
    same = (block(x) == x).flatten(1).all(1).float().mean()
    assert abs(same - 0.25) < 0.09  # both branches dropped, each on its own toss; four standard errors


@pytest.mark.parametrize(("dim", "ratio", "hidden"), [(8, 4.0, 32), (8, 2.5, 20), (12, 0.5, 6)])
def test_the_mlp_ratio_sets_the_hidden_width(dim, ratio, hidden):
    assert EncoderBlock(dim, 2, mlp_ratio=ratio).mlp.fc1.out_features == hidden


def test_eps_reaches_every_layer_norm():
    norms = [module for module in Encoder(2, 8, 2, eps=0.25).modules() if isinstance(module, nn.LayerNorm)]
    assert [norm.eps for norm in norms] == [0.25] * 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 8, "num_heads": 2, "norm": "middle"}, "norm 'middle' is not one of pre, post"),
        ({"dim": 10, "num_heads": 4}, "width 10 is not divisible by 4 heads"),
    ],
)
def test_a_block_that_cannot_be_built_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        EncoderBlock(**arguments)
    with pytest.raises(ValueError, match=message):
        Encoder(1, **arguments)


# --- blocks that are computed a second time on the way back ---


def gradients(encoder: Encoder, x: torch.Tensor) -> list[torch.Tensor]:
    """Of the parameters and of the input, all random draws made anew from one seed."""
    x = x.clone().requires_grad_()
    torch.manual_seed(3)
    encoder(x).square().sum().backward()
    found = [x.grad, *(parameter.grad for parameter in encoder.parameters())]
    encoder.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("norm", NORMS)
def test_recomputing_gives_the_same_gradients_to_the_bit(norm):
    """With dropout and stochastic depth: the second time draws what the first time drew."""
    encoder, x = Encoder(3, 16, 4, norm=norm, dropout=0.2, attention_dropout=0.2, drop_path=0.3), tokens(4, 7, 16)
    plain = gradients(encoder, x)
    encoder.recompute = True
    assert all(torch.equal(a, b) for a, b in zip(plain, gradients(encoder, x), strict=True))


def test_recomputing_keeps_only_the_tokens_between_the_blocks():
    encoder, x = Encoder(5, 32, 4), tokens(2, 9, 32)
    whole, last_norm = kept_bytes(encoder, x), kept_bytes(encoder.norm, x.clone().requires_grad_())
    encoder.recompute = True
    assert kept_bytes(encoder, x) - last_norm <= 5 * x.nbytes < whole / 10


def test_recomputing_changes_nothing_where_no_gradient_is_asked_for():
    encoder, x = Encoder(2, 16, 4).eval(), tokens(2, 7, 16)
    expected = encoder(x)
    encoder.recompute = True
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            assert torch.equal(encoder(x), expected)
