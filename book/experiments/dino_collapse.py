"""DINO in small: what keeps it from giving every picture the same answer, and what its views teach it (35 min).

A small ViT learns without labels on drawn pictures: as in the paper, without centring, without sharpening; and once
more with all in place, but with views that differ in brightness and contrast as well. Along the way: the entropy of the
teacher's single answers and that of its mean answer, on validation pictures. At the end: what near neighbours tell of
shape, colour and texture of the object and of the brightness of the ground behind it, on test pictures, beside the
same network untrained and the pixels; and whether the attention of CLS lies on the object, beside two maps that know
nothing.

1. Has it converged? The entropies are flat at the end, where the rate has gone to zero. What neighbours tell is not: it
   changes again over `longer`, all in place over four times the steps, and `tones, longer`, the same with tones.
   Without centring or sharpening there is no longer training.
2. Tuned alike? One rate for all, chosen on validation pictures with all in place and equal tones, the first seed, by
   what the neighbours tell of the object. Without centring or sharpening another rate would answer another question.
3. One difference? The switch alone, or the views' tones alone.
4. Can it show it? Both ends are known: one answer for all has no entropy at all, the uniform one all there can be.
   That neighbours can tell of colour and ground, the pixels and the untrained network show. Maps of attention are
   scored beside random ones and beside a hill in the middle of the picture, where objects are.
5. Would a practitioner recognise it? Section 5.3 of the paper shows the same two ends on ImageNet. That what views
   differ in fades is why such methods change the colours of their views (Chen et al.
   2020, arXiv:2002.05709, section 3.1). In the paper a good teacher takes a hundred epochs and more, and its attention
   finds objects; a few hundred steps of a model with three blocks need not do that.

The longer rows can be repeated by themselves: add --row longer, and --update to record it.
"""

from dataclasses import dataclass, replace

import torch
from _record import Rows, Run, nothing, or_smoke, repeat, spread, start
from torch import Tensor

from vitedu.capture import capture_attention
from vitedu.data import Dataset, Split, load, normalise
from vitedu.inspection.localise import baselines, localise
from vitedu.inspection.probe import nearest_neighbours
from vitedu.models.dino import DINO, DINOConfig, entropies
from vitedu.recorded import recorded
from vitedu.train import TrainConfig
from vitedu.train.loop import AfterStep
from vitedu.train.pretext import UNCHANGED, self_distillation
from vitedu.vit import ViT, ViTConfig

SIDE, P = 32, 4
BACKBONE = ViTConfig(
    image_size=SIDE, patch_size=P, num_classes=6, dim=48, depth=3, num_heads=4, mlp_ratio=2.0, position_std=0.02
)
CONFIG = DINOConfig(outputs=64, hidden=64, bottleneck=32, momentum=0.98)
SWITCHES = {"no centring": {"centring": False}, "no sharpening": {"sharpening": False}}
TONES = {"tones": (0.8, 0.4)}  # how far brightness and contrast of a view are changed
ARMS = ("both", "no centring", "no sharpening", "tones")
SHARES = ((0.5, 1.0), (0.2, 0.5))  # of the picture, that large and small views show
COUNTS = or_smoke((6_000, 600, 1_200), (60, 24, 24))
EPOCHS, EVERY, LONGER = or_smoke((5, 15, 4), (1, 1, 2))
RATES = or_smoke((1e-3, 2e-3, 4e-3), (2e-3,))
RECIPE = TrainConfig(epochs=EPOCHS, batch_size=or_smoke(100, 30))
NEIGHBOURS = 20
OBJECT = ("shape", "colour", "texture")
CUES = (*OBJECT, "ground")
SCORES = [(heads, score) for heads in ("all heads", "best head") for score in ("hit", "iou")]


@dataclass(frozen=True)
class Drawn:
    """The pictures, by split: as they are, normalised, and what each shows, {cue: classes (N,)}."""

    data: Dataset
    images: dict[str, Tensor]
    labels: dict[str, dict[str, Tensor]]


