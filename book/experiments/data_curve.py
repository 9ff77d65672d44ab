"""Who is ahead with how many pictures: a ViT, a hybrid, a CvT and a ResNet on parts of CIFAR-10 (22 min on one core).

From 500 to 45,000 training pictures, each part with the same share of every class. All four have about the same number
of multiply-adds a picture. A run is read twice, after equal steps and after equal processor time: its rate stays to the
end, and a moving average of the weights is what is asked (see `_steady`), so that no mark is an unfinished run.
`longer` is the first seed on all pictures, read once more after four times as long. Half-way marks of the runs on all
pictures say what a hybrid is worth by the computing spent.

The five questions. *Converged?* No: four times as long brings each model 12 to 15 points. The order stays as it is;
but this is what a small budget buys, not what a model could reach. *Tuned alike?* Each has its own rate, chosen on
validation pictures with 4,000 to learn from; it lies between two worse ones but for the ResNet's, which is the highest
tried, so that the winner is, if anything, underrated. *One difference?* Recipe and batch are the same; one reading
holds the steps, the other the time. The models differ in parameters as well, 78 to 570 thousand. *Can it show?* Where
pictures are what lacks, yes: with 500, all know those they trained on far better than new ones. From 4,000 on that
difference is small, and on all of them gone: steps are what lacks, and more pictures cannot help. Where the curves of
the papers cross, at millions of pictures, it cannot show. *Recognisable?* A small plain ViT from scratch behind a CNN
on CIFAR-10 is what everybody sees; the papers' crossings are of models a thousand times larger.
"""

from dataclasses import replace

import torch
from _rates import tuned, val_by_rate
from _record import Run, load, multiply_adds, or_smoke, spread, start
from _steady import after_each_step, averaged, start_loop, steady
from torch import nn

from vitedu.cost import count_parameters
from vitedu.data import Dataset, Split
from vitedu.data.dataset import stratified_split
from vitedu.models.cnn import CNNConfig, ResNet
from vitedu.models.cvt import CvT, CvTConfig
from vitedu.models.hybrid import SMALL_STEM, HybridViT
from vitedu.train import TrainConfig, evaluate
from vitedu.train.augment import Augment
from vitedu.vit import ViT, preset

VIT = preset("tiny", image_size=32, num_classes=10, patch_size=8, pool="mean", position_std=0.02)
CVT = CvTConfig(image_size=32, num_classes=10, dims=(32, 64, 128), depths=(1, 1, 2), num_heads=(1, 2, 4), pool="mean")
MODELS = {
    "ViT": lambda: ViT(VIT),
    "hybrid": lambda: HybridViT(replace(VIT, depth=2), SMALL_STEM),
    "CvT": lambda: CvT(CVT),
    "ResNet": lambda: ResNet(CNNConfig(widths=(16, 32, 64), stem_stride=2)),
}
SIZES = or_smoke((500, 4_000, 45_000), (10, 20))
STEPS, SECONDS = or_smoke((400, 17.0), (2, 0.02))  # the two marks at which all are compared
LONGER = 4
TUNED_ON, TUNED_STEPS = or_smoke((4_000, 200), (20, 2))
RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)
BATCH, WARMUP, ASKED = or_smoke((125, 50, 2_000), (10, 1, 10))  # the last: training pictures that are asked about
RECIPE = TrainConfig(batch_size=BATCH, ema=0.99, augment=Augment(crop=4, flip=True))
SHARES = (1 / 8, 1 / 4, 1 / 2, 1)  # of the seconds, where the validation pictures are looked at


def part_of(data: Dataset, images: int) -> Split:
    """So many training pictures, each class with its share: always the same ones."""
    if images >= len(data.train):
        return data.train
    _, chosen = stratified_split(data.train.labels, images)
    return data.train.subset(chosen)


def looped(run: Run, data: Dataset, model: str, train: Split, steps: int, rate: float, seed: int):
    """A fresh model and what trains it for up to so many steps."""
    convolves = model in ("hybrid", "ResNet")
    recipe = steady(RECIPE, steps, WARMUP, len(train))
    config = replace(recipe, lr=rate, seed=seed, channels_last=convolves)
    return start_loop(run, MODELS[model], data, config, len(train))


