"""The command line of `python -m vitedu.predict`: the likeliest classes of pictures, one line for each."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from vitedu.files import say
from vitedu.initialise import count
from vitedu.use.classifier import AT_ONCE, Answer, Classifier, classifier
from vitedu.use.command import carried_out
from vitedu.use.pictures import picture_files

UNREADABLE = 1  # the exit status where a picture was left out


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        "python -m vitedu.predict",
        description="Classify pictures, one line for each. A picture that cannot be read is named on the error stream, "
        "the others are classified, and the exit status is 1.",
    )
    parser.add_argument("source", metavar="RUN", help="a run's folder or checkpoint, or a name of shipped weights")
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help="picture files, and folders of them")
    parser.add_argument("--top", type=int, default=3, metavar="N", help="how many classes of each (default: 3)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of words")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; status 2 where what was asked for cannot be done, 1 where a picture could not be read."""
    return carried_out(predict, build_parser().parse_args(arguments))


def predict(args: argparse.Namespace) -> int:
    """Print a line for each picture; what cannot be read is named, and left out."""
    count("--top", args.top)
    files, clf = picture_files(args.pictures), classifier(args.source)
    whole = True
    for file, answer in answers(clf, files, args.top):
        if isinstance(answer, str):
            whole = False
            print("error:", " ".join(answer.split()), file=sys.stderr)
        if args.json:
            say(as_json(file, answer))
        elif not isinstance(answer, str):
            say(f"{file}: " + ", ".join(f"{name} {100 * share:.1f} %" for name, share in answer))
    return 0 if whole else UNREADABLE


def answers(clf: Classifier, files: list[Path], top: int) -> Iterator[tuple[Path, Answer | str]]:
    """Each file, in order, with its likeliest classes, or with the sentence that says why it cannot be read."""
    for start in range(0, len(files), AT_ONCE):
        part, images, problems = files[start : start + AT_ONCE], {}, {}
        for file in part:
            try:
                images[file] = clf.read(file)
            except (ValueError, OSError) as error:
                problems[file] = str(error)
        found = clf.best(clf.probabilities(torch.stack(list(images.values()))), top) if images else []
        named = dict(zip(images, found, strict=True)) | problems
        yield from ((file, named[file]) for file in part)


def as_json(file: Path, answer: Answer | str) -> str:
    """{"picture": …, "classes": [{"name": …, "probability": …}, …]}, or with "error" instead of the classes."""
    if isinstance(answer, str):
        return json.dumps({"picture": str(file), "error": answer})
    classes = [{"name": name, "probability": round(share, 6)} for name, share in answer]
    return json.dumps({"picture": str(file), "classes": classes})
