"""`vitedu.attention`: the taught steps agree with the fused kernel, and masks, heads and dropout do what they say."""

import math
import re

import pytest
import torch
import torch.nn.functional as F

from tests.masks import some_mask
from vitedu.attention import MultiHeadAttention, scaled_dot_product_attention

B, HEADS, N, M, WIDTH, VALUE_WIDTH = 2, 3, 5, 7, 4, 6


@pytest.fixture
def qkv():
    torch.manual_seed(0)
    shapes = [(B, HEADS, N, WIDTH), (B, HEADS, M, WIDTH), (B, HEADS, M, VALUE_WIDTH)]
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


MASKS = {
    "none": None,
    "one for all": some_mask(N, M),
    "one per image": some_mask(B, 1, N, M),
    "one per head": some_mask(B, HEADS, N, M),
    "keys alone": torch.tensor([[True, False, True, True, False, True, True]]),
    "causal": torch.ones(N, M, dtype=torch.bool).tril(),
    "nothing": torch.zeros(N, M, dtype=torch.bool),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
def test_the_written_out_attention_equals_the_fused_kernel_and_so_do_its_gradients(qkv, mask):
    ours, _ = scaled_dot_product_attention(*qkv, mask)
    fused = F.scaled_dot_product_attention(*qkv, attn_mask=mask)
    torch.testing.assert_close(ours, fused)
    direction = torch.randn_like(ours)
    gradients = torch.autograd.grad(ours, qkv, direction)
    expected = torch.autograd.grad(fused, qkv, direction)
    for gradient, reference in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, reference)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
def test_rows_of_weights_sum_to_one_or_to_zero_where_a_query_may_look_nowhere(qkv, mask):
    _, weights = scaled_dot_product_attention(*qkv, mask)
    allowed = torch.ones(B, HEADS, N, M, dtype=torch.bool) if mask is None else mask.expand(B, HEADS, N, M)
    torch.testing.assert_close(weights.sum(-1), allowed.any(-1).float())
    assert (weights >= 0).all()
    assert (weights[~allowed] == 0).all()


def test_weights_are_the_softmax_of_dot_products_over_the_root_of_the_width():
    """By hand, for one query and two keys of width 4: scores 3/2 and -1/2."""
    q = torch.tensor([[1.0, 1.0, 1.0, 1.0]])
    k = torch.tensor([[3.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0]])
    v = torch.tensor([[1.0], [0.0]])
    output, weights = scaled_dot_product_attention(q, k, v)
    expected = math.exp(1.5) / (math.exp(1.5) + math.exp(-0.5))
    torch.testing.assert_close(weights, torch.tensor([[expected, 1 - expected]]))
    torch.testing.assert_close(output, torch.tensor([[expected]]))


def test_a_query_far_along_one_of_several_orthogonal_keys_looks_up_its_value():
    values = torch.randn(WIDTH, VALUE_WIDTH)
    output, _ = scaled_dot_product_attention(100 * torch.eye(WIDTH), torch.eye(WIDTH), values)
    torch.testing.assert_close(output, values)


def test_equal_keys_average_the_values():
    values = torch.randn(M, VALUE_WIDTH)
    output, _ = scaled_dot_product_attention(torch.randn(N, WIDTH), torch.ones(M, WIDTH), values)
    torch.testing.assert_close(output, values.mean(0).expand(N, -1))


def test_a_masked_value_cannot_be_seen(qkv):
    q, k, v = (tensor.detach() for tensor in qkv)
    mask = torch.ones(1, M, dtype=torch.bool)
    mask[0, 3] = False
    kept = [0, 1, 2, 4, 5, 6]
    hidden, _ = scaled_dot_product_attention(q, k, v, mask)
    absent, _ = scaled_dot_product_attention(q, k[..., kept, :], v[..., kept, :])
    torch.testing.assert_close(hidden, absent)


def test_a_mask_holds_however_low_the_scores_of_the_rest_are():
    k, v = torch.tensor([[-1e6], [1e6]]), torch.tensor([[1.0], [2.0]])
    output, _ = scaled_dot_product_attention(torch.ones(1, 1), k, v, torch.tensor([[True, False]]))
    assert output.item() == 1


def test_neither_the_inputs_nor_the_mask_are_changed(qkv):
    mask = MASKS["one for all"].clone()
    before = [tensor.detach().clone() for tensor in (*qkv, mask)]
    scaled_dot_product_attention(*qkv, mask)
    assert all(torch.equal(old, new) for old, new in zip(before, (*qkv, mask), strict=True))


def test_keys_permuted_with_their_values_change_nothing_and_queries_permute_the_outputs(qkv):
    q, k, v = qkv
    keys, queries = torch.randperm(M), torch.randperm(N)
    plain, _ = scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(scaled_dot_product_attention(q, k[..., keys, :], v[..., keys, :])[0], plain)
    torch.testing.assert_close(scaled_dot_product_attention(q[..., queries, :], k, v)[0], plain[..., queries, :])


@pytest.mark.parametrize(
    ("shapes", "mask", "error", "message"),
    [
        (((5, 4), (7, 3), (7, 6)), None, ValueError, "queries have width 4, keys 3; project both to the same width"),
        (((5, 4), (7, 4), (8, 6)), None, ValueError, "7 keys but 8 values; every key needs exactly one value"),
        (((5, 4), (7, 4), (7, 6)), torch.zeros(5, 7), TypeError, "mask has dtype torch.float32; pass booleans, True"),
    ],
)
def test_inputs_that_do_not_fit_are_named_with_both_numbers(shapes, mask, error, message):
    with pytest.raises(error, match=re.escape(message)):
        scaled_dot_product_attention(*(torch.zeros(shape) for shape in shapes), mask)


