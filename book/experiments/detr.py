"""A small DETR learns to find the objects of drawn scenes; its weights ship with the book (20 min a seed on one core).

First the CNN learns to name single objects, as the paper's had on ImageNet. Then the whole model learns, on scenes
drawn afresh for every step. Writes book/results/detr.json and, from the first seed,
vitedu/pretrained/weights/shapes-detr.*.

1. Has it converged? Not shown: over the last tenth of the steps the IoU still rises by up to 0.004, at rates near zero,
   and the number of objects goes up and down by some points. Longer training has not been run.
2. Tuned alike? One model, one rate, not tuned here; the seeds differ in first weights and in scenes.
3. One difference? Nothing is compared but the seeds, and scenes with one, two and three objects.
4. Can it show it? With 2,000 held-out scenes the 95 % intervals of the number of objects part the first seed, right in
   90 %, from the other two, 85 and 84 %, and not these from each other.
5. Would a practitioner recognise it? A set of queries, a match and no removal of duplicates are the paper's; its
   training on COCO took 300 to 500 epochs. These scenes are easy: objects stand apart on dull ground.
"""

import time

import torch
from _record import Run, or_smoke, spread, start
from _ship import round_to_half, ship, table
from torch import Tensor, nn

from vitedu.data import load, normalise
from vitedu.data.scenes import MEAN, STD, Scenes, draw_scenes
from vitedu.data.shapes import SHAPES
from vitedu.models.cnn import CNNConfig, ResNet
from vitedu.models.detr import DETR, DETRConfig
from vitedu.models.set_loss import Score, score, set_loss
from vitedu.train import TrainConfig, fit
from vitedu.train.optim import adamw, learning_rate

NAME = "shapes-detr"
STEPS, BATCH = or_smoke((5_000, 32), (10, 2))
LR, WEIGHT_DECAY, WARMUP, CLIP = 1e-3, 0.05, 0.05, 1.0
POOL = or_smoke(320, 20)  # scenes drawn at a time
HELD_OUT = or_smoke(2_000, 24)  # scenes, of a seed below zero; training uses seeds from zero
RESAMPLES = or_smoke(2_000, 20)  # for the confidence intervals
PICTURES, TESTED, EPOCHS = or_smoke((40_000, 1_000, 3), (12, 12, 1))  # of single objects, for the CNN


def train_backbone(run: Run, seed: int) -> tuple[nn.Module, float]:
    """A CNN that names single objects of `shapes`, without its classifier, and its validation accuracy."""
    torch.manual_seed(seed)
    config = DETRConfig().backbone
    model = ResNet(CNNConfig(widths=config.widths, depths=config.depths, stem_stride=config.stem_stride, num_classes=6))
    data = load("shapes", counts=(PICTURES, TESTED, TESTED), seed=seed, clutter=0.0, quiet=True)
    training = TrainConfig(epochs=EPOCHS, batch_size=64, lr=3e-3, label_smoothing=0.0, seed=seed)
    history = fit(model.to(memory_format=torch.channels_last), data, training, device=run.device)
    model.head = nn.Identity()
    return model, history[-1]["accuracy"]


