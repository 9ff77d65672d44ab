"""The command line of `python -m vitedu.train`: start a run, resume it, and measure it once on the test split."""

import argparse
import errno
import math
import sys
import tarfile
import time
import zipfile
import zlib
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from vitedu import data as datasets
from vitedu.cost import count_parameters
from vitedu.device import describe_device
from vitedu.files import CheckpointError, say, write_json
from vitedu.models.table import MODELS
from vitedu.train.augment import Augment
from vitedu.train.checkpoint import STATE_FILE
from vitedu.train.config import TrainConfig
from vitedu.train.distributed import processes, rank, started_anew, world_size
from vitedu.train.fit import evaluate_shared, fit
from vitedu.train.identity import about_run, what_changed
from vitedu.train.loop import TrainingDiverged
from vitedu.train.options import options, parse
from vitedu.train.recipes import recipe
from vitedu.train.run import (
    RESULT_FILE,
    RUN_FILE,
    build_model,
    config_from,
    configs,
    data_source,
    normalised_as,
    parent_weights,
    read_parent,
    read_run,
    same_run,
    take_weights,
    write_run,
)
from vitedu.vit import ViTConfig

# What may go wrong with a disk, an archive or a picture; the rest would be a fault of this program.
OUTSIDE = (OSError, EOFError, UnicodeError, tarfile.TarError, zipfile.BadZipFile, zlib.error)

REMEDIES = {
    errno.ENOSPC: "free some space on that disk; what was saved before is whole",
    errno.EACCES: "let this user read and write there, or choose another folder",
    errno.EROFS: "choose a folder on a disk that can be written",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EEXIST: "a file stands where a folder is meant; choose another name",
    errno.ENOTDIR: "a file stands where a folder is meant; choose another name",
}


def new_run(args: argparse.Namespace, data: datasets.Dataset, source: dict, parent: dict | None = None) -> dict:
    """Everything that decides a run, as JSON can hold it; `parent` is the run whose weights it begins with."""
    model, train, augment = (
        {name: getattr(args, name) for name in options(config) if name in args}
        for config in (ViTConfig, TrainConfig, Augment)
    )
    kind = parent["kind"] if parent else args.model
    if not MODELS[kind].transformer and model:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in model)
        raise ValueError(f"{named} is for a Transformer, which {kind} is not; leave it out")
    config, recipe_ = recipe(data, args.preset, {} if parent else model, train, augment)
    if parent:
        shape = {name: getattr(config, name) for name in ("image_size", "in_channels", "num_classes")}
        config = config_from(parent, shape, model)
    if args.train_on_val and recipe_.keep == "best":
        raise ValueError("--keep best chooses on the validation images, which --train-on-val learns from; take one")
    about = {"kind": kind, "train_on_val": args.train_on_val}
    if parent:
        about["start_from"] = str(args.start_from)
        about |= {"cnn": parent["cnn"]} if "cnn" in parent else {}
    return {"data": source, **about, "model": asdict(config), "train": asdict(recipe_)}


def load(source: dict) -> datasets.Dataset:
    """The data set of a run; says in one line what was loaded."""
    return datasets.load(source["name"], root=source["root"], image_size=source["image_size"], quiet=rank() > 0)


def images_of(run: dict, data: datasets.Dataset) -> datasets.Split:
    """What the run learns from."""
    return data.train_and_val() if run["train_on_val"] else data.train


def execute(run: dict, data: datasets.Dataset, out: Path | None, device: torch.device) -> float:
    """Train, or go on training, and return the accuracy on the test split, looked at once."""
    started = time.perf_counter()
    train_config = configs(run)[1]
    torch.manual_seed(train_config.seed)
    model = build_model(run)
    describe_run(run, model, device)
    # A run that was killed before its first checkpoint has nothing to restore and starts again, from the same seed.
    resume = out is not None and (out / STATE_FILE).exists()
    if run.get("start_from") and not resume:
        start_from(Path(run["start_from"]), model, data)
    train = images_of(run, data)
    history = fit(model, data, train_config, train=train, out=out, resume=resume, device=device)
    found = evaluate_shared(model, data.test, data)
    seconds = time.perf_counter() - started
    tell(f"test accuracy {100 * found['accuracy']:.2f} % after {len(history)} epochs; this took {seconds:.0f} s")
    if out is not None and rank() == 0:
        content = {"test_accuracy": found["accuracy"], "test_loss": found["loss"], "history": history}
        write_json(out / RESULT_FILE, content)
    return found["accuracy"]


