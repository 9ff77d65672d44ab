"""Published Swin weights into `vitedu.models.swin.Swin`, under torchvision's, timm's or Microsoft's names.

The three hold the same numbers. Names and layouts are those of torchvision.models.swin_transformer and
timm.models.swin_transformer; in Microsoft's files merging stands at the end of a stage, not before the next one.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace

import torch
import torchvision
from torch import Tensor
from torchvision.models import WeightsEnum

from vitedu.models.swin import Swin, SwinConfig
from vitedu.models.window_attention import relative_index
from vitedu.patch import Size
from vitedu.pretrained.source import Source, find_weights

TORCHVISION_SWINS = ("swin_t", "swin_s", "swin_b")
INSIDE = {".attention.bias_table": ".attn.relative_position_bias_table", ".attention.out_proj": ".attn.proj"}
NAMES: dict[str, dict[str, str]] = {  # patterns of our names, and what stands for them; `{next}` is the number plus one
    "torchvision": {
        r"^patch_embed\.proj": "features.0.0",
        r"^patch_norm": "features.0.2",
        r"^merges\.(\d+)": "features.{twice}",
        r"^stages\.(\d+)\.blocks": "features.{after}",
        r"\.mlp\.fc1": ".mlp.0",
        r"\.mlp\.fc2": ".mlp.3",
    },
    "timm": {
        r"^patch_norm": "patch_embed.norm",
        r"^merges\.(\d+)": "layers.{same}.downsample",
        r"^stages\.(\d+)": "layers.{same}",
        r"^head": "head.fc",
    },
    "Microsoft": {
        r"^patch_norm": "patch_embed.norm",
        r"^merges\.(\d+)": "layers.{before}.downsample",
        r"^stages\.(\d+)": "layers.{same}",
    },
}
TABLE = "stages.0.blocks.0.attention.bias_table"  # what every Swin of version 1 has


def published_name(ours: str, practice: str) -> str:
    """`stages.1.blocks.0.attention.q_proj.weight` -> `features.3.0.attn.qkv.weight`, and so on."""

    def numbered(form: str, match: re.Match) -> str:
        number = int(match[1]) if match.groups() else 0
        return form.format(same=number, before=number - 1, twice=2 * number, after=2 * number + 1)

    name = re.sub(r"\.attention\.[qkv]_proj", ".attn.qkv", ours)
    for old, new in INSIDE.items():
        name = name.replace(old, new)
    for pattern, form in NAMES[practice].items():
        name = re.sub(pattern, lambda match, form=form: numbered(form, match), name)
    return name


def load_swin(
    source: Source,
    weights: str | WeightsEnum | None = None,
    image_size: Size = 224,
    num_classes: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Swin:
    """A published Swin (version 1) in evaluation mode, with its own copy of the weights.

    Args:
        source: one of torchvision's names in `TORCHVISION_SWINS`, a model of torchvision's or timm's, its state dict,
            or the path of a file of one.
        weights: for a name, the published weights that torchvision should fetch, such as "IMAGENET1K_V1".
        image_size: in pixels, for what the model tells of its grid; images of other sizes run as well. timm rolls a map
            before it pads it, so that its scores differ where windows do not divide the map.
        num_classes: another K, or one where the weights have no classifier; it then starts at zero, for fine-tuning.
        dtype: of the model, whatever that of the weights.

    Raises:
        ValueError: weights without a name, another model, or weights that do not fit, with their key.
        TypeError: a source of another kind.
        CheckpointError: the file is missing or damaged, or wants to run code.
        OSError: the weights are not in torch's cache and cannot be fetched.
    """
    if isinstance(source, str) and source in TORCHVISION_SWINS:
        source = torchvision.models.get_model(source, weights=weights)
    elif weights is not None:
        raise ValueError(f"weights {weights} go with a name, one of {', '.join(TORCHVISION_SWINS)}; leave them out")
    anchors = [published_name(TABLE, practice) for practice in ("torchvision", "timm")]
    published = find_weights(source, anchors).weights
    if not set(anchors) & set(published):
        raise ValueError(f"neither {anchors[0]} nor {anchors[1]} is among the weights; this is no Swin of version 1")
    practice = _practice(published)
    config = _config(published, practice, image_size)
    for key in [key for key in published if re.search(r"\.(relative_position_index|attn_mask)$", key)]:
        buffer = published.pop(key)
        if key.endswith("index") and not torch.equal(buffer.flatten(), relative_index(config.window).flatten()):
            raise ValueError(f"{key} numbers the distances in another order; this is no Swin of version 1")
    if new_head := num_classes not in (None, _classes(published, practice)):
        config = replace(config, num_classes=num_classes)
    carried = carry(published, practice, config, with_head=not new_head)
    if new_head:
        K, D = config.num_classes, config.widths[-1]
        carried |= {"head.weight": torch.zeros(K, D), "head.bias": torch.zeros(K)}
    model = Swin(config)
    model.load_state_dict({name: value.to(dtype) for name, value in carried.items()}, assign=True)
    return model.eval()


def carry(
    published: Mapping[str, Tensor], practice: str, config: SwinConfig, with_head: bool = True
) -> dict[str, Tensor]:
    """A state dict for a `Swin` of this configuration, in memory of its own. Each published weight is used once.

    ValueError if one is missing, has another shape than the model needs, or has no place in the model.
    """
    with torch.device("meta"):
        model = Swin(config).state_dict()
    names = {ours: published_name(ours, practice) for ours in model}
    if unknown := sorted(set(published) - set(names.values())):
        raise ValueError(f"{unknown[0]} has no place in a Swin of version 1 ({len(unknown)} such weights)")
    wanted = [ours for ours in model if with_head or not ours.startswith("head.")]
    return {ours: _take(published, names[ours], ours, model[ours], config) for ours in wanted}


def _take(published: Mapping[str, Tensor], theirs: str, ours: str, target: Tensor, config: SwinConfig) -> Tensor:
    """One published weight in the shape of ours."""
    part, shape = re.search(r"attention\.([qkv])_proj", ours), list(target.shape)
    if part:
        shape[0] *= 3
    elif ours == "patch_embed.proj.weight":
        side = math.isqrt(shape[1] // config.in_channels)
        shape = [shape[0], config.in_channels, side, side]
    if theirs not in published:
        raise ValueError(f"{theirs} is missing{'; pass num_classes for a new classifier' * ours.startswith('head')}")
    value = published[theirs].detach()
    if list(value.shape) != shape:
        raise ValueError(f"{theirs} has shape {tuple(value.shape)}, expected {tuple(shape)}")
    if part:
        value = value.chunk(3)["qkv".index(part[1])]  # (3C, ...) -> (C, ...)
    return value.reshape(target.shape).clone()


def _practice(published: Mapping[str, Tensor]) -> str:
    """Whose names they are."""
    if published_name(TABLE, "torchvision") in published:
        return "torchvision"
    return "Microsoft" if any(key.startswith("layers.0.downsample.") for key in published) else "timm"


def _classes(published: Mapping[str, Tensor], practice: str) -> int | None:
    """K, or None where the weights have no classifier."""
    name = published_name("head.weight", practice)
    return len(published[name]) if name in published else None


def _config(published: Mapping[str, Tensor], practice: str, image_size: Size) -> SwinConfig:
    """The sizes that the shapes tell, K = 1 if there is no classifier."""

    def numbers(form: str) -> int:
        """How many names there are that differ in the number which is written as # here."""
        pattern = re.compile(re.escape(form).replace(r"\#", r"(\d+)"))
        return len({match[1] for key in published if (match := pattern.fullmatch(key))})

    count = 0
    while published_name(TABLE.replace("stages.0", f"stages.{count}"), practice) in published:
        count += 1
    tables = [published_name(TABLE.replace("stages.0", f"stages.{stage}"), practice) for stage in range(count)]
    dim, channels, patch, _ = published[published_name("patch_embed.proj.weight", practice)].shape
    hidden = published[published_name("stages.0.blocks.0.mlp.fc1.weight", practice)]
    return SwinConfig(
        image_size=image_size,
        patch_size=patch,
        in_channels=channels,
        num_classes=_classes(published, practice) or 1,
        dim=dim,
        depths=tuple(numbers(re.sub(r"\.0\.attn", ".#.attn", table)) for table in tables),
        num_heads=tuple(published[table].shape[1] for table in tables),
        window=(math.isqrt(len(published[tables[0]])) + 1) // 2,
        mlp_ratio=len(hidden) / dim,
    )