def train(model: DETR, seed: int, held_out: Scenes) -> list[dict]:
    """Train in place on fresh scenes with the set loss of every decoder layer; returns the curve on held-out scenes."""
    optimizer, curve, device = adamw(model, LR, WEIGHT_DECAY), [], next(model.parameters()).device
    for step, scenes in enumerate(batches(seed, device)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, STEPS, round(WARMUP * STEPS), LR)
        layers = [set_loss(p, scenes.labels, scenes.boxes) for p in model.by_layer(pixels(scenes))]
        optimizer.zero_grad(set_to_none=True)
        sum(layer.total for layer in layers).backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        if (step + 1) % (STEPS // 10) == 0:
            curve.append({"step": step + 1, **means(evaluate(model, held_out))})
            print(curve[-1], flush=True)
    return curve


def batches(seed: int, device: torch.device):
    """`STEPS` batches of scenes, none of which comes twice."""
    for pool in range(STEPS * BATCH // POOL):
        scenes = draw_scenes(POOL, seed=seed * 1_000_000 + pool).to(device)
        for first in range(0, POOL, BATCH):
            yield scenes.subset(slice(first, first + BATCH))


def pixels(scenes: Scenes) -> Tensor:
    """What the model reads, (B, 3, H, W)."""
    return normalise(scenes.images, MEAN, STD).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def evaluate(model: DETR, scenes: Scenes) -> Score:
    """The score over all scenes, in evaluation mode."""
    model.eval()
    parts = [scenes.subset(slice(start, start + 250)) for start in range(0, len(scenes), 250)]
    device = next(model.parameters()).device
    scores = [score(model(pixels(part.to(device))), part.labels.to(device), part.boxes.to(device)) for part in parts]
    model.train()
    return Score(*(torch.cat(values).float().cpu() for values in zip(*scores, strict=True)))


def means(result: Score) -> dict[str, float]:
    """The three figures."""
    return {name: values.mean().item() for name, values in result._asdict().items()}


def intervals(result: Score, numbers: Tensor) -> dict[str, list[float]]:
    """95 % intervals by bootstrap: whole scenes are drawn again, since the objects of one scene are not independent."""
    count, generator = len(numbers), torch.Generator().manual_seed(0)
    drawn = torch.randint(count, (RESAMPLES, count), generator=generator)
    scene_of = torch.arange(count).repeat_interleave(numbers)  # (objects,)
    bounds = {}
    for name, values in result._asdict().items():
        weight = torch.ones(count) if len(values) == count else numbers.float()
        total = values if len(values) == count else torch.zeros(count).index_add(0, scene_of, values)
        estimates = total[drawn].sum(1) / weight[drawn].sum(1)  # (RESAMPLES,)
        bounds[name] = estimates.quantile(torch.tensor([0.025, 0.975])).tolist()
    return bounds


def by_number(result: Score, numbers: Tensor) -> list[dict]:
    """The three figures for scenes with one, two and three objects."""
    rows = []
    for number in range(1, int(numbers.max()) + 1):
        objects, images = numbers.repeat_interleave(numbers) == number, numbers == number
        part = Score(result.iou[objects], result.right_class[objects], result.right_count[images])
        rows.append({"objects": number, "scenes": int(images.sum()), **means(part)})
    return rows


def train_and_measure(run: Run, seed: int, held_out: Scenes) -> tuple[DETR, dict]:
    """Train one model and measure it as it will be shipped, rounded to half precision."""
    begin = time.perf_counter()
    backbone, accuracy = train_backbone(run, seed)
    torch.manual_seed(seed)
    model = DETR(DETRConfig())
    model.backbone.load_state_dict(backbone.state_dict())
    model.to(run.device, memory_format=torch.channels_last)
    curve = train(model, seed, held_out.subset(slice(0, 500)))
    result = evaluate(round_to_half(model), held_out)
    row = {"seed": seed, "backbone_accuracy": accuracy, **means(result), "curve": curve}
    row |= {"interval": intervals(result, held_out.numbers), "by_number": by_number(result, held_out.numbers)}
    return model.eval(), row | {"seconds": round(time.perf_counter() - begin)}


FACTS = {
    "Input": "(B, 3, 64, 64), normalised with `vitedu.data.scenes.MEAN` and `STD`",
    "Output": f"6 queries: a class ({', '.join(SHAPES)}, or no object) and a box each",
    "Data": f"`draw_scenes`: {STEPS * BATCH:,} scenes, none shown twice; before that {PICTURES:,} single "
    "objects for the CNN",
    "Recipe": f"{EPOCHS} epochs for the CNN as classifier; then {STEPS:,} steps of {BATCH}, AdamW, peak rate {LR}, "
    f"cosine, weight decay {WEIGHT_DECAY}, gradient norm at most {CLIP}, the set loss after every decoder layer",
}
LIMITS = (
    "An object that no query reports counts as IoU 0 and as not named. The figures hold for scenes drawn like these "
    "and for nothing else: it has seen no clutter, no other sizes and no photographs."
)
WORDS = {"iou": "mean IoU of the objects", "right_class": "objects named right", "right_count": "scenes counted right"}


def ship_first(run: Run, model: DETR, rows: list[dict]) -> None:
    """Write the weights of the first row, and the card, its figures from all rows."""
    shipped, lines = rows[0], []
    for key, words in WORDS.items():
        low, high = shipped["interval"][key]
        others = ", ".join(f"{row[key]:.3f}" for row in rows)
        lines.append([words, f"{shipped[key]:.3f}", f"{low:.3f} to {high:.3f}", others])
    seeds = "seeds " + ", ".join(str(row["seed"]) for row in rows) if len(rows) > 1 else "one seed only"
    scores = table(["", f"shipped, seed {shipped['seed']}", "95 % interval", seeds], lines)
    ship(
        run,
        NAME,
        model,
        class_names=SHAPES,
        mean=MEAN,
        std=STD,
        accuracy={key: shipped[key] for key in WORDS},
        what="A small DETR that finds one to three drawn objects in an image of 64×64 pixels",
        paper="`vitedu.models.detr.DETR`, Carion et al. 2020, arXiv:2005.12872, with what differs marked in the file",
        source="drawn images alone; no photograph and no data of others went in",
        facts=FACTS,
        results=f"On {HELD_OUT:,} held-out scenes (seed -1), with 95 % intervals (bootstrap over scenes):\n\n{scores}",
        limits=LIMITS,
    )


def main() -> None:
    run, rows, models = start(__doc__), [], []
    held_out = draw_scenes(HELD_OUT, seed=-1)
    data = [f"scenes: {STEPS * BATCH:,} scenes for each seed to learn from, {HELD_OUT:,} others to measure on"]
    for seed in run.seeds:
        model, row = train_and_measure(run, seed, held_out)
        rows, models = [*rows, row], [*models, model]
        print(row, flush=True)
        ship_first(run, models[0], rows)
        summary = {"seeds": len(rows), **{key: spread([r[key] for r in rows]) for key in WORDS}}
        run.record("how well a small DETR finds drawn objects", data, [*rows, summary])


if __name__ == "__main__":
    main()
