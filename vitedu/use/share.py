"""The command line of `python -m vitedu.share`: one file in which a trained model runs, in any browser."""

import argparse
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vitedu.cost import count_parameters
from vitedu.data import Split
from vitedu.files import say, write_whole
from vitedu.initialise import count
from vitedu.train.cli import load
from vitedu.use.classifier import AT_ONCE, Classifier, classifier
from vitedu.use.command import carried_out
from vitedu.use.packing import Packed, pack
from vitedu.use.page import build_page


class Measured(NamedTuple):
    """What rounding the weights has done on the validation pictures: accuracies, and the largest change of a share."""

    before: float
    after: float
    change: float
    count: int


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        "python -m vitedu.share",
        description="Write a trained model into one HTML file that needs no server, no network and no installation.",
    )
    parser.add_argument("source", metavar="RUN", help="a run's folder or checkpoint, or a name of shipped weights")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.html", help="the file to write")
    parser.add_argument("--title", help="what stands above (default: the classes, or how many there are)")
    parser.add_argument("--int8", action="store_true", help="8 bits a weight instead of 16: half the size, less exact")
    parser.add_argument(
        "--pictures", type=int, default=8, metavar="N", help="validation pictures that go with it (default: 8)"
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status is 2 where what was asked for cannot be done."""
    return carried_out(share, build_parser().parse_args(arguments))


def share(args: argparse.Namespace) -> None:
    """Write the page, and say its size and what rounding has cost."""
    count("--pictures", args.pictures, 0)
    clf = classifier(args.source)
    packed = pack(clf.model, args.int8)
    val = validation(clf) if args.pictures or args.int8 else None
    if args.int8 and val is None:
        raise ValueError(
            f"--int8 measures what it costs on validation pictures, which {args.source} has not; leave it out"
        )
    chosen = some_of_each(val.labels, args.pictures) if val else torch.tensor([], dtype=torch.long)
    images = val.images[chosen] if val else torch.empty(0, *clf.shape, dtype=torch.uint8)
    rounded = replaced(clf, packed)
    found = shares(rounded, images)
    labels = val.labels[chosen] if val else chosen
    text = build_page(clf, packed, args.title or title_of(clf), about(clf), images, labels, found)
    if args.out.parent != Path():
        args.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(args.out, text.encode())
    kind = "8 bits a weight" if args.int8 else "half precision"
    say(f"{args.out}: {len(text.encode()) / 1e6:.2f} MB, {len(packed.content) / 1e6:.2f} MB of them weights in {kind}")
    if val:
        say(in_words(measure(clf, rounded, val), kind))
        say(f"The page compares itself with PyTorch on {len(images)} pictures when it opens, and says the difference.")


def validation(clf: Classifier) -> Split | None:
    """The validation pictures of the run; None for weights without a run. ValueError if its data has changed."""
    if clf.run is None:
        return None
    data = load(clf.run["data"])
    if data.class_names != clf.class_names or tuple(data.val.images.shape[1:]) != clf.shape:
        here = f"{len(data.class_names)} classes, pictures {tuple(data.val.images.shape[1:])}"
        was = f"{len(clf.class_names)} classes, pictures {clf.shape}"
        raise ValueError(
            f"{clf.name} was trained on {was}, its data is now {here}; bring it back, or pass --pictures 0"
        )
    return data.val


def some_of_each(labels: Tensor, n: int) -> Tensor:
    """The first picture of each class, then the second of each, and so on: n indices, or all if there are fewer."""
    rank = torch.zeros_like(labels)
    for k in labels.unique():
        rank[labels == k] = torch.arange(int((labels == k).sum()))
    return torch.argsort(rank * (int(labels.max()) + 1) + labels)[:n]


def replaced(clf: Classifier, packed: Packed) -> Classifier:
    """The same classifier with the weights as they go into the page."""
    return Classifier(**{**vars(clf), "model": packed.model})


def shares(clf: Classifier, images: Tensor) -> Tensor:
    """Probabilities (n, K) of any number of pictures."""
    if not len(images):
        return torch.empty(0, len(clf.class_names))
    return torch.cat([clf.probabilities(part) for part in images.split(AT_ONCE)])


def measure(clf: Classifier, rounded: Classifier, val: Split) -> Measured:
    """Both on the same validation pictures."""
    exact, near = shares(clf, val.images), shares(rounded, val.images)
    before, after = ((found.argmax(dim=1) == val.labels).float().mean().item() for found in (exact, near))
    return Measured(before, after, (exact - near).abs().max().item(), len(val))


def in_words(found: Measured, kind: str) -> str:
    """One line on what rounding has cost."""
    return (
        f"In {kind}, {100 * found.after:.2f} % of {found.count:,} validation pictures are right, "
        f"{100 * found.before:.2f} % before; no probability has moved by more than {found.change:.1e}."
    )


def title_of(clf: Classifier) -> str:
    """The classes by name, or how many they are."""
    names = clf.class_names
    return f"{', '.join(names[:-1])} or {names[-1]}?" if len(names) <= 4 else f"Which of {len(names)} classes?"


def about(clf: Classifier) -> str:
    """One sentence on the model."""
    kind = "small CNN with a Vision Transformer" if hasattr(clf.model, "cnn") else "Vision Transformer"
    _, H, W = clf.shape
    where = f", trained on {Path(clf.run['data']['name']).name}" if clf.run else ""
    return f"A {kind} of {count_parameters(clf.model):,} parameters for pictures of {W} × {H} pixels{where}."
