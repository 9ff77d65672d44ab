"""How accuracy depends on the number of heads at a fixed width, so at the same cost (about 15 min on two cores).

Two tasks. `look-ups`: each of 16 tokens has to name the symbols of four others, at fixed distances around a circle; one
encoder block, drawn anew at every step, so that there is nothing to memorise. `digits`: the tiny ViT on the scans of
handwritten digits, accuracy on the validation split. The test split is not looked at.
"""

import torch
import torch.nn.functional as F
from _common import Start, read_seeds, record, spread
from torch import Tensor, nn

from vitedu.block import Encoder
from vitedu.data import Dataset, load
from vitedu.train import fit, recipe
from vitedu.vit import ViT

N, K, D = 16, 8, 64  # tokens, symbols, width
DISTANCES = (1, -2, 5, -7)
HEADS = (1, 2, 4, 8, 16, 32, 64)


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


def draw(batch: int) -> tuple[Tensor, Tensor]:
    """Random symbols (B, N), and for each token those at DISTANCES, (B, N, 4)."""
    symbols = torch.randint(K, (batch, N))
    return symbols, torch.stack([symbols.roll(-distance, 1) for distance in DISTANCES], dim=-1)


def look_ups(num_heads: int, seed: int, steps: int = 400) -> float:
    """Share of look-ups that are right after training."""
    torch.manual_seed(seed)
    model = LookUps(num_heads)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, steps)
    for _ in range(steps):
        symbols, answers = draw(64)
        loss = F.cross_entropy(model(symbols).flatten(0, 2), answers.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        symbols, answers = draw(1000)
        return (model(symbols).argmax(-1) == answers).float().mean().item()


def digits_accuracy(num_heads: int, seed: int, data: Dataset) -> float:
    """Validation accuracy of the tiny ViT with so many heads."""
    torch.manual_seed(seed)
    config, training = recipe(data, "tiny", {"num_heads": num_heads}, {"seed": seed})
    return fit(ViT(config), data, training, device=torch.device("cpu"), shown=False)[-1]["accuracy"]


def main() -> None:
    start, seeds, rows = Start.now(), read_seeds(__doc__, 3), []
    digits = load("digits")
    tasks = {"look-ups": look_ups, "digits": lambda h, seed: digits_accuracy(h, seed, digits)}
    for task, measure in tasks.items():
        for num_heads in HEADS:
            accuracy = spread([measure(num_heads, seed) for seed in seeds])
            rows.append({"task": task, "dim": D, "num_heads": num_heads, "accuracy": accuracy})
            mean, std = (100 * accuracy[key] for key in ("mean", "std"))
            print(f"{task:8} h = {num_heads:2}, d = {D // num_heads:2}: {mean:5.1f} ± {std:.1f} %", flush=True)
    sources = ["look-ups: random symbols, drawn at every step", digits.describe()]
    record("heads", "accuracy by number of heads at a fixed width", sources, rows, start)


if __name__ == "__main__":
    main()
