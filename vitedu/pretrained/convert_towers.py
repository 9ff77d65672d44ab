"""Published towers without labels: DINOv2, with and without registers, the image tower of CLIP, and MAE.

Names are those of the authors' code, of timm and of Hugging Face. The numbers are carried over as they are, but for
positions at another image size. (MAE's encoder alone, and DINO of 2021, are plain: `load_timm` reads them.)
"""

import math
import re
from dataclasses import replace

import torch
from torch import Tensor, nn

from vitedu.files import say
from vitedu.models.clip import ImageTower, ImageTowerConfig
from vitedu.models.dinov2 import DINOv2, DINOv2Config
from vitedu.models.mae import MAE, MAEConfig
from vitedu.patch import Size
from vitedu.position import interpolate_positions
from vitedu.pretrained.carry import Names, carry, published_name
from vitedu.pretrained.source import Source, find_weights
from vitedu.pretrained.tower_names import HF_CLIP, HF_DINOV2, HF_DINOV2_MODEL, META, OPENAI, PLAIN, TIMM
from vitedu.pretrained.tower_sizes import activation_of, count_blocks, read_sizes
from vitedu.vit import ViT

CLS = r"^cls_token"
# Which names weights have, by one that they are known by, the surest first.
KINDS = {
    "load_dinov2": {
        "encoder.layer.0.attention.q_proj.weight": HF_DINOV2_MODEL,
        HF_DINOV2[CLS]: HF_DINOV2,
        "register_tokens": META,
        "reg_token": TIMM,
        "pos_embed": TIMM,
    },
    "load_clip": {HF_CLIP[CLS]: HF_CLIP, OPENAI[CLS]: OPENAI, "norm_pre.weight": TIMM},
    "load_mae": {"decoder_embed.weight": PLAIN},
}
LEFT_OUT = {  # what stands beside the tower in such files, without a place in it
    "load_dinov2": r"(embeddings\.)?mask_token$|head\.",
    "load_clip": r"text_model\.|text_projection|logit_|.*position_ids$",
    "load_mae": r"head\.",
}


def load_dinov2(
    source: Source,
    image_size: Size | None = None,
    num_classes: int | None = None,
    num_heads: int | None = None,
    trained_size: Size | None = None,
) -> DINOv2:
    """A DINOv2 of widths S, B or L, with or without registers, in evaluation mode and with its own copy of the weights.

    Args:
        source: a model, its state dict or the path of a file of one, under the names of the authors' code, of timm
            (`vit_base_patch14_reg4_dinov2`) or of Hugging Face (`Dinov2Model`).
        image_size: another size in pixels; the positions are interpolated as timm does it.
        num_classes: K of a classifier of zeros, 1000 by default; the weights have none. `represent` needs none.
        num_heads: for weights that do not tell it; None takes that of the published model as wide.
        trained_size: the size of the images the weights were trained on, where they were not square.

    Raises:
        ValueError: weights that do not fit, with their key. The largest model, g, has another MLP.
        CheckpointError: the file is missing or damaged, or wants to run code.
    """
    weights, names, module = _find("load_dinov2", source)
    fields, table = (
        read_sizes(weights, names, num_heads, trained_size, module),
        published_name("positions.table", names),
    )
    D, K, empty = fields["dim"], num_classes or 1000, torch.zeros(1, 0, fields["dim"])
    registers = weights.setdefault(published_name("registers", names), empty)
    config = DINOv2Config(**fields, num_classes=K, num_registers=registers.shape[-2])
    if weights[table].shape[-2] == math.prod(config.grid):  # timm adds the position of CLS to its token
        weights[table] = torch.cat([torch.zeros(1, 1, D), weights[table]], dim=1)
    weights |= {"head.weight": torch.zeros(K, D), "head.bias": torch.zeros(K)}
    return _at_size(carry(weights, DINOv2, config, names), image_size)


