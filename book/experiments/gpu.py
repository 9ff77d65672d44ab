"""What gains most from a GPU, in steps with a time limit each; behind `make gpu` (9 min on one H100, then 10 min).

    PYTHONPATH=. VITEDU_DATA=FOLDER python book/experiments/gpu.py             speed, cifar10, fashion
    PYTHONPATH=. python book/experiments/gpu.py curve imagenette inspect       the second call

A step writes book/results/gpu_NAME.json after each training, and trains all its models with the first seed before any
gets the second: the limits of `curve` and `imagenette` are for one seed of each, if a model takes half a minute to be
compiled (a guess), and `curve:500` is for three. `cifar10:240` gives 240 seconds instead of its own limit. Without a
GPU it is said what would run. Models train in the book's own loop: compiled, in bfloat16, pictures and their
augmentation on the GPU, a rate that follows the clock to its end. The data for a machine without a network: CIFAR-10
(18 MB) and Fashion-MNIST (30 MB) for the first call and for `curve`, Imagenette (49 MB) for the other two.

The five questions. *Converged?* Not asked: each row says what was reached after so many seconds. *Tuned alike?* No:
`cifar10` and `fashion` report one recipe each, chosen beforehand, and are no comparison; `curve` and `imagenette` give
all models one rate and one augmentation. *One difference?* In `curve` a row of a model has the same time, hence the
same steps, at every size; models of a size differ in steps, and the record has the images seen. *Can it show?* At the
small sizes the CNN has to lead. *Recognisable?* Plain ViTs from scratch on CIFAR-10 are published at 91 to 94 %, from
hundreds of epochs. Settings are chosen on validation images; test images are looked at once for each seed.
"""

import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from _gpu import COMPILE, Contender, Step, at_most, measure, measure_all
from _gpu_speed import speed
from _record import SMOKE, Run, load, or_smoke, start
from _ship import in_words, round_to_half, ship
from d2l_recipe import D2L_MODEL, D2L_TRAIN, Enlarging
from torch import nn

from vitedu.data import Dataset
from vitedu.data.dataset import stratified_split
from vitedu.data.paths import data_root
from vitedu.models.cnn import CNNConfig, ResNet
from vitedu.models.hybrid import HybridViT
from vitedu.models.table import MODELS
from vitedu.recorded import recorded
from vitedu.train import TrainConfig
from vitedu.train.augment import Augment
from vitedu.vit import ViT, ViTConfig

FILES = {  # what any one of which stands for a set, in $VITEDU_DATA
    "cifar10": ("cifar10.tar.xz", "cifar10.zip", "cifar-10-python.tar.gz"),
    "fashion-mnist": ("FashionMNIST/raw/train-images-idx3-ubyte.gz", "fashion-mnist.zip"),
    "imagenette": ("imagenette.zip", "imagenette2-160.tgz"),
}
START = {"pool": "mean", "position_std": 0.02, "init": "normal", "num_classes": 10}  # 64 tokens, not 65
WIDTH = or_smoke({"dim": 384, "depth": 9, "num_heads": 6}, {"dim": 32, "depth": 1, "num_heads": 1})
PLAIN = ViTConfig(image_size=32, patch_size=4, mlp_ratio=2.0, drop_path=0.1, **WIDTH, **START)
STRONG = TrainConfig(  # batches of 1,000: 45 of them are CIFAR-10, no odd one is left, one graph is compiled
    epochs=300,
    batch_size=1000,
    optimizer="muon",
    lr=2e-3,
    warmup=1 / 60,
    mixup=0.8,
    cutmix=1.0,
    ema=0.9995,
    augment=Augment(crop=4, flip=True, erase=0.25),
    compile=COMPILE,
)
SHORT = replace(STRONG, warmup=0.1, mixup=0.2, cutmix=0.0, ema=0.998, channels_last=True)  # for a minute or less
FAIR = TrainConfig(  # the same for all models of a comparison
    epochs=30, batch_size=250, augment=Augment(crop=4, flip=True), compile=COMPILE, channels_last=True
)
CURVE_SIZES, CURVE_SECONDS, IMAGENETTE_SECONDS = or_smoke((700, 5_600, 45_000), (10, 20)), 6, 12


def hybrid(config: ViTConfig, widths: tuple[int, ...], stem_stride: int = 1) -> HybridViT:
    """A ViT on the feature map of a CNN; in a trial run a narrow one."""
    widths = or_smoke(widths, tuple(8 for _ in widths))
    cnn = CNNConfig(in_channels=config.in_channels, widths=widths, depths=(1,) * len(widths), stem_stride=stem_stride)
    return HybridViT(config, cnn)


