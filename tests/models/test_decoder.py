"""`decoder`: equal to torch's decoder, causal where it is told to be, and a reader of its memory."""

import math
import re

import pytest
import torch
from torch import Tensor, nn

from vitedu.models.decoder import Decoder, DecoderBlock

NORMS = ["pre", "post"]


def tokens(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def causal(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).tril()


def randomise(module: nn.Module) -> nn.Module:
    """Give every parameter, norms and biases too, random values that keep activations near one."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in module.named_parameters():
        fan_in = parameter.shape[1] if parameter.ndim == 2 else 4
        parameter.data = torch.randn(parameter.shape, generator=generator) / math.sqrt(fan_in) + 0.5 * ("norm" in name)
    return module


def carry_layer(weights: dict[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """`nn.TransformerDecoderLayer` -> `DecoderBlock`."""
    carried = {}
    for ours, theirs in {"self_attention": "self_attn", "cross_attention": "multihead_attn"}.items():
        for kind in ("weight", "bias"):
            stacked = weights[f"{prefix}{theirs}.in_proj_{kind}"].chunk(3)
            carried |= {f"{ours}.{part}_proj.{kind}": value for part, value in zip("qkv", stacked, strict=True)}
            carried[f"{ours}.out_proj.{kind}"] = weights[f"{prefix}{theirs}.out_proj.{kind}"]
    same = {"norm1": "norm1", "norm2": "norm2", "norm3": "norm3", "mlp.fc1": "linear1", "mlp.fc2": "linear2"}
    for ours, theirs in same.items():
        carried |= {f"{ours}.{kind}": weights[f"{prefix}{theirs}.{kind}"] for kind in ("weight", "bias")}
    return carried


def torch_layer(norm: str, dim: int = 12, num_heads: int = 3) -> nn.TransformerDecoderLayer:
    options = {"activation": "gelu", "batch_first": True, "dropout": 0.0, "layer_norm_eps": 1e-6}
    return nn.TransformerDecoderLayer(dim, num_heads, 4 * dim, norm_first=norm == "pre", **options)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("B", "N", "S"), [(2, 5, 7), (1, 6, 3), (3, 1, 4)])
@pytest.mark.parametrize("norm", NORMS)
def test_a_block_equals_torchs_decoder_layer(norm, B, N, S, masked):
    theirs = randomise(torch_layer(norm))
    ours = DecoderBlock(12, 3, norm=norm)
    ours.load_state_dict(carry_layer(theirs.state_dict()))
    x, memory = tokens(B, N, 12), tokens(B, S, 12, seed=1)
    mask = causal(N) if masked else None
    forbidden = ~mask if masked else None  # torch's mask says where a query may *not* look
    expected = theirs(x, memory, tgt_mask=forbidden)
    torch.testing.assert_close(ours(x, memory, mask), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_a_stack_equals_torchs_decoder_with_both_masks(norm):
    last = nn.LayerNorm(12, eps=1e-6) if norm == "pre" else None
    theirs = randomise(nn.TransformerDecoder(torch_layer(norm), 3, last))
    weights, ours = theirs.state_dict(), Decoder(3, 12, 3, norm=norm)
    for index, block in enumerate(ours.blocks):
        block.load_state_dict(carry_layer(weights, f"layers.{index}."))
    if norm == "pre":
        ours.norm.load_state_dict(theirs.norm.state_dict())
    x, memory = tokens(2, 5, 12), tokens(2, 7, 12, seed=1)
    padding = torch.tensor([[False] * 7, [False] * 4 + [True] * 3])
    expected = theirs(x, memory, tgt_mask=~causal(5), memory_key_padding_mask=padding)
    found = ours(x, memory, causal(5), ~padding[:, None, None, :])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_under_a_causal_mask_a_later_token_changes_nothing_before_it(norm):
    decoder, x, memory = Decoder(3, 16, 4, norm=norm), tokens(2, 7, 16), tokens(2, 5, 16, seed=1)
    changed = x.clone()
    changed[:, 4] += tokens(2, 16, seed=2)
    before, after = decoder(x, memory, causal(7)), decoder(changed, memory, causal(7))
    torch.testing.assert_close(after[:, :4], before[:, :4])
    assert (after[:, 4:] - before[:, 4:]).abs().amax((0, 2)).min() > 1e-3
    assert (decoder(changed, memory) - decoder(x, memory))[:, :4].abs().max() > 1e-3


@pytest.mark.parametrize("norm", NORMS)
def test_without_a_mask_the_decoder_is_equivariant_to_its_tokens_and_invariant_to_the_order_of_the_memory(norm):
    decoder, x, memory = Decoder(2, 16, 4, norm=norm), tokens(2, 7, 16), tokens(2, 5, 16, seed=1)
    expected = decoder(x, memory)[:, torch.arange(7).flip(0)]
    found = decoder(x.flip(1), memory[:, [3, 0, 4, 2, 1]])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_a_masked_part_of_the_memory_is_as_good_as_absent(norm):
    decoder, x, memory = Decoder(2, 16, 4, norm=norm), tokens(2, 7, 16), tokens(2, 5, 16, seed=1)
    visible = torch.tensor([True, True, True, False, False])[None]
    torch.testing.assert_close(decoder(x, memory, None, visible), decoder(x, memory[:, :3]), atol=1e-5, rtol=1e-4)


def test_every_block_reads_the_memory():
    decoder, x = Decoder(3, 16, 4), tokens(2, 4, 16)
    memory = tokens(2, 5, 16, seed=1).requires_grad_()
    for block in decoder.blocks:
        (gradient,) = torch.autograd.grad(block(x, memory).square().sum(), memory)
        assert gradient.abs().amax(-1).min() > 0


def silence(block: DecoderBlock) -> DecoderBlock:
    """Make all three branches return zero."""
    for layer in (block.self_attention.out_proj, block.cross_attention.out_proj, block.mlp.fc2):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return block


def test_with_silent_branches_a_pre_norm_block_is_the_identity_and_a_post_norm_block_normalises():
    x, memory = tokens(2, 5, 8) * 3 + 1, tokens(2, 4, 8, seed=1)
    assert torch.equal(silence(DecoderBlock(8, 2))(x, memory), x)
    normalised = nn.functional.layer_norm(x, [8])
    torch.testing.assert_close(silence(DecoderBlock(8, 2, norm="post"))(x, memory), normalised, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("option", ["dropout", "attention_dropout", "drop_path"])
def test_each_kind_of_dropout_acts_in_training_and_not_in_evaluation(option, norm):
    torch.manual_seed(0)
    x, memory = tokens(8, 5, 16), tokens(8, 4, 16, seed=1)
    decoder, plain = Decoder(2, 16, 4, norm=norm, **{option: 0.5}), Decoder(2, 16, 4, norm=norm)
    plain.load_state_dict(decoder.state_dict())
    assert not torch.allclose(decoder(x, memory), plain(x, memory), atol=1e-2)
    assert torch.equal(decoder.eval()(x, memory), plain(x, memory))


@pytest.mark.parametrize(("depth", "rates"), [(5, [0, 0.1, 0.2, 0.3, 0.4]), (2, [0, 0.4]), (1, [0.4])])
def test_drop_path_rates_grow_linearly_from_zero_to_the_last_block(depth, rates):
    assert [block.drop_path.rate for block in Decoder(depth, 8, 2, drop_path=0.4).blocks] == pytest.approx(rates)


def test_a_block_has_16_d_squared_weights_and_19_d_more():
    """Two attentions of 4D² + 4D, an MLP of 8D² + 5D, three norms of 2D."""
    for dim in (8, 24):
        assert sum(p.numel() for p in DecoderBlock(dim, 2).parameters()) == 16 * dim**2 + 19 * dim


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 8, "num_heads": 2, "norm": "middle"}, "norm 'middle' is not one of pre, post"),
        ({"dim": 10, "num_heads": 4}, "width 10 is not divisible by 4 heads"),
    ],
)
def test_a_block_that_cannot_be_built_is_refused(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        DecoderBlock(**arguments)
    with pytest.raises(ValueError, match=re.escape(message)):
        Decoder(1, **arguments)
