"""Weights as people have them, a model, a state dict or a file, with what was wrapped around them taken off.

Used by `vitedu.pretrained.convert`. A file is read without running code of it.
"""

import argparse
import pickletools
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from vitedu.files import CheckpointError

Source = nn.Module | Mapping | str | Path
# Where several models lie side by side, the one that is meant to be used: DINO's, I-JEPA's, MoCo's; running averages.
PREFERRED = ("teacher", "target_encoder", "base_encoder", "model_ema", "state_dict_ema")


class Found(NamedTuple):
    """Weights without wrappers, the module they are of if one was given, and a line on what was taken off, or ""."""

    weights: dict[str, Tensor]
    module: nn.Module | None
    said: str


def find_weights(source: Source, anchors: Sequence[str]) -> Found:
    """The weights of one model in a module, a state dict, or a file, however deep they lie.

    Args:
        source: a module, also inside of others (`DataParallel`, a compiled one); names and tensors, also inside of
            other dictionaries; or the path of a file, written by safetensors or by `torch.save`.
        anchors: names that such a model's weights have, the surest first. What stands before one of them, such as
            "module.backbone.", is taken off everywhere, and what does not begin with it is left out.

    Raises:
        ValueError: there are several such models, and none of them is the one to prefer.
        TypeError: the source is of another kind.
        CheckpointError: the file is missing or damaged, or wants to run code.
    """
    tree = _read(Path(source)) if isinstance(source, (str, Path)) else source
    if not isinstance(tree, (Mapping, nn.Module)):
        raise TypeError(f"weights come as a model, as its state dict or as a path, not as {type(tree).__name__}")
    weights = _flatten(tree.state_dict() if isinstance(tree, nn.Module) else tree)
    prefix = _choose(weights, anchors)
    said = f"taken from {prefix.removesuffix('.')}" if prefix else ""
    others = list(dict.fromkeys(_branch(name, prefix) for name in weights if not name.startswith(prefix)))
    if others:
        more = f" and {len(others) - 4} more" if len(others) > 4 else ""
        said += f", not {', '.join(others[:4])}{more}"
    module = tree.get_submodule(prefix.removesuffix(".")) if isinstance(tree, nn.Module) else None
    return Found({name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}, module, said)


def _flatten(tree: Mapping, prefix: str = "") -> dict[str, Tensor]:
    """Nested dictionaries -> one, with the names joined by dots; what is neither a tensor nor a module falls away."""
    flat: dict[str, Tensor] = {}
    for key, value in tree.items():
        if isinstance(value, Tensor):
            flat[f"{prefix}{key}"] = value
        elif isinstance(value, (Mapping, nn.Module)):
            flat |= _flatten(value.state_dict() if isinstance(value, nn.Module) else value, f"{prefix}{key}.")
    return flat


def _choose(names: Iterable[str], anchors: Sequence[str]) -> str:
    """What stands before the names of the one model, "" if nothing does or no anchor is there."""
    for anchor in anchors:
        prefixes = sorted({name.removesuffix(anchor) for name in names if f".{name}".endswith(f".{anchor}")})
        if "" in prefixes:
            return ""
        if len(prefixes) > 1:
            preferred = [p for word in PREFERRED for p in prefixes if word in p.split(".")]
            if not preferred:
                side_by_side = ", ".join(prefix.removesuffix(".") for prefix in prefixes)
                raise ValueError(f"{len(prefixes)} models lie side by side ({side_by_side}); pass the weights of one")
            return preferred[0]
        if prefixes:
            return prefixes[0]
    return ""


def _branch(name: str, prefix: str) -> str:
    """Where a name leaves the path of the prefix: `teacher.head.mlp.0.bias`, `teacher.backbone.` -> `teacher.head`."""
    parts, path = name.split("."), prefix.split(".")
    common = next(i for i, (mine, theirs) in enumerate(zip(parts, path, strict=False)) if mine != theirs)
    return ".".join(parts[: common + 1])


def _read(path: Path) -> object:
    """What a file holds. CheckpointError, with the reason, if it cannot be read without running code."""
    path = path.expanduser()
    try:
        with open(path, "rb") as file:
            start = file.read(9)
    except OSError as error:
        remedy = "pass the path of a file that was downloaded, or the model itself"
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); {remedy}") from error
    try:
        if start[8:] == b"{":  # safetensors: the length of the header in 8 bytes, then the header, in JSON
            return load_file(path)
        options = torch.serialization.safe_globals([argparse.Namespace])  # of a run, as in DINO's files: data, no code
        with open(path, "rb") as file, options, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # the error that follows says more
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the bytes of a damaged or foreign file happen to set off
        code = re.search(r"GLOBAL (\S+)|TorchScript", str(error))
        name = (code[1] or "a TorchScript program") if code else _code(path)
        if name:
            remedy = "have its sender save model.state_dict() alone, with torch.save or safetensors"
            raise CheckpointError(f"{path} was not loaded: it would run {name}; {remedy}") from None
        raise CheckpointError(f"{path} is damaged, or was not written by safetensors or torch.save") from error


def _code(path: Path) -> str:
    """The function or class that a plain pickle would call, "" if the file is none: found without calling it."""
    names, strings = [], []
    try:
        with open(path, "rb") as file:
            for operation, argument, _ in pickletools.genops(file):
                if "GLOBAL" in operation.name:
                    names.append(".".join(strings[-2:]) if argument is None else argument.replace(" ", "."))
                elif isinstance(argument, str):
                    strings.append(argument)
    except ValueError:  # the end of what is a pickle
        pass
    return next((name for name in names if not name.startswith(("torch.", "collections."))), "".join(names[:1]))