def cifar10(step: Step, seeds: list[int]) -> None:
    """A plain ViT, and with a quarter of its time a hybrid, which needs less."""
    data = loaded(step, "cifar10")
    plain = Contender(lambda: ViT(PLAIN), STRONG, rand_augment=True)
    smaller = replace(PLAIN, depth=or_smoke(6, 1))
    mixed = Contender(lambda: hybrid(smaller, (64, 128, 256)), SHORT, rand_augment=True)
    measure(step, "ViT", plain, data, seeds, lambda: 0.75 * (step.left() - 50) / len(seeds))
    measure(step, "hybrid", mixed, data, seeds, lambda: (step.left() - 10) / len(seeds))


def fashion(step: Step, seeds: list[int]) -> None:
    """A hybrid, and d2l.ai's ViT through its ten epochs at 96 pixels."""
    data = loaded(step, "fashion-mnist")
    small = or_smoke({"dim": 192, "depth": 4, "num_heads": 3}, WIDTH)
    config = ViTConfig(image_size=28, patch_size=4, in_channels=1, mlp_ratio=2.0, drop_path=0.1, **small, **START)
    ours = Contender(
        lambda: hybrid(config, (64, 128, 256)), replace(SHORT, augment=Augment(crop=2, flip=True, erase=0.25))
    )
    measure(step, "hybrid", ours, data, seeds, lambda: 0.5 * (step.left() - 10) / len(seeds))
    recipe = replace(D2L_TRAIN, epochs=or_smoke(D2L_TRAIN.epochs, 1))
    theirs = Contender(lambda: Enlarging(or_smoke(D2L_MODEL, replace(D2L_MODEL, dim=32, num_heads=1))), recipe)
    measure(step, "d2l.ai, ten epochs", theirs, data, seeds[:1], None)


def entrants(config: ViTConfig, stem_stride: int) -> dict[str, Callable[[], nn.Module]]:
    """The models of a comparison."""
    widths = or_smoke((64, 128, 256), (8, 8, 8))
    return {
        "ViT": lambda: ViT(config),
        "hybrid": lambda: hybrid(config, (32, 64, 128), stem_stride),
        "ResNet": lambda: ResNet(CNNConfig(widths=widths, stem_stride=stem_stride)),
        "CvT": lambda: MODELS["cvt"].classifier(config),
        "Swin": lambda: MODELS["swin"].classifier(config),
    }


def curve(step: Step, seeds: list[int]) -> None:
    """Accuracy against the number of pictures, the same time for each; validation images alone."""
    data = loaded(step, "cifar10")
    small = or_smoke({"dim": 192, "depth": 6, "num_heads": 3}, WIDTH)
    sizes = dict.fromkeys(CURVE_SIZES, data)
    for count in [count for count in CURVE_SIZES if count < len(data.train)]:
        sizes[count] = replace(data, train=data.train.subset(stratified_split(data.train.labels, count)[1]))
    entries = {
        f"{who}, {count} pictures": (Contender(build, FAIR), few)
        for who, build in entrants(replace(PLAIN, **small), 1).items()
        if who != "Swin"
        for count, few in sizes.items()
    }
    measure_all(step, entries, seeds, lambda: CURVE_SECONDS, test=False)


def imagenette(step: Step, seeds: list[int]) -> None:
    """The models on photographs of 96 pixels."""
    data, config = loaded(step, "imagenette"), large(192, 6)
    recipe = replace(FAIR, augment=Augment(flip=True, zoom=0.6))
    entries = {who: (Contender(build, recipe), data) for who, build in entrants(config, 2).items()}
    measure_all(step, entries, seeds, lambda: IMAGENETTE_SECONDS)


