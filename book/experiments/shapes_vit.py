"""What a ViT trained on drawn shapes looks at, beside an untrained one and one trained on shuffled labels (25 min).

Pictures are drawn afresh for every step, with clutter; each class has its own outline and its own texture, and the
colour is random. Beside the class a second head names the colour while the model learns, and is dropped afterwards.
The control with shuffled labels learns a fixed set of pictures by heart. Writes book/results/shapes_vit.json and,
from the first seed, vitedu/pretrained/weights/shapes-vit.* and shapes-vit-shuffled.*. Trained models are kept in
runs/shapes_vit, and a second run goes on from there.

The five questions. *Converged?* The control has memorised all its labels. The classes are named by 97 % after one pass,
1,875 steps; nothing was run longer. *Tuned alike?* One rate, 0.001, tuned for neither; no accuracies compete. *One
difference?* No: the control has other labels, but also 1,200 pictures again and again instead of 60,000 once, no second
question, and 1,520 steps. The untrained model differs by the training, and by another draw of first weights. *Can it
show?* Maps are measured beside random ones, a hill in the centre and the mask itself; the last bounds what a map of
patches can reach. The line score takes a rim for rows and columns; section 10.4 takes it away. *Recognisable?* Both
controls are those of Adebayo et al. 2018 (arXiv:1810.03292); rollout is arXiv:2005.00928. Drawings with one object are
easier than photographs, so no map has to be as good there.
"""

from copy import deepcopy
from dataclasses import replace

import torch
import torch.nn.functional as F
from _record import Run, or_smoke, spread, start
from _ship import kept, round_to_half, ship, table
from torch import Tensor, nn

from vitedu.data import Split, draw_shapes, normalise
from vitedu.data.shapes import SHAPES
from vitedu.inspection import (
    attention_distance,
    baselines,
    bootstrap_interval,
    capture_attention,
    capture_tokens,
    coverage,
    embedding_filters,
    line_score,
    linear_probe,
    localise,
    outlier_share,
    patch_positions,
    position_similarity,
    relevance_maps,
    smoothness,
    token_norms,
    wave_share,
)
from vitedu.train.optim import adamw, learning_rate
from vitedu.vit import ViT, ViTConfig

CONFIG = ViTConfig(
    image_size=32, patch_size=4, num_classes=6, dim=64, depth=4, num_heads=4, mlp_ratio=2.0, position_std=0.02
)
MEAN, STD = torch.full((3,), 0.385), torch.full((3,), 0.148)  # of the pictures, near enough
CUES = {"clutter": 0.5, "texture": "agree"}
PICTURES, BATCH, POOL = or_smoke((60_000, 32, 2_400), (12, 6, 6))  # the last: pictures drawn at a time
LR, WEIGHT_DECAY, WARMUP, CLIP = 1e-3, 0.05, 0.05, 1.0
BY_HEART, EPOCHS = or_smoke((1_200, 40), (12, 1))  # pictures with shuffled labels, and how often the control sees them
HELD_OUT, PROBED = or_smoke((2_000, 1_000), (24, 12))  # pictures of a seed below zero; how many of them train probes
KINDS = ("trained", "shuffled", "untrained")
NAMES = {"trained": "shapes-vit", "shuffled": "shapes-vit-shuffled"}


def pixels(run: Run, pictures: Split) -> Tensor:
    """What the model reads, (B, 3, H, W)."""
    return normalise(pictures.images, MEAN, STD).to(run.device)


def untrained(run: Run, seed: int, questions: int = 1) -> ViT:
    """A model as it starts, with as many heads of six classes side by side as there are questions."""
    torch.manual_seed(seed)
    return ViT(replace(CONFIG, num_classes=6 * questions)).to(run.device)


