"""Saving a training run so that it can be killed at any moment and continued as if it had not been.

A checkpoint is two files: `checkpoint-<epoch>.safetensors` holds every tensor of the model and the optimiser,
`checkpoint.json` names that file, its SHA-256 and everything else. Each is written to a temporary file, flushed to the
disk and renamed; the JSON comes last, so it always names a whole file, the new one or the one before.
"""

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import nn

from vitedu.files import CheckpointError, write_whole

STATE_FILE = "checkpoint.json"


def save_checkpoint(
    directory: str | Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict,
    average: nn.Module | None = None,
) -> None:
    """Save the model, the optimiser's moments and `state` (JSON values, with an "epoch" among them) in `directory`.

    The averaged weights go with them, if there are any. The checkpoint before is removed once the new one is complete.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    averages = _prefixed("average", average.state_dict()) if average else {}
    content = save({**_prefixed("model", model.state_dict()), **_optimizer_tensors(optimizer), **averages})
    name = f"checkpoint-{state['epoch']:04d}.safetensors"
    write_whole(directory / name, content)
    pointer = {"tensors": name, "sha256": hashlib.sha256(content).hexdigest(), **state}
    write_whole(directory / STATE_FILE, json.dumps(pointer, indent=1).encode())
    for old in [*directory.glob("checkpoint-*.safetensors"), *directory.glob("checkpoint*.part")]:
        if old.name != name:
            old.unlink(missing_ok=True)


def read_state(directory: str | Path) -> dict:
    """The JSON part of the checkpoint in `directory`. CheckpointError if there is none or it cannot be read."""
    path = Path(directory) / STATE_FILE
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise CheckpointError(f"no {STATE_FILE} in {directory}; start a run there before resuming it") from None
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}); start the run again") from None


def load_checkpoint(
    directory: str | Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    average: nn.Module | None = None,
) -> dict:
    """Restore the model, and the optimiser and the averaged weights if given; returns the state that was saved.

    Raises:
        CheckpointError: no checkpoint there, its tensors do not match their SHA-256, or the model has other parameters.
    """
    state = read_state(directory)
    path = Path(directory) / state["tensors"]
    content = path.read_bytes() if path.exists() else b""
    if hashlib.sha256(content).hexdigest() != state["sha256"]:
        raise CheckpointError(f"{path} is missing or damaged (its SHA-256 differs from the one in {STATE_FILE})")
    tensors = load(content)
    try:
        model.load_state_dict(_starting_with("model.", tensors))
        if average is not None:
            average.load_state_dict(_starting_with("average.", tensors))
    except RuntimeError as error:
        raise CheckpointError(f"{path} belongs to another model: {error}") from None
    if optimizer is not None:
        _load_optimizer(optimizer, tensors)
    return state


def _prefixed(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}.{name}": tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _starting_with(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """{"optimizer.3.exp_avg": tensor, ...}: the moments and step count of each parameter, by its index."""
    tensors = {}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= _prefixed(f"optimizer.{index}", moments)
    return tensors


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            moments.setdefault(int(index), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
