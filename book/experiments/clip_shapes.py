"""Naming what was never shown: a small CLIP on drawn pictures and captions such as "a red striped star" (5 min).

Colour, texture and shape have six values each, so there are 216 captions. The model never learns with 36 of them, in
which each colour meets each texture, each colour each shape and each texture each shape once; the other 180 show each
such pair five times. It is tested on pictures of the 36 and on new pictures of the 180: which of all 216 captions goes
best with a picture, and how often colour, texture and shape of that caption are right.

1. Has it converged? No: `longer` is the first seed over three times the steps, and the page speaks of what was learned
   in the steps of the others.
2. Tuned alike? All arms have one rate, which was not tuned.
3. One difference? `three heads` has the same image tower, pictures and steps; in the place of captions it is told three
   numbers, by a linear classifier each. `shuffled` is told captions of other pictures.
4. Can it show it? `shuffled` has to stay at chance, 1 in 216, and `three heads` shows what the tower can come to know.
5. Would a practitioner recognise it? The paper's captions are 400 million, and say all sorts of things. Here each word
   is learned beside every other one, which makes it as easy as it can be to put them together anew.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from _record import in_each_split, nothing, or_smoke, spread, start
from torch import Tensor, nn

from vitedu.data import Split, load, normalise
from vitedu.data.captions import CAPTIONS, LENGTH, WORDS, is_kept_back, tokenise, with_captions
from vitedu.models.clip import CLIP, ImageTower, ImageTowerConfig, TextTowerConfig
from vitedu.train import TrainConfig
from vitedu.train.pretext import matching_captions

IMAGE = ImageTowerConfig(image_size=32, patch_size=8, dim=64, depth=3, num_heads=4, mlp_ratio=2.0, num_classes=32)
TEXT = TextTowerConfig(vocabulary=len(WORDS), length=LENGTH, dim=32, depth=1, num_heads=2, width=32)
COUNTS = or_smoke((24_000, 600, 2_400), (240, 60, 240))
EPOCHS, LONGER = or_smoke((4, 3), (1, 2))
RECIPE = TrainConfig(epochs=EPOCHS, batch_size=or_smoke(100, 60), lr=2e-3)
CUES = ("shape", "colour", "texture")
TEXTS = tokenise(CAPTIONS)


class ThreeHeads(nn.Module):
    """An image tower and a linear classifier for each cue: images (B, C, H, W) -> a score for each caption, (B, 216).

    The score of a caption is the sum of those of its shape, its colour and its texture.
    """

    def __init__(self):
        super().__init__()
        self.tower, self.heads, self.width = ImageTower(IMAGE), nn.Linear(IMAGE.num_classes, 3 * 6), IMAGE.dim

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 216)."""
        shape, colour, texture = self.heads(self.tower(images)).chunk(3, dim=1)  # (B, 6) each
        return (shape[:, :, None, None] + colour[:, None, :, None] + texture[:, None, None]).flatten(1)


def right(captions: Tensor, said: Tensor) -> dict[str, float]:
    """The share of captions (N,) of which all is right, and shape, colour and texture alone."""
    one, other = ((n // 36, n // 6 % 6, n % 6) for n in (captions, said))
    shares = {cue: (a == b).float().mean().item() for cue, a, b in zip(CUES, one, other, strict=True)}
    return {"all": (captions == said).float().mean().item()} | shares


def main() -> None:
    run = start(__doc__)
    data = with_captions(load("shapes", counts=COUNTS, clutter=0.0, quiet=True))

    def only(split: Split, kept: bool) -> Split:
        chosen = is_kept_back(split.labels) == kept
        return Split(split.images[chosen], split.labels[chosen])

    known = in_each_split(data, lambda split: only(split, False))
    tests = {"new": only(data.test, True), "known": known.test}
    mixed = known.train.labels[torch.randperm(len(known.train), generator=torch.Generator().manual_seed(0))]

    def clip() -> nn.Module:
        return CLIP(IMAGE, TEXT)

    arms: dict[str, tuple[Callable, Callable | None, Split, int]] = {
        "captions": (clip, matching_captions(TEXTS), known.train, EPOCHS),
        "three heads": (ThreeHeads, None, known.train, EPOCHS),
        "shuffled": (clip, matching_captions(TEXTS), replace(known.train, labels=mixed), EPOCHS),
        "longer": (clip, matching_captions(TEXTS), known.train, EPOCHS * LONGER),
    }

    @torch.no_grad()
    def asked(model: nn.Module, split: Split) -> Tensor:
        """The caption that goes best with each picture, (N,)."""
        texts = (TEXTS.to(run.device),) if isinstance(model, CLIP) else ()
        batches = (normalise(part.to(run.device), data.mean, data.std) for part in split.images.split(300))
        return torch.cat([model(images, *texts).argmax(dim=1) for images in batches]).cpu()

    def learn(case: tuple[str, int]) -> dict:
        (arm, seed), begin = case, run.clock()
        build, loss, train, epochs = arms[arm]
        recipe = replace(RECIPE, epochs=epochs, label_smoothing=0.0)
        model, _ = run.train(build, known, recipe, seed, train=train, loss=loss, measure=nothing)
        seconds = run.clock() - begin
        found = {name: right(split.labels, asked(model.eval(), split)) for name, split in tests.items()}
        print(f"{arm:12} seed {seed}: {found} {seconds:.0f} s", flush=True)
        return found | {"seconds": seconds}

    cases = [(arm, seed) for arm in ("captions", "three heads") for seed in run.seeds]
    cases += [("shuffled", 0), ("longer", 0)]
    found = dict(zip(cases, run.each(learn, cases), strict=True))
    rows = []
    for arm, (_, _, train, epochs) in arms.items():
        runs = [one for (name, _), one in found.items() if name == arm]
        row = {"name": arm, "steps": -(-len(train) // RECIPE.batch_size) * epochs}
        for name in tests:
            row[name] = {key: spread([one[name][key] for one in runs]) for key in ("all", *CUES)}
        rows.append(row | {"seconds": sum(one["seconds"] for one in runs)})
    counts = f"{len(known.train):,} pictures of 180 captions to learn from; to test {len(tests['known']):,} of these"
    about = "Whether a small CLIP names triples of colour, texture and shape that it never learned with"
    source = f"vitedu.data.draw_shapes, clutter 0: {counts} and {len(tests['new']):,} of 36 others"
    run.record(about, [source], rows)


if __name__ == "__main__":
    main()