def drawn(run: Run) -> Drawn:
    """Objects on a smooth ground, whose brightness is cut into sixths, as many training pictures in each."""
    data = load("shapes", counts=COUNTS, clutter=0.0, quiet=True)
    splits = {"train": data.train, "val": data.val, "test": data.test}
    images = {name: normalise(s.images, data.mean, data.std).to(run.device) for name, s in splits.items()}
    sixths = brightness(data.train).quantile(torch.arange(1, 6) / 6)

    def shown(split: Split) -> dict[str, Tensor]:
        return {"shape": split.labels, **split.cues, "ground": torch.bucketize(brightness(split), sixths)}

    return Drawn(data, images, {name: shown(split) for name, split in splits.items()})


def brightness(split: Split) -> Tensor:
    """Of the ground, the mean of all pixels that are not the object's: (N,)."""
    grey = split.images.float().mean(dim=1).masked_fill(split.masks, 0)  # (N, H, W)
    return grey.sum(dim=(1, 2)) / (~split.masks).sum(dim=(1, 2))


def main() -> None:
    run = start(__doc__, rows=True)
    pictures = drawn(run)
    if run.row:
        (rate,) = (row["rate"] for row in recorded(run.name)["rows"] if row["name"] == "rate")
        repeat(run, longer(run, pictures, rate), lambda row: str({cue: row[cue]["values"] for cue in CUES}))
        return
    rate, tried = choose_rate(run, pictures)
    found = {("both", run.seeds[0]): tried[rate]}
    missing = [(arm, seed) for arm in ARMS for seed in run.seeds if (arm, seed) not in found]
    found |= dict(zip(missing, run.each(lambda case: learn(run, pictures, *case, rate), missing), strict=True))
    by_arm = {arm: [found[arm, seed] for seed in run.seeds] for arm in ARMS}
    rows = [{"name": arm} | row(runs) for arm, runs in by_arm.items()]
    rows += [{"name": name} | of_seeds(run.seeds) for name, of_seeds in longer(run, pictures, rate).items()]
    rows.append({"name": "untrained"} | ability([one["untrained"] for one in by_arm["both"]]))
    rows += controls(pictures)
    rows.append({"name": "rate", "rate": rate, "val_by_rate": {f"{one:g}": tried[one]["val"] for one in tried}})
    counts = "{:,} pictures to learn from and as neighbours, {:,} for entropies and the rate, {:,} to test"
    run.record(
        "What the teacher of a small DINO answers, and what its vectors tell, with and without its parts",
        [f"vitedu.data.draw_shapes, clutter 0: {counts.format(*COUNTS)}"],
        rows,
    )


def choose_rate(run: Run, pictures: Drawn) -> tuple[float, dict[float, dict]]:
    """The rate at which, with all in place, neighbours tell most of the object, and what came out at each."""
    runs = run.each(lambda rate: learn(run, pictures, "both", run.seeds[0], rate), RATES)
    tried = dict(zip(RATES, runs, strict=True))
    return max(tried, key=lambda rate: tried[rate]["val"]), tried


def longer(run: Run, pictures: Drawn, rate: float) -> Rows:
    """What computes the rows of the longer trainings."""

    def over(seeds: list[int], arm: str) -> dict:
        return row(run.each(lambda seed: learn(run, pictures, arm, seed, rate, EPOCHS * LONGER), seeds))

    return {"longer": lambda seeds: over(seeds, "both"), "tones, longer": lambda seeds: over(seeds, "tones")}


