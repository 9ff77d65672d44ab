"""One step of ConvNeXt's road at a small size: a newer recipe, then a newer block (14 min on one core).

On 5,000 pictures of CIFAR-10, after equal processor time: a small ResNet with the recipe of its first years, the same
with AdamW, a cosine, label smoothing and averaged weights, the same with mixed and erased pictures besides, and then
ConvNeXt's block in its place, with the second recipe: a depthwise 7×7 convolution, LayerNorm, an inverted bottleneck,
one GELU. The test pictures are looked at once a seed. `longer` is the first seed for four times as long.

Liu et al., "A ConvNet for the 2020s", 2022, arXiv:2201.03545.

The five questions. *Converged?* No: after four times as long (`longer`, one seed) every arm is right more often by ten
points, and the two recipes without mixing are level. It says what a budget buys. *Tuned alike?* Each arm has its own
rate, chosen on validation pictures, with a worse one on either side. *One difference?* Each arm changes one thing of
the one it is compared with, the recipe being one thing; the block brings other counts of parameters and multiply-adds,
and sees fewer pictures in the time. All are recorded. *Can it show?* The ResNet's own gain from four times the time is
larger than any between its recipes. *Recognisable?* On ImageNet, in 300 epochs, the recipe is worth 2.7 points and the
design, in eleven steps, 3.2; that mixed pictures pay only in a long training is common experience.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from _rates import tuned, val_by_rate
from _record import Run, load, multiply_adds, or_smoke, spread, start
from _steady import start_loop
from data_curve import part_of
from torch import Tensor, nn

from vitedu.cost import count_parameters
from vitedu.data import Dataset
from vitedu.models.cnn import CNNConfig, ResNet
from vitedu.train import TrainConfig, evaluate
from vitedu.train.augment import Augment
from vitedu.train.budget import steps_for

WIDTHS = (16, 32, 64)
IMAGES, SECONDS, LONGER = or_smoke((5_000, 20.0, 4), (20, 0.02, 2))


class Channels(nn.LayerNorm):
    """LayerNorm over the channels of a feature map (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """x + a depthwise 7×7 convolution, LayerNorm, four times the width, GELU, back. (B, C, H, W) -> the same shape."""

    def __init__(self, width: int):
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(width, width, 7, padding=3, groups=width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return x + self.mlp(self.norm(self.depthwise(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


class SmallConvNeXt(nn.Module):
    """Two blocks in each of three stages, patches of 2×2 in front of each, the mean over positions, a classifier."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS, depth: int = 2, num_classes: int = 10):
        super().__init__()
        layers, inputs = [], 3
        for stage, width in enumerate(widths):
            layers += [Channels(inputs)] if stage else []
            layers += [nn.Conv2d(inputs, width, 2, 2), *([] if stage else [Channels(width)])]
            layers += [ConvNeXtBlock(width) for _ in range(depth)]
            inputs = width
        self.features, self.norm, self.head = (
            nn.Sequential(*layers),
            nn.LayerNorm(inputs),
            nn.Linear(inputs, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> class scores, (B, K)."""
        return self.head(self.norm(self.features(images).mean(dim=(2, 3))))


@dataclass(frozen=True)
class Arm:
    """A model, its recipe, and the rates that are tried."""

    build: Callable[[], nn.Module]
    recipe: TrainConfig
    rates: tuple[float, ...]


def resnet() -> nn.Module:
    """As many channels as the ConvNeXt, one basic block a stage."""
    return ResNet(CNNConfig(widths=WIDTHS, stem_stride=2))


EPOCHS = 20  # the fineness of the schedules, which follow the time
SIMPLE = Augment(crop=4, flip=True)
OLD = TrainConfig(
    epochs=EPOCHS,
    batch_size=or_smoke(125, 10),
    optimizer="sgd",
    schedule="steps",
    weight_decay=5e-4,
    warmup=0.0,
    label_smoothing=0.0,
    clip_norm=0.0,
    channels_last=True,
    augment=SIMPLE,
)
NEW = TrainConfig(epochs=EPOCHS, batch_size=OLD.batch_size, ema=0.99, channels_last=True, augment=SIMPLE)
MIXED = replace(NEW, mixup=0.8, cutmix=1.0, augment=replace(SIMPLE, erase=0.25))
OF_SGD, OF_ADAMW = (0.0125, 0.025, 0.05, 0.1, 0.2, 0.4), (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2)
ARMS = {
    "ResNet, old recipe": Arm(resnet, OLD, OF_SGD),
    "ResNet, new recipe": Arm(resnet, NEW, OF_ADAMW),
    "ResNet, new recipe and mixing": Arm(resnet, MIXED, OF_ADAMW),
    "ConvNeXt's block, new recipe": Arm(SmallConvNeXt, NEW, OF_ADAMW),
}


def train(run: Run, data: Dataset, name: str, rate: float, seed: int, times: int = 1) -> dict:
    """One run of `times` the seconds, then the validation and the test pictures."""
    arm, images = ARMS[name], part_of(data, IMAGES)
    config = replace(arm.recipe, lr=rate, seed=seed)
    loop = start_loop(run, arm.build, data, config, len(images))
    steps = sum(1 for _ in steps_for(loop, images, times * SECONDS, run.clock))
    found = {"val": evaluate(loop.eval_model, data.val, data).accuracy, "images_seen": float(steps * config.batch_size)}
    found["loss"] = evaluate(loop.eval_model, images, data).loss
    found["accuracy"] = evaluate(loop.eval_model, data.test, data).accuracy
    print(f"{name}, rate {rate:g}, seed {seed}, times {times}: {found}", flush=True)
    return found


def row(part: str, name: str, seconds: float, found: list[dict]) -> dict:
    """The runs of an arm."""
    build = ARMS[name].build
    size = {"parameters": count_parameters(build()), "macs": multiply_adds(build().eval(), 32), "images": IMAGES}
    over = {key: spread([one[key] for one in found]) for key in found[0]}
    return {"part": part, "arm": name, "seconds": seconds, **size, **over}


def main() -> None:
    run, data = start(__doc__), load("cifar10")
    rows, longer = [], []
    for name, arm in ARMS.items():
        runs, rates = tuned(run, lambda *case: train(run, data, *case), [name], arm.rates)
        chosen = {"rate": rates[name], "val_accuracy_by_rate": val_by_rate(runs[name])}
        rows.append(row("step", name, SECONDS, runs[name][rates[name]]) | chosen)
        more = train(run, data, name, rates[name], run.seeds[0], LONGER)
        longer.append(row("longer", name, LONGER * SECONDS, [more]) | chosen)
    about = (
        "accuracy on part of CIFAR-10 after equal time: a ResNet, with an old and a new recipe, and ConvNeXt's block"
    )
    run.record(about, [data.describe()], rows + longer)


if __name__ == "__main__":
    main()
