"""Draws book/figures/maps.png, the picture of the first page, and card.png, that of shared links.

    python book/figures/maps.py

Five drawn pictures that no model has seen, what the shipped model names them, and where its answer came from (rollout).
"""

from pathlib import Path

import matplotlib.pyplot as plt
import torch

from vitedu import inspection as look
from vitedu import plot
from vitedu.data import normalise
from vitedu.data.shapes import SHAPES, draw_shapes
from vitedu.pretrained import describe, load

HERE = Path(__file__).resolve().parent
SEED, COLUMNS, CARD_COLUMNS = -4, 5, 2


def choose(labels: torch.Tensor, count: int) -> list[int]:
    """The first picture of each of `count` classes."""
    return [int((labels == k).nonzero()[0]) for k in labels.unique()[:count]]


@torch.no_grad()
def draw(count: int, side: float) -> plt.Figure:
    """The pictures above, the same under their maps below."""
    card = describe("shapes-vit")
    model = load("shapes-vit")
    drawn = draw_shapes(60, seed=SEED, clutter=0.5, texture="agree")
    chosen = choose(drawn.labels, count)
    images = normalise(drawn.images[chosen], torch.tensor(card["mean"]), torch.tensor(card["std"]))
    sure, named = model(images).softmax(dim=-1).max(dim=-1)
    maps = look.relevance_maps(model, images)["rollout, mean"]
    figure, axes = plt.subplots(2, count, figsize=(side * count, 2.16 * side))
    for n, (above, below) in enumerate(axes.T):
        plot.show_image(drawn.images[chosen[n]], above, f"{SHAPES[named[n]]} {100 * sure[n]:.0f} %")
        above.set_title(above.get_title(loc="left") or above.get_title(), fontsize=11, loc="center")
        look.overlay(drawn.images[chosen[n]], maps[n], below)
    return figure


if __name__ == "__main__":
    plot.use_style()
    for name, count, side in (("maps", COLUMNS, 1.5), ("card", CARD_COLUMNS, 2.6)):
        draw(count, side).savefig(HERE / f"{name}.png", dpi=200)
        print(f"wrote book/figures/{name}.png")