def written_out(layer: MultiHeadAttention, x: torch.Tensor, context: torch.Tensor, mask=None) -> torch.Tensor:
    """The layer's output, head by head, with the taught attention."""
    q, k, v = layer.q_proj(x), layer.k_proj(context), layer.v_proj(context)
    width = q.shape[-1] // layer.num_heads
    slices = [slice(head * width, (head + 1) * width) for head in range(layer.num_heads)]
    heads = [scaled_dot_product_attention(q[..., s], k[..., s], v[..., s], mask)[0] for s in slices]
    return layer.out_proj(torch.cat(heads, dim=-1))


@pytest.mark.parametrize(("dim", "num_heads"), [(12, 1), (12, 3), (12, 12), (8, 4)])
@pytest.mark.parametrize("masked", [False, True])
def test_heads_are_separate_attentions_on_slices_joined_by_one_linear_map(dim, num_heads, masked):
    torch.manual_seed(0)
    layer, x, context = MultiHeadAttention(dim, num_heads), torch.randn(B, N, dim), torch.randn(B, M, dim)
    mask = some_mask(N, M) if masked else None
    torch.testing.assert_close(layer(x, context, mask), written_out(layer, x, context, mask))


def test_split_heads_gives_head_i_the_ith_slice():
    x = torch.arange(2.0 * 5 * 12).view(2, 5, 12)
    heads = MultiHeadAttention(12, 3).split_heads(x)
    for head in range(3):
        assert torch.equal(heads[:, head], x[..., 4 * head : 4 * head + 4])


def test_without_a_context_tokens_attend_to_each_other():
    layer, x = MultiHeadAttention(12, 3), torch.randn(B, N, 12)
    assert torch.equal(layer(x), layer(x, context=x))


def test_attention_is_equivariant_to_the_order_of_tokens_also_under_a_permuted_mask():
    layer, x, order = MultiHeadAttention(12, 3), torch.randn(B, N, 12), torch.randperm(N)
    mask = some_mask(N, N)
    torch.testing.assert_close(layer(x[:, order]), layer(x)[:, order])
    permuted = mask[order][:, order]
    torch.testing.assert_close(layer(x[:, order], mask=permuted), layer(x, mask=mask)[:, order])


def test_images_of_a_batch_do_not_see_each_other():
    layer, x = MultiHeadAttention(12, 3), torch.randn(4, N, 12)
    torch.testing.assert_close(layer(x), torch.cat([layer(image[None]) for image in x]))


def test_a_query_that_may_look_nowhere_returns_the_output_bias():
    layer, mask = MultiHeadAttention(12, 3), torch.zeros(N, M, dtype=torch.bool)
    output = layer(torch.randn(B, N, 12), torch.randn(B, M, 12), mask)
    torch.testing.assert_close(output, layer.out_proj.bias.expand(B, N, 12))


def test_gradients_reach_every_weight_and_the_key_bias_alone_gets_none():
    """A bias on all keys adds the same number to each score of a query, and softmax does not see that."""
    torch.manual_seed(0)
    layer = MultiHeadAttention(12, 3)
    layer(torch.randn(B, N, 12)).square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert (parameter.grad.abs().max() < 1e-5) == (name == "k_proj.bias"), name


def test_dropout_keeps_the_mean_in_training_and_is_off_in_evaluation():
    torch.manual_seed(0)
    layer, x = MultiHeadAttention(8, 2, dropout=0.3), torch.randn(1, 3, 8)
    dropped, kept = layer(x.expand(20_000, 3, 8)), layer.eval()(x)
    assert dropped.std(0).min() > 0.01
    torch.testing.assert_close(dropped.mean(0, keepdim=True), kept, atol=0.01, rtol=0)
    assert torch.equal(layer(x), kept)
    without = MultiHeadAttention(8, 2)
    without.load_state_dict(layer.state_dict())
    assert torch.equal(without(x), kept)


@pytest.mark.parametrize("bias", [True, False])
def test_bias_is_asked_of_all_four_projections(bias):
    layer = MultiHeadAttention(8, 2, bias=bias)
    names = {name for name, _ in layer.named_parameters() if name.endswith("bias")}
    assert names == ({f"{part}_proj.bias" for part in ("q", "k", "v", "out")} if bias else set())


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (torch.ones(5, 5).tril(), TypeError, "mask has dtype torch.float32; pass booleans"),
        (torch.ones(5, dtype=torch.bool), ValueError, "mask has 1 axis, expected at least 2 (N, S)"),
    ],
)
def test_many_heads_refuse_the_masks_that_one_refuses(mask, error, message):
    """A float mask would be added to the scores without a word."""
    with pytest.raises(error, match=re.escape(message)):
        MultiHeadAttention(8, 2)(torch.randn(1, 5, 8), mask=mask)


def test_no_heads_are_refused():
    with pytest.raises(ValueError, match="not divisible by 0 heads"):
        MultiHeadAttention(8, 0)


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match=re.escape("width 10 is not divisible by 4 heads; choose a width of h·d")):
        MultiHeadAttention(10, 4)
