"""What shifted windows and relative positions are worth where every pixel needs an answer (17 min of one core).

Two blocks of a Swin with windows of 4 × 4 tokens say for each pixel of a drawn picture whether it belongs to the
object, with and without the shift, with and without the relative bias; beside them windows of one token, a ViT and a
CvT of the same width and depth, under the same linear head. In the task `tones` the pictures are grey and half of them
negatives, so that a patch alone does not tell figure from ground. IoU with the true mask, over all test pictures
together: near the outline and away from it, and by the distance from the edge of a window.

1. Has it converged? No: an IoU after a third of the steps stands beside each (`early`, one seed), and the page speaks
   of what was learned in these steps.
2. Tuned alike? Each arm has its own rate, chosen in the short runs on validation pictures with the first seed, between
   two that are worse where the ladder reaches that far; ViT's is the highest of the ladder. `moved` and `drawn` take
   the rates of `tones`: the two arms of `moved` have one and the same, which was not chosen for it.
3. One difference? The four arms of Swin differ in the two switches alone; pictures, steps and head are the same for
   all. ViT, CvT and Swin differ in more: positions, convolutions, and what they compute (`macs`).
4. Can it show it? `moved` asks for the mask as it would lie half a window further down and to the right: what is asked
   at the upper left of a window lies outside of it, and without a shift can only be guessed. `drawn`, the
   pictures in colour, shows the other end: there the objects are brighter than all else, and a patch alone gets far.
5. Would a practitioner recognise it? In the paper's table 4 the shift is worth 1.1 points on ImageNet, 2.8 of box AP
   on COCO and 2.8 of mIoU on ADE20K, and the relative bias 1.2, 1.3 and 2.3: its models are larger, and pre-trained.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from _rates import tuned, val_by_rate
from _record import multiply_adds, nothing, or_smoke, spread, start
from torch import Tensor, nn

from vitedu.data import Dataset, Split, load, normalise
from vitedu.data.tones import as_tones
from vitedu.models.cvt import CvT, CvTConfig
from vitedu.models.dense import DensePrediction
from vitedu.models.swin import Swin, SwinConfig
from vitedu.train import TrainConfig
from vitedu.vit import ViT, ViTConfig

SIDE, P, M = 48, 4, 4  # pixels, and tokens: 12 × 12 tokens in nine windows
SMALL = {"image_size": SIDE, "num_classes": 6}
SWIN = SMALL | {"patch_size": P, "dim": 32, "depths": (2,), "num_heads": (2,), "window": M, "drop_path": 0.0}
VIT = SMALL | {"patch_size": P, "dim": 32, "depth": 2, "num_heads": 2, "pool": "mean"}
CVT = SMALL | {"dims": (32,), "depths": (2,), "num_heads": (2,), "kernels": (7,), "strides": (P,), "kv_strides": (2,)}
CVT |= {"projections": ("conv",), "positions": ("none",), "pool": "mean"}
PICTURES, SHORT, LONG, TESTED = or_smoke((6_000, 2, 6, 1_000), (24, 1, 2, 12))  # SHORT and LONG in epochs
RECIPE = TrainConfig(batch_size=or_smoke(32, 12), weight_decay=0.05)
LADDER = (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)
HALF = M * P // 2  # pixels

ARMS = {
    "shift and bias": lambda: Swin(SwinConfig(**SWIN)),
    "no shift": lambda: Swin(SwinConfig(**SWIN, shifted=False)),
    "no bias": lambda: Swin(SwinConfig(**SWIN, relative_bias=False)),
    "neither": lambda: Swin(SwinConfig(**SWIN, shifted=False, relative_bias=False)),
    "windows of one token": lambda: Swin(SwinConfig(**SWIN | {"window": 1})),
    "ViT": lambda: ViT(ViTConfig(**VIT)),
    "CvT": lambda: CvT(CvTConfig(**CVT)),
}
CONTROLS = [("drawn", "shift and bias"), ("drawn", "windows of one token")]
CONTROLS += [("moved", "shift and bias"), ("moved", "no shift")]


def moved(masks: Tensor, by: int) -> Tensor:
    """Masks (N, H, W), further down and to the right; what leaves is lost."""
    return F.pad(masks, (by, -by, by, -by))


def near_outline(masks: Tensor) -> Tensor:
    """Where a mask changes within two pixels in any direction, (N, H, W)."""
    wide = masks[:, None].float()
    return (F.max_pool2d(wide, 5, 1, 2) + F.max_pool2d(-wide, 5, 1, 2))[:, 0] > 0


def from_edge(side: int) -> Tensor:
    """How many pixels lie between a pixel and the nearest edge of its window, (H, W)."""
    place = torch.arange(side) % (M * P)
    inwards = torch.minimum(place, M * P - 1 - place)
    return torch.minimum(inwards[:, None], inwards)


def iou(said: Tensor, truth: Tensor, where: Tensor) -> float:
    """Intersection over union of all pictures together, counted `where` it is asked for."""
    both, either = (said & truth & where).sum(), ((said | truth) & where).sum()
    return (both / either.clamp(min=1)).item()


def scores(said: Tensor, truth: Tensor) -> dict:
    """IoU everywhere, near the outline, away from it, and by the distance from the edge of a window."""
    border, distance = near_outline(truth), from_edge(truth.shape[-1])
    found = {"iou": iou(said, truth, torch.ones_like(truth)), "border": iou(said, truth, border)}
    by_distance = [iou(said, truth, distance == steps) for steps in range(M * P // 2)]
    return found | {"inner": iou(said, truth, ~border), "by_distance": by_distance}


def main() -> None:
    run = start(__doc__)
    drawn = load("shapes", image_size=SIDE, counts=(PICTURES, TESTED // 2, TESTED), quiet=True)
    parts = {name: as_tones(getattr(drawn, name), seed) for seed, name in enumerate(("train", "val", "test"))}
    sets = {"drawn": drawn, "moved": drawn, "tones": replace(drawn, **parts)}

    @torch.no_grad()
    def said(model: nn.Module, split: Split, data: Dataset) -> Tensor:
        batches = (normalise(part.to(run.device), data.mean, data.std) for part in split.images.split(250))
        return torch.cat([model(images) > 0 for images in batches]).cpu()

    def learn(case: tuple[str, str], rate: float, seed: int, epochs: int = SHORT) -> dict:
        (task, arm), begin = case, run.clock()
        data, by = sets[task], HALF if task == "moved" else 0
        numbered = replace(data.train, labels=torch.arange(len(data.train)))  # a label is the number of its picture
        targets = moved(data.train.masks, by).float().to(run.device)

        def loss(network: nn.Module, images: Tensor, numbers: Tensor) -> Tensor:
            return F.binary_cross_entropy_with_logits(network(images), targets[numbers])

        recipe = replace(RECIPE, lr=rate, epochs=epochs)
        model, _ = run.train(
            lambda: DensePrediction(ARMS[arm](), P), data, recipe, seed, train=numbered, loss=loss, measure=nothing
        )
        seconds = run.clock() - begin
        model.eval()
        val, test = (scores(said(model, split, data), moved(split.masks, by)) for split in (data.val, data.test))
        found = {"val": val["iou"], "seconds": seconds, **test}
        print(f"{task} {arm:20} ×{epochs} rate {rate:g} seed {seed}: {test['iou']:.3f}, {seconds:.0f} s", flush=True)
        return found

    def row(case: tuple[str, str], rate: float, epochs: int) -> dict:
        found = [learn(case, rate, seed, epochs) for seed in run.seeds]
        about = {"task": case[0], "arm": case[1], "rate": rate, "steps": -(-PICTURES // RECIPE.batch_size) * epochs}
        about["macs"] = multiply_adds(ARMS[case[1]](), SIDE)
        measured = {key: spread([one[key] for one in found]) for key in ("iou", "border", "inner")}
        measured["by_distance"] = [spread(list(each)) for each in zip(*(f["by_distance"] for f in found), strict=True)]
        return about | measured | {"seconds": sum(one["seconds"] for one in found)}

    cases = [("tones", arm) for arm in ARMS]
    runs, chosen = tuned(replace(run, seeds=run.seeds[:1]), learn, cases, LADDER)
    rows = []
    for case in cases:
        early = {"early": runs[case][chosen[case]][0]["iou"], "val_by_rate": val_by_rate(runs[case])}
        rows.append(row(case, chosen[case], LONG) | early)
    rows += [row((task, arm), chosen["tones", arm], SHORT) for task, arm in CONTROLS]
    about = "IoU of small models that say for each pixel of a drawn picture whether it belongs to the object"
    counts = f"{PICTURES:,} pictures of {SIDE} × {SIDE} to learn from, {TESTED // 2:,} to choose on, {TESTED:,} others"
    run.record(about, [f"vitedu.data.draw_shapes, in colour or as_tones: {counts}"], rows)


if __name__ == "__main__":
    main()
