"""How accuracy depends on the number of heads at a fixed width, so at the same cost (about 6 min on one core).

Two tasks. `look-ups`: each of 16 tokens has to name the symbols of four others, at fixed distances around a circle; one
encoder block, drawn anew at every step, so that there is nothing to memorise. `digits`: the tiny ViT on the scans of
handwritten digits, accuracy on the validation split. The test split is not looked at.

The five questions. *Converged?* No: 400 steps in both tasks, and no course is recorded. Two heads differ by 15 points
between seeds; whether one head or 64 would catch up was not tried. *Tuned alike?* No: one rate for all numbers of
heads, 0.003 and 0.002, tuned for none. *One difference?* The number of heads at the same width and the same parameters,
so the width of a head falls as it rises. *Can it show?* Four exact look-ups are made for heads: a single one has to
blur, and heads of width 1 can aim at two tokens only, as the chapter shows without training. `digits` is the task that
asks for no such thing; there one of 180 pictures is 0.6 points, and only one head is behind the others by more than its
spread. *Recognisable?* Many heads of a trained Transformer can be removed (arXiv:1905.10650), and heads may be too
narrow (arXiv:2002.07028); ViTs keep a head at 64 or 80.
"""

from functools import partial

import torch
import torch.nn.functional as F
from _record import Run, load, or_smoke, per_cent, spread, start
from torch import Tensor, nn

from vitedu.block import Encoder
from vitedu.data import Dataset
from vitedu.train import recipe
from vitedu.vit import ViT

N, K, D = 16, 8, 64  # tokens, symbols, width
DISTANCES = (1, -2, 5, -7)
HEADS = or_smoke((1, 2, 4, 8, 16, 32, 64), (1, 64))
STEPS, BATCH, DRAWN = or_smoke((400, 64, 1000), (4, 4, 10))  # of the first task; sequences that it is measured on
DIGITS = or_smoke({}, {"epochs": 1})  # what is not the recipe's


class LookUps(nn.Module):
    """One encoder block that names, for every token, the symbols at DISTANCES from it: (B, N) -> (B, N, 4, K)."""

    def __init__(self, num_heads: int):
        super().__init__()
        self.embed = nn.Embedding(K, D)
        self.positions = nn.Parameter(torch.randn(N, D))
        self.encoder = Encoder(1, D, num_heads, mlp_ratio=2)
        self.head = nn.Linear(D, len(DISTANCES) * K)

    def forward(self, symbols: Tensor) -> Tensor:
        """(B, N) -> (B, N, 4, K)."""
        tokens = self.encoder(self.embed(symbols) + self.positions)  #     (B, N, D)
        return self.head(tokens).unflatten(-1, (len(DISTANCES), K))  #     (B, N, 4, K)


def draw(batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Random symbols (B, N), and for each token those at DISTANCES, (B, N, 4)."""
    symbols = torch.randint(K, (batch, N), device=device)
    return symbols, torch.stack([symbols.roll(-distance, 1) for distance in DISTANCES], dim=-1)


def look_ups(run: Run, num_heads: int, seed: int) -> float:
    """Share of look-ups that are right after training."""
    torch.manual_seed(seed)
    model = LookUps(num_heads).to(run.device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, STEPS)
    for _ in range(STEPS):
        symbols, answers = draw(BATCH, run.device)
        loss = F.cross_entropy(model(symbols).flatten(0, 2), answers.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        symbols, answers = draw(DRAWN, run.device)
        return (model(symbols).argmax(-1) == answers).float().mean().item()


def digits_accuracy(run: Run, num_heads: int, seed: int, data: Dataset) -> float:
    """Validation accuracy of the tiny ViT with so many heads."""
    config, training = recipe(data, "tiny", {"num_heads": num_heads}, DIGITS)
    return run.train(lambda: ViT(config), data, training, seed)[1][-1]["accuracy"]


def main() -> None:
    run, rows, digits = start(__doc__, device="cpu"), [], load("digits")
    tasks = {"look-ups": look_ups, "digits": partial(digits_accuracy, data=digits)}
    for task, measure in tasks.items():
        for num_heads in HEADS:
            accuracy = spread([measure(run, num_heads, seed) for seed in run.seeds])
            rows.append({"task": task, "dim": D, "num_heads": num_heads, "accuracy": accuracy})
            print(f"{task:8} h = {num_heads:2}, d = {D // num_heads:2}: {per_cent(accuracy)}", flush=True)
    sources = ["look-ups: random symbols, drawn at every step", digits.describe()]
    run.record("accuracy by number of heads at a fixed width", sources, rows)


if __name__ == "__main__":
    main()
