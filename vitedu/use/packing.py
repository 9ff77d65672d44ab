"""A model's weights in few bytes, for vit.js of the live pieces: half precision, or 8 bits with a scale for each row.

One scale for each row of a matrix: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", 2017, arXiv:1712.05877, there with a zero point besides; here only what is stored is
rounded, and all is computed in single precision.
"""

import json
import tempfile
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor, nn

from vitedu.models.hybrid import HybridViT
from vitedu.pretrained import load, save
from vitedu.pretrained.store import cast
from vitedu.vit import ViT


class Packed(NamedTuple):
    """What a page needs of a model: its card, its tensors as a safetensors file, and the model that these make."""

    card: dict
    content: bytes
    model: nn.Module


def refuse_what_no_page_computes(model: nn.Module) -> None:
    """ValueError for a model that vit.js and hybrid.js cannot run."""
    if type(model) not in (ViT, HybridViT):
        raise ValueError(
            f"a page cannot run a {type(model).__name__} yet; it runs a ViT and a HybridViT (--model hybrid)"
        )
    if model.config.norm != "pre":
        raise ValueError(f"a page cannot run blocks with norm {model.config.norm!r} yet; train with --norm pre")
    if isinstance(model, HybridViT) and (model.cnn.config.block != "basic" or model.cnn.config.stem_stride > 2):
        cnn = model.cnn.config
        raise ValueError(f"a page runs CNNs of basic blocks, stem stride 1 or 2, not {cnn.block}, {cnn.stem_stride}")


def pack(model: nn.Module, int8: bool = False) -> Packed:
    """The model in half precision, or with its matrices in 8 bits. ValueError for a model that no page can run."""
    refuse_what_no_page_computes(model)
    plain = with_a_table(model)
    with tempfile.TemporaryDirectory() as folder:
        if not int8:
            save("packed", plain, folder)
            content = (Path(folder) / "packed.safetensors").read_bytes()
            return Packed(_card(folder), content, load("packed", folder))
        tensors = in_bytes(plain.state_dict())
        plain.load_state_dict(from_bytes(tensors))
        save("packed", plain, folder)
        return Packed(_card(folder), tensors_to_bytes(tensors), plain.eval())


def _card(folder: str) -> dict:
    return json.loads((Path(folder) / "packed.json").read_text(encoding="utf-8"))


def with_a_table(model: nn.Module) -> nn.Module:
    """A copy whose positions are one learned table, whatever kind they were; vit.js knows no other kind but "none"."""
    if model.config.positions in ("learned", "none"):
        return deepcopy(model)
    core, config = getattr(model, "vit", model), replace(model.config, positions="learned")
    same = HybridViT(config, model.cnn.config) if isinstance(model, HybridViT) else ViT(config)
    weights = {key: tensor for key, tensor in model.state_dict().items() if "positions." not in key}
    at = "vit." if isinstance(model, HybridViT) else ""
    same.load_state_dict(weights | {f"{at}positions.table": core.positions.vectors().detach()})
    return same.eval()


def in_bytes(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices (rows, ...) as int8 with KEY:scale (rows,), what else holds fractions in half precision.

    The largest number of a row becomes ±127; what is rounded is at most half a step, 1/254 of it.
    """
    packed = {}
    for key, tensor in weights.items():
        if key.endswith("weight") and tensor.ndim > 1:
            scale = tensor.flatten(1).abs().amax(dim=1).clamp(min=1e-12) / 127  # (rows,)
            steps = tensor / scale.view(-1, *[1] * (tensor.ndim - 1))
            packed |= {key: steps.round().to(torch.int8), f"{key}:scale": scale}
        else:
            packed[key] = cast(tensor, torch.float16)
    return {key: tensor.detach().cpu().contiguous() for key, tensor in packed.items()}


def from_bytes(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights in single precision that the bytes stand for."""
    weights = {key: cast(tensor, torch.float32) for key, tensor in packed.items() if not key.endswith(":scale")}
    for key, tensor in weights.items():
        if (scale := packed.get(f"{key}:scale")) is not None:
            weights[key] = tensor * scale.view(-1, *[1] * (tensor.ndim - 1))
    return weights