def learn(run: Run, pictures: Drawn, arm: str, seed: int, rate: float, epochs: int = EPOCHS) -> dict:
    """Train one arm: entropies along the way, and what its teacher's vectors and attention tell before and after."""
    torch.manual_seed(seed)
    backbone = ViT(BACKBONE).to(run.device).eval()
    untrained = judged(backbone, pictures)
    model = DINO(backbone, replace(CONFIG, **SWITCHES.get(arm, {}))).to(run.device)
    seen, after = watched(model, pictures.images["val"], EVERY * epochs // EPOCHS)
    loss = self_distillation(num_small=2, shares=SHARES, tones=TONES.get(arm, UNCHANGED))
    begin, recipe = run.clock(), replace(RECIPE, epochs=epochs, lr=rate)
    run.train(lambda: model, pictures.data, recipe, seed, loss=loss, measure=nothing, after_step=after)
    seconds, teacher = run.clock() - begin, model.eval().teacher.backbone
    found = judged(teacher, pictures)
    told = neighbours(vectors(teacher, pictures), pictures, "val")
    val = sum(told[cue] for cue in OBJECT) / len(OBJECT)
    print(f"{arm:14} {rate:g} seed {seed} ×{epochs}: {seen[-1]} {found['neighbours']} {seconds:.0f} s", flush=True)
    return found | {"val": val, "untrained": untrained, "seen": seen, "seconds": seconds}


def watched(model: DINO, val: Tensor, every: int) -> tuple[list[tuple[int, float, float]], AfterStep]:
    """What the teacher's entropies are before the first step and then each so often, and what `fit` calls for it."""
    seen: list[tuple[int, float, float]] = []
    steps = 0

    def look() -> None:
        model.eval()
        seen.append((steps, *entropies(model.answers(val[None]))))
        model.train()

    def after(model: DINO, progress: float) -> None:
        nonlocal steps
        model.update(progress)
        steps += 1
        if steps % every == 0 or progress == 1:
            look()

    look()
    return seen, after


def judged(model: ViT, pictures: Drawn) -> dict[str, dict]:
    """What the vectors of a network tell on test pictures, and where its CLS looks."""
    return {
        "neighbours": neighbours(vectors(model, pictures), pictures, "test"),
        "attention": looked(model, pictures),
    }


@torch.no_grad()
def vectors(model: ViT, pictures: Drawn) -> dict[str, Tensor]:
    """What stands in front of the head, (N, D), for each split."""
    return {
        name: torch.cat([model.represent(x) for x in images.split(200)]) for name, images in pictures.images.items()
    }


def neighbours(known: dict[str, Tensor], pictures: Drawn, split: str) -> dict[str, float]:
    """The share of a split's pictures named right by cue, from vectors of training pictures and of these."""
    return {
        cue: nearest_neighbours(
            known["train"].cpu(),
            pictures.labels["train"][cue],
            known[split].cpu(),
            pictures.labels[split][cue],
            NEIGHBOURS,
        )
        for cue in CUES
    }


@torch.no_grad()
def looked(model: ViT, pictures: Drawn) -> dict[str, dict[str, float]]:
    """How well the last block's attention of CLS finds the object: its mean over heads, and the head best on "val"."""
    found = {}
    for name, split in (("val", pictures.data.val), ("test", pictures.data.test)):
        with capture_attention(model) as maps:
            model(pictures.images[name])
        looks = maps[-1][:, :, 0, 1:].unflatten(2, model.grid).cpu()  # (B, h, gh, gw)
        found[name] = [localise(picture, split.masks) for picture in (looks.mean(dim=1), *looks.unbind(dim=1))]
    best = max(range(1, len(found["val"])), key=lambda head: found["val"][head].iou.mean())
    return {
        name: {"hit": found["test"][i].hit.mean().item(), "iou": found["test"][i].iou.mean().item()}
        for name, i in (("all heads", 0), ("best head", best))
    }


def row(runs: list[dict]) -> dict:
    """What goes into a row of the record: the entropies of each seed along the steps, and what was found at the end."""
    seen = [one["seen"] for one in runs]
    return {
        "steps": [mark[0] for mark in seen[0]],
        "each": [[mark[1] for mark in one] for one in seen],
        "mean": [[mark[2] for mark in one] for one in seen],
        **ability(runs),
        "seconds": sum(one["seconds"] for one in runs),
    }


def ability(runs: list[dict]) -> dict[str, dict]:
    """What neighbours tell and where CLS looks, over the seeds."""
    told = {cue: spread([one["neighbours"][cue] for one in runs]) for cue in CUES}
    return told | {
        f"{heads} {score}": spread([one["attention"][heads][score] for one in runs]) for heads, score in SCORES
    }


def controls(pictures: Drawn) -> list[dict]:
    """Neighbours by the pixels, and two pictures of attention that know nothing."""
    flat = {name: images.flatten(1) for name, images in pictures.images.items()}
    rows, masks = [{"name": "pixels"} | neighbours(flat, pictures, "test")], pictures.data.test.masks
    for name, picture in baselines(len(masks), (SIDE // P, SIDE // P)).items():
        score = localise(picture, masks)
        rows.append({"name": name, "hit": score.hit.mean().item(), "iou": score.iou.mean().item()})
    return rows


if __name__ == "__main__":
    main()
