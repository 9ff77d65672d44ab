"""Time vitedu's ViT beside those of torchvision, timm and vit-pytorch: inference and a training step.

    python -m book.tools.bench.models                              the whole table, about 5 minutes on two idle cores
    python -m book.tools.bench.models --sizes Ti/16 CIFAR --modes inference --rounds 5

All four run on the same images and threads; vitedu, torchvision and timm with the same weights, tested to be equal
first. vit-pytorch's model has two more LayerNorms, no bias in its projections and no fused attention, so it runs with
weights of its own. The four take turns, so that whatever else the machine does hits all of them; each round gives one
ratio for each peer, and the table shows their median with the middle half. A ratio above 1 means that vitedu is faster.

The last columns: how many multiply-adds a second vitedu reaches, as a share of what this machine reaches in a plain
product of large matrices (timed in the same rounds), and how much faster it is under bfloat16 autocast.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import timm
import torch
import torch.nn.functional as F
import torchvision
import vit_pytorch
from torch import Tensor, nn

from vitedu.cost import vit_macs
from vitedu.device import describe_device, pick_device
from vitedu.pretrained.convert import TIMM, TORCHVISION
from vitedu.pretrained.state_dict import PublishedWeights
from vitedu.vit import ViT, ViTConfig, preset

SIZES: dict[str, tuple[ViTConfig, int]] = {  # what is timed, and in batches of how many images
    "B/16": (preset("B/16"), 2),
    "S/16": (preset("S/16"), 4),
    "Ti/16": (preset("Ti/16"), 8),
    "CIFAR": (preset("small", image_size=32, patch_size=4, num_classes=10), 32),
}
PASSES = {"inference": 1, "training": 3}  # a step computes about three times as many products as a forward pass
SQUARE = 2048  # side of the matrices whose product is the machine's rate


@dataclass(frozen=True)
class Task:
    """One row: a model size in one mode."""

    size: str
    mode: str
    device: torch.device

    @property
    def config(self) -> ViTConfig:
        """The model."""
        return SIZES[self.size][0]

    @property
    def batch(self) -> int:
        """How many images at once."""
        return SIZES[self.size][1]

    def macs(self) -> float:
        """Multiply-adds of one call."""
        return PASSES[self.mode] * self.batch * vit_macs(self.config)

    def images(self) -> Tensor:
        """The batch (B, C, H, W)."""
        side = self.config.image_size
        return torch.randn(self.batch, 3, side, side, device=self.device)


def randomise(model: nn.Module) -> nn.Module:
    """No parameter stays 0 or 1, or models would agree that are not equal."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def models(config: ViTConfig) -> dict[str, nn.Module]:
    """The four by name, vitedu first."""
    c, patch, K = config, config.patch_size, config.num_classes
    ours = randomise(ViT(config))
    sizes = (c.image_size, patch, c.depth, c.num_heads, c.dim, 4 * c.dim)
    of_torchvision = torchvision.models.VisionTransformer(*sizes, num_classes=K)
    of_timm = timm.models.VisionTransformer(
        c.image_size, patch, num_classes=K, embed_dim=c.dim, depth=c.depth, num_heads=c.num_heads
    )
    give_weights(of_torchvision, ours, TORCHVISION)
    give_weights(of_timm, ours, TIMM)
    sizes = {"image_size": c.image_size, "patch_size": patch, "num_classes": K, "dim": c.dim, "depth": c.depth}
    heads = {"heads": c.num_heads, "dim_head": c.dim // c.num_heads, "mlp_dim": 4 * c.dim}
    plain = vit_pytorch.ViT(**sizes, **heads)
    return {"vitedu": ours, "torchvision": of_torchvision, "timm": of_timm, "vit-pytorch": plain}


def give_weights(model: nn.Module, ours: ViT, names: dict[str, str]) -> None:
    """Our weights to a published model: the loader's names, and queries, keys and values stacked again."""
    published = PublishedWeights(model.state_dict(), names)
    gathered: dict[str, list[Tensor]] = {}
    for name, value in ours.state_dict().items():
        gathered.setdefault(published.name(name), []).append(value)
    model.load_state_dict({name: torch.cat(v).reshape(published.weights[name].shape) for name, v in gathered.items()})


def check_equal(found: dict[str, nn.Module], images: Tensor) -> None:
    """The three that share weights have to share scores; else their times say nothing."""
    with torch.no_grad():
        expected = found["vitedu"].eval()(images[:1])
        for name in ("torchvision", "timm"):
            torch.testing.assert_close(found[name].eval()(images[:1]), expected, atol=1e-3, rtol=1e-3)


def call_of(model: nn.Module, task: Task, images: Tensor, autocast: bool = False) -> Callable[[], object]:
    """What is timed: one batch forward, or one step of SGD without momentum."""
    precision = torch.autocast(task.device.type, torch.bfloat16, enabled=autocast)
    if task.mode == "inference":
        model.eval()

        def infer() -> Tensor:
            with torch.inference_mode(), precision:
                return model(images)

        return infer
    model.train()
    labels = torch.arange(len(images), device=images.device) % task.config.num_classes
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)

    def step() -> None:
        with precision:
            loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Wall-clock of one call, until its results are there."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def take_turns(calls: dict[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """`rounds` times of each, in an order drawn anew for each round; a first round warms up and is not counted."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    order, draw = list(calls), random.Random(0)
    for number in range(rounds + 1):
        draw.shuffle(order)  # a fixed order would let the same call always run after the same other one
        for name in order:
            taken = seconds(calls[name], device)
            if number:
                times[name].append(taken)
    return times


