"""The two tables of a CvT study: published models on ImageNet's validation images, and fine-tuned on CIFAR-10.

python -m vitedu.use.evaluate imagenet FOLDER --models cvt-13 resnet50-v1 vit-b16
python -m vitedu.use.evaluate cifar10 --models bit-50x1-21k --epochs 3

FOLDER, or a .zip, holds `<wnid>/*.JPEG`, ImageNet's 1,000 classes or the ten of Imagenette, also inside of `val/`.
The weights are fetched by torchvision, from Hugging Face, or by timm, into their caches.
"""

import argparse
import io
import re
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn

from vitedu.cost import count_parameters
from vitedu.data import load
from vitedu.data.archive import list_entries, read_files
from vitedu.device import amp_dtype, autocast, pick_device
from vitedu.files import say
from vitedu.use.command import carried_out
from vitedu.use.fine_tune import FINE_TUNING, fine_tune
from vitedu.use.published import PUBLISHED, STARTS, Preparation, Published

Photographs = Iterable[tuple[Image.Image, int]]  # each with the place of its class among ImageNet's 1,000
# Imagenette's ten classes among ImageNet's 1,000, which are in the order of their names in WordNet.
TEN = {
    "n01440764": 0,
    "n02102040": 217,
    "n02979186": 482,
    "n03000684": 491,
    "n03028079": 497,
    "n03394916": 566,
    "n03417042": 569,
    "n03425413": 571,
    "n03445777": 574,
    "n03888257": 701,
}


class Result(NamedTuple):
    """Shares of `count` photographs that are right: among all 1,000 classes, and among those of the folder alone."""

    count: int
    classes: int
    accuracy: float
    restricted: float
    seconds: float  # in the model, decoding not counted


@torch.no_grad()
def evaluate(
    model: nn.Module, photographs: Photographs, prepare: Preparation, *, batch_size: int = 32, most: int | None = None
) -> Result:
    """Classify photographs as the model wants them prepared, and count, both ways; its mode is restored afterwards.

    `most` photographs at most. ValueError if there are none.
    """
    device, was_training = next(model.parameters()).device, model.training
    model.eval()
    scores, labels, seconds = [], [], 0.0
    for images, truth in batches(photographs, prepare, batch_size, most):
        began = time.perf_counter()
        with autocast(device, amp_dtype(device, getattr(model, "width", 0))):
            scores.append(model(images.to(device)).float().cpu())
        seconds += time.perf_counter() - began
        labels.append(truth)
    model.train(was_training)
    if not labels:
        raise ValueError("0 photographs; is the folder empty?")
    return Result(*count_right(torch.cat(scores), torch.cat(labels)), seconds)


def count_right(scores: Tensor, labels: Tensor) -> tuple[int, int, float, float]:
    """(N, 1000), (N,) -> N, how many classes there are, and the share right among all scores and among those classes.

    >>> count_right(torch.tensor([[0.0, 2.0, 1.0]]), torch.tensor([2]))  # the only class of the folder is class 2
    (1, 1, 0.0, 1.0)
    """
    columns = labels.unique()  # of the classes that occur
    among_all = (scores.argmax(dim=1) == labels).float().mean().item()
    among_those = (columns[scores[:, columns].argmax(dim=1)] == labels).float().mean().item()
    return len(labels), len(columns), among_all, among_those


def batches(
    photographs: Photographs, prepare: Preparation, size: int, most: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Prepared pictures (B, 3, H, W) and labels (B,), as many at a time as `size`."""
    chosen = islice(photographs, most)
    while part := list(islice(chosen, size)):
        pictures, labels = zip(*part, strict=True)
        yield torch.stack([prepare(picture) for picture in pictures]), torch.tensor(labels)


def read_photographs(source: str | Path, every: int = 1) -> Iterator[tuple[Image.Image, int]]:
    """The validation photographs in a folder or archive, every so many-th of each class, with the places of their
    classes among 1,000. ValueError if there is no folder of a class, or one that is in neither list."""
    source = Path(source).expanduser()
    entries = list_entries(source)
    wnid = {name: Path(name).parent.name for name in entries if re.fullmatch(r"n\d{8}", Path(name).parent.name)}
    wnid = {name: w for name, w in wnid.items() if "train" not in Path(name).parts}
    known = sorted(set(wnid.values()))
    place = {w: i for i, w in enumerate(known)} if len(known) == 1_000 else TEN
    if not known or (odd := [w for w in known if w not in place]):
        raise ValueError(
            f"{source} has folders of {len(known)} classes{f', {odd[0]} among them' if known else ''}; expected all "
            f"1,000 of ImageNet, or some of Imagenette's ten, <wnid>/*.JPEG"
        )
    chosen = [name for w in known for name in sorted(n for n in wnid if wnid[n] == w)[::every]]
    for name, data in read_files(source, {name: entries[name] for name in chosen}):
        yield Image.open(io.BytesIO(data)), place[wnid[name]]


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser("python -m vitedu.use.evaluate", description="Published models, measured.")
    tables = parser.add_subparsers(dest="table", required=True)
    first = tables.add_parser("imagenet", help="accuracy on validation photographs, restricted to their classes, too")
    first.add_argument("source", metavar="FOLDER", help="folder or .zip of <wnid>/*.JPEG")
    first.add_argument("--models", nargs="+", choices=PUBLISHED, default=["cvt-13", "cvt-21", "resnet50-v1", "vit-b16"])
    first.add_argument(
        "--every", type=int, default=1, metavar="N", help="every N-th photograph of a class (default: 1)"
    )
    second = tables.add_parser("cifar10", help="full fine-tuning on CIFAR-10")
    second.add_argument("--models", nargs="+", choices=STARTS, default=list(STARTS))
    second.add_argument("--epochs", type=int, default=FINE_TUNING.epochs)
    second.add_argument("--lr", type=float, default=FINE_TUNING.lr)
    second.add_argument("--batch-size", type=int, default=FINE_TUNING.batch_size)
    second.set_defaults(source="cifar10")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status is 2 where what was asked for cannot be done."""
    return carried_out(tabulate, build_parser().parse_args(arguments))


def tabulate(args: argparse.Namespace) -> None:
    """Print a row for each model."""
    device = pick_device()
    if args.table == "cifar10":
        data = load("cifar10")
        config = replace(FINE_TUNING, epochs=args.epochs, lr=args.lr, batch_size=args.batch_size)
    for name in args.models:
        known = (PUBLISHED if args.table == "imagenet" else STARTS)[name]
        model = known.load(None if args.table == "imagenet" else 10).to(device)
        size = f"{name:14} {count_parameters(model) / 1e6:5.1f} M parameters"
        if args.table == "imagenet":
            say(f"{size}  {in_words(evaluate(model, read_photographs(args.source, args.every), known.prepare), known)}")
        else:
            accuracy, seconds = fine_tune(model, data, known.prepare, config, device)
            say(f"{size}  test accuracy {100 * accuracy:.2f} %  {seconds:.0f} s")


def in_words(found: Result, known: Published) -> str:
    """One line of the first table."""
    restricted = f"  {100 * found.restricted:.2f} % among these {found.classes}" if found.classes < 1_000 else ""
    published = f"published {known.accuracy:g} % ({known.source})"
    return f"{100 * found.accuracy:.2f} % of {found.count:,}{restricted}  {found.seconds:.0f} s  {published}"


if __name__ == "__main__":
    sys.exit(main())