def train(model: ViT, batches, steps: int) -> None:
    """Minimise the cross-entropy, summed over the questions, of (pictures (B, 3, H, W), answers (B, questions))."""
    optimizer = adamw(model, LR, WEIGHT_DECAY)
    for step, (images, answers) in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, round(WARMUP * steps), LR)
        scores = model(images).unflatten(1, (-1, 6)).transpose(1, 2)  # (B, 6, questions)
        optimizer.zero_grad(set_to_none=True)
        (F.cross_entropy(scores, answers) * answers.shape[1]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()


def fresh_batches(run: Run, seed: int):
    """Pictures of which none comes twice, with the answers to two questions: class and colour."""
    for pool in range(PICTURES // POOL):
        drawn = draw_shapes(POOL, seed=seed * 1_000_000 + pool, **CUES)
        answers = torch.stack([drawn.labels, drawn.cues["colour"]], dim=1).to(run.device)
        yield from zip(pixels(run, drawn).split(BATCH), answers.split(BATCH), strict=True)


def shuffled_set(run: Run, seed: int) -> tuple[Tensor, Tensor]:
    """The control's pictures (B, 3, H, W), and labels (B,) dealt out among them at random."""
    drawn, generator = draw_shapes(BY_HEART, seed=seed * 1_000_000 - 2, **CUES), torch.Generator()
    order = torch.randperm(BY_HEART, generator=generator.manual_seed(seed))
    return pixels(run, drawn), drawn.labels[order].to(run.device)


def repeated_batches(images: Tensor, labels: Tensor, seed: int):
    """The same pictures again and again, each time in another order."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(EPOCHS):
        order = torch.randperm(len(labels), generator=generator).to(labels.device)
        yield from ((images[chosen], labels[chosen, None]) for chosen in order.split(BATCH))


def learn(run: Run, kind: str, seed: int) -> dict:
    """Train one model; returns its weights, without the head that only helped, and the processor's seconds."""
    begin = run.clock()
    if kind == "trained":
        model = untrained(run, seed, questions=2)
        train(model, fresh_batches(run, seed), PICTURES // BATCH)
    else:
        model = untrained(run, seed)
        train(model, repeated_batches(*shuffled_set(run, seed), seed), EPOCHS * -(-BY_HEART // BATCH))
    weights = model.state_dict()
    weights |= {key: weights[key][:6] for key in ("head.weight", "head.bias")}
    return {"weights": weights, "seconds": run.clock() - begin}


def learnt(run: Run, kind: str, seed: int) -> dict:
    """What `learn` returned, in this run or in an earlier one."""
    path = kept(run, f"{kind}-{seed}")
    if not path.exists():
        torch.save(learn(run, kind, seed), path)
    return torch.load(path)


def make(run: Run, kind: str, seed: int) -> ViT:
    """A model of one of `KINDS` as it would be shipped, in half precision."""
    model = untrained(run, seed)
    if kind != "untrained":
        model.load_state_dict(learnt(run, kind, seed)["weights"])
    return round_to_half(model).eval()


@torch.no_grad()
def share_right(model: ViT, images: Tensor, labels: Tensor) -> float:
    """Accuracy, as a share."""
    right = [model(x).argmax(dim=1) == y for x, y in zip(images.split(250), labels.split(250), strict=True)]
    return torch.cat(right).float().mean().item()


@torch.no_grad()
def in_depth(model: ViT, images: Tensor, labels: Tensor) -> dict:
    """Probes of CLS and of the patches' mean after every block, attention distances, and lengths of tokens."""
    with capture_tokens(model) as tokens, capture_attention(model) as maps:
        model(images)
    distances = [attention_distance(layer, CONFIG.grid, CONFIG.patch_size).tolist() for layer in maps]
    to_cls = [layer[:, :, 1:, 0].mean(dim=(0, 2)).tolist() for layer in maps]

    def probe(vectors: Tensor) -> float:
        return linear_probe(vectors[:PROBED], labels[:PROBED], vectors[PROBED:], labels[PROBED:])

    return {
        "probe_cls": [probe(layer[:, 0]) for layer in tokens],
        "probe_patches": [probe(layer[:, 1:].mean(dim=1)) for layer in tokens],
        "distance": distances,
        "attention_to_cls": to_cls,
        "outlier_share": outlier_share(token_norms(tokens)[1]).tolist(),
    }


def change(run: Run, kind: str, seed: int, model: ViT) -> dict[str, float]:
    """What training added to E: how long and how smooth it is."""
    embed = deepcopy(model.patch_embed)
    start = untrained(run, seed, questions=2 if kind == "trained" else 1).patch_embed.proj.weight.detach()
    embed.proj.weight.data -= start
    moved = (embed.proj.weight.norm() / start.norm()).item()
    return {"moved": moved, "smoothness_of_change": smoothness(embedding_filters(embed).filters[:8]).mean().item()}


def structure(model: ViT) -> dict[str, float]:
    """What the weights alone show: positions and filters."""
    table = patch_positions(model.positions)
    similarity, (filters, share) = position_similarity(table, CONFIG.grid), embedding_filters(model.patch_embed)
    return {
        "line_score": line_score(similarity),
        "line_score_no_nearer": line_score(similarity, no_nearer=True),
        "wave_share": wave_share(table, CONFIG.grid),
        "smoothness": smoothness(filters[:8]).mean().item(),
        "share_of_8_filters": share[:8].sum().item(),
    }


def placed(run: Run, model: ViT, held_out: Split) -> dict[str, dict]:
    """How well each method's map finds the object: means and 95 % intervals over the pictures."""
    maps = [relevance_maps(model, images) for images in pixels(run, held_out).split(250)]
    scores = {name: localise(torch.cat([m[name] for m in maps]).cpu(), held_out.masks) for name in maps[0]}
    return {name: summary(score) for name, score in scores.items()}


def summary(score) -> dict[str, object]:
    """Hit and IoU with their intervals."""
    found = {}
    for key, values in score._asdict().items():
        found |= {key: values.mean().item(), f"{key}_interval": bootstrap_interval(values)}
    return found


def measure(run: Run, kind: str, seed: int, held_out: Split) -> dict:
    """Everything about one model."""
    model, images, labels = make(run, kind, seed), pixels(run, held_out), held_out.labels.to(run.device)
    row = {"kind": kind, "seed": seed, "accuracy": share_right(model, images, labels)}
    if kind != "untrained":
        row |= change(run, kind, seed, model)
        row["training_seconds"] = learnt(run, kind, seed)["seconds"]
    if kind == "shuffled":
        row["by_heart"] = share_right(model, *shuffled_set(run, seed))
    return row | structure(model) | in_depth(model, images, labels) | {"places": placed(run, model, held_out)}


def over_seeds(rows: list[dict]) -> list[dict]:
    """A row for each kind, every number as mean and spread over the seeds."""
    summary = []
    for kind in KINDS:
        of_kind = [row for row in rows if row["kind"] == kind]
        numbers = {key: spread([row[key] for row in of_kind]) for key, v in of_kind[0].items() if isinstance(v, float)}
        places = {
            method: {key: spread([row["places"][method][key] for row in of_kind]) for key in ("hit", "iou")}
            for method in of_kind[0]["places"]
        }
        summary.append({"kind": kind, "seeds": len(of_kind), **numbers, "places": places})
    return summary


def ship_first(run: Run, kind: str, row: dict) -> None:
    """Write the three files of the first seed's model."""
    trained = kind == "trained"
    recipe = (
        f"AdamW, batches of {BATCH}, peak rate {LR}, cosine, weight decay {WEIGHT_DECAY}, gradient norm at most {CLIP}"
    )
    scores = [[m, f"{100 * s['hit']:.0f} %", f"{s['iou']:.2f}"] for m, s in row["places"].items()]
    right = [f"Classes named right, of {HELD_OUT:,} held-out pictures (seed -1): {100 * row['accuracy']:.1f} %."]
    if not trained:
        right.append(f"Of the {BY_HEART:,} shuffled labels, learnt by heart: {100 * row['by_heart']:.1f} %.")
    drawn = "pictures of `vitedu.data.draw_shapes`, clutter 0.5, each class with a texture of its own"
    data = {
        "trained": f"{PICTURES:,} {drawn}, none shown twice; while it learnt, a second head named the colour",
        "shuffled": f"{BY_HEART:,} {drawn}, {EPOCHS} times each, the labels dealt out at random",
    }
    ship(
        run,
        NAMES[kind],
        make(run, kind, row["seed"]),
        class_names=SHAPES,
        mean=MEAN,
        std=STD,
        accuracy=row["accuracy"],
        what="A small ViT that names the object in a cluttered drawing"
        if trained
        else "A control: the same small ViT, trained on labels that have nothing to do with the pictures",
        paper="`vitedu.vit.ViT`, Dosovitskiy et al. 2020, arXiv:2010.11929",
        source="drawn images alone; no photograph and no data of others went in",
        facts={
            "Input": "(B, 3, 32, 32), normalised with the `mean` and `std` of its JSON file",
            "Output": f"scores of {len(SHAPES)} classes: {', '.join(SHAPES)}",
            "Data": data[kind],
            "Recipe": recipe,
        },
        results="\n".join(right) + "\n\n" + table(["map", "highest patch on the object", "IoU"], scores),
        limits="It is made to be looked into, for chapter 10, and knows these drawings and nothing else.",
    )


def main() -> None:
    run, held_out, rows = start(__doc__), draw_shapes(HELD_OUT, seed=-1, **CUES), []
    for seed in run.seeds:
        for kind in KINDS:
            rows.append(measure(run, kind, seed, held_out))
            print({key: value for key, value in rows[-1].items() if isinstance(value, float | str)}, flush=True)
            if seed == 0 and kind in NAMES:
                ship_first(run, kind, rows[-1])
    known = {**baselines(HELD_OUT, CONFIG.grid), "ceiling": coverage(held_out.masks, CONFIG.grid)}
    places = {name: summary(localise(pictures, held_out.masks)) for name, pictures in known.items()}
    data = [f"vitedu.data.draw_shapes, {CUES}: {PICTURES:,} pictures to learn from, {HELD_OUT:,} others to measure on"]
    extra = [{"kind": "without a model", "seed": 0, "places": places}]
    run.record("what small ViTs on drawn shapes look at", data, over_seeds(rows) + rows + extra)


if __name__ == "__main__":
    main()
