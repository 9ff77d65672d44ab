"""Shape or texture: which cue a model has learned where both name the class (about 8 min on one core).

On `shapes` of 24×24 pixels without clutter, whose objects have a shape and a texture (their colour is random). Trained
where the two agree, each model is asked about pictures where they differ: does it answer with the class of the shape,
with that of the texture, or with another one? ViTs with patches of 2, 4 and 8 pixels, a hybrid, a ResNet.

The control, one seed: the same with random textures, so that only the shape can answer. It says what each model can
learn of shapes at this size, and what it answers to a conflict then.

The rate is the same to the end, and a moving average of the weights is what is asked (see `_steady`).

The five questions. *Converged?* The ResNet and the hybrid name 94 to 99 % of new agreeing pictures, the ViTs 55 to 79
and still rising, each after as many steps as there was time for: families are not compared at equal skill. Shares on
the way are recorded; the share by texture rises with skill in all five, and nowhere does shape overtake it. The three
ViTs end about equally skilled. *Tuned alike?* Each has its own rate, chosen on agreeing validation pictures early in
training, between two worse ones for the ViTs; for the ResNet and the hybrid it is the highest tried. *One difference?*
Between the trainings, the textures; between the models, much else. Among the ViTs the patch also changes the steps.
*Can it show?* With random textures the same ResNet and the same hybrid answer conflicts by shape, so that it was the
agreeing pictures that made them read textures. The ViT with patches of 4 learns nothing from shapes in that time, the
one with 8 a little: that ViTs answer by texture may mean only that they could not do otherwise. *Recognisable?* That
CNNs lean on textures is known from photographs. That large ViTs lean on them less, as has been reported of such, is
nothing that this can confirm or refute.
"""

from collections.abc import Sequence
from dataclasses import replace

from _rates import tuned, val_by_rate
from _record import Run, multiply_adds, or_smoke, spread, start
from _steady import readings, start_loop, steady
from torch import nn

from vitedu.cost import count_parameters
from vitedu.data import Dataset, Split, draw_shapes
from vitedu.data.shapes import load_shapes
from vitedu.models.cnn import CNNConfig, ResNet
from vitedu.models.hybrid import SMALL_STEM, HybridViT
from vitedu.train import TrainConfig, evaluate
from vitedu.train.augment import Augment
from vitedu.vit import ViT, ViTConfig

SIDE = 24
COUNTS = or_smoke((48_000, 1_000, 120), (60, 24, 12))  # training, validation, test pictures; the last are not looked at
CONFLICTS = or_smoke(1_200, 24)  # pictures on which the cues differ
VIT = ViTConfig(
    image_size=SIDE, patch_size=4, num_classes=6, dim=64, depth=2, num_heads=2, pool="mean", position_std=0.02
)
MODELS = {
    "ViT, P = 2": lambda: ViT(replace(VIT, patch_size=2)),
    "ViT, P = 4": lambda: ViT(VIT),
    "ViT, P = 8": lambda: ViT(replace(VIT, patch_size=8)),
    "hybrid": lambda: HybridViT(VIT, SMALL_STEM),
    "ResNet": lambda: ResNet(CNNConfig(widths=(16, 32, 64), num_classes=6, stem_stride=2)),
}
STEPS = dict(zip(MODELS, or_smoke((300, 800, 2_000, 500, 500), (2,) * 5), strict=True))  # as many as it needs
BATCH, WARMUP = or_smoke((60, 50), (12, 1))
MARKS = or_smoke(5, 1)  # points of a curve
TRIED = 3 / 10  # of the steps, for the choice of the rate
RATES = (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3)
RECIPE = TrainConfig(batch_size=BATCH, label_smoothing=0.0, ema=0.99, augment=Augment(flip=True))
TRAININGS = {"agree": list(MODELS), "random": list(MODELS)[1:]}  # P = 2 is the dearest
ABOUT = "which cue a model answers with where shape and texture differ, after it was trained where they agree"
CUES = ("shape", "texture", "neither")


def answered(model: nn.Module, data: Dataset, conflict: Split) -> dict[str, float]:
    """The share of pictures with a conflict that are named after their shape, after their texture, after neither."""
    named = evaluate(model, conflict, data).logits.argmax(1)
    by = {
        cue: (named == truth).float().mean().item()
        for cue, truth in (("shape", conflict.labels), *conflict.cues.items())
    }
    return {"shape": by["shape"], "texture": by["texture"], "neither": 1 - by["shape"] - by["texture"]}


def learn(
    run: Run, data: Dataset, conflict: Split, name: str, rate: float, seed: int, marks: Sequence[int]
) -> list[dict]:
    """One run; after each of these steps, how many validation pictures it gets right and how it answers conflicts."""
    convolves = name in ("hybrid", "ResNet")
    recipe = steady(RECIPE, max(marks), WARMUP, len(data.train))
    loop = start_loop(
        run, MODELS[name], data, replace(recipe, lr=rate, seed=seed, channels_last=convolves), len(data.train)
    )

    def look(model: nn.Module) -> dict[str, float]:
        return {"val": evaluate(model, data.val, data).accuracy, **answered(model, data, conflict)}

    found = readings(list(marks), run, loop, data.train, look)
    print(f"{name}, rate {rate:g}, seed {seed}: { ({k: round(v, 3) for k, v in found[-1].items()}) }", flush=True)
    return found


def row(training: str, name: str, found: list[list[dict]]) -> dict:
    """The runs of a model with one kind of pictures."""
    over = [{key: spread([one[key] for one in at]) for key in at[0]} for at in zip(*found, strict=True)]
    curve = [
        {"images_seen": BATCH * found[0][mark]["steps"]} | {key: point[key] for key in ("val", *CUES)}
        for mark, point in enumerate(over)
    ]
    end = {"images_seen": curve[-1]["images_seen"], "cpu_seconds": over[-1]["seconds"]}
    size = {"parameters": count_parameters(MODELS[name]()), "macs": multiply_adds(MODELS[name]().eval(), SIDE)}
    return (
        {"training": training, "model": name, **size, **end}
        | {k: over[-1][k] for k in ("val", *CUES)}
        | {"curve": curve}
    )


def main() -> None:
    run = start(__doc__)
    conflict = draw_shapes(CONFLICTS, seed=-1, image_size=SIDE, texture="conflict", clutter=0.0)
    first, rows, sources = replace(run, seeds=run.seeds[:1]), [], []
    chosen: dict[str, dict] = {}
    for training, names in TRAININGS.items():
        data = load_shapes(SIDE, COUNTS, texture=training, clutter=0.0)
        sources.append(data.describe())
        if not chosen:  # on the pictures of the question, for the controls as well

            def tried(name: str, rate: float, seed: int, data: Dataset = data) -> dict:
                return learn(run, data, conflict, name, rate, seed, [max(1, round(TRIED * STEPS[name]))])[-1]

            runs, rates = tuned(first, tried, list(MODELS), RATES)
            chosen = {name: {"rate": rates[name], "val_accuracy_by_rate": val_by_rate(runs[name])} for name in MODELS}
        for name in names:
            marks = [STEPS[name] * (mark + 1) // MARKS for mark in range(MARKS)]
            seeds = run.seeds if training == "agree" else first.seeds
            rate = chosen[name]["rate"]
            cases = [(run, data, conflict, name, rate, seed, marks) for seed in seeds]
            rows.append(row(training, name, run.each(lambda case: learn(*case), cases)) | chosen[name])
        run.record(ABOUT, sources, rows)  # the question first, the control as it comes


if __name__ == "__main__":
    main()
