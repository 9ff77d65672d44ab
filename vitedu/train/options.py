"""The options of `python -m vitedu.train`: one for each field of the configs, and which of them go together."""

import argparse
from dataclasses import fields
from pathlib import Path

from vitedu import data as datasets
from vitedu.models.table import CLASSIFIERS
from vitedu.patch import Size
from vitedu.train.augment import Augment
from vitedu.train.config import TrainConfig
from vitedu.vit import PRESETS, ViTConfig

FROM_DATA = {"image_size", "in_channels", "num_classes", "augment"}  # read off the images, or built from other options
DEFAULTS = {"out": None, "root": None, "image_size": None, "preset": "tiny", "model": "vit", "train_on_val": False}


class Renamed(argparse.Action):
    """`--hybrid`, which is `--model hybrid` now."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Say so, and stop."""
        parser.error("--hybrid is now --model hybrid")


def options(config: type) -> dict[str, type]:
    """The fields of a config that can be set on the command line, with their types; patches are square there."""
    return {f.name: f.type for f in fields(config) if f.name not in FROM_DATA}


def build_parser() -> argparse.ArgumentParser:
    """One option per field of the three configs; what is left out is in `DEFAULTS` or comes from the recipe."""
    parser = argparse.ArgumentParser(
        "python -m vitedu.train", description="Train a Vision Transformer.", argument_default=argparse.SUPPRESS
    )
    parser.add_argument("--data", help=f"{', '.join(datasets.NAMES)}, or a folder, .zip or .tgz of <class>/*.jpg")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="continue the run in this folder, as it was started")
    parser.add_argument(
        "--start-from",
        type=Path,
        metavar="RUN",
        help="begin with that run's weights, or shipped ones by name",
    )
    parser.add_argument("--out", type=Path, metavar="RUN", help="folder for the checkpoint and the result")
    parser.add_argument("--root", help="where the data sets lie; $VITEDU_DATA if not given")
    parser.add_argument("--image-size", type=int, help="side in pixels, where photographs have to be made equal")
    parser.add_argument("--preset", choices=PRESETS, help="width, depth and heads (default: tiny)")
    parser.add_argument("--model", choices=CLASSIFIERS, help="what to train (default: vit)")
    parser.add_argument("--hybrid", action=Renamed, nargs=0, help=argparse.SUPPRESS)
    parser.add_argument(
        "--train-on-val", action="store_true", help="learn from the validation images too, in a last run"
    )
    for config in (ViTConfig, TrainConfig, Augment):
        group = parser.add_argument_group(config.__name__)
        for name, kind in options(config).items():
            how = (
                {"action": argparse.BooleanOptionalAction} if kind is bool else {"type": int if kind == Size else kind}
            )
            group.add_argument(f"--{name.replace('_', '-')}", **how)
    return parser


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options; what was not given is left out, but for `DEFAULTS`. Exit status 2 if they do not go together."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    given = set(vars(args))
    if "resume" in args and given != {"resume"}:
        option = "--" + sorted(given - {"resume"})[0].replace("_", "-")
        parser.error(
            f"--resume goes on as the run was started, so {option} cannot be given; "
            f"for a new run from its weights: --start-from {args.resume} {option} … --out ANOTHER"
        )
    if not given & {"data", "resume", "start_from"}:
        parser.error("one of --data, --resume and --start-from is needed")
    if "start_from" in args and (bound := given & {"preset", "model"}):
        parser.error(f"--{bound.pop()} belongs to the model, which --start-from brings; leave it out")
    return argparse.Namespace(**DEFAULTS | vars(args))
