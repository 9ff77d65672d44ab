"""Copying a sequence through a state of fixed size, with and without attention, by length (4 min on one core).

One model for all lengths: an encoder and a decoder of the same width, trained on lengths drawn at random.
"""

import torch
import torch.nn.functional as F
from _record import or_smoke, spread, start
from torch import Tensor, nn

from vitedu.models.additive import AdditiveAttention

K, BATCH, LONGEST = 8, 64, 20  # symbols, sequences in a batch, longest in training
LENGTHS = or_smoke((1, 2, 4, 6, 8, 12, 16, 20), (1, 4))
SHORT, LONG = or_smoke((1000, 3000), (2, 4))  # steps
RUNS = ((16, False, SHORT), (64, False, SHORT), (64, False, LONG), (16, True, SHORT))  # width, with attention, steps


class Copier(nn.Module):
    """Encoder, decoder and, with `attend`, additive attention from the decoder's states to the encoder's.

    differs from the paper (arXiv:1409.0473): there the encoder reads in both directions, and what attention finds goes
    back into the decoder; here it goes to the output only, so that all steps of the decoder attend at once.
    """

    def __init__(self, dim: int, attend: bool):
        super().__init__()
        self.embed = nn.Embedding(K + 1, dim)  # symbol K says: begin
        self.encoder, self.decoder = (nn.GRU(dim, dim, batch_first=True) for _ in range(2))
        self.attention = AdditiveAttention(dim, dim, dim) if attend else None
        self.head = nn.Linear(2 * dim if attend else dim, K)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Source x (B, S) and target y (B, N), of which each step sees what came before -> (B, N, K)."""
        seen, last = self.encoder(self.embed(x))  # (B, S, D), (1, B, D)
        before = F.pad(y[:, :-1], (1, 0), value=K)  # (B, N)
        states, _ = self.decoder(self.embed(before), last)  # (B, N, D)
        if self.attention is not None:
            found, _ = self.attention(states, seen, seen)  # (B, N, D)
            states = torch.cat([states, found], dim=-1)  #   (B, N, 2·D)
        return self.head(states)

    @torch.no_grad()
    def write(self, x: Tensor) -> Tensor:
        """Copy x (B, S) symbol by symbol, each from the model's own symbols before."""
        y = torch.zeros_like(x)
        for t in range(x.shape[1]):
            y[:, t] = self(x, y)[:, t].argmax(dim=-1)
        return y


def accuracies(dim: int, attend: bool, steps: int, seed: int) -> list[float]:
    """Share of the symbols copied rightly, for each of `LENGTHS`."""
    torch.manual_seed(seed)
    model = Copier(dim, attend)
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(steps):
        x = torch.randint(K, (BATCH, int(torch.randint(1, LONGEST + 1, ()))))  # (B, S)
        optimiser.zero_grad()
        F.cross_entropy(model(x, x).flatten(0, 1), x.flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    tests = [torch.randint(K, (500, length)) for length in LENGTHS]
    return [(model.write(x) == x).float().mean().item() for x in tests]


def main() -> None:
    run, rows = start(__doc__, device="cpu"), []
    for dim, attend, steps in RUNS:
        with run.device:  # whatever is made in here lies there
            runs = [accuracies(dim, attend, steps, seed) for seed in run.seeds]
        setting = {"width": dim, "attention": attend, "steps": steps}
        parameters = sum(p.numel() for p in Copier(dim, attend).parameters())
        for length, values in zip(LENGTHS, zip(*runs, strict=True), strict=True):
            rows.append({**setting, "parameters": parameters, "length": length, "accuracy": spread(list(values))})
        print(setting, [f"{row['accuracy']['mean']:.2f}" for row in rows[-len(LENGTHS) :]], flush=True)
    run.record(f"copying {K} symbols: accuracy by length", [f"made by the script, {K} symbols"], rows)


if __name__ == "__main__":
    main()