def ratio(times: list[float], ours: list[float]) -> str:
    """`1.05 [1.02, 1.09]`: the median of the paired ratios and their middle half."""
    pairs = [theirs / mine for theirs, mine in zip(times, ours, strict=True)]
    low, middle, high = statistics.quantiles(pairs, n=4, method="inclusive")
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def bench(task: Task, rounds: int) -> str:
    """One row of the table."""
    torch.manual_seed(0)
    found, images = {name: model.to(task.device) for name, model in models(task.config).items()}, task.images()
    check_equal(found, images)
    calls = {name: call_of(model, task, images) for name, model in found.items()}
    calls["bf16"] = call_of(found["vitedu"], task, images, autocast=True)
    a, b = torch.randn(2, SQUARE, SQUARE, device=task.device)
    calls["product"] = lambda: a @ b
    times = take_turns(calls, rounds, task.device)
    ours = times.pop("vitedu")
    share = statistics.median(
        task.macs() / mine / (SQUARE**3 / product) for mine, product in zip(ours, times.pop("product"), strict=True)
    )
    columns = [f"{ratio(taken, ours):>18}" for taken in times.values()]
    bf16 = statistics.median(mine / taken for mine, taken in zip(ours, times["bf16"], strict=True))
    milliseconds = 1000 * statistics.median(ours)
    row = f"{task.size:6} {task.mode:9} {milliseconds:8.0f} " + " ".join(columns[:-1])
    return f"{row} {share:9.2f} {bf16:9.2f}"


def main() -> None:
    """Print the table, a row as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--modes", nargs="+", choices=PASSES, default=list(PASSES))
    parser.add_argument("--rounds", type=int, default=11, help="at least 2")
    options = parser.parse_args()
    device = pick_device()
    print(f"{describe_device(device)}, torch {torch.__version__}, {options.rounds} rounds")
    print("Their time over vitedu's: median and middle half of the rounds; above 1, vitedu is faster.")
    heads = " ".join(f"{name:>18}" for name in ("torchvision", "timm", "vit-pytorch"))
    print(f"{'size':6} {'mode':9} {'ms':>8} {heads} {'of product':>9} {'bf16':>8}")
    for size in options.sizes:
        for mode in options.modes:
            print(bench(Task(size, mode, device), options.rounds), flush=True)


if __name__ == "__main__":
    main()
