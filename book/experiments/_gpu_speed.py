"""Training speed of S/16 and B/16 beside timm's in the same loop, in turns, for gpu.py."""

import random
import time
from collections.abc import Callable

import torch
from _gpu import COMPILE, Step
from _record import or_smoke, spread
from torch import nn

from vitedu.cost import utilisation
from vitedu.data import Dataset, Split
from vitedu.train import TrainConfig, TrainingLoop
from vitedu.vit import ViT, ViTConfig, preset

REAL = {"S/16": (preset("S/16"), 256), "B/16": (preset("B/16"), 128)}  # and how many images in a batch
SMALL = preset("tiny", image_size=32, patch_size=8, num_classes=10)
SIZES = or_smoke(REAL, {"S/16": (SMALL, 2), "B/16": (SMALL, 3)})
SQUARE, STEPS, WARM_UP = or_smoke((8192, 10, 2), (64, 1, 1))  # side of the product; steps in a turn; rounds


def noise(config: ViTConfig, count: int) -> Dataset:
    """So many pictures without meaning, which train as fast as others."""
    size = (count, config.in_channels, config.image_size, config.image_size)
    images = torch.randint(256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = Split(images, torch.arange(count) % config.num_classes)
    return Dataset("noise", "drawn at random", tuple(map(str, range(config.num_classes))), split, split, split, True)


def peer(config: ViTConfig) -> tuple[nn.Module | None, str]:
    """timm's model of the same shape and its version; None and a sentence where timm is missing."""
    try:
        import timm
    except ImportError:
        return None, "timm is not installed here"
    c = config
    shape = {"num_classes": c.num_classes, "embed_dim": c.dim, "depth": c.depth, "num_heads": c.num_heads}
    return timm.models.VisionTransformer(c.image_size, c.patch_size, **shape), f"timm {timm.__version__}"


def trainer(model: nn.Module, blocks: nn.Module, data: Dataset, device: torch.device) -> Callable[[], None]:
    """Some steps of the book's training loop; all blocks are alike, so one of them is compiled for all."""
    for block in blocks if COMPILE else ():
        block.compile()
    images, labels = data.train.images.to(device), data.train.labels.to(device)
    config = TrainConfig(batch_size=len(labels), lr=1e-4, clip_norm=0.0)
    loop = TrainingLoop(model.to(device).train(), data, config, len(labels), device)

    def steps() -> None:
        for _ in range(STEPS):
            loop.step(images, labels)

    return steps


def turns(calls: dict[str, Callable[[], object]], device: torch.device, seconds: float) -> dict[str, list[float]]:
    """The seconds of every call in each round, in an order drawn anew, as long as there is time; three at least."""
    times, draw, began, rounds = {name: [] for name in calls}, random.Random(0), time.perf_counter(), 0
    while rounds < WARM_UP + 3 or time.perf_counter() - began < seconds:
        for name in draw.sample(list(calls), len(calls)):
            before = time.perf_counter()
            calls[name]()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times[name].append(time.perf_counter() - before)
        rounds += 1
        if rounds == WARM_UP:  # compiling is over: only now the clock starts
            times, began = {name: [] for name in calls}, time.perf_counter()
    return times


def speed(step: Step, seeds: list[int]) -> None:
    """One row for each size: images a second, the ratio to timm's, and the share of the product's rate."""
    device = step.run.device
    for number, (name, (config, batch)) in enumerate(SIZES.items()):
        torch.manual_seed(0)
        data, model, (other, version) = noise(config, batch), ViT(config), peer(config)
        left, right = torch.randn(2, SQUARE, SQUARE, device=device, dtype=torch.bfloat16)
        calls = {"ours": trainer(model, model.encoder.blocks, data, device), "product": lambda a=left, b=right: a @ b}
        if other:
            calls["peer"] = trainer(other, other.blocks, data, device)
        times = turns(calls, device, or_smoke(step.left() / (6 - 3 * number), 0.0))
        rate = 2 * SQUARE**3 / min(times["product"])
        images = [STEPS * batch / seconds for seconds in times["ours"]]
        against = [b / a for a, b in zip(times["ours"], times.get("peer", []), strict=False)]
        share = [utilisation(config, found, rate) for found in images]
        row = {"name": name, "batch": batch, "images_per_second": spread(images), "utilisation": spread(share)}
        row |= {"product_flops": rate, "peer": version, "times_peer": spread(against) if against else None}
        said = f"{row['times_peer']['mean']:.2f} times {version}" if against else version
        words = (
            f"{row['images_per_second']['mean']:,.0f} images/s, {100 * row['utilisation']['mean']:.0f} % of the rate"
        )
        step.put(row, f"{words} of a product ({rate / 1e12:.0f} TFLOP/s), {said}")
        torch.cuda.empty_cache()
