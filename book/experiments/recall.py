"""Recall over a distance: RNN, LSTM, GRU and attention asked for a symbol seen long ago (15 min on one core).

A sequence of random symbols; the first is marked, the last place asks for it. The distance between the two is the dial.
Every layer is trained anew for each distance, with the same number of steps, at two learning rates.
"""

import torch
import torch.nn.functional as F
from _record import or_smoke, spread, start
from torch import Tensor, nn

from vitedu.attention import MultiHeadAttention

K, D = 8, 32  # symbols, width
STEPS, BATCH, DRAWN = or_smoke((600, 64, 1000), (2, 4, 10))  # fresh sequences to measure on
RATES = (3e-3, 1e-2)
DISTANCES = or_smoke((2, 4, 8, 16, 32, 64), (2, 4))
OPEN = 3.0  # the forget gate's first bias: sigmoid(3) is 0.95


def examples(batch: int, distance: int, marked: bool = True) -> tuple[Tensor, Tensor]:
    """Sequences (B, distance + 1, K + 2), two channels for mark and question, and the symbols asked for (B,)."""
    symbols = torch.randint(K, (batch, distance + 1))  # (B, N)
    x = F.one_hot(symbols, K + 2).float()  #             (B, N, K + 2)
    x[:, 0, K] = float(marked)
    x[:, -1] = F.one_hot(torch.tensor(K + 1), K + 2).float()
    return x, symbols[:, 0]


class Recall(nn.Module):
    """One layer of width D between two linear maps; the answer is read at the last place."""

    def __init__(self, kind: str):
        super().__init__()
        recurrent = {"rnn": nn.RNN, "lstm": nn.LSTM, "lstm, open": nn.LSTM, "gru": nn.GRU}
        self.embed = nn.Linear(K + 2, D)
        self.layer = recurrent[kind](D, D, batch_first=True) if kind in recurrent else MultiHeadAttention(D, 1)
        self.head = nn.Linear(D, K)
        if kind == "lstm, open":
            nn.init.constant_(self.layer.bias_ih_l0[D : 2 * D].detach(), OPEN)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, K + 2) -> (B, K)."""
        out = self.layer(self.embed(x))
        states = out[0] if isinstance(out, tuple) else out  # (B, N, D)
        return self.head(states[:, -1])


def accuracy(kind: str, distance: int, rate: float, seed: int) -> float:
    """Share of fresh sequences answered rightly after training."""
    torch.manual_seed(seed)
    model, marked = Recall(kind), "no mark" not in kind
    optimiser = torch.optim.Adam(model.parameters(), rate)
    for _ in range(STEPS):
        x, symbols = examples(BATCH, distance, marked)
        optimiser.zero_grad()
        F.cross_entropy(model(x), symbols).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    x, symbols = examples(DRAWN, distance, marked)
    with torch.no_grad():
        return (model(x).argmax(dim=1) == symbols).float().mean().item()


def main() -> None:
    run, rows = start(__doc__, device="cpu"), []
    for kind in ("rnn", "lstm", "lstm, open", "gru", "attention", "attention, no mark"):
        for distance in DISTANCES:
            for rate in RATES:
                with run.device:  # whatever is made in here lies there
                    values = [accuracy(kind, distance, rate, seed) for seed in run.seeds]
                rows.append({"layer": kind, "distance": distance, "rate": rate, "accuracy": spread(values)})
                print(f"{kind:18} distance {distance:3} rate {rate:<6} {[f'{v:.2f}' for v in values]}", flush=True)
    about = f"recall accuracy by distance; {STEPS} steps of {BATCH}, width {D}, {K} symbols"
    run.record(about, [f"made by the script, {K} symbols"], rows)


if __name__ == "__main__":
    main()
