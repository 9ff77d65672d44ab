"""Recurrent cells, one step at a time, and the loop that runs them along a sequence.

Elman, "Finding Structure in Time", 1990, https://doi.org/10.1207/s15516709cog1402_1.
LSTM: Hochreiter and Schmidhuber, 1997, https://doi.org/10.1162/neco.1997.9.8.1735, and the forget gate: Gers et al.,
2000, https://doi.org/10.1162/089976600300015015.
GRU: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", 2014, section 2.3, arXiv:1406.1078.
"""

import math

import torch
from torch import Tensor, nn

State = Tensor | tuple[Tensor, Tensor]


class Cell(nn.Module):
    """What the three cells share: the linear maps W x + b and U h + c, for all of a cell's gates in one product each.

    Args:
        input_dim: width of an input x.
        hidden_dim: width D of the state h.
        gates: how many vectors of width D the cell cuts out of W x and out of U h.
    """

    def __init__(self, input_dim: int, hidden_dim: int, gates: int):
        super().__init__()
        self.hidden_dim, self.gates = hidden_dim, gates
        self.W = nn.Linear(input_dim, gates * hidden_dim)
        self.U = nn.Linear(hidden_dim, gates * hidden_dim)
        for parameter in self.parameters():  # as torch's own cells start
            nn.init.uniform_(parameter, -1 / math.sqrt(hidden_dim), 1 / math.sqrt(hidden_dim))

    def split(self, gates: Tensor) -> tuple[Tensor, ...]:
        """(B, gates·D) -> one (B, D) for each gate."""
        return gates.chunk(self.gates, dim=-1)

    def first_state(self, x: Tensor) -> State:
        """Zeros (B, D) to start from, for inputs x (B, ...)."""
        return x.new_zeros(len(x), self.hidden_dim)


class RNNCell(Cell):
    """h' = tanh(W x + b + U h + c): x (B, input_dim), h (B, D) -> h' (B, D)."""

    def __init__(self, input_dim: int, hidden_dim: int):
        super().__init__(input_dim, hidden_dim, gates=1)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """One step: x (B, input_dim), h (B, D) -> the next h (B, D)."""
        return torch.tanh(self.W(x) + self.U(h))


class LSTMCell(Cell):
    """Long short-term memory: the state is a pair (h, c), and c changes by a product and a sum only."""

    def __init__(self, input_dim: int, hidden_dim: int):
        super().__init__(input_dim, hidden_dim, gates=4)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """One step: x (B, input_dim), (h, c) of (B, D) each -> the next (h, c)."""
        h, c = state
        i, f, g, o = self.split(self.W(x) + self.U(h))  # four of (B, D), in torch's order
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return h, c

    def first_state(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Zeros for h and for c, (B, D) each."""
        return super().first_state(x), super().first_state(x)


class GRUCell(Cell):
    """Gated recurrent unit: an update gate z mixes the old state with a candidate n.

    differs from the paper: the reset gate r multiplies U h after the matrix, as torch and cuDNN do; the paper writes
    U (r ⊙ h). And z keeps the old state here as in the paper; some texts swap z and 1 - z.
    """

    def __init__(self, input_dim: int, hidden_dim: int):
        super().__init__(input_dim, hidden_dim, gates=3)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """One step: x (B, input_dim), h (B, D) -> the next h (B, D)."""
        xr, xz, xn = self.split(self.W(x))
        hr, hz, hn = self.split(self.U(h))
        r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
        n = torch.tanh(xn + r * hn)
        return (1 - z) * n + z * h


def unroll(cell: Cell, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
    """Run a cell along a sequence: each step waits for the state of the step before.

    Args:
        x: inputs (B, N, input_dim), N of them in time.
        state: where to start; zeros if None.

    Returns:
        The states h after each step (B, N, D), and the last state (with its c, for an LSTM).
    """
    state = cell.first_state(x) if state is None else state
    outputs = []
    for x_t in x.unbind(dim=1):  # (B, input_dim)
        state = cell(x_t, state)
        outputs.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(outputs, dim=1), state  # (B, N, D)
