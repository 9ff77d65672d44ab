"""Time training on a GPU: S/16 and B/16 at 224 pixels in bfloat16, vitedu's model beside timm's under the same loop.

    python -m book.tools.bench.throughput                           both sizes, a few minutes, most of it compiling
    python -m book.tools.bench.throughput --sizes S/16 --rounds 5

Both models are compiled and take steps of the same fused AdamW on the same images, in turns. A row gives vitedu's
images a second, how it stands to timm's (above 1, vitedu is faster), and which share it uses of the rate that a product
of large bfloat16 matrices reaches in the same rounds. Aims: at least 1.0 times the peer, and at least 45 per cent.
Without a GPU nothing is measured, and the row says so.
"""

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from book.tools.bench.models import models, ratio, take_turns
from vitedu.cost import utilisation
from vitedu.device import autocast, describe_device
from vitedu.train.optim import adamw
from vitedu.vit import ViTConfig, preset

SIZES = {"S/16": 256, "B/16": 128}  # images in a batch
PEER, AIM, AIM_SHARE = "timm", 1.0, 0.45


@dataclass(frozen=True)
class Setting:
    """What is timed."""

    config: ViTConfig
    batch: int
    device: torch.device
    steps: int = 10  # in one measurement
    square: int = 8192  # side of the matrices whose product is the machine's rate
    compiled: bool = True


def trainer(model: nn.Module, setting: Setting) -> Callable[[], None]:
    """Some steps of training, always on the same images."""
    model.to(setting.device).train()
    network = torch.compile(model) if setting.compiled else model
    side, channels = setting.config.image_size, setting.config.in_channels
    images = torch.randn(setting.batch, channels, side, side, device=setting.device)
    labels = torch.arange(setting.batch, device=setting.device) % setting.config.num_classes
    optimizer = adamw(model, 1e-4, 0.05)

    def train() -> None:
        for _ in range(setting.steps):
            with autocast(setting.device, torch.bfloat16):
                loss = F.cross_entropy(network(images), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return train


def measure(setting: Setting, rounds: int) -> dict[str, list[float]]:
    """Seconds in every round: "vitedu" and the peer for the steps, "product" for one product of large matrices."""
    torch.manual_seed(0)
    found = models(setting.config)
    calls: dict[str, Callable[[], object]] = {name: trainer(found[name], setting) for name in ("vitedu", PEER)}
    left, right = torch.randn(2, setting.square, setting.square, device=setting.device, dtype=torch.bfloat16)
    return take_turns({**calls, "product": lambda: left @ right}, rounds, setting.device)


def row(name: str, setting: Setting, times: dict[str, list[float]]) -> str:
    """One line of the table, with the aims beside what was reached."""
    speed = setting.steps * setting.batch / statistics.median(times["vitedu"])
    used = utilisation(setting.config, speed, 2 * setting.square**3 / min(times["product"]))
    pairs = zip(times[PEER], times["vitedu"], strict=True)
    reached = statistics.median(theirs / ours for theirs, ours in pairs) >= AIM and used >= AIM_SHARE
    verdict = "reached" if reached else "NOT REACHED"
    against = ratio(times[PEER], times["vitedu"])
    aims = f"aims {AIM} and {100 * AIM_SHARE:.0f} %: {verdict}"
    return (
        f"{name:6} {speed:8.0f} images/s   {against} times {PEER}   {100 * used:3.0f} % of the product's rate   {aims}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=11, help="at least 2")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        for name in options.sizes:
            print(f"{name:6} training throughput on a GPU: not measured: no GPU here")
        return
    device = torch.device("cuda")
    print(f"Training in bfloat16: {describe_device(device, 384)}, torch {torch.__version__}, {options.rounds} rounds")
    for name in options.sizes:
        setting = Setting(preset(name), SIZES[name], device)
        print(row(name, setting, measure(setting, options.rounds)), flush=True)


if __name__ == "__main__":
    main()
