"""What one head blurs and two keep apart: redrawing two marked digits out of six (about 3 min on one core).

Six pictures from `digits` are six tokens; one carries mark 0, another mark 1. A learned query attends to all six, and a
reader draws both marked pictures from what comes back. Trained on the training images, measured on the validation
images, as the squared error over that of always drawing the mean digit: 0 is perfect, 1 is no better than the mean.

The five questions. *Converged?* Not known: 500 steps, no course, no longer run. Two heads, and two queries, are nearly
perfect by then. One head ends a little below ½, the floor for linear values, fixed weights and a linear reader, as its
weights are not quite fixed. The deep reader is bound by no such floor; more steps may help it. *Tuned alike?* No: one
rate for all arms, 0.002, tuned for none. *One difference?* One, two and four heads have equal parameters. Twice the
width and the deep reader have more; two queries share a reader of half the size. *Can it show?* Two queries have to
succeed, and do. With misplaced marks none can be better than ¾, and the model ends at 0.76. *Recognisable?* It is the
paper's reason for several heads: one average inhibits attending to several places (arXiv:1706.03762, section 3.2.2).
"""

import torch
import torch.nn.functional as F
from _record import load, or_smoke, spread, start
from torch import Tensor, nn

from vitedu.attention import MultiHeadAttention, scaled_dot_product_attention
from vitedu.cost import count_parameters

N, PIXELS, LR = 6, 64, 2e-3
STEPS, BATCH, DRAWN = or_smoke((500, 128, 4_000), (4, 4, 10))  # fresh draws to measure on
ARMS = {
    "one head": {"heads": 1},
    "two heads": {"heads": 2},
    "four heads": {"heads": 4},
    "one head, twice as wide": {"heads": 1, "dim": 256},
    "one head, a deep reader": {"heads": 1, "deep": True},
    "one head, two queries": {"heads": 1, "queries": 2},
    "two heads, marks misplaced": {"heads": 2, "misplaced": True},
}


class Redraw(nn.Module):
    """Tokens (B, N, 66), pixels and two marks -> the two marked pictures (B, 2, 64).

    Args:
        heads: attention heads.
        dim: width D, shared by the heads.
        queries: learned queries; with 2, each draws one picture, through the same reader.
        deep: whether the reader is a network with two hidden layers instead of one linear map.
    """

    def __init__(self, heads: int, dim: int = 128, queries: int = 1, deep: bool = False):
        super().__init__()
        self.embed = nn.Linear(PIXELS + 2, dim)
        self.query = nn.Parameter(0.5 * torch.randn(1, queries, dim))
        self.attention = MultiHeadAttention(dim, heads)
        hidden = [nn.Linear(dim, 512), nn.GELU(), nn.Linear(512, 512), nn.GELU()] if deep else []
        self.reader = nn.Sequential(*hidden, nn.Linear(512 if deep else dim, 2 * PIXELS // queries))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, 66) -> (B, 2, 64)."""
        query = self.query.expand(len(tokens), -1, -1)  #       (B, queries, D)
        found = self.attention(query, self.embed(tokens))  #    (B, queries, D)
        return self.reader(found).reshape(len(tokens), 2, -1)  # (B, 2, 64)


def draw_task(pictures: Tensor, count: int, misplaced: bool = False) -> tuple[Tensor, Tensor]:
    """Tokens (count, N, 66) and the pictures to redraw (count, 2, 64); `misplaced` marks say nothing about those."""
    chosen = pictures[torch.randint(len(pictures), (count, N))]  # (count, N, 64)
    order = torch.rand(count, N).argsort(dim=1)
    wanted, marked = order[:, :2], order[:, 2:4] if misplaced else order[:, :2]
    marks = F.one_hot(marked, N).float().transpose(1, 2)  # (count, N, 2)
    targets = chosen.gather(1, wanted[:, :, None].expand(-1, -1, PIXELS))  # (count, 2, 64)
    return torch.cat([chosen, marks], dim=2), targets


def train(pictures: Tensor, misplaced: bool, **model) -> Redraw:
    """Train one model for `STEPS` batches."""
    redraw = Redraw(**model)
    optimiser = torch.optim.Adam(redraw.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LR, total_steps=STEPS)
    for _ in range(STEPS):
        tokens, targets = draw_task(pictures, BATCH, misplaced)
        optimiser.zero_grad()
        F.mse_loss(redraw(tokens), targets).backward()
        optimiser.step()
        schedule.step()
    return redraw


@torch.no_grad()
def weights_on_marked(redraw: Redraw, tokens: Tensor) -> Tensor:
    """The weight of each head (or query) on the token with mark 0 and on that with mark 1, (B, h · queries, 2)."""
    layer, embedded = redraw.attention, redraw.embed(tokens)
    q, k = layer.split_heads(layer.q_proj(redraw.query)), layer.split_heads(layer.k_proj(embedded))
    weights = scaled_dot_product_attention(q, k, k)[1].flatten(1, 2)  # (B, h · queries, N)
    return weights @ tokens[:, :, PIXELS:]


@torch.no_grad()
def measure(redraw: Redraw, pictures: Tensor, misplaced: bool) -> dict:
    """Error relative to always drawing the mean digit, on fresh draws; mean and spread of the weights there."""
    torch.manual_seed(1_000)
    tokens, targets = draw_task(pictures, DRAWN, misplaced)
    error = F.mse_loss(redraw(tokens), targets) / targets.square().mean()
    weights = weights_on_marked(redraw, tokens)
    return {"error": error.item(), "weights": weights.mean(dim=0).tolist(), "weights_std": weights.std(dim=0).tolist()}


def main() -> None:
    run, digits = start(__doc__, device="cpu", seeds=5), load("digits")
    train_set, val_set = (split.images.to(run.device).flatten(1) / 255 for split in (digits.train, digits.val))
    mean = train_set.mean(dim=0)
    rows = []
    for name, arm in ARMS.items():
        model, misplaced, runs = dict(arm), arm.get("misplaced", False), []
        model.pop("misplaced", None)
        for seed in run.seeds:
            torch.manual_seed(seed)
            with run.device:  # whatever is made in here lies there
                runs.append(measure(train(train_set - mean, misplaced, **model), val_set - mean, misplaced))
        error = spread([one["error"] for one in runs])
        parameters = count_parameters(Redraw(**model))
        row = {"arm": name, "parameters": parameters, "steps": STEPS, "error": error}
        rows.append(row | {key: [one[key] for one in runs] for key in ("weights", "weights_std")})
        print(f"{name:28} {parameters:7,} parameters, error {error['mean']:.3f} ± {error['std']:.3f}", flush=True)
    run.record("error of redrawing two marked digits, over the variance", [digits.describe()], rows)


if __name__ == "__main__":
    main()
