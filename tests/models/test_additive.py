"""`additive`: Bahdanau's attention equals its formula written pair by pair, and keeps the masks' conventions."""

import re

import pytest
import torch
from torch import nn

from tests.masks import some_mask
from vitedu.models.additive import AdditiveAttention

B, N, S, DQ, DK, DV, HIDDEN = 2, 3, 5, 4, 6, 7, 8


@pytest.fixture
def layer() -> AdditiveAttention:
    torch.manual_seed(0)
    return AdditiveAttention(DQ, DK, HIDDEN)


@pytest.fixture
def qkv():
    torch.manual_seed(1)
    return torch.randn(B, N, DQ), torch.randn(B, S, DK), torch.randn(B, S, DV)


MASKS = {
    "none": None,
    "one for all": some_mask(N, S),
    "one per sequence": some_mask(B, N, S),
    "keys alone": torch.tensor([[[True, False, True, True, False]], [[True, True, True, False, False]]]),
    "nothing": torch.zeros(N, S, dtype=torch.bool),
}
every_mask = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())


@every_mask
def test_outputs_are_the_formula_written_pair_by_pair(layer, qkv, mask):
    q, k, v = qkv
    out, weights = layer(q, k, v, mask)
    allowed = torch.ones(B, N, S, dtype=torch.bool) if mask is None else mask.expand(B, N, S)
    W, U, w = layer.q_proj.weight, layer.k_proj.weight, layer.score.weight[0]
    for b in range(B):
        for n in range(N):
            chosen = [s for s in range(S) if allowed[b, n, s]]
            fits = [torch.exp(w @ torch.tanh(W @ q[b, n] + U @ k[b, s])) for s in chosen]
            expected = sum((fit / sum(fits) * v[b, s] for fit, s in zip(fits, chosen, strict=True)), torch.zeros(DV))
            torch.testing.assert_close(out[b, n], expected)
            torch.testing.assert_close(weights[b, n].sum(), torch.tensor(1.0 if chosen else 0.0))


@every_mask
def test_gradients_are_finite_and_a_masked_value_has_none(layer, qkv, mask):
    """A row without a single key has a softmax of 0/0 on the way; nothing of it may reach the gradients."""
    inputs = [tensor.clone().requires_grad_() for tensor in qkv]
    out, _ = layer(*inputs, mask)
    gradients = torch.autograd.grad(out.sum(), [*inputs, *layer.parameters()])
    assert all(gradient.isfinite().all() for gradient in gradients)
    allowed = torch.ones(B, N, S, dtype=torch.bool) if mask is None else mask.expand(B, N, S)
    assert torch.equal(gradients[2].abs().sum(-1) > 0, allowed.any(dim=1))


def test_keys_permuted_with_their_values_change_nothing(layer, qkv):
    q, k, v = qkv
    order = torch.randperm(S)
    torch.testing.assert_close(layer(q, k[:, order], v[:, order])[0], layer(q, k, v)[0])


def test_a_score_of_zero_for_every_key_averages_the_values(layer, qkv):
    nn.init.zeros_(layer.score.weight)
    q, k, v = qkv
    torch.testing.assert_close(layer(q, k, v)[0], v.mean(dim=1, keepdim=True).expand(B, N, DV))


def test_one_sequence_of_one_query_and_one_key_returns_its_value(layer):
    v = torch.randn(1, 1, DV)
    out, weights = layer(torch.randn(1, 1, DQ), torch.randn(1, 1, DK), v)
    torch.testing.assert_close(out, v)
    assert weights.tolist() == [[[1.0]]]


@pytest.mark.parametrize(
    ("shapes", "error"),
    [
        ([(B, N, DQ + 1), (B, S, DK), (B, S, DV)], "queries have width 5, but the layer was built for 4"),
        ([(B, N, DQ), (B, S, DK + 1), (B, S, DV)], "keys have width 7, but the layer was built for 6"),
        ([(B, N, DQ), (B, S, DK), (B, S + 1, DV)], "5 keys but 6 values"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(layer, shapes, error):
    with pytest.raises(ValueError, match=re.escape(error)):
        layer(*(torch.zeros(shape) for shape in shapes))


@pytest.mark.parametrize(
    ("mask", "error", "text"),
    [
        (torch.ones(N, S), TypeError, "pass booleans"),
        (torch.ones(S, dtype=torch.bool), ValueError, "mask has 1 axis"),
    ],
)
def test_masks_that_do_not_fit_are_refused(layer, qkv, mask, error, text):
    with pytest.raises(error, match=text):
        layer(*qkv, mask)
