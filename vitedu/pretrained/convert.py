"""Published weights into `vitedu.vit.ViT`: torchvision's models, and timm's plain Vision Transformers.

Names and layouts are those of torchvision.models.vision_transformer and timm.models.vision_transformer. The numbers are
carried over as they are, but for positions at another image size and a classifier for other classes.
"""

import os
import re
from pathlib import Path

import torch
import torchvision
from torch import nn
from torchvision.models import VisionTransformer, WeightsEnum

from vitedu.patch import Size
from vitedu.pretrained.build import Wanted, build, refuse_other_models
from vitedu.pretrained.source import Found, Source, find_weights
from vitedu.pretrained.state_dict import PublishedWeights
from vitedu.vit import PRESETS, ViT

TORCHVISION = {
    "patch_embed.proj": "conv_proj",
    "cls_token": "class_token",
    "positions.table": "encoder.pos_embedding",
    "encoder.blocks.": "encoder.layers.encoder_layer_",
    "encoder.norm": "encoder.ln",
    ".norm": ".ln_",
    ".attention.qkv.": ".self_attention.in_proj_",
    ".attention.out_proj": ".self_attention.out_proj",
    ".mlp.fc1": ".mlp.0",
    ".mlp.fc2": ".mlp.3",
    "pre_logits.0": "heads.pre_logits",
    "head.": "heads.head.",
}
TIMM = {
    "positions.table": "pos_embed",
    "encoder.blocks": "blocks",
    "encoder.norm": "norm",
    ".attention.qkv": ".attn.qkv",
    ".attention.out_proj": ".attn.proj",
    "pre_logits.0": "pre_logits.fc",
}
NAMES = {"torchvision": TORCHVISION, "timm": TIMM}
TORCHVISION_MODELS = ("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14")
SIZES = {"tiny": "Ti/16", "small": "S/16", "base": "B/16", "large": "L/16"}
TIMM_MODELS = {  # and the preset that each is
    **{f"vit_{size}_patch16_224": preset for size, preset in SIZES.items()},
    "vit_base_patch32_224": "B/32",
    "vit_huge_patch14_224": "H/14",
    **{f"deit_{size}_patch16_224": SIZES[size] for size in ("tiny", "small", "base")},
    **{f"deit_{size}_distilled_patch16_224": SIZES[size] for size in ("tiny", "small", "base")},
}


