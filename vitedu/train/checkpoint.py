"""Saving a training run so that it can be killed at any moment and continued as if it had not been.

A checkpoint is two files: `checkpoint-<epoch>.safetensors` holds every tensor of the model and the optimisers,
`checkpoint.json` names that file, its SHA-256 and everything else. Each is written to a temporary file, flushed to the
disk and renamed; the JSON comes last, so it always names a whole file, the new one or the one before. No other file in
the folder is touched.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from vitedu.files import CheckpointError, check_weights, read_json, read_safetensors, write_json, write_whole

STATE_FILE = "checkpoint.json"
# What a checkpoint says, and of which type; the rest has to be there always.
KNOWN = {
    "epoch": int,
    "tensors": str,
    "sha256": str,
    "optimizers": list,
    "about": dict,
    "history": list,
    "scaler": dict,
}
OPTIONAL = {"about", "history", "scaler"}

Optimizers = torch.optim.Optimizer | Sequence[torch.optim.Optimizer]


def save_checkpoint(
    directory: str | Path, model: nn.Module, optimizers: Optimizers, state: dict, **others: nn.Module | None
) -> None:
    """Save the model, the optimisers' moments and `state` (JSON values, with an "epoch" among them) in `directory`.

    `others` are modules whose weights go with them by name, such as an average. The checkpoint before is removed once
    the new one is complete.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    before = _tensor_file(directory)
    tensors = {}
    for part, module in {"model": model, **others}.items():
        tensors |= _prefixed(part, module.state_dict()) if module is not None else {}
    kinds = []
    for number, optimizer in enumerate(_listed(optimizers)):
        moments = _by_name(model, optimizer)
        shapes = {name: {key: list(t.shape) for key, t in found.items()} for name, found in moments.items()}
        kinds.append({"kind": type(optimizer).__name__, "parameters": shapes})
        for name, found in moments.items():
            tensors |= _prefixed(f"optimizer{number}.{name}", found)
    content, name = save(tensors), f"checkpoint-{state['epoch']:04d}.safetensors"
    write_whole(directory / name, content)
    pointer = {"tensors": name, "sha256": hashlib.sha256(content).hexdigest(), "optimizers": kinds, **state}
    write_json(directory / STATE_FILE, pointer)
    if before and before != name:
        (directory / before).unlink(missing_ok=True)


def read_state(directory: str | Path) -> dict:
    """The JSON part of the checkpoint in `directory`. CheckpointError if there is none or it cannot be read."""
    path = Path(directory) / STATE_FILE
    missing = f"no {STATE_FILE} in {directory}; start a run there before resuming it"
    state = read_json(path, missing, remedy="start the run again")
    for key, kind in KNOWN.items():
        if (key in state or key not in OPTIONAL) and type(state.get(key)) is not kind:
            raise CheckpointError(f"{path} has no {key} of type {kind.__name__}; it is damaged, or of another version")
    if not all(isinstance(saved, dict) and isinstance(saved.get("parameters"), dict) for saved in state["optimizers"]):
        raise CheckpointError(f"{path} does not say which parameters an optimizer has moved; it is damaged")
    if not re.fullmatch(r"checkpoint-\d+\.safetensors", state["tensors"]):
        raise CheckpointError(f"{path} names {state['tensors']!r}, which is no checkpoint beside it; it is damaged")
    return state


def read_tensors(directory: str | Path, state: dict) -> dict[str, Tensor]:
    """The tensors that belong to a state. CheckpointError if they are missing or not those that were written."""
    path = Path(directory) / state["tensors"]
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != state["sha256"]:
        raise CheckpointError(f"{path} is missing or damaged (its SHA-256 differs from the one in {STATE_FILE})")
    return read_safetensors(content, path)


