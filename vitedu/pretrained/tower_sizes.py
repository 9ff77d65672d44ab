"""The sizes of a published tower, as far as its weights and its module tell them. Used by `convert_towers`."""

import math
from collections.abc import Mapping

from torch import Tensor, nn

from vitedu.patch import Size, pair
from vitedu.pretrained.carry import Names, published_name
from vitedu.pretrained.state_dict import HEADS, one_side, square


def read_sizes(
    weights: Mapping[str, Tensor],
    names: Names,
    num_heads: int | None,
    trained_size: Size | None,
    module: nn.Module | None,
) -> dict[str, object]:
    """The fields of a config that the shapes tell, and the module if there is one. ValueError if they do not tell."""

    def find(ours: str, axes: int) -> Tensor:
        theirs = published_name(ours, names)
        if theirs not in weights:
            raise ValueError(f"{theirs} is missing")
        if weights[theirs].ndim != axes:
            raise ValueError(f"{theirs} has shape {tuple(weights[theirs].shape)}, expected {axes} axes")
        return weights[theirs]

    D, C, *patch = find("patch_embed.proj.weight", 4).shape
    if (table := published_name("positions.table", names)) not in weights:
        raise ValueError(f"{table} is missing")
    rows = weights[table].shape[-2]
    told, alike = _of_module(module, num_heads)
    if (heads := told or HEADS.get(D)) is None:
        raise ValueError(f"the weights do not tell how many heads share the width {D}; pass num_heads")
    with_cls = math.isqrt(rows - 1) ** 2 == rows - 1
    return alike | {
        "image_size": trained_size or alike.get("image_size") or square(rows - with_cls, *patch),
        "patch_size": one_side(patch),
        "in_channels": C,
        "dim": D,
        "depth": count_blocks(weights, published_name("encoder.blocks.", names)),
        "num_heads": heads,
        "mlp_ratio": len(find("encoder.blocks.0.mlp.fc1.weight", 2)) / D,
    }


def _of_module(module: nn.Module | None, num_heads: int | None) -> tuple[int | None, dict[str, object]]:
    """Its heads, or those that are asked for; the ε of its norms, and the size of its images, as far as it tells."""
    if module is None:
        return num_heads, {}
    parts = _parts(module)
    heads = [
        getattr(part, name) for part in parts for name in ("num_heads", "num_attention_heads") if hasattr(part, name)
    ]
    if num_heads and heads and heads[0] != num_heads:
        raise ValueError(f"num_heads is {num_heads}, and the model has {heads[0]}; leave it out")
    eps = [part.eps for part in parts if isinstance(part, nn.LayerNorm)]
    size = getattr(getattr(module, "patch_embed", None), "img_size", None)
    alike = ({"eps": eps[0]} if eps else {}) | ({"image_size": one_side(pair(size))} if size else {})
    return (heads[0] if heads else num_heads), alike


def _parts(module: nn.Module) -> list[nn.Module]:
    """The layers of a module, those of a text tower left out."""
    return [part for name, part in module.named_modules() if not name.startswith("text")]


def activation_of(module: nn.Module | None) -> str:
    """The non-linearity of a CLIP: the module's, or that of OpenAI's weights."""
    kinds = [type(part).__name__ for part in _parts(module)] if module is not None else ["QuickGELU"]
    return "quick_gelu" if any("QuickGELU" in kind for kind in kinds) else "gelu"


def count_blocks(weights: Mapping[str, Tensor], prefix: str) -> int:
    """How many blocks there are whose weights' names begin so."""
    return len({key.removeprefix(prefix).partition(".")[0] for key in weights if key.startswith(prefix)})