def large(dim: int, depth: int) -> ViTConfig:
    """A plain ViT for 96 pixels: 12 × 12 patches."""
    small = or_smoke({"dim": dim, "depth": depth, "num_heads": dim // 64}, WIDTH)
    return ViTConfig(image_size=96, patch_size=8, drop_path=0.1, **small, **START)


def inspect(step: Step, seeds: list[int]) -> None:
    """A ViT large enough for the pictures of chapter 10, whose weights ship: 5.4 MB in half precision."""
    data, config = loaded(step, "imagenette"), replace(large(192, 9), mlp_ratio=2.0)
    recipe = replace(STRONG, batch_size=500, ema=0.999, augment=Augment(flip=True, zoom=0.7, erase=0.25))
    contender = Contender(lambda: ViT(config), recipe, rand_augment=True, finish=round_to_half)
    model = measure(step, "ViT", contender, data, seeds[:1], lambda: step.left() - 10)
    row, limits = step.rows[-1], "It knows ten classes and answers with one of them whatever it is shown."
    accuracy = row["accuracy"]["values"][0]
    ship(
        step.run,
        "imagenette-large",
        model,
        class_names=data.class_names,
        mean=data.mean,
        std=data.std,
        accuracy=accuracy,
        what="A plain ViT to look into, trained on Imagenette at 96 pixels and nothing else",
        paper="`vitedu.vit.ViT`, Dosovitskiy et al. 2020, arXiv:2010.11929",
        source=f"Imagenette (fast.ai; ten classes of ImageNet, for non-commercial research), {data.source}",
        facts={"Input": "(B, 3, 96, 96), normalised with the `mean` and `std` of its JSON file"}
        | {"Recipe": f"{in_words(recipe)}; RandAugment; {row['seconds']['mean']:.0f} s instead of the epochs"},
        results=f"Accuracy on the {len(data.test):,} test images, which no choice rests on: {100 * accuracy:.2f} %.",
        limits=limits,
    )


def loaded(step: Step, name: str) -> Dataset:
    """A set, noted as a source of the step's record."""
    data = load(name, image_size=96 if name == "imagenette" else None)
    step.sources.append(data.describe())
    return data


@dataclass(frozen=True)
class Task:
    """What a step is: its function, its limit in seconds, its seeds, its data set, and what it is for."""

    work: Callable[[Step, list[int]], None]
    limit: float
    seeds: int
    data: str | None
    about: str


TASKS = {
    "speed": Task(speed, 60, 1, None, "training speed of S/16 and B/16 at 224 pixels; aims 1.0 times timm, 45 %"),
    "cifar10": Task(cifar10, 390, 1, "cifar10", "a plain ViT from scratch on CIFAR-10, aim 94 %, a hybrid beside it"),
    "fashion": Task(fashion, 75, 1, "fashion-mnist", "Fashion-MNIST, aim 94.5 %, d2l.ai's ViT beside it"),
    "curve": Task(curve, 260, 3, "cifar10", "validation accuracy against the number of pictures of CIFAR-10"),
    "imagenette": Task(imagenette, 245, 3, "imagenette", "the models on Imagenette at 96 pixels"),
    "inspect": Task(inspect, 95, 1, "imagenette", "a ViT for the pictures of chapter 10, to ship"),
}
DEFAULT = ("speed", "cifar10", "fashion")


def lacking(name: str | None) -> bool:
    """Whether a step's data set is not on this disk."""
    return name is not None and not SMOKE and not any((data_root() / path).exists() for path in FILES[name])


def plan(tasks: list[tuple[str, Task]], device: torch.device) -> None:
    """Say what would run, for how long, on which data, and what is recorded so far."""
    print(f"No CUDA GPU here (device {device}), so nothing runs. With one, in this order:")
    for name, task in tasks:
        where = f"data in {data_root()}: "
        where = "no data" if task.data is None else where + ("NOT FOUND" if lacking(task.data) else "found")
        try:
            known = f"recorded on {recorded(f'gpu_{name}')['device']}"
        except ValueError:
            known = "not yet measured"
        print(f"  {name:10} at most {task.limit:3.0f} s   {task.about}; {where}; {known}")
    print(f"  in all at most {sum(task.limit for _, task in tasks):.0f} s; steps: {', '.join(TASKS)}")


def asked_for(word: str) -> tuple[str, Task]:
    """The name and the task behind `NAME` or `NAME:SECONDS`; SystemExit for seconds that are none."""
    name, _, seconds = word.partition(":")
    if not seconds:
        return name, TASKS[name]
    if not seconds.isdecimal() or int(seconds) == 0:
        raise SystemExit(f"{word!r} is no step; write {name} or, with a limit of 240 seconds, {name}:240")
    return name, replace(TASKS[name], limit=float(seconds))


def run_step(run: Run, name: str, task: Task) -> bool:
    """Run one step within its limit; whether it came to its end."""
    began = time.perf_counter()
    print(f"{time.strftime('%H:%M:%S')}  {name} begins, at most {task.limit:.0f} s: {task.about}", flush=True)
    if lacking(task.data):
        print(f"  {task.data} is not in {data_root()}: one of {', '.join(FILES[task.data])}; the step is left out")
        return False
    seeds, whole = run.seeds or list(range(or_smoke(task.seeds, 1))), True
    try:
        with at_most(task.limit):
            task.work(Step(replace(run, name=f"gpu_{name}", began=began), task.limit, task.about), seeds)
    except Exception:  # the next step may do better
        traceback.print_exc()
        whole = False
    if run.device.type == "cuda":
        torch._dynamo.reset()
        torch.cuda.empty_cache()
    ended = "ended" if whole else "was cut off"
    print(f"{time.strftime('%H:%M:%S')}  {name} {ended} after {time.perf_counter() - began:.0f} s", flush=True)
    return whole


def main() -> int:
    run = start(__doc__, seeds=0, steps=tuple(TASKS))
    tasks = [asked_for(word) for word in run.steps or or_smoke(DEFAULT, TASKS)]
    if run.device.type != "cuda" and not SMOKE:
        plan(tasks, run.device)
        return 0
    done = [run_step(run, name, task) for name, task in tasks]
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