def load_torchvision(
    source: Source,
    weights: str | WeightsEnum | None = None,
    image_size: Size | None = None,
    num_classes: int | None = None,
    num_heads: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> ViT:
    """A Vision Transformer of torchvision as a `ViT` in evaluation mode, with its own copy of the weights.

    What was wrapped around the weights, and what is assumed because weights do not tell it, is said in one line.

    Args:
        source: one of `TORCHVISION_MODELS`, a `VisionTransformer`, its state dict, or the path of a file of one.
        weights: for a name, the published weights that torchvision should fetch, such as "IMAGENET1K_V1", "DEFAULT" or
            a member of its enum; None for a model as torchvision starts it, at random and with a classifier of zeros.
        image_size: another size in pixels; the positions are interpolated as torchvision does it.
        num_classes: another K; the classifier then starts at zero, for fine-tuning.
        num_heads: for a state dict or a file, which do not tell it; None takes that of the published model as wide.
        dtype: of the `ViT`, whatever that of the weights.

    Raises:
        ValueError: an unknown name, a variant that `ViT` does not have, or weights that do not fit, with their key.
        TypeError: a module that is no `VisionTransformer`.
        CheckpointError: the file is missing or damaged, or wants to run code.
        OSError: the weights are not in torch's cache and cannot be fetched.
    """
    if isinstance(source, str) and not (Path(source).suffix or os.sep in source or Path(source).is_file()):
        source = _torchvision_model(source, weights)
    elif weights is not None:
        raise ValueError(f"weights {weights} go with a name, one of {', '.join(TORCHVISION_MODELS)}; leave them out")
    found = _find(source, "torchvision")
    if found.module is not None and not isinstance(found.module, VisionTransformer):
        raise TypeError(f"a {type(source).__name__} is no torchvision VisionTransformer; pass one, or its name")
    new = {"1": "mlp.0.", "2": "mlp.3."}  # torchvision's files have older names
    weights = {re.sub(r"mlp\.linear_([12])\.", lambda old: new[old[1]], key): w for key, w in found.weights.items()}
    refuse_other_models(weights)
    wanted = Wanted(image_size, num_classes, num_heads, None, dtype)
    return build(found._replace(weights=weights), "torchvision", TORCHVISION, wanted)


def load_timm(
    source: Source,
    image_size: Size | None = None,
    num_classes: int | None = None,
    num_heads: int | None = None,
    trained_size: Size | None = None,
    name: str = "",
    dtype: torch.dtype = torch.float32,
) -> ViT:
    """One of timm's plain Vision Transformers as a `ViT` in evaluation mode, with its own copy of the weights.

    Those with a distillation token become a `DistilledViT`, which is one. The names are DeiT's own, too.
    What was wrapped around the weights, and what is assumed because weights do not tell it, is said in one line.

    Args:
        source: a model that is built as those in `TIMM_MODELS` are, its state dict, or the path of a file of one.
        image_size: another size in pixels; the positions are interpolated as timm does it.
        num_classes: another K, or one where the weights have no classifier; it then starts at zero, for fine-tuning.
        num_heads: for a state dict or a file, which do not tell it; None takes that of the published model as wide.
        trained_size: the size of the images the weights were trained on, where they were not square.
        name: timm's name of the model; one that is not in `TIMM_MODELS` is refused.
        dtype: of the `ViT`, whatever that of the weights.

    Raises:
        ValueError: another variant, with the reason, or weights that do not fit, with their key.
        TypeError: a module that is none of timm's Vision Transformers.
        CheckpointError: the file is missing or damaged, or wants to run code.
    """
    found = _find(source, "timm")
    if found.module is not None and not (hasattr(found.module, "blocks") and hasattr(found.module, "patch_embed")):
        raise TypeError(f"a {type(source).__name__} is no VisionTransformer of timm's; pass one, or its state dict")
    refuse_other_models(found.weights, f"timm's {name}" if name else "this model")
    known = TIMM_MODELS.get(name.partition(".")[0])
    if name and known is None:
        raise ValueError(f"timm's {name} is not among the models tested to give equal scores: {', '.join(TIMM_MODELS)}")
    wanted = Wanted(image_size, num_classes, num_heads, trained_size, dtype, PRESETS[known]["dim"] if known else None)
    return build(found, "timm", TIMM, wanted)


def _torchvision_model(name: str, weights: str | WeightsEnum | None) -> nn.Module:
    if name not in TORCHVISION_MODELS:
        raise ValueError(f"{name!r} is not one of torchvision's {', '.join(TORCHVISION_MODELS)}")
    known = torchvision.models.get_model_weights(name)
    if isinstance(weights, str):  # also "DEFAULT", and with the name of the enum before it
        weights = known.__members__.get(weights.removeprefix(f"{known.__name__}."), weights)
    if weights is not None and not isinstance(weights, known):
        raise ValueError(f"weights {str(weights)!r} are not among those of {name}: {', '.join(known.__members__)}")
    try:
        return torchvision.models.get_model(name, weights=weights)
    except OSError as error:
        reason = f"are not in torch's cache and cannot be fetched: {error}"
        raise OSError(f"weights {weights.name} of {name} {reason}") from error


def _find(source: Source, practice: str) -> Found:
    """The weights, by the names that torchvision or timm gives them; ValueError if they have those of the other."""
    first = {each: PublishedWeights({}, names).name("patch_embed.proj.weight") for each, names in NAMES.items()}
    others = [PublishedWeights({}, NAMES[practice]).name(ours) for ours in ("cls_token", "positions.table")]
    found = find_weights(source, [first.pop(practice), *others])
    for other, anchor in first.items():
        if any(f".{key}".endswith(f".{anchor}") for key in found.weights):
            raise ValueError(f"{anchor} is a name of {other}'s; use load_{other}")
    return found
