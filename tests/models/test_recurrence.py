"""`recurrence`: the cells equal torch's under copied weights, gradients too, and the loop keeps their order."""

import math

import pytest
import torch
from torch import nn

from vitedu.models.recurrence import GRUCell, LSTMCell, RNNCell, unroll

B, N, INPUT, D = 3, 7, 5, 4
PAIRS = {
    "rnn": (RNNCell, nn.RNNCell, nn.RNN),
    "lstm": (LSTMCell, nn.LSTMCell, nn.LSTM),
    "gru": (GRUCell, nn.GRUCell, nn.GRU),
}
every_cell = pytest.mark.parametrize("kind", PAIRS)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def with_weights_of(cell, theirs, suffix: str = ""):
    """`cell` with the weights of one of torch's."""
    for layer, name in ((cell.W, "ih"), (cell.U, "hh")):
        weight, bias = getattr(theirs, f"weight_{name}{suffix}"), getattr(theirs, f"bias_{name}{suffix}")
        layer.load_state_dict({"weight": weight, "bias": bias})
    return cell


def first_state(kind: str):
    return (torch.randn(B, D), torch.randn(B, D)) if kind == "lstm" else torch.randn(B, D)


def first_of(state):
    return state[0] if isinstance(state, tuple) else state


@every_cell
def test_one_step_equals_torchs_cell(kind):
    ours, theirs = PAIRS[kind][0](INPUT, D), PAIRS[kind][1](INPUT, D)
    with_weights_of(ours, theirs)
    x, state = torch.randn(B, INPUT), first_state(kind)
    torch.testing.assert_close(ours(x, state), theirs(x, state))


@every_cell
def test_the_loop_equals_torchs_layer_with_outputs_last_state_and_gradients(kind):
    theirs = PAIRS[kind][2](INPUT, D, batch_first=True)
    ours = with_weights_of(PAIRS[kind][0](INPUT, D), theirs, "_l0")
    x = torch.randn(B, N, INPUT, requires_grad=True)
    direction = torch.randn(B, N, D)
    (mine, last), (reference, _) = unroll(ours, x), theirs(x)
    torch.testing.assert_close(mine, reference)
    torch.testing.assert_close(first_of(last), reference[:, -1])
    mine_x, mine_u = torch.autograd.grad(mine, (x, ours.U.weight), direction)
    their_x, their_u = torch.autograd.grad(reference, (x, theirs.weight_hh_l0), direction)
    torch.testing.assert_close(mine_x, their_x)
    torch.testing.assert_close(mine_u, their_u)


@every_cell
def test_a_sequence_in_two_parts_is_one_sequence(kind):
    cell, x = PAIRS[kind][0](INPUT, D), torch.randn(B, N, INPUT)
    whole, last = unroll(cell, x)
    first, state = unroll(cell, x[:, :3])
    second, end = unroll(cell, x[:, 3:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    torch.testing.assert_close(end, last)


@every_cell
def test_no_output_depends_on_a_later_input_and_each_sequence_is_on_its_own(kind):
    cell, x = PAIRS[kind][0](INPUT, D), torch.randn(B, N, INPUT)
    changed = x.clone()
    changed[1, 4] += 1
    before, after = unroll(cell, x)[0], unroll(cell, changed)[0]
    differs = (before - after).abs().amax(dim=-1) > 0
    expected = torch.zeros(B, N, dtype=torch.bool)
    expected[1, 4:] = True
    assert torch.equal(differs, expected)


@every_cell
def test_the_first_weights_have_torchs_range(kind):
    """Uniform within ±1/√D, the input weights too, whatever the width of the input."""
    cell = PAIRS[kind][0](200, 64)
    for parameter in cell.parameters():
        assert parameter.abs().max() <= 1 / math.sqrt(64)
        assert parameter.abs().max() > 0.9 / math.sqrt(64)


def test_an_lstm_whose_gates_are_shut_keeps_its_cell_and_one_that_forgets_loses_it():
    cell = LSTMCell(INPUT, D)
    nn.init.zeros_(cell.W.weight)
    nn.init.zeros_(cell.U.weight)
    with torch.no_grad():
        cell.W.bias.copy_(torch.tensor([-50.0, 50.0, 0.0, 0.0]).repeat_interleave(D))  # i, f, g, o
    memory = torch.randn(B, D)
    _, (_, c) = unroll(cell, torch.randn(B, N, INPUT), (torch.zeros(B, D), memory))
    torch.testing.assert_close(c, memory)
    with torch.no_grad():
        cell.W.bias[D : 2 * D] = -50
    _, (_, c) = unroll(cell, torch.randn(B, N, INPUT), (torch.zeros(B, D), memory))
    torch.testing.assert_close(c, torch.zeros(B, D))


def test_a_gru_whose_update_gate_is_open_keeps_its_state():
    cell = GRUCell(INPUT, D)
    with torch.no_grad():
        cell.W.bias[D : 2 * D] = 50  # z, the second of r, z, n
    h = torch.randn(B, D)
    torch.testing.assert_close(unroll(cell, torch.randn(B, N, INPUT), h)[1], h)
