"""Why DINO does not give every picture the same answer: centring and sharpening, together and one alone (4 min).

A small ViT learns without labels on drawn pictures, three times: as in the paper, without centring, and without
sharpening. Along the way: the entropy of the teacher's single answers and that of its mean answer, on validation
pictures. At the end: what near neighbours tell of shape, colour and texture of the object and of the brightness of the
ground behind it, on test pictures, beside the same network untrained and the pixels; and whether the attention of
CLS lies on the object, beside two maps that know nothing.

1. Has it converged? No claim on ability: what is compared is what happens to the answers along the steps. `longer` is
   the first seed with all in place over three times the steps.
2. Tuned alike? All arms have the same rate, teacher, views and first weights; none was tuned.
3. One difference? The switch alone.
4. Can it show it? Both ends are known: one answer for all has no entropy at all, the uniform one all there can be.
   Maps of attention are scored beside random ones and beside a hill in the middle of the picture, where objects are.
5. Would a practitioner recognise it? Section 5.3 of the paper shows the same two ends on ImageNet. There a good
   teacher takes a hundred epochs and more, its views change colours as well, and its attention finds objects. A few
   hundred steps of a model with two blocks need not do either.
"""

from dataclasses import replace

import torch
from _record import nothing, or_smoke, spread, start
from torch import Tensor

from vitedu.capture import capture_attention
from vitedu.data import Split, load, normalise
from vitedu.inspection.localise import baselines, localise
from vitedu.inspection.probe import nearest_neighbours
from vitedu.models.dino import DINO, DINOConfig, entropies
from vitedu.train import TrainConfig
from vitedu.train.pretext import self_distillation
from vitedu.vit import ViT, ViTConfig

SIDE, P = 32, 4
BACKBONE = ViTConfig(image_size=SIDE, patch_size=P, num_classes=6, dim=32, depth=2, num_heads=2, position_std=0.02)
CONFIG = DINOConfig(outputs=64, hidden=64, bottleneck=32, momentum=0.96)
ARMS = {"both": {}, "no centring": {"centring": False}, "no sharpening": {"sharpening": False}}
SHARES = ((0.5, 1.0), (0.2, 0.5))  # of the picture, that large and small views show
COUNTS = or_smoke((2_400, 400, 600), (60, 24, 24))
EPOCHS, EVERY, LONGER = or_smoke((6, 12, 3), (1, 1, 2))
RECIPE = TrainConfig(epochs=EPOCHS, batch_size=or_smoke(64, 30), lr=2e-3)
NEIGHBOURS = 20
CUES = ("shape", "colour", "texture", "ground")


def brightness(split: Split) -> Tensor:
    """Of the ground, the mean of all pixels that are not the object's: (N,)."""
    grey = split.images.float().mean(dim=1).masked_fill(split.masks, 0)  # (N, H, W)
    return grey.sum(dim=(1, 2)) / (~split.masks).sum(dim=(1, 2))