def load_checkpoint(
    directory: str | Path, model: nn.Module, optimizers: Optimizers = (), **others: nn.Module | None
) -> dict:
    """Restore the model, and the optimisers and other modules if given; returns the state that was saved.

    Everything is compared before anything is changed.

    Raises:
        CheckpointError: no checkpoint there, its tensors do not match their SHA-256, the model has other parameters, or
            an optimiser is of another kind or moves other parameters; what does not fit is named.
    """
    state = read_state(directory)
    tensors, where = read_tensors(directory, state), Path(directory) / state["tensors"]
    modules = {part: module for part, module in {"model": model, **others}.items() if module is not None}
    weights = {part: starting_with(f"{part}.", tensors) for part in modules}
    for part, module in modules.items():
        check_weights(weights[part], module.state_dict(), f"{where} belongs to another model")
    moments = []
    if optimizers := _listed(optimizers):
        if len(optimizers) != len(state["optimizers"]):
            raise CheckpointError(f"{where} has {len(state['optimizers'])} optimizers, this run {len(optimizers)}")
        for number, (optimizer, saved) in enumerate(zip(optimizers, state["optimizers"], strict=True)):
            moments.append(_fitting(model, optimizer, saved, starting_with(f"optimizer{number}.", tensors), where))
    for part, module in modules.items():
        module.load_state_dict(weights[part])
    for optimizer, found in zip(optimizers, moments, strict=True):
        optimizer.load_state_dict({"state": found, "param_groups": optimizer.state_dict()["param_groups"]})
    return state


def starting_with(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those whose name starts so, without the prefix."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _tensor_file(directory: Path) -> str | None:
    """The file that the checkpoint in a folder names; None if there is none that can be read."""
    try:
        return read_state(directory)["tensors"]
    except CheckpointError:
        return None


def _listed(optimizers: Optimizers) -> list[torch.optim.Optimizer]:
    return [optimizers] if isinstance(optimizers, torch.optim.Optimizer) else list(optimizers)


def _prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _names(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """The name of each parameter that the optimiser moves, in the optimiser's own order."""
    known = {parameter: name for name, parameter in model.named_parameters()}
    return [known[parameter] for group in optimizer.param_groups for parameter in group["params"]]


def _by_name(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    """{"head.weight": {"exp_avg": tensor, ...}, ...}: moments and step count, none for what has not moved yet."""
    found = optimizer.state_dict()["state"]
    return {
        name: {key: value for key, value in found.get(index, {}).items() if isinstance(value, Tensor)}
        for index, name in enumerate(_names(model, optimizer))
    }


def _fitting(
    model: nn.Module, optimizer: torch.optim.Optimizer, saved: dict, tensors: dict[str, Tensor], where: Path
) -> dict[int, dict[str, Tensor]]:
    """The saved moments by the index of their parameter. CheckpointError if they are another optimiser's."""
    kind, remedy = type(optimizer).__name__, "go on with the same, or start a new run from the weights"
    if saved.get("kind") != kind:
        raise CheckpointError(f"{where} has the moments of {saved.get('kind')}, this run uses {kind}; {remedy}")
    names, shapes = _names(model, optimizer), saved.get("parameters", {})
    odd = [name for name in [*names, *shapes] if (name in shapes) != (name in names)]
    if odd:
        has = "trains it" if odd[0] in names else "does not train it"
        raise CheckpointError(
            f"{where} has {kind}'s moments of {len(shapes)} parameters, this run trains {len(names)}: "
            f"{odd[0]} differs, since this run {has}; {remedy}"
        )
    parameters, moments = dict(model.named_parameters()), {}
    for index, name in enumerate(names):
        found = {key: tensors.get(f"{name}.{key}") for key in shapes[name]}
        for key, tensor in found.items():
            if tensor is None or list(tensor.shape) not in ([], list(parameters[name].shape)):
                shape = None if tensor is None else tuple(tensor.shape)
                raise CheckpointError(f"{where}: {key} of {name} is {shape}, expected {tuple(parameters[name].shape)}")
        if found:
            moments[index] = found
    return moments
