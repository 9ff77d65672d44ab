"""Which cue a small model reads, the outline or the texture, by what it learned from; ships shapes-outline (4 min).

`shapes-vit` learned from pictures in which each class has a texture of its own. This model learns from pictures in
which the texture says nothing, so that the outline is all there is. Both are tried on pictures whose texture agrees
with the outline, is random, or contradicts it.

It is a hybrid. A plain ViT of this size was tried first, on one seed: it named 44 % of the outlines after 48,000
pictures, with its rate still high, and was stopped there; the hybrid named 93 % after 36,000. So the two models differ
in their stem, too, and what is compared is what the pictures told them, not the models. Needs shapes-vit, as it ships.

The five questions. *Converged?* Near enough: 98 % of the outlines after one pass, whatever the texture; nothing was run
longer. *Tuned alike?* No: the rate is that of shapes-vit, 0.001, for both, tuned for neither; the plain ViT was given
up after one seed. *One difference?* No: the textures, the stem, the depth, and the second question that shapes-vit had.
In cues.py the same models learn from both kinds of picture. *Can it show?* Where the cues agree, both models name 97 to
98 %; where they are in conflict, each answer tells which was read. *Recognisable?* That what is read depends on the
pictures learned from is Geirhos et al. 2018 (arXiv:1811.12231). shapes-vit is one model, so it has no spread.
"""

from dataclasses import replace

import torch
from _record import Run, or_smoke, spread, start
from _ship import round_to_half, ship, table
from shapes_vit import CLIP, CONFIG, LR, MEAN, STD, WEIGHT_DECAY, pixels, train
from torch import nn

from vitedu.data import Split, draw_shapes
from vitedu.data.shapes import CUES, SHAPES
from vitedu.models.cnn import CNNConfig
from vitedu.models.hybrid import HybridViT
from vitedu.pretrained import load

NAME, RIVAL, CLUTTER = "shapes-outline", "shapes-vit", 0.5
STEM = CNNConfig(widths=(16, 32), depths=(1, 1), stem_stride=2)  # a stride of 4: 8 × 8 tokens, as in shapes-vit
PICTURES, BATCH, POOL = or_smoke((60_000, 32, 2_400), (12, 6, 6))
HELD_OUT = or_smoke(2_000, 24)


def learn(run: Run, seed: int) -> tuple[nn.Module, float]:
    """A model that has seen each picture once, in half precision, and the seconds that it took."""
    begin = run.clock()
    torch.manual_seed(seed)
    model = HybridViT(replace(CONFIG, depth=2), STEM).to(run.device)

    def batches():
        for pool in range(PICTURES // POOL):
            drawn = draw_shapes(POOL, seed=seed * 1_000_000 + pool, texture="random", clutter=CLUTTER)
            labels = drawn.labels[:, None].to(run.device)  # one question, (POOL, 1)
            yield from zip(pixels(run, drawn).split(BATCH), labels.split(BATCH), strict=True)

    train(model, batches(), PICTURES // BATCH)
    return round_to_half(model).eval(), run.clock() - begin


@torch.no_grad()
def named(run: Run, model: nn.Module, pictures: Split) -> dict[str, float]:
    """The shares of pictures of which the outline's class is named, and the texture's."""
    said = torch.cat([model(images).argmax(dim=1) for images in pixels(run, pictures).split(250)]).cpu()
    answers = {"outline": pictures.labels, "texture": pictures.cues["texture"]}
    return {cue: (said == answer).float().mean().item() for cue, answer in answers.items()}


def row(name: str, found: list[dict], seconds: list[float]) -> dict:
    """What one kind of model named under each setting of the cues, over its seeds."""
    shares = {cue: {which: spread([one[cue][which] for one in found]) for which in found[0][cue]} for cue in found[0]}
    if len(found) == 1:  # one model has no spread
        shares = {cue: {which: {"mean": s["mean"]} for which, s in both.items()} for cue, both in shares.items()}
    return {"name": name, "seeds": len(found), "texture": shares, "seconds": seconds}


def ship_first(run: Run, model: nn.Module, shares: dict) -> None:
    """Write the three files of the first seed's model."""
    rows = [[cue, *(f"{100 * share:.1f} %" for share in shares[cue].values())] for cue in CUES]
    ship(
        run,
        NAME,
        model,
        class_names=SHAPES,
        mean=MEAN,
        std=STD,
        accuracy=shares["random"]["outline"],
        what="A small hybrid that names the object in a cluttered drawing by its outline",
        paper="`vitedu.models.hybrid.HybridViT`, Dosovitskiy et al. 2020, arXiv:2010.11929, section 3.1",
        source="drawn images alone; no photograph and no data of others went in",
        facts={
            "Input": "(B, 3, 32, 32), normalised with the `mean` and `std` of its JSON file",
            "Output": f"scores of {len(SHAPES)} classes: {', '.join(SHAPES)}",
            "Data": f"{PICTURES:,} pictures of `vitedu.data.draw_shapes`, clutter {CLUTTER}, random textures",
            "Recipe": f"AdamW, batches of {BATCH}, peak rate {LR}, cosine, weight decay {WEIGHT_DECAY}, "
            f"gradient norm at most {CLIP}",
        },
        results=f"What it named, of {HELD_OUT:,} held-out pictures (seed -1) under each kind of texture:\n\n"
        + table(["texture", "the class of the outline", "that of the texture"], rows),
        limits="It is made to be played with, on the pages of the book, and knows these drawings and nothing else.",
    )


def main() -> None:
    run = start(__doc__)
    held_out = {cue: draw_shapes(HELD_OUT, seed=-1, texture=cue, clutter=CLUTTER) for cue in CUES}

    def try_on_all(model: nn.Module) -> dict:
        return {cue: named(run, model, pictures) for cue, pictures in held_out.items()}

    found, seconds = [], []
    for seed in run.seeds:
        model, took = learn(run, seed)
        found.append(try_on_all(model))
        seconds.append(took)
        print(seed, found[-1], f"{took:.0f} s", flush=True)
        if seed == 0:
            ship_first(run, model, found[0])
    rows = [row(NAME, found, seconds), row(RIVAL, [try_on_all(load(RIVAL).to(run.device).eval())], [])]
    data = [
        f"vitedu.data.draw_shapes, clutter {CLUTTER}: {PICTURES:,} pictures with random textures to learn from, and "
    ]
    data[0] += f"{HELD_OUT:,} others under each cue to try on"
    run.record("which cue small models on drawn shapes read, by the textures they learned from", data, rows)


if __name__ == "__main__":
    main()
