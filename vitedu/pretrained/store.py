"""The trained models that ship with the book.

Each is three files in vitedu/pretrained/weights/, written by a script in book/experiments/: NAME.safetensors with the
tensors in half precision, NAME.json with the model's class and config and the SHA-256 of the tensors, and the card
NAME.md.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor, nn

from vitedu.files import CheckpointError, check_weights, read_json, read_safetensors, write_whole
from vitedu.models.table import MODELS

WEIGHTS = Path(__file__).resolve().parent / "weights"
BY_CLASS = {entry.model.__name__: entry for entry in MODELS.values()}  # as the JSON files name them


def load(name: str, folder: str | Path = WEIGHTS) -> nn.Module:
    """The trained model called `name`, on the CPU, in float32 and in evaluation mode.

    Raises:
        ValueError: there are no weights of that name.
        CheckpointError: a file is missing, or not the one that was written.
    """
    card, path = describe(name, folder), Path(folder) / f"{name}.safetensors"
    content = path.read_bytes() if path.exists() else b""
    if hashlib.sha256(content).hexdigest() != card.get("sha256"):
        raise CheckpointError(f"{path} is missing or damaged (its SHA-256 is not that of {name}.json); install again")
    try:
        entry = BY_CLASS[card["model"]]
        model = entry.model(**{part: kind(**_with_tuples(card[part])) for part, kind in entry.configs.items()})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{name}.json describes no model of this version ({error}); install again") from None
    weights = {key: cast(t, torch.float32) for key, t in read_safetensors(content, path).items()}
    check_weights(weights, model.state_dict(), f"{path} belongs to another model")
    model.load_state_dict(weights)
    return model.eval()


def describe(name: str, folder: str | Path = WEIGHTS) -> dict:
    """What is known of the weights called `name`: {"model", "config", "sha256", ...}.

    ValueError, naming those there are, if there are none of that name.
    """
    if name not in available(folder):
        raise ValueError(f"no weights called {name!r}; there are: {', '.join(available(folder)) or 'none'}")
    return read_json(Path(folder) / f"{name}.json", f"no {name}.json in {folder}; install again", "install again")


def available(folder: str | Path = WEIGHTS) -> list[str]:
    """The names that `load` knows."""
    return sorted(path.stem for path in Path(folder).glob("*.json"))


def save(name: str, model: nn.Module, folder: str | Path = WEIGHTS, **about: object) -> None:
    """Write NAME.safetensors and NAME.json, so that `load` finds the model; `about` goes into the JSON file.

    Raises:
        TypeError: the model is of a class that `load` cannot build.
        OverflowError: a weight is not finite in half precision.
    """
    kind = type(model).__name__
    if kind not in BY_CLASS:
        raise TypeError(f"{kind} is not one of {', '.join(BY_CLASS)}; add it to vitedu/models/table.py")
    halved = {key: cast(t.detach().cpu(), torch.float16).contiguous() for key, t in model.state_dict().items()}
    for key, tensor in halved.items():
        if not tensor.isfinite().all():
            raise OverflowError(
                f"{key} is not finite in half precision, whose largest number is 65504; did it diverge?"
            )
    content = tensors_to_bytes(halved)
    card = {"model": kind, **_configs(model), "sha256": hashlib.sha256(content).hexdigest(), **about}
    write_whole(Path(folder) / f"{name}.safetensors", content)
    write_whole(Path(folder) / f"{name}.json", (json.dumps(card, indent=1, ensure_ascii=False) + "\n").encode())


def cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """In `dtype`, unless it holds whole numbers: batch norm counts its batches."""
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _configs(model: nn.Module) -> dict[str, dict]:
    """What to build the model from, by the names of its arguments."""
    parts = BY_CLASS[type(model).__name__].configs
    return {part: asdict(model.config if part == "config" else getattr(model, part).config) for part in parts}


def _with_tuples(config: dict) -> dict:
    """JSON has no tuples; a config has no lists."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