def tried(run: Run, data: Dataset, model: str, rate: float, seed: int) -> dict:
    """A short run on some of the pictures: what it gets on validation pictures."""
    train = part_of(data, TUNED_ON)
    loop = looped(run, data, model, train, TUNED_STEPS, rate, seed)
    for _ in after_each_step(run, loop, train, TUNED_STEPS):
        pass
    found = evaluate(averaged(loop, train), data.val, data).accuracy
    print(f"{model} rate {rate:g}: {100 * found:.1f} %", flush=True)
    return {"val": found}


def asked(model: nn.Module, data: Dataset, train: Split) -> dict[str, float]:
    """Accuracy on test, validation and training pictures."""
    parts = {"accuracy": data.test, "val": data.val, "train": train.subset(torch.arange(len(train))[:ASKED])}
    return {name: evaluate(model, split, data).accuracy for name, split in parts.items()}


def read(run: Run, data: Dataset, case: tuple[str, int, int], rate: float, ends: tuple[int, ...]) -> dict[int, dict]:
    """One run, read at each of these multiples of the steps and of the seconds, and at marks on the way."""
    model, images, seed = case
    train, most = part_of(data, images), 4 * max(ends) * STEPS
    loop = looped(run, data, model, train, most, rate, seed)
    marks = sorted({share * end * SECONDS for share in SHARES for end in ends})
    curve, found = [], {end: {} for end in ends}
    for done, spent in after_each_step(run, loop, train, most):
        here = {"images_seen": float(done * min(BATCH, images)), "cpu_seconds": spent}
        while len(curve) < len(marks) and spent >= marks[len(curve)]:
            mark, look = marks[len(curve)], averaged(loop, train)
            curve.append({"seconds": mark, "val": evaluate(look, data.val, data).accuracy} | here)
        for end, of_end in found.items():
            for name, reached in (("at_steps", done >= end * STEPS), ("at_seconds", spent >= end * SECONDS)):
                if reached and name not in of_end:
                    of_end[name] = asked(averaged(loop, train), data, train) | here
                    line = {key: round(value, 3) for key, value in of_end[name].items()}
                    print(f"{model}, {images} images, seed {seed}, {end} x {name}: {line}", flush=True)
        if all(len(of_end) == 2 for of_end in found.values()):
            break
    return {
        end: of_end | {"curve": [at for at in curve if at["seconds"] <= end * SECONDS]} for end, of_end in found.items()
    }


def over(found: list[dict]) -> dict:
    """Each number of these dicts as a spread over them."""
    return {key: spread([one[key] for one in found]) for key in found[0]}


def row(end: int, model: str, images: int, found: list[dict]) -> dict:
    """The runs of a model on one part of the pictures, read at a multiple of the steps and of the seconds."""
    part = {"part": "curve" if end == 1 else "longer", "model": model, "images": images}
    row = part | {"steps": end * STEPS, "seconds": end * SECONDS}
    row |= {name: over([one[name] for one in found]) for name in ("at_steps", "at_seconds")}
    at = zip(*(one["curve"] for one in found), strict=True)
    return row | {"curve": [over(list(ones)) | {"seconds": ones[0]["seconds"]} for ones in at]}


def main() -> None:
    run, data = start(__doc__), load("cifar10")
    first = replace(run, seeds=run.seeds[:1])
    runs, rates = tuned(first, lambda *case: tried(run, data, *case), list(MODELS), RATES)
    size = {
        name: {"rate": rates[name], "val_accuracy_by_rate": val_by_rate(runs[name])}
        | {"parameters": count_parameters(build()), "macs": multiply_adds(build().eval(), 32)}
        for name, build in MODELS.items()
    }

    def ends(case: tuple[str, int, int]) -> tuple[int, ...]:
        return (1, LONGER) if case[1:] == (SIZES[-1], run.seeds[0]) else (1,)

    cases = [(model, images, seed) for images in SIZES for model in MODELS for seed in run.seeds]
    done = run.each(lambda case: read(run, data, case, rates[case[0]], ends(case)), cases)
    found = dict(zip(cases, done, strict=True))
    rows = [
        row(1, model, images, [found[model, images, seed][1] for seed in run.seeds]) | size[model]
        for images in SIZES
        for model in MODELS
    ]
    for model in MODELS:
        rows.append(row(LONGER, model, SIZES[-1], [found[model, SIZES[-1], run.seeds[0]][LONGER]]) | size[model])
    about = "accuracy on CIFAR-10 of four models on growing parts of it, after equal steps and after equal time"
    run.record(about, [data.describe()], rows)


if __name__ == "__main__":
    main()