def start_from(folder: Path, model: nn.Module, data: datasets.Dataset) -> None:
    """Give a new model the weights of the run in `folder`, or those that ship; say what else had to be done."""
    parent = read_parent(folder)
    same_classes = parent["data"].get("about", {}).get("class_names") == list(data.class_names)
    done = take_weights(model, build_model(parent), parent_weights(folder, parent), same_classes)
    tell(f"begins with the weights of {folder}" + (f"; {', '.join(done)}" if done else ""))


def describe_run(run: dict, model: nn.Module, device: torch.device) -> None:
    """Say what is going to be trained, and on what."""
    patches = f", {math.prod(model.grid)} patches" if hasattr(model, "grid") else ""
    where = describe_device(device, getattr(model, "width", 0))
    where += f" in each of {world_size()} processes" if world_size() > 1 else ""
    tell(f"model: {count_parameters(model):,} parameters{patches}; device: {where}")
    if run["train_on_val"]:
        tell("training on the validation images too: their accuracy below is no forecast")


def tell(text: str) -> None:
    """Print a line, once for all processes."""
    if rank() == 0:
        say(text)


def train_as_asked(args: argparse.Namespace, device: torch.device) -> None:
    """Start a run, or go on with one."""
    if "resume" in args:
        run = read_run(args.resume)
        data = normalised_as(load(run["data"]), run)
        about = about_run(data, configs(run)[1], len(images_of(run, data)))
        problem = what_changed(run["data"].get("about", {}), about)
        if problem:
            raise CheckpointError(f"{args.resume} cannot be resumed: {problem}")
        note_about(run, about, args.resume)
        execute(run, data, args.resume, device)
        return
    parent = read_parent(args.start_from) if "start_from" in args else None
    source = data_source(args, parent)
    data = normalised_as(load(source), parent or {})
    run = new_run(args, data, source, parent)
    run["data"]["about"] = about_run(data, configs(run)[1], len(images_of(run, data)))
    # a restart of the processes goes on where the run was; the first of them writes for all
    anew = started_anew(device)
    if args.out and rank() == 0 and not (anew and same_run(args.out, run)):
        write_run(args.out, run)
    execute(run, data, args.out, device)


def note_about(run: dict, about: dict, out: Path) -> None:
    """Write into the run's settings what a run of an earlier version has not noted of its data."""
    noted = run["data"].get("about", {})
    run["data"]["about"] = about | noted
    if about.keys() - noted.keys() and rank() == 0:
        write_json(out / RUN_FILE, run)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status is 2 where what was asked for cannot be done, 1 if training diverged."""
    args = parse(arguments)
    try:
        with processes() as device:
            train_as_asked(args, device)
    except (ValueError, TypeError, CheckpointError, datasets.DatasetUnavailable) as error:
        return stop(str(error), 2)
    except TrainingDiverged as error:
        if out := getattr(args, "resume", args.out):
            write_json(out / RESULT_FILE, {"stopped": str(error)})
        return stop(str(error), 1)
    except OUTSIDE as error:
        return stop(outside_problem(error, args), 2)
    return 0


def outside_problem(error: Exception, args: argparse.Namespace) -> str:
    """One sentence on an error of a disk, an archive or a file, with the file and the remedy."""
    what = error.strerror if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"
    names = [str(name) for name in (getattr(error, "filename", None), getattr(error, "filename2", None)) if name]
    where = " -> ".join(names) or str(getattr(args, "data", "") or getattr(args, "resume", "") or args.out)
    return f"{where}: {what}; {REMEDIES.get(getattr(error, 'errno', None), 'see that it is there and whole')}"


def stop(text: str, status: int) -> int:
    """Say in one line on the error stream what went wrong."""
    print("error:", " ".join(text.split()), file=sys.stderr)  # which writes what its encoding lacks as an escape
    return status
