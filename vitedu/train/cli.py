"""The command line of `python -m vitedu.train`: start a run, resume it, and measure it once on the test split."""

import argparse
import json
import math
import sys
import time
from dataclasses import asdict, fields
from pathlib import Path

import torch
from torch import nn

from vitedu import data as datasets
from vitedu.cost import count_parameters
from vitedu.device import describe_device
from vitedu.files import CheckpointError, write_whole
from vitedu.models.table import CLASSIFIERS, MODELS
from vitedu.patch import Size
from vitedu.train import TrainConfig, evaluate_shared, fit
from vitedu.train.augment import Augment
from vitedu.train.checkpoint import STATE_FILE
from vitedu.train.distributed import processes, rank, restarts, world_size
from vitedu.train.recipes import recipe
from vitedu.vit import PRESETS, ViTConfig

RUN_FILE, RESULT_FILE = "run.json", "result.json"
FROM_DATA = {"image_size", "in_channels", "num_classes", "augment"}  # read off the images, or built from other options


class Renamed(argparse.Action):
    """`--hybrid`, which is `--model hybrid` now."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Say so, and stop."""
        parser.error("--hybrid is now --model hybrid")


def options(config: type) -> dict[str, type]:
    """The fields of a config that can be set on the command line, with their types; patches are square there."""
    return {f.name: f.type for f in fields(config) if f.name not in FROM_DATA}


def build_parser() -> argparse.ArgumentParser:
    """One option per field of the three configs; what is left out comes from the data set's recipe."""
    parser = argparse.ArgumentParser("python -m vitedu.train", description="Train a Vision Transformer from scratch.")
    start = parser.add_mutually_exclusive_group(required=True)
    start.add_argument("--data", help=f"{', '.join(datasets.NAMES)}, or a folder or zip of train/<class>/*.jpg")
    start.add_argument("--resume", type=Path, metavar="RUN", help="continue the run in this folder, as it was started")
    parser.add_argument("--out", type=Path, metavar="RUN", help="folder for the checkpoint and the result")
    parser.add_argument("--root", help="where the data sets lie; $VITEDU_DATA if not given")
    parser.add_argument("--image-size", type=int, help="side in pixels, where photographs have to be made equal")
    parser.add_argument("--preset", default="tiny", choices=PRESETS, help="width, depth and heads (default: tiny)")
    parser.add_argument("--model", default="vit", choices=CLASSIFIERS, help="what to train (default: vit)")
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
            group.add_argument(f"--{name.replace('_', '-')}", default=argparse.SUPPRESS, **how)
    return parser


def new_run(args: argparse.Namespace, data: datasets.Dataset) -> dict:
    """Everything that decides a run, as JSON can hold it."""
    given = [
        {name: getattr(args, name) for name in options(config) if name in args}
        for config in (ViTConfig, TrainConfig, Augment)
    ]
    if not MODELS[args.model].transformer and given[0]:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in given[0])
        raise ValueError(f"{named} is for a Transformer, which {args.model} is not; leave it out")
    model, train = recipe(data, args.preset, *given)
    source = {"name": args.data, "root": args.root, "image_size": args.image_size}
    about = {"kind": args.model, "train_on_val": args.train_on_val}
    return {"data": source, **about, "model": asdict(model), "train": asdict(train)}


def load(source: dict) -> datasets.Dataset:
    """The data set of a run; says in one line what was loaded."""
    return datasets.load(source["name"], root=source["root"], image_size=source["image_size"], quiet=rank() > 0)


def configs(run: dict) -> tuple[ViTConfig, TrainConfig]:
    """Back from JSON to the frozen configs."""
    augment = Augment(**run["train"]["augment"])
    return ViTConfig(**run["model"]), TrainConfig(**run["train"] | {"augment": augment})


def build_model(run: dict) -> nn.Module:
    """The untrained model of a run."""
    return MODELS[run["kind"]].classifier(configs(run)[0])


def write_run(out: Path, run: dict) -> None:
    """Write the run's settings into a new folder. ValueError if another run is there already."""
    if rank():  # the first of several processes does it for all
        return
    if (out / RUN_FILE).exists():
        raise ValueError(f"{out} holds a run already; continue it with --resume {out}, or choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / RUN_FILE, json.dumps(run, indent=1).encode())


def read_run(out: Path) -> dict:
    """The settings of the run in `out`. CheckpointError if no run was started there."""
    try:
        run = json.loads((out / RUN_FILE).read_text())
    except FileNotFoundError:
        raise CheckpointError(f"no {RUN_FILE} in {out}; start a run there with --data NAME --out {out}") from None
    if "hybrid" in run:  # of a run that began when that was an option of its own
        run["kind"] = "hybrid" if run.pop("hybrid") else "vit"
    return run


def same_run(out: Path, run: dict) -> bool:
    """Whether the run in `out` was started with exactly these settings."""
    return (out / RUN_FILE).exists() and read_run(out) == json.loads(json.dumps(run))


def execute(run: dict, data: datasets.Dataset, out: Path | None, device: torch.device) -> float:
    """Train, or go on training, and return the accuracy on the test split, looked at once."""
    started = time.perf_counter()
    train_config = configs(run)[1]
    torch.manual_seed(train_config.seed)
    model = build_model(run)
    describe_run(run, model, device)
    # A run that was killed before its first checkpoint has nothing to restore and starts again, from the same seed.
    resume = out is not None and (out / STATE_FILE).exists()
    train = data.train_and_val() if run["train_on_val"] else data.train
    history = fit(model, data, train_config, train=train, out=out, resume=resume, device=device)
    found = evaluate_shared(model, data.test, data)
    seconds = time.perf_counter() - started
    say(f"test accuracy {100 * found['accuracy']:.2f} % after {len(history)} epochs; this took {seconds:.0f} s")
    if out is not None and rank() == 0:
        content = {"test_accuracy": found["accuracy"], "test_loss": found["loss"], "history": history}
        write_whole(out / RESULT_FILE, json.dumps(content, indent=1).encode())
    return found["accuracy"]


def describe_run(run: dict, model: nn.Module, device: torch.device) -> None:
    """Say what is going to be trained, and on what."""
    patches = f", {math.prod(model.grid)} patches" if hasattr(model, "grid") else ""
    where = describe_device(device, getattr(model, "width", 0))
    where += f" in each of {world_size()} processes" if world_size() > 1 else ""
    say(f"model: {count_parameters(model):,} parameters{patches}; device: {where}")
    if run["train_on_val"]:
        say("training on the validation images too: their accuracy below is no forecast")


def say(text: str) -> None:
    """Print a line, once for all processes."""
    if rank() == 0:
        print(text, flush=True)


def train_as_asked(args: argparse.Namespace, device: torch.device) -> None:
    """Start the run that the options describe, or continue the one that they name."""
    if args.resume:
        run = read_run(args.resume)
        execute(run, load(run["data"]), args.resume, device)
        return
    data = load({"name": args.data, "root": args.root, "image_size": args.image_size})
    run = new_run(args, data)
    if args.out and not (restarts() and same_run(args.out, run)):  # a restart goes on where the run was
        write_run(args.out, run)
    execute(run, data, args.out, device)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status, 2 where what was asked for cannot be done."""
    args = build_parser().parse_args(arguments)
    try:
        with processes() as device:
            train_as_asked(args, device)
    except (ValueError, CheckpointError, datasets.DatasetUnavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
