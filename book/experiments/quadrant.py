"""Where a CvT without positions learns where things are: in which quarter of the picture an object lies (6 min).

An object of at most 32 pixels on flat grey lies in one of the four quarters of a picture of 64 pixels, and the question
is in which. All pictures of an object are one picture, rolled round the edges by half its side, and the test shows all
four. A model that no such roll moves cannot answer, whatever it learns; `moved` is by how much the scores change,
before training and after it. Two traps, in which circular padding answers though nothing tells it where the edge is: a
background with a seam, and objects that lie 16 pixels apart, one token of the last stage, of which the keys' stride
takes every second. At last, how well a token of an untrained model tells its row, on noise.

The five questions. *Converged?* Without a trap the answers are one quarter and nearly all, and for one quarter there is
a proof. On the seam pictures they lie between, and it is not asked how far they would rise. *Tuned alike?* One rate for
all; who can answer does. *One difference?* The padding, the positions, or both convolutions, with BatchNorm and the
stride of the keys. *Can it show?* With learned positions every model answers. *Recognisable?* Islam et al. 2020,
arXiv:2001.08248, read places out of CNNs with zero padding and found none without.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from _record import Run, or_smoke, per_cent, spread, start
from torch import nn

from vitedu.data import Dataset, Split, normalise
from vitedu.data.shapes import draw_shapes
from vitedu.models.cvt import CvT, CvTConfig
from vitedu.train import TrainConfig
from vitedu.vit import ViT, ViTConfig

SIDE, HALF, GREY = 64, 32, 127
QUARTERS = ("top left", "top right", "bottom left", "bottom right")
COUNTS = or_smoke((1_800, 400, 400), (12, 12, 12))
TRAIN = TrainConfig(epochs=or_smoke(5, 1), batch_size=or_smoke(50, 6), lr=2e-3, label_smoothing=0.0)
NOISE = or_smoke(1_000, 8)  # pictures to read rows from, half of them to fit
FIRST, LINEAR = ("learned", "none", "none"), ("linear",) * 3
SMALL = CvTConfig(
    image_size=SIDE, num_classes=4, dims=(16, 32, 64), depths=(1, 1, 1), num_heads=(1, 2, 4), init="xavier"
)
VIT = ViTConfig(image_size=SIDE, patch_size=8, num_classes=4, dim=64, depth=3, num_heads=2)
EVERY_KEY = "CvT, circular, every key"
ARMS = {
    "ViT, no positions": lambda: ViT(replace(VIT, positions="none")),
    "ViT, learned positions": lambda: ViT(VIT),
    "CvT": lambda: CvT(SMALL),
    "CvT, circular": lambda: CvT(replace(SMALL, padding="circular")),
    EVERY_KEY: lambda: CvT(replace(SMALL, padding="circular", kv_strides=(1, 1, 1))),
    "CvT, circular, learned positions": lambda: CvT(replace(SMALL, padding="circular", positions=FIRST)),
    "CvT, patches, linear": lambda: CvT(replace(SMALL, kernels=SMALL.strides, projections=LINEAR)),
}
TRAPPED = ("CvT, circular", "CvT, patches, linear")
CASES = [("quarters", arm) for arm in ARMS if arm != EVERY_KEY] + [
    (task, arm) for task in ("seam", "near") for arm in TRAPPED
]
CASES += [("near", EVERY_KEY)]


def pictures(task: str, count: int, seed: int, everywhere: bool = False) -> Split:
    """Objects, each in a quarter drawn at random, or `everywhere`, a fourth as many in each of the four.

    "near": those below or to the right are 16 pixels away, and not 32. "seam": the ground is brighter on one side.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = draw_shapes(count, seed=seed, image_size=HALF, clutter=0.0)
    if everywhere:
        drawn, quarter = drawn.subset(torch.arange(count // 4).repeat(4)), torch.arange(4).repeat_interleave(count // 4)
    else:
        quarter = torch.randint(4, (count,), generator=generator)
    step = HALF // 2 if task == "near" else HALF
    top, left = step * (quarter // 2), step * (quarter % 2)
    ground = torch.full((count, 3, SIDE, SIDE), GREY, dtype=torch.uint8)
    if task == "seam":  # brighter along a direction of its own, so that opposite edges do not meet
        angle = 2 * torch.pi * torch.rand(count, 1, 1, generator=generator)
        along = torch.linspace(-1, 1, SIDE)
        slope = angle.cos() * along[:, None] + angle.sin() * along  # (N, SIDE, SIDE)
        ground = (GREY + 60 * slope)[:, None].expand(-1, 3, -1, -1).to(torch.uint8).clone()
    for index, (mask, y, x) in enumerate(zip(drawn.masks, top, left, strict=True)):
        place = ground[index, :, y : y + HALF, x : x + HALF]
        place[:, mask] = drawn.images[index][:, mask]
    return Split(ground, quarter)


def drawn(task: str, seed: int) -> Dataset:
    """Training, validation and test pictures of a task."""
    splits = [pictures(task, count, 3 * seed + part, everywhere=part == 2) for part, count in enumerate(COUNTS)]
    return Dataset("quarters", f"embedded: drawn with seed {seed}", QUARTERS, *splits, flip=False, drawn=True)


@torch.no_grad()
def moved(model: nn.Module, data: Dataset) -> float:
    """How far the largest score of any test picture moves when the picture is rolled by half its side."""
    model = model.cpu().eval()
    images = normalise(data.test.images, data.mean, data.std)[:100]
    rolls = [(HALF, 0), (0, HALF), (HALF, HALF)]
    rolled = torch.stack([model(images.roll(by, (2, 3))) for by in rolls])
    return (rolled - model(images)).abs().max().item()


def answered(run: Run, case: tuple[str, str, int]) -> dict:
    """Test accuracy of one model after training, and how far a roll moves its scores."""
    task, arm, seed = case
    data = drawn(task, seed)
    torch.manual_seed(seed)
    before, began = moved(ARMS[arm](), data), run.clock()
    model, _ = run.train(ARMS[arm], data, TRAIN, seed)
    seconds = run.clock() - began
    scores = model.cpu().eval()(normalise(data.test.images, data.mean, data.std))
    accuracy = (scores.argmax(1) == data.test.labels).float().mean().item()
    print(f"{task:9} {arm:33} seed {seed}: {100 * accuracy:5.1f} % in {seconds:.0f} s", flush=True)
    return {"accuracy": accuracy, "untrained": before, "moved": moved(model, data), "seconds": seconds}


@torch.no_grad()
def row_read(padding: str, seed: int) -> float:
    """R² of a token's row, by ridge regression on the tokens of an untrained CvT, for pictures of noise it was not on.

    1: all rows right; 0: no better than the middle row.
    """
    torch.manual_seed(seed)
    model = CvT(replace(SMALL, padding=padding)).eval()
    tokens = model.encode(torch.randn(NOISE, 3, SIDE, SIDE))[:, 1:]  # (B, N, D)
    rows = (torch.arange(tokens.shape[1]) // model.grid[1]).float()
    rows = (rows - rows.mean()).expand(NOISE, -1)
    x = F.pad((tokens - tokens.mean((0, 1))) / tokens.std((0, 1)), (0, 1), value=1.0)
    (a, b), (truth, wanted) = x.chunk(2), rows.chunk(2)
    a, truth = a.flatten(0, 1), truth.flatten()
    weights = torch.linalg.solve(a.T @ a + torch.eye(a.shape[1]), a.T @ truth)
    return (1 - ((b @ weights - wanted) ** 2).mean() / (wanted**2).mean()).item()


def main() -> None:
    run = start(__doc__)
    cases = [(*case, seed) for case in CASES for seed in run.seeds]
    found = dict(zip(cases, run.each(lambda case: answered(run, case), cases), strict=True))
    rows = []
    for task, arm in CASES:
        runs = [found[task, arm, seed] for seed in run.seeds]
        measured = {key: spread([one[key] for one in runs]) for key in runs[0]}
        rows.append({"part": "answers", "task": task, "arm": arm, **measured})
        print(f"{task:9} {arm:33} {per_cent(measured['accuracy'])}, moved {measured['moved']['values']}", flush=True)
    for padding in ("zeros", "circular"):
        rows.append({"part": "rows", "padding": padding, "r2": spread([row_read(padding, s) for s in run.seeds])})
    sources = ["shapes of 32 pixels, drawn anew for each seed, in pictures of 64; noise for the rows"]
    run.record("test accuracy, in which quarter an object lies; change of scores under a roll", sources, rows)


if __name__ == "__main__":
    main()