def load_clip(
    source: Source,
    image_size: Size | None = None,
    activation: str | None = None,
    num_heads: int | None = None,
    trained_size: Size | None = None,
) -> ImageTower:
    """The image tower of a CLIP with a ViT, in evaluation mode and with its own copy of the weights.

    Args:
        source: a model, its state dict or the path of a file of one, under the names of the authors' code and
            open_clip, of timm (`vit_base_patch16_clip_quickgelu_224`) or of Hugging Face (`CLIPModel`).
        activation: "quick_gelu", as in OpenAI's weights, or "gelu", as in most that others trained; None for that of
            the model, or for "quick_gelu" where there are weights alone.

    The others are those of `load_dinov2`, and so are the errors.
    """
    weights, names, module = _find("load_clip", source)
    if "proj" in weights:
        weights["proj.T"] = weights.pop("proj").T
    if not weights.get("head.bias", torch.ones(1)).any():  # timm's layer has one, which such weights leave at zero
        del weights["head.bias"]
    head = published_name("head.weight", names)
    if head not in weights:
        raise ValueError(f"{head} is missing; pass the tower with its projection")
    fields = read_sizes(weights, names, num_heads, trained_size, module)
    fields |= {"num_classes": len(weights[head]), "activation": activation or activation_of(module)}
    return _at_size(carry(weights, ImageTower, ImageTowerConfig(**fields), names), image_size)


def load_mae(
    source: Source,
    norm_pix_loss: bool = True,
    num_heads: int | None = None,
    decoder_heads: int = 16,
    trained_size: Size | None = None,
) -> MAE:
    """A MAE with its decoder, in evaluation mode and with its own copy of the weights.

    Args:
        source: a model, its state dict or the path of a file of one, under the names of the authors' code
            (`mae_visualize_vit_base.pth` and the like). Files without a decoder are for `load_timm`.
        norm_pix_loss: whether it was trained to paint normalised patches, which the weights do not tell.
        decoder_heads: heads of the decoder; weights do not tell them.

    The others are those of `load_dinov2`, and so are the errors.
    """
    weights, names, module = _find("load_mae", source)
    fields = read_sizes(weights, names, num_heads, trained_size, module)
    decoder = {
        "decoder_dim": len(weights["decoder_embed.weight"]),
        "decoder_depth": count_blocks(weights, "decoder_blocks."),
    }
    config = MAEConfig(**fields | decoder, decoder_heads=decoder_heads, norm_pix_loss=norm_pix_loss)
    return carry(weights, MAE, config, names)


def _find(loader: str, source: Source) -> tuple[dict[str, Tensor], Names, nn.Module | None]:
    """The weights of the tower, how they are called, and the module they are of; what was left out is said."""
    kinds = KINDS[loader]
    found = find_weights(source, list(kinds))
    names = next((names for anchor, names in kinds.items() if anchor in found.weights), None)
    if names is None:
        raise ValueError(f"the weights hold none of {', '.join(kinds)}; {loader} reads other models")
    weights = {key: w for key, w in found.weights.items() if not re.match(LEFT_OUT[loader], key)}
    beside = dict.fromkeys(key.partition(".")[0] for key in found.weights.keys() - weights.keys())
    notes = [found.said, f"left out {', '.join(sorted(beside))}" if beside else ""]
    if any(notes):
        say(f"{loader}: {'; '.join(note for note in notes if note)}")
    return weights, names, found.module


def _at_size(model: ViT, image_size: Size | None) -> ViT:
    """The same model for images of another size, its positions interpolated as timm does it."""
    config = replace(model.config, image_size=image_size or model.config.image_size)
    table = interpolate_positions(model.positions.table.detach(), model.grid, config.grid, 1, "timm")
    weights = {name: value.detach() for name, value in model.state_dict().items()} | {"positions.table": table}
    with torch.device("meta"):
        resized = type(model)(config)
    resized.load_state_dict(weights, assign=True)
    return resized.eval()
