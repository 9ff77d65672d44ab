"""A run's folder: its settings, the model they describe, and starting a new run from the weights of another."""

import json
import re
from argparse import Namespace
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from vitedu.data import NAMES, Dataset
from vitedu.files import CheckpointError, read_json, write_json
from vitedu.models.cnn import CNNConfig
from vitedu.models.hybrid import HybridViT
from vitedu.models.table import CLASSIFIERS, MODELS
from vitedu.patch import pair
from vitedu.position import interpolate_positions
from vitedu.pretrained import available, describe, load
from vitedu.train.augment import Augment
from vitedu.train.checkpoint import read_state, read_tensors, starting_with
from vitedu.train.config import TrainConfig
from vitedu.vit import ViTConfig

RUN_FILE, RESULT_FILE = "run.json", "result.json"
RATES = {"dropout", "attention_dropout", "drop_path"}  # what may differ from the run whose weights one starts from


def write_run(out: Path, run: dict) -> None:
    """Write the run's settings into a new folder. ValueError if another run is there already."""
    if (out / RUN_FILE).exists():
        raise ValueError(f"{out} holds a run already; continue it with --resume {out}, or choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / RUN_FILE, run)


def read_run(out: Path) -> dict:
    """The settings of the run in `out`. CheckpointError if no run was started there, or its settings make no sense."""
    path = out / RUN_FILE
    missing = f"no {RUN_FILE} in {out}; start a run there with --data NAME --out {out}"
    run = read_json(path, missing, remedy="start the run again")
    try:
        if "hybrid" in run:  # of a run that began when that was an option of its own
            run["kind"] = "hybrid" if run.pop("hybrid") else "vit"
        configs(run)
        for key, kind in {"kind": str, "data": dict, "train_on_val": bool}.items():
            if not isinstance(run[key], kind):
                raise TypeError(f"{key} is {run[key]!r}")
        if run["kind"] not in CLASSIFIERS:
            raise ValueError(f"kind {run['kind']!r} is not one of {', '.join(CLASSIFIERS)}")
        if not isinstance(run["data"].get("about", {}), dict):
            raise TypeError(f"data about {run['data']['about']!r}")
        run["data"] = {"name": run["data"]["name"], "root": None, "image_size": None} | run["data"]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise CheckpointError(f"{path} does not describe a run of this version ({reason})") from None
    return run


def read_parent(source: Path) -> dict:
    """The settings of the run to start from, or those that shipped weights of that name would have.

    Raises:
        CheckpointError: there is neither, or it makes no sense.
        ValueError: the weights of that name do not classify.
    """
    if (source / RUN_FILE).exists() or str(source) not in available():
        return read_run(source)
    card = describe(str(source))
    kinds = [kind for kind in CLASSIFIERS if MODELS[kind].model.__name__ == card["model"]]
    if not kinds or not MODELS[kinds[0]].transformer:
        raise ValueError(f"{source} is a {card['model']}, which this command does not train; start from another")
    about = {key: card[key] for key in ("class_names", "mean", "std")}
    cnn = {"cnn": card["cnn"]} if "cnn" in card else {}
    train = {"train": asdict(TrainConfig()), "train_on_val": False}
    return {"kind": kinds[0], "shipped": True, "data": {"about": about}, "model": card["config"], **cnn, **train}


def parent_weights(source: Path, parent: dict) -> dict[str, Tensor]:
    """The weights of what `read_parent` has found."""
    return load(str(source)).state_dict() if parent.get("shipped") else final_weights(source)


def data_source(args: Namespace, parent: dict | None) -> dict:
    """Where the pictures of a new run come from: as asked for, else those of the run it starts from.

    Folders are read at the size of shipped weights unless told otherwise. ValueError for such weights without `--data`.
    """
    if "data" not in args and parent.get("shipped"):
        raise ValueError(f"{args.start_from} ships without its pictures; say with --data what to train it on")
    if "data" not in args:
        return {key: parent["data"][key] for key in ("name", "root", "image_size")}
    of_parent = parent and parent.get("shipped") and args.data not in NAMES
    size = args.image_size or (min(pair(configs(parent)[0].image_size)) if of_parent else None)
    return {"name": args.data, "root": args.root, "image_size": size}


def normalised_as(data: Dataset, run: dict) -> Dataset:
    """The data set with the mean and standard deviation that a run has noted, which belong to its weights."""
    about, channels = run.get("data", {}).get("about", {}), data.train.images.shape[1]
    moments = [about.get(key) for key in ("mean", "std")]
    if not all(isinstance(m, list) and len(m) == channels for m in moments):
        return data
    return data.normalised_by(*map(torch.tensor, moments))


def same_run(out: Path, run: dict) -> bool:
    """Whether the run in `out` was started with exactly these settings."""
    return (out / RUN_FILE).exists() and read_run(out) == json.loads(json.dumps(run))


def configs(run: dict) -> tuple[ViTConfig, TrainConfig]:
    """Back from JSON to the frozen configs."""
    augment = Augment(**run["train"]["augment"])
    return ViTConfig(**_with_tuples(run["model"])), TrainConfig(**run["train"] | {"augment": augment})


def _with_tuples(settings: dict) -> dict:
    """JSON has no tuples; a config has no lists."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}


def build_model(run: dict) -> nn.Module:
    """The model of a run, untrained; its CNN, if it has one, as the run describes it, or that of its image size."""
    if "cnn" in run:
        return HybridViT(configs(run)[0], CNNConfig(**_with_tuples(run["cnn"])))
    return MODELS[run["kind"]].classifier(configs(run)[0])


def final_weights(out: Path) -> dict[str, Tensor]:
    """The weights that the run in `out` has kept: of its best epoch, else the averaged ones, else the last."""
    tensors = read_tensors(out, read_state(out))
    found = (starting_with(part, tensors) for part in ("best.", "average.module.", "model."))
    return next(weights for weights in found if weights)


def config_from(parent: dict, shape: dict, given: dict) -> ViTConfig:
    """The configuration of the run `parent` for images and classes of another `shape`, with other rates if `given`.

    ValueError if another part of the model is asked for.
    """
    fixed = sorted(set(given) - RATES)
    if fixed:
        raise ValueError(
            f"--{fixed[0].replace('_', '-')} belongs to the model, which --start-from brings; leave it out"
        )
    config = configs(parent)[0]
    if shape["in_channels"] != config.in_channels:
        raise ValueError(f"the images have {shape['in_channels']} channels, the run to start from {config.in_channels}")
    return replace(config, **shape, **given)


def take_weights(model: nn.Module, parent: nn.Module, weights: dict[str, Tensor], same_classes: bool) -> list[str]:
    """Give `model` the weights of `parent`, a model of the same kind; returns what was done besides, in words.

    Learned positions are interpolated where the grids differ. The classifier starts at zero unless the classes are the
    same. CheckpointError if any other weight does not fit.
    """
    done, own = set(), model.state_dict()
    if own.keys() != weights.keys():
        odd = sorted(own.keys() ^ weights.keys())[0]
        raise CheckpointError(f"the weights to start from are another model's: {odd} is in one of the two only")
    for name, tensor in weights.items():
        if re.fullmatch(r"(vit\.)?head(_dist)?\.(weight|bias)", name) and not same_classes:
            weights[name] = torch.zeros_like(own[name])  # at first it pushes the weights below it nowhere
            done.add("a new classifier, at zero")
        elif name.endswith("positions.table") and tensor.shape != own[name].shape:
            prefix = len(tensor) - parent.grid[0] * parent.grid[1]
            weights[name] = interpolate_positions(tensor, parent.grid, model.grid, prefix)
            done.add(f"positions interpolated from {parent.grid} to {model.grid}")
        elif tensor.shape != own[name].shape:
            raise CheckpointError(f"{name} is {tuple(tensor.shape)}, and {tuple(own[name].shape)} is needed")
    model.load_state_dict(weights)
    return sorted(done)