def main() -> None:
    run = start(__doc__)
    data = load("shapes", counts=COUNTS, clutter=0.0, quiet=True)
    train, val, test = (
        normalise(s.images, data.mean, data.std).to(run.device) for s in (data.train, data.val, data.test)
    )

    sixths = brightness(data.train).quantile(torch.arange(1, 6) / 6)  # as many pictures in each of six classes

    def labels_of(split: Split, cue: str) -> Tensor:
        if cue == "ground":
            return torch.bucketize(brightness(split), sixths)
        return split.labels if cue == "shape" else split.cues[cue]

    labels = {cue: [labels_of(split, cue) for split in (data.train, data.test)] for cue in CUES}

    def neighbours(known: Tensor, asked: Tensor) -> dict[str, float]:
        """The share of test pictures named right by cue, from vectors of training pictures and of these."""
        return {
            cue: nearest_neighbours(known.cpu(), named, asked.cpu(), wanted, NEIGHBOURS)
            for cue, (named, wanted) in labels.items()
        }

    @torch.no_grad()
    def told(model: ViT) -> dict[str, float]:
        return neighbours(*(torch.cat([model.represent(x) for x in images.split(200)]) for images in (train, test)))

    @torch.no_grad()
    def looked(model: ViT) -> dict[str, dict[str, float]]:
        """How well the last block's attention of CLS finds the object, its mean over heads, and of the best head."""
        found = {}
        for name, images, split in (("val", val, data.val), ("test", test, data.test)):
            with capture_attention(model) as maps:
                model(images)
            rows = maps[-1][:, :, 0, 1:].unflatten(2, model.grid).cpu()  # (B, h, gh, gw)
            found[name] = [localise(picture, split.masks) for picture in (rows.mean(dim=1), *rows.unbind(dim=1))]
        best = max(range(1, len(found["val"])), key=lambda head: found["val"][head].iou.mean())
        return {
            name: {"hit": found["test"][i].hit.mean().item(), "iou": found["test"][i].iou.mean().item()}
            for name, i in (("all heads", 0), ("best head", best))
        }

    def learn(case: tuple[str, int, int]) -> dict:
        arm, seed, epochs = case
        seen: list[tuple[int, float, float]] = []
        steps = 0
        torch.manual_seed(seed)
        backbone = ViT(BACKBONE)
        untrained = {"neighbours": told(backbone.to(run.device).eval()), "attention": looked(backbone)}

        def look(model: DINO) -> None:
            model.eval()
            seen.append((steps, *entropies(model.answers(val[None]))))
            model.train()

        def after(model: DINO, progress: float) -> None:
            nonlocal steps
            model.update(progress)
            steps += 1
            if steps % (EVERY * epochs // EPOCHS) == 0 or progress == 1:
                look(model)

        model = DINO(backbone, replace(CONFIG, **ARMS[arm])).to(run.device)
        look(model)
        begin, loss = run.clock(), self_distillation(num_small=2, shares=SHARES)
        recipe = replace(RECIPE, epochs=epochs)
        run.train(lambda: model, data, recipe, seed, loss=loss, measure=nothing, after_step=after)
        seconds = run.clock() - begin
        teacher = model.eval().teacher.backbone
        found = {"neighbours": told(teacher), "attention": looked(teacher), "untrained": untrained, "seen": seen}
        print(f"{arm:14} seed {seed} ×{epochs}: {seen[-1]} {found['neighbours']} {seconds:.0f} s", flush=True)
        return found | {"seconds": seconds}

    def over_seeds(rows: list[dict], *path: str) -> dict:
        """The spread of the numbers at the end of a path."""
        values = []
        for row in rows:
            for key in path:
                row = row[key]
            values.append(row)
        return spread(values)

    def row(name: str, runs: list[dict]) -> dict:
        seen = [one["seen"] for one in runs]
        return {
            "name": name,
            "steps": [mark[0] for mark in seen[0]],
            "each": [[mark[1] for mark in one] for one in seen],
            "mean": [[mark[2] for mark in one] for one in seen],
            **{cue: over_seeds(runs, "neighbours", cue) for cue in CUES},
            **{f"{heads} {score}": over_seeds(runs, "attention", heads, score) for heads, score in SCORES},
            "seconds": sum(one["seconds"] for one in runs),
        }

    SCORES = [(heads, score) for heads in ("all heads", "best head") for score in ("hit", "iou")]
    cases = [(arm, seed, EPOCHS) for arm in ARMS for seed in run.seeds] + [("both", 0, EPOCHS * LONGER)]
    *found, longer = run.each(learn, cases)
    by_arm = {arm: found[i * len(run.seeds) :][: len(run.seeds)] for i, arm in enumerate(ARMS)}
    rows = [row(arm, runs) for arm, runs in by_arm.items()] + [row("longer", [longer])]
    start_of = [one["untrained"] for one in by_arm["both"]]
    rows.append(
        {"name": "untrained"}
        | {cue: over_seeds(start_of, "neighbours", cue) for cue in CUES}
        | {f"{heads} {score}": over_seeds(start_of, "attention", heads, score) for heads, score in SCORES}
    )
    rows.append({"name": "pixels"} | neighbours(train.flatten(1), test.flatten(1)))
    for name, picture in baselines(len(test), (SIDE // P, SIDE // P)).items():
        score = localise(picture, data.test.masks)
        rows.append({"name": name, "hit": score.hit.mean().item(), "iou": score.iou.mean().item()})
    counts = (
        f"{COUNTS[0]:,} pictures to learn from and as neighbours, {COUNTS[1]:,} for entropies, {COUNTS[2]:,} to test"
    )
    run.record(
        "What the teacher of a small DINO answers, with and without what keeps it from collapse",
        [f"vitedu.data.draw_shapes, clutter 0: {counts}"],
        rows,
    )


if __name__ == "__main__":
    main()
