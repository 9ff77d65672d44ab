"""The command line of `python -m vitedu.export`: a trained model for other programs, as ONNX or as torch.export's .pt2.

What is written takes pictures as vitedu prepares them, in [0, 1] units less the mean, by the standard deviation, and
gives scores; NAME.json beside it says which mean, standard deviation, size and classes.
"""

import argparse
import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

from vitedu.files import say, write_json
from vitedu.models.swin import Swin
from vitedu.use.classifier import Classifier, classifier
from vitedu.use.command import carried_out

FORMATS = {"onnx": ".onnx", "torch": ".pt2"}


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser("python -m vitedu.export", description="Hand a trained model to other programs.")
    parser.add_argument("source", metavar="RUN", help="a run's folder or checkpoint, or a name of shipped weights")
    parser.add_argument("--format", choices=FORMATS, default="onnx", help="onnx needs pip install vitedu[export]")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: model.onnx or model.pt2 in this folder")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status is 2 where what was asked for cannot be done."""
    return carried_out(export, build_parser().parse_args(arguments))


def export(args: argparse.Namespace) -> None:
    """Write the model and, beside it, what a picture needs."""
    out = args.out or Path("model" + FORMATS[args.format])
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if args.format == "onnx" and missing:
        raise ValueError(f"{' and '.join(missing)} missing, which --format onnx needs; pip install 'vitedu[export]'")
    clf = classifier(args.source)
    if args.format == "onnx" and isinstance(clf.model, Swin):
        raise ValueError("the exporter to ONNX fails on a Swin's windows; pass --format torch, or export another model")
    out.parent.mkdir(parents=True, exist_ok=True)
    program = as_program(clf.model, torch.zeros(2, *clf.shape))
    if args.format == "torch":
        torch.export.save(program, out)
    else:
        torch.onnx.export(
            program,
            f=out,
            dynamo=True,
            external_data=False,
            verbose=False,
            input_names=["images"],
            output_names=["scores"],
        )
    write_json(out.with_suffix(".json"), about(clf))
    shape, size = ", ".join(map(str, clf.shape)), out.stat().st_size / 1e6
    say(f"{out}: {size:.2f} MB; images (B, {shape}) -> scores (B, {len(clf.class_names)})")


def as_program(model: nn.Module, images: Tensor) -> torch.export.ExportedProgram:
    """The model as a graph that takes batches of any size."""
    batch = torch.export.Dim("B", min=1, max=2**16)
    return torch.export.export(model.eval(), (images,), dynamic_shapes=({0: batch},))


def about(clf: Classifier) -> dict:
    """What a picture needs before the model, and what the scores mean."""
    mean, std = clf.mean.tolist(), clf.std.tolist()
    return {
        "class_names": list(clf.class_names),
        "image_shape": list(clf.shape),
        "mean": mean,
        "std": std,
        "ground": clf.ground,
    }
