"""Published weights into `vitedu.vit.ViT`: torchvision's models, and timm's plain Vision Transformers.

Names and layouts are those of torchvision.models.vision_transformer and timm.models.vision_transformer. The numbers are
carried over as they are, but for positions at another image size and a classifier for other classes.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
import torchvision
from torch import Tensor, nn

from vitedu.patch import Size
from vitedu.position import interpolate_positions
from vitedu.pretrained.state_dict import PublishedWeights
from vitedu.vit import ViT, ViTConfig

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
TORCHVISION_MODELS = ("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14")
TIMM_MODELS = (
    *(f"vit_{size}_patch16_224" for size in ("tiny", "small", "base", "large")),
    "vit_base_patch32_224",
    "vit_huge_patch14_224",
    *(f"deit_{size}_patch16_224" for size in ("tiny", "small", "base")),
)
# What sets another variant apart, by a part of a key: the first that is found is the reason for refusing it.
OTHER_MODELS = {
    "dist_token": "it has a distillation token and a second head",
    "reg_token": "it has register tokens",
    "norm_pre": "it normalises the tokens before the first block",
    "attn_pool": "its classifier reads all tokens through one more attention",
    "fc_norm": "its classifier reads the mean over the patches",
    "gamma": "it scales each branch by learned numbers",
    "q_norm": "it normalises queries and keys",
    "patch_embed.backbone": "its patches come from a convolutional network",
    "conv_bn_relu": "its patches come from several convolutions",
    ".norm.weight": "it has a LayerNorm in a place of its own",
}


def load_torchvision(
    name_or_module: str | nn.Module,
    weights: str | None = None,
    image_size: Size | None = None,
    num_classes: int | None = None,
) -> ViT:
    """A Vision Transformer of torchvision as a `ViT` in evaluation mode, with its own copy of the weights.

    Args:
        name_or_module: one of `TORCHVISION_MODELS`, or a `VisionTransformer`.
        weights: for a name, the published weights that torchvision should fetch, such as "IMAGENET1K_V1"; None for a
            model as torchvision starts it, at random and with a classifier of zeros.
        image_size: another size in pixels; the positions are interpolated as torchvision does it.
        num_classes: another K; the classifier then starts at zero, for fine-tuning.

    Raises:
        ValueError: an unknown name, a variant that `ViT` does not have, or weights that do not fit, with their key.
        TypeError: a module that is no `VisionTransformer`.
        OSError: the weights are not in torch's cache and cannot be fetched.
    """
    module = _torchvision_model(name_or_module, weights) if isinstance(name_or_module, str) else name_or_module
    if not isinstance(module, torchvision.models.VisionTransformer):
        raise TypeError(f"a {type(module).__name__} is no torchvision VisionTransformer; pass one, or its name")
    published, block = PublishedWeights(module.state_dict(), TORCHVISION), module.encoder.layers[0]
    _refuse_other_models(published.weights, "this model")
    config = published.config(block.num_heads, module.image_size)
    config = replace(config, dropout=module.dropout, attention_dropout=module.attention_dropout, eps=block.ln_1.eps)
    return _build(published, config, image_size, num_classes, "torchvision")


def load_timm(
    state_dict: Mapping[str, Tensor],
    image_size: Size | None = None,
    num_classes: int | None = None,
    num_heads: int | None = None,
    trained_size: Size | None = None,
    name: str = "",
) -> ViT:
    """The state dict of one of timm's plain Vision Transformers as a `ViT` in evaluation mode, with its own copy.

    Args:
        state_dict: of a model that is built as those in `TIMM_MODELS` are.
        image_size: another size in pixels; the positions are interpolated as timm does it.
        num_classes: another K, or one where the weights have no classifier; it then starts at zero, for fine-tuning.
        num_heads: where the width is none of the published ones, which tell the heads.
        trained_size: the size of the images the weights were trained on, where they were not square.
        name: timm's name of the model; one that is not in `TIMM_MODELS` is refused.

    Raises:
        ValueError: another variant, with the reason, or weights that do not fit, with their key.
    """
    _refuse_other_models(state_dict, f"timm's {name}" if name else "this model")
    if name and name.partition(".")[0] not in TIMM_MODELS:
        tested = ", ".join(TIMM_MODELS)
        raise ValueError(f"timm's {name} is not among the models tested to give equal scores: {tested}")
    published = PublishedWeights(state_dict, TIMM)
    return _build(published, published.config(num_heads, trained_size), image_size, num_classes, "timm")


def _torchvision_model(name: str, weights: str | None) -> nn.Module:
    if name not in TORCHVISION_MODELS:
        raise ValueError(f"{name!r} is not one of torchvision's {', '.join(TORCHVISION_MODELS)}")
    known = [entry.name for entry in torchvision.models.get_model_weights(name)]
    if weights is not None and weights not in known:
        raise ValueError(f"weights {weights!r} are not among those of {name}: {', '.join(known)}")
    try:
        return torchvision.models.get_model(name, weights=weights)
    except OSError as error:
        raise OSError(f"weights {weights} of {name} are not in torch's cache and cannot be fetched: {error}") from error


def _refuse_other_models(weights: Mapping[str, Tensor], model: str) -> None:
    reasons = [f"{why} ({key})" for part, why in OTHER_MODELS.items() for key in weights if part in key]
    if "pos_embed" in weights and "cls_token" not in weights:
        reasons.append("it has no class token")
    if reasons:
        raise ValueError(f"{model} is not a plain Vision Transformer: {reasons[0]}")


def _build(
    published: PublishedWeights, trained: ViTConfig, image_size: Size | None, num_classes: int | None, convention: str
) -> ViT:
    """The model at the wanted size and for the wanted classes."""
    kept = trained.num_classes if published.holds("head.weight") else None
    new_head = num_classes not in (None, kept)
    carried = published.carry(trained, with_head=not new_head)
    config = replace(trained, image_size=image_size or trained.image_size)
    table = carried["positions.table"]
    carried["positions.table"] = interpolate_positions(table, trained.grid, config.grid, convention=convention)
    if new_head:
        config = replace(config, num_classes=num_classes, representation_size=0, zero_head=True)
        carried |= {"head.weight": table.new_zeros(num_classes, config.dim), "head.bias": table.new_zeros(num_classes)}
    with torch.device("meta"):  # no numbers are drawn that would be replaced at once
        model = ViT(config)
    model.load_state_dict(carried, assign=True)
    return model.eval()
