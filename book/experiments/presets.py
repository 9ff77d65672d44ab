"""Which model to choose when time is short: presets, the hybrid and a ResNet on Fashion-MNIST (20 min on one core).

`tiny` and `small` on patches of 7 pixels, `tiny` on patches of 4, a hybrid of a small CNN and two blocks of `tiny`, and
that CNN alone, all by the book's recipe with mirror images, each for 15 and for 60 s of one thread, the rate following
the time down to zero. Three seeds, validation images; the test split is not looked at.

The five questions. *Converged?* Not asked: accuracy after equal time is what the table is about. None has converged; in
60 s the fastest sees the training images 3.5 times. *Tuned alike?* No: one recipe for all, AdamW at 0.002, which was
chosen for `tiny` on patches of 7, and tuned for none of the other four. *One difference?* The model; how many images it
sees follows from its cost and is recorded. That cost is one CPU thread's; on a GPU the order may be another. *Can it
show?* Most gaps are several times the spread; after 60 s the ResNet is ahead of the hybrid by 0.6 ± 0.3 points, which
three seeds do not settle. *Recognisable?* CNNs are ahead on little data and in little time, ViTs with far more of both
(arXiv:2010.11929), and there smaller patches and larger models win, too.

One row: make results NAME=presets ROW="tiny, 15 s".
"""

from collections.abc import Callable
from dataclasses import replace

from _equal_time import Contender, compare_all
from _record import load, or_smoke, start
from torch import nn

from vitedu.data import Dataset
from vitedu.models.cnn import ResNet
from vitedu.models.hybrid import HybridViT, small_stem
from vitedu.train import recipe
from vitedu.vit import ViT

BUDGETS = or_smoke((15, 60), (0.01,))  # seconds


def contenders(data: Dataset) -> dict[str, Contender]:
    """Five models with one recipe."""
    tiny, training = recipe(data, train={"epochs": 20}, augment={"flip": True})
    small, cnn = recipe(data, "small")[0], small_stem(tiny.image_size, tiny.in_channels)
    models: dict[str, Callable[[], nn.Module]] = {
        "tiny": lambda: ViT(tiny),
        "tiny, patches of 4": lambda: ViT(replace(tiny, patch_size=4)),
        "small": lambda: ViT(small),
        "hybrid": lambda: HybridViT(replace(tiny, depth=2), cnn),
        "ResNet": lambda: ResNet(replace(cnn, num_classes=len(data.class_names))),
    }
    return {name: Contender(build, training) for name, build in models.items()}


if __name__ == "__main__":
    run, fashion = start(__doc__, device="cpu", rows=True), load("fashion-mnist")
    compare_all(run, fashion, contenders(fashion), BUDGETS)
