"""A `ViT` of published weights: checks, sizes, other image sizes and classifiers, and the line on what is assumed.

Used by `vitedu.pretrained.convert`.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from vitedu.files import say
from vitedu.patch import Size
from vitedu.position import interpolate_positions
from vitedu.pretrained.module import read_options, read_sizes, refuse
from vitedu.pretrained.source import Found
from vitedu.pretrained.state_dict import PublishedWeights
from vitedu.vit import ViT, ViTConfig

# What sets another variant apart, by what its keys look like: the first that is found is the reason for refusing it.
OTHER_MODELS = {
    r"^reg(_token|ister_tokens)": "it has register tokens",
    r"^norm_pre": "it normalises the tokens before the first block",
    r"^attn_pool": "its classifier reads all tokens through one more attention",
    r"^fc_norm": "its classifier reads the mean over the patches",
    r"^blocks\..*gamma": "it scales each branch by learned numbers",
    r"\.q_norm\.": "it normalises queries and keys",
    r"^patch_embed\.backbone": "its patches come from a convolutional network",
    r"^conv_proj\.conv_bn_relu": "its patches come from several convolutions",
    r"^(patch_embed|blocks\.\d+\.(attn|mlp))\.norm\.": "it has a LayerNorm in a place of its own",
}
# Whose weights those may be for which there is another loader, by how the reason begins.
READ_BY = {"it has register": "DINOv2", "it scales each branch": "DINOv2", "it normalises the tokens": "CLIP"}


class Wanted(NamedTuple):
    """The arguments of the loaders; `width` is that of the published model whose name was given."""

    image_size: Size | None
    num_classes: int | None
    num_heads: int | None
    trained_size: Size | None
    dtype: torch.dtype
    width: int | None = None


def refuse_other_models(weights: Mapping[str, Tensor], model: str = "this model") -> None:
    """ValueError, with the reason, for the weights of a variant."""
    for pattern, why in OTHER_MODELS.items():
        if keys := [key for key in weights if re.search(pattern, key)]:
            readers = [
                f"; load_{name.lower()} reads {name}'s" for start, name in READ_BY.items() if why.startswith(start)
            ]
            refuse(f"{why} ({keys[0]}){''.join(readers)}", model)
    if "pos_embed" in weights and "cls_token" not in weights:
        refuse("it has no class token", model)


def build(found: Found, practice: str, names: dict[str, str], wanted: Wanted) -> ViT:
    """The model, after a line on what was taken off and what is assumed, if there is anything to say.

    Args:
        found: the weights, and their module if there is one.
        practice: whose way to interpolate positions, "torchvision" or "timm".
        names: as in `PublishedWeights`.
        wanted: what the reader asks for.
    """
    if not isinstance(wanted.dtype, torch.dtype) or not wanted.dtype.is_floating_point:
        raise ValueError(f"dtype {wanted.dtype} holds no fractions; pass a floating-point type such as torch.float32")
    published = PublishedWeights(_plain_head(found.weights, names), names)
    kept = len(published.find("head.weight", 2)) if published.holds("head.weight") else None
    new_head = wanted.num_classes not in (None, kept)
    notes = [found.said]
    if new_head:
        group = published.name("head.").partition(".")[0]
        without_heads = (f"{group}.", "head_dist.", "pre_logits.")
        body = {key: w for key, w in published.weights.items() if not key.startswith(without_heads)}
        if kept is None and len(body) < len(published.weights):
            notes.append(f"with a new classifier instead of {group}")
        published = PublishedWeights(body, names)
    without = group if new_head else ""
    config, assumed = _config(found, published, wanted, without)
    exact = torch.promote_types(wanted.dtype, torch.float32)  # half precision cannot be interpolated everywhere
    carried = published.carry(config, not new_head, exact)  # checks every weight
    if found.module is not None:
        options, left_out = read_options(found.module, without)
        config, notes = replace(config, **options), [*notes, left_out]
    model = _assemble(published, config, carried, practice, wanted, new_head)
    if notes := [note for note in [*notes, assumed] if note]:
        say(f"load_{practice}: {'; '.join(notes)}")
    return model


def _plain_head(weights: Mapping[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    """A classifier of one linear layer, wherever it lies below its name, under the name that it usually has."""
    usual = PublishedWeights({}, names).name("head.")
    group = usual.partition(".")[0] + "."
    matrices = [key for key, w in weights.items() if key.startswith(group) and key.endswith("weight") and w.ndim == 2]
    if len(matrices) != 1:
        return dict(weights)
    mine = matrices[0].removesuffix("weight")
    return {usual + key.removeprefix(mine) if key.startswith(mine) else key: w for key, w in weights.items()}


def _config(found: Found, published: PublishedWeights, wanted: Wanted, without: str) -> tuple[ViTConfig, str]:
    """What the module, the weights and the arguments tell of the sizes, and a few words on what is assumed, or ""."""
    told = read_sizes(found.module, without) if found.module is not None else {}
    heads = told.get("num_heads", wanted.num_heads)
    if wanted.num_heads not in (None, heads):
        raise ValueError(f"num_heads is {wanted.num_heads}, and the model has {heads}; leave it out")
    config = published.config(heads, wanted.trained_size or told.get("image_size"))
    if wanted.width not in (None, config.dim):
        raise ValueError(f"a model of that name is {wanted.width} wide, and the weights {config.dim}; check the name")
    assumed = [] if heads or wanted.width else [f"{config.num_heads} heads"]
    if found.module is None and not wanted.width:
        assumed += ["GELU", f"ε = {config.eps:g}", "a classifier that reads CLS"]
    remedy = "pass the model itself" if heads else "pass num_heads, or the model itself"
    return config, f"assumed, for weights do not tell: {', '.join(assumed)} ({remedy})" if assumed else ""


def _assemble(
    published: PublishedWeights,
    trained: ViTConfig,
    carried: dict[str, Tensor],
    practice: str,
    wanted: Wanted,
    new_head: bool,
) -> ViT:
    """The model at the wanted size, for the wanted classes, in the wanted precision."""
    config, table = replace(trained, image_size=wanted.image_size or trained.image_size), carried["positions.table"]
    carried["positions.table"] = interpolate_positions(
        table, trained.grid, config.grid, published.num_prefix, convention=practice
    )
    if new_head:
        K = wanted.num_classes
        config = replace(config, num_classes=K, representation_size=0, zero_head=True)
        for head in published.heads:
            carried |= {f"{head}.weight": table.new_zeros(K, config.dim), f"{head}.bias": table.new_zeros(K)}
    with torch.device("meta"):  # no numbers are drawn that would be replaced at once
        model = published.kind(config)
    model.load_state_dict({name: w.to(wanted.dtype) for name, w in carried.items()}, assign=True)
    return model.eval()
