"""Recall over a distance: RNN, LSTM, GRU and attention asked for a symbol seen long ago (20 min on one core).

A sequence of random symbols; the first is marked, the last place asks for it. The distance between the two is the dial.
Every layer is trained anew for each distance, at three learning rates, until it names 99 % of its validation sequences
or the steps are used up; what is reported comes from other sequences. The record also has the gradient that reaches
the mark in each layer as it starts.

The five questions. *Converged?* The record has the steps that each run took; "not learned" means: not within 3,000
steps, and where a layer ends, one run of it goes on to 12,000. *Tuned alike?* Three rates for every layer at every
distance, all of them recorded; the page takes the one with the fewest steps to 99 % on validation. *One difference?*
An open layer differs from its twin in the first value of one bias. *Can it show?* Distance 4 is the positive control,
which all have to pass; attention without the mark is the negative one, as it can only guess. *Recognisable?* That gates
should start open is known (arXiv:1804.11188 gives the bias for a distance). A rate at which none of a layer's seeds got
through at one distance is not tried at the next.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from _record import Run, or_smoke, spread, start
from torch import Tensor, nn

from vitedu.attention import MultiHeadAttention

K, D, BATCH = 8, 32, 64  # symbols, width, sequences in a step
STEPS, LONGER, EVERY, DRAWN = or_smoke((3000, 12_000, 50, 500), (2, 4, 1, 10))  # DRAWN sequences to measure on
ENOUGH, OPEN = 0.99, 3.0  # when a run ends; the gate's first bias: sigmoid(3) is 0.95
RATES = (1e-3, 3e-3, 1e-2)
DISTANCES = or_smoke((4, 8, 16, 32, 64), (2, 4))
RECURRENT = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
LAYERS = ("rnn", "lstm", "lstm, open", "gru", "gru, open", "attention")
BLIND = "attention, no mark"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One training run."""

    layer: str
    distance: int
    rate: float
    seed: int
    limit: int = STEPS


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
        name, _, way = kind.partition(", ")
        self.embed = nn.Linear(K + 2, D)
        self.layer = RECURRENT[name](D, D, batch_first=True) if name in RECURRENT else MultiHeadAttention(D, 1)
        self.head = nn.Linear(D, K)
        if way == "open":  # what keeps the old: the LSTM's f in i, f, g, o, and the GRU's z in r, z, n
            nn.init.constant_(self.layer.bias_ih_l0[D : 2 * D].detach(), OPEN)

    def last_state(self, embedded: Tensor) -> Tensor:
        """(B, N, D) -> (B, D)."""
        out = self.layer(embedded)
        return (out[0] if isinstance(out, tuple) else out)[:, -1]

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, K + 2) -> (B, K)."""
        return self.head(self.last_state(self.embed(x)))


@torch.no_grad()
def share_right(model: Recall, x: Tensor, symbols: Tensor) -> float:
    """Share of the sequences whose symbol is named."""
    return (model(x).argmax(dim=1) == symbols).float().mean().item()


def train(case: Case) -> dict:
    """Train until it is learned or the steps are used up: how many they were, and the accuracies."""
    marked = case.layer != BLIND
    torch.manual_seed(1000 + case.seed)  # the same sequences to choose on and to report, whatever the rate
    validation, other = (examples(DRAWN, case.distance, marked) for _ in range(2))
    torch.manual_seed(case.seed)
    model = Recall(case.layer)
    optimiser = torch.optim.Adam(model.parameters(), case.rate)
    for step in range(1, case.limit + 1):
        x, symbols = examples(BATCH, case.distance, marked)
        optimiser.zero_grad()
        F.cross_entropy(model(x), symbols).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % EVERY == 0 and share_right(model, *validation) >= ENOUGH:
            break
    return {"steps": step, "validation": share_right(model, *validation), "accuracy": share_right(model, *other)}


def gradient_at_start(layer: str, distance: int, seed: int) -> float:
    """Of an untrained layer: length of the gradient of the last state that reaches the mark, root mean square."""
    torch.manual_seed(seed)
    model = Recall(layer).double()
    x, _ = examples(DRAWN, distance)
    embedded = model.embed(x.double()).detach().requires_grad_()  # (B, N, D)
    last = model.last_state(embedded)
    along = F.normalize(torch.randn_like(last), dim=-1)
    (gradient,) = torch.autograd.grad((last * along).sum(), embedded)
    return gradient[:, 0].norm(dim=-1).square().mean().sqrt().item()


def rows_of(run: Run, settings: list[dict], seeds: list[int]) -> list[dict]:
    """A row for each setting, trained with these seeds, all side by side."""

    def one(case: Case) -> dict:
        with run.device:  # whatever is made in here lies there
            return train(case)

    found = run.each(one, [Case(seed=seed, **setting) for setting in settings for seed in seeds])
    rows = []
    for setting, runs in zip(settings, zip(*[iter(found)] * len(seeds), strict=True), strict=True):
        rows.append({"limit": STEPS} | setting | {key: spread([one[key] for one in runs]) for key in runs[0]})
        shown = ", ".join(f"{one['validation']:.2f} after {one['steps']}" for one in runs)
        print(*setting.values(), shown, sep="  ", flush=True)
    return rows


def learned(row: dict) -> bool:
    """Whether any seed got through."""
    return max(row["validation"]["values"]) >= ENOUGH


def best(rows: list[dict], layer: str, distance: int) -> dict:
    """The row of the rate with the fewest steps, and among equals with the best validation."""
    mine = [row for row in rows if (row["layer"], row["distance"]) == (layer, distance)]
    return min(mine, key=lambda row: (row["steps"]["mean"], -row["validation"]["mean"]))


def main() -> None:
    run, rows, ended = start(__doc__, device="cpu", seeds=5), [], {}
    asked = [(name, rate) for name in LAYERS for rate in RATES]
    for distance in DISTANCES:
        settings = [{"layer": name, "distance": distance, "rate": rate} for name, rate in asked]
        blind = {"layer": BLIND, "distance": distance, "rate": RATES[1], "limit": or_smoke(600, 2)}
        rows += (found := rows_of(run, [*settings, blind], run.seeds))
        through = [(row["layer"], row["rate"]) for row in found if learned(row)]
        ended |= {name: distance for name, _ in asked if name not in dict(through)}
        asked = through
    longer = [best(rows, name, distance) for name, distance in ended.items()]
    settings = [{key: row[key] for key in ("layer", "distance", "rate")} | {"limit": LONGER} for row in longer]
    rows += rows_of(run, settings, run.seeds[:1])
    for name in LAYERS:
        for distance in DISTANCES:
            found = [gradient_at_start(name, distance, seed) for seed in run.seeds]
            rows.append({"layer": name, "distance": distance, "gradient": spread(found)})
    about = f"recall by distance; up to {STEPS} steps of {BATCH}, width {D}, {K} symbols; and layers as they start"
    run.record(about, [f"made by the script, {K} symbols"], rows)


if __name__ == "__main__":
    main()
