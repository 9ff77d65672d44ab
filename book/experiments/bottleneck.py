"""Copying a sequence through a state of fixed size, with and without attention, by length (12 min on one core).

One model for all lengths: an encoder and a decoder of the same width, trained on lengths drawn at random, measured
after 1,000 and after 3,000 steps on sequences that it writes by itself.

The five questions. *Converged?* No: the record has two training lengths, of one run each, and the page speaks of how
far each gets in these steps. *Tuned alike?* Four rates for each model, all recorded; the page takes the best mean over
the lengths on validation sequences, for each training length. (The wide state is best at the largest; 0.02, tried with
one seed, was below.) *One difference?* Width, steps and attention change one at a time. *Can it show?* Lengths 1 and 2
are the control, which a fixed state has to pass. *Recognisable?* It is the finding of arXiv:1409.0473 with sentences.
"""

import torch
import torch.nn.functional as F
from _record import or_smoke, spread, start
from torch import Tensor, nn

from vitedu.models.additive import AdditiveAttention

K, BATCH, LONGEST = 8, 64, 20  # symbols, sequences in a batch, longest in training
LENGTHS = or_smoke((1, 2, 4, 6, 8, 12, 16, 20), (1, 4))
MEASURED, DRAWN = or_smoke(((1000, 3000), 300), ((2, 4), 10))  # steps; sequences of a length
MODELS, RATES = ((16, False), (64, False), (16, True)), (1e-3, 2e-3, 5e-3, 1e-2)  # width, with attention


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

    def copied(self, sequences: list[Tensor]) -> list[float]:
        """Share of the symbols copied correctly, for each set of sequences (B, S)."""
        return [(self.write(x) == x).float().mean().item() for x in sequences]


def train(dim: int, attend: bool, rate: float, seed: int) -> list[dict[str, list[float]]]:
    """The accuracy for each of `LENGTHS`, on validation and on other sequences, after each of `MEASURED` steps."""
    torch.manual_seed(1000 + seed)  # the same sequences to choose on and to report, whatever the rate
    validation, other = ([torch.randint(K, (DRAWN, length)) for length in LENGTHS] for _ in range(2))
    torch.manual_seed(seed)
    model, found = Copier(dim, attend), []
    optimiser = torch.optim.Adam(model.parameters(), rate)
    for step in range(1, MEASURED[-1] + 1):
        x = torch.randint(K, (BATCH, int(torch.randint(1, LONGEST + 1, ()))))  # (B, S)
        optimiser.zero_grad()
        F.cross_entropy(model(x, x).flatten(0, 1), x.flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step in MEASURED:
            found.append({"validation": model.copied(validation), "accuracy": model.copied(other)})
    return found


def main() -> None:
    run, rows = start(__doc__, device="cpu"), []
    settings = [(dim, attend, rate) for dim, attend in MODELS for rate in RATES]

    def one(case: tuple) -> list[dict]:
        with run.device:  # whatever is made in here lies there
            return train(*case)

    found = run.each(one, [(*setting, seed) for setting in settings for seed in run.seeds])
    for (dim, attend, rate), runs in zip(settings, zip(*[iter(found)] * len(run.seeds), strict=True), strict=True):
        parameters = sum(p.numel() for p in Copier(dim, attend).parameters())
        setting = {"width": dim, "attention": attend, "parameters": parameters, "rate": rate}
        for at, steps in enumerate(MEASURED):
            for place, length in enumerate(LENGTHS):
                shares = {key: spread([one[at][key][place] for one in runs]) for key in ("validation", "accuracy")}
                rows.append({**setting, "steps": steps, "length": length, **shares})
            print(setting, steps, [f"{row['accuracy']['mean']:.2f}" for row in rows[-len(LENGTHS) :]], flush=True)
    run.record(f"copying {K} symbols: accuracy by length", [f"made by the script, {K} symbols"], rows)


if __name__ == "__main__":
    main()
