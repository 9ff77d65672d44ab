"""What learned positions become when they start small and train long, by place on the grid (6 min on one core).

On `shapes`, pictures that are each seen once, two questions about the object's centre: in which quarter of the picture
it lies (4 answers), and on which of the 16 inner patches (no object of these pictures has its centre further out). The
positions start with a standard deviation of 0.02. Afterwards: the cosine similarity of the vectors by their distance on
the grid, the excess of places in one row or column over other places equally far away, and the four corners with one
another; all of it for the untrained vectors too. The trained table of the first seed is kept for the figure.

The five questions. *Converged?* No: one pass, 938 steps, to 91 and 73 %; the tables may still change. *Tuned alike?*
One rate, 0.003, tuned for neither question; no accuracies are compared. *One difference?* Before and after training, in
the same table. *Can it show?* Untrained vectors have to be alike nowhere: the means are 0.00 ± 0.03, among the few
corners −0.02 ± 0.12. Steps are counted along rows plus along columns, so that of places equally many steps away those
in one row or column are the farther ones as the crow flies; an excess is found in spite of that. The rim, whose places
are alike, makes much of it: among the inner places of the recorded tables rows and columns are not ahead (`line_score`,
0.44). *Recognisable?* The paper's table shows nearness, rows and columns (arXiv:2010.11929, figure 7); a rim whose
places are all alike is likely due to these pictures, which have no object there.
"""

from dataclasses import replace

import torch
from _record import Run, or_smoke, spread, start
from positions import QUARTERS, TRAIN, VIT, centres, quarter
from torch import Tensor

from vitedu.data import Dataset, Split
from vitedu.data.shapes import draw_shapes, load_shapes
from vitedu.inspection.positions import offsets, position_similarity
from vitedu.train import fit
from vitedu.vit import ViT

PICTURES = or_smoke(120_000, 12)  # drawn once, for all seeds, which meet them in different orders
COUNTS = or_smoke((120, 1_200, 120), (12, 12, 12))  # of the data set that gives mean, spread and validation pictures
TRAINING = replace(TRAIN, epochs=1, batch_size=128)
SMALL = 0.02  # at which the positions start: that of the paper's released code
STEPS = (1, 2, 4, 8)  # distances on the grid, along rows plus along columns
GRID = VIT.grid


def inner_patch(masks: Tensor) -> Tensor:
    """On which of the 4 × 4 inner patches of 4 pixels each object's centre lies, in raster order: (N, H, W) -> (N,)."""
    down, across = (((centre + 0.5) // 4 - 2).long().clamp(0, 3) for centre in centres(masks))
    return 4 * down + across


QUESTIONS = {"quarter": (QUARTERS, quarter), "patch": (tuple(f"patch {n}" for n in range(16)), inner_patch)}


def ask(question: str) -> Dataset:
    """The pictures with the answers to one question; the masks behind them are left out to save memory."""
    names, answer = QUESTIONS[question]
    shapes, many = load_shapes(counts=COUNTS), draw_shapes(PICTURES, seed=1_000)
    train, val, test = (Split(part.images, answer(part.masks)) for part in (many, shapes.val, shapes.test))
    return replace(shapes, class_names=names, train=train, val=val, test=test)


def structure(table: Tensor) -> dict[str, float]:
    """Mean cosine similarities of the position vectors of a grid, (N, D), without that of CLS."""
    similar = position_similarity(table, GRID).flatten(2).flatten(0, 1)  # (N, N)
    down, across = (offset.abs() for offset in offsets(GRID))  # (N, N) each
    distance, line = down + across, (down == 0) | (across == 0)
    pairs = {f"distance {steps}": distance == steps for steps in STEPS}
    rows, columns = (torch.arange(side) for side in GRID)
    corner = (rows % rows[-1] == 0)[:, None] & (columns % columns[-1] == 0)  # (gh, gw)
    corner = corner.flatten()  # (N,)
    pairs["corners"] = corner[:, None] & corner & (distance > 0)
    means = {name: similar[chosen].mean().item() for name, chosen in pairs.items()}
    excess = [similar[(distance == d) & line].mean() - similar[(distance == d) & ~line].mean() for d in (3, 4, 5)]
    return means | {"excess of a row or column": torch.stack(excess).mean().item()}


def trained(run: Run, data: Dataset, seed: int) -> tuple[float, Tensor, Tensor]:
    """Validation accuracy, and the position vectors (N, D) before and after training."""
    torch.manual_seed(seed)
    model = ViT(replace(VIT, num_classes=len(data.class_names), position_std=SMALL))
    before = model.positions.table.detach()[1:].clone()
    accuracy = fit(model, data, replace(TRAINING, seed=seed), device=run.device, shown=False)[-1]["accuracy"]
    return accuracy, before, model.positions.table.detach()[1:].cpu()


def main() -> None:
    run, rows = start(__doc__), []
    for question in QUESTIONS:
        data = ask(question)
        accuracies, before, after = zip(*(trained(run, data, seed) for seed in run.seeds), strict=True)
        row = {"question": question, "accuracy": spread(list(accuracies))}
        for name, tables in {"untrained": before, "trained": after}.items():
            measured = [structure(table) for table in tables]
            row[name] = {key: spread([one[key] for one in measured]) for key in measured[0]}
        print({key: round(value["mean"], 3) for key, value in row["trained"].items()}, accuracies, flush=True)
        rows.append(row | {"table": [[round(value, 3) for value in vector] for vector in after[0].tolist()]})
    about = "cosine similarity of learned position vectors by distance on the grid, trained long from small values"
    run.record(about, [f"{PICTURES:,} pictures of shapes, seed 1000, each seen once"], rows)


if __name__ == "__main__":
    main()
