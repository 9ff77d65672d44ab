"""What a published module tells that its weights do not: heads, the ε of its norms, dropout, the size of its images.

Used by `vitedu.pretrained.convert`. What `ViT` would compute differently is refused with the name of the part.
"""

from typing import NoReturn

from torch import nn

from vitedu.patch import Size, pair
from vitedu.pretrained.state_dict import one_side

# All that a plain Vision Transformer is made of: layers of PyTorch, and torchvision's and timm's own, by their names.
LAYERS = (nn.Linear, nn.LayerNorm, nn.Dropout, nn.Identity, nn.Sequential, nn.ModuleList, nn.MultiheadAttention)
OWN = ("PatchEmbed", "Encoder", "EncoderBlock", "Block", "Attention", "MLPBlock", "MLP", "Mlp", "DropPath")


def refuse(reason: str, model: str = "this model") -> NoReturn:
    """Raise the ValueError for a model that is not built as `ViT` is."""
    raise ValueError(f"{model} is not a plain Vision Transformer: {reason}")


def read_module(module: nn.Module, without: str = "") -> tuple[dict[str, object], str]:
    """Fields of a `ViTConfig`, and a few words on what is not carried over, or "".

    Args:
        module: a `VisionTransformer` of torchvision or timm.
        without: how the names of parts begin that are not wanted, those of the classifier; "" if all are.

    Raises:
        ValueError: a part, or a choice, that `ViT` does not have.
    """
    parts = {name: part for name, part in module.named_modules() if name and not (without and name.startswith(without))}
    for name, part in parts.items():
        if odd := _odd(name, part):
            refuse(f"{name} is {odd}")
    if (pool := getattr(module, "global_pool", "token")) not in ("token", False):
        refuse(f"its classifier does not read CLS (global_pool {pool!r})")
    told = {
        "num_heads": {part.num_heads for part in parts.values() if hasattr(part, "num_heads")},
        "eps": {part.eps for part in parts.values() if isinstance(part, nn.LayerNorm)},
    }
    for field, found in told.items():
        if len(found) > 1:
            refuse(f"it has more than one {field}: {', '.join(map(str, sorted(found)))}")
    rates, said = _dropout(parts)
    return {field: found.pop() for field, found in told.items() if found} | _image_size(module) | rates, said


def _odd(name: str, part: nn.Module) -> str:
    """What a part is, if a plain Vision Transformer has no such part in that place, else ""."""
    kind = type(part).__name__
    if name.endswith(("mlp.act", "mlp.1")):  # timm's activation, torchvision's
        exact = kind == "GELU" and getattr(part, "approximate", "none") == "none"
        return "" if exact else f"a {kind}, not the exact GELU"
    if isinstance(part, nn.Conv2d):
        cuts = part.stride == part.kernel_size and part.padding in ((0, 0), "valid")
        return "" if cuts else "a convolution whose windows are not the patches"
    if kind == "Attention":
        d = part.qkv.out_features / (3 * part.num_heads)
        return "" if abs(part.scale * d**0.5 - 1) < 1e-4 else f"an Attention that scales by {part.scale}, not 1/√{d:g}"
    tanh = kind == "Tanh" and name in ("heads.act", "pre_logits.act")  # of the head for pre-training
    return "" if tanh or kind in OWN or isinstance(part, LAYERS) else f"a {kind}"


def _image_size(module: nn.Module) -> dict[str, Size]:
    """The size of its images in pixels, by torchvision's name or timm's; nothing if it is not told."""
    size = getattr(module, "image_size", None) or getattr(getattr(module, "patch_embed", None), "img_size", None)
    return {"image_size": one_side(pair(size))} if size else {}


def _dropout(parts: dict[str, nn.Module]) -> tuple[dict[str, float], str]:
    """The rates that `ViT` can have, one for the tokens, one for attention weights and one for whole branches."""
    attention = {p.dropout for p in parts.values() if isinstance(p, nn.MultiheadAttention)}
    tokens: set[float] = set()
    for name, part in parts.items():
        if isinstance(part, nn.Dropout) and (name, part.p) != ("head_drop", 0):
            (attention if name.endswith("attn_drop") else tokens).add(part.p)
    drop_path = max((float(p.drop_prob or 0) for p in parts.values() if type(p).__name__ == "DropPath"), default=0.0)
    uneven = max(len(attention), len(tokens)) > 1
    rates = {"dropout": 0.0 if uneven else max(tokens, default=0.0), "drop_path": drop_path}
    said = "without dropout, whose rates differ" if uneven else ""
    return rates | {"attention_dropout": 0.0 if uneven else max(attention, default=0.0)}, said
