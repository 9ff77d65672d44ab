"""What a published module tells that its weights do not: heads, the ε of its norms, dropout, the size of its images.

Used by `vitedu.pretrained.convert`. What `ViT` would compute differently is refused with the name of the part.
"""

from typing import NoReturn

from torch import nn

from vitedu.patch import pair
from vitedu.pretrained.state_dict import one_side

# All that a plain Vision Transformer is made of: layers of PyTorch, and torchvision's and timm's own, by their names.
LAYERS = (nn.Linear, nn.LayerNorm, nn.Dropout, nn.Identity, nn.Sequential, nn.ModuleList, nn.MultiheadAttention)
OWN = ("PatchEmbed", "Encoder", "EncoderBlock", "Block", "Attention", "MLPBlock", "MLP", "Mlp", "DropPath")


def refuse(reason: str, model: str = "this model") -> NoReturn:
    """Raise the ValueError for a model that is not built as `ViT` is."""
    raise ValueError(f"{model} is not a plain Vision Transformer: {reason}")


def read_sizes(module: nn.Module, without: str = "") -> dict[str, object]:
    """Fields of a `ViTConfig`: num_heads and image_size, as far as the module tells them.

    Args:
        module: a `VisionTransformer` of torchvision or timm.
        without: how the names of parts begin that are not wanted, those of the classifier; "" if all are.

    Raises:
        ValueError: a part, or a choice, that `ViT` does not have.
    """
    parts = _parts(module, without)
    for name, part in parts.items():
        if odd := _odd(name, part):
            refuse(f"{name} is {odd}")
    if (pool := getattr(module, "global_pool", "token")) not in ("token", False):
        refuse(f"its classifier does not read CLS (global_pool {pool!r})")
    size = getattr(module, "image_size", None) or getattr(getattr(module, "patch_embed", None), "img_size", None)
    heads = _only("num_heads", {part.num_heads for part in parts.values() if hasattr(part, "num_heads")})
    return heads | ({"image_size": one_side(pair(size))} if size else {})


def read_options(module: nn.Module, without: str = "") -> tuple[dict[str, float], str]:
    """Its eps and its rates of dropout, and a few words on what is not carried over, or "".

    The rates are one for the tokens, one for attention weights and one for whole branches, as `ViT` has them.
    ValueError if there is more than one eps. The arguments are those of `read_sizes`.
    """
    parts = _parts(module, without)
    attention = {p.dropout for p in parts.values() if isinstance(p, nn.MultiheadAttention)}
    tokens: set[float] = set()
    for name, part in parts.items():
        if isinstance(part, nn.Dropout) and (name, part.p) != ("head_drop", 0):
            (attention if name.endswith("attn_drop") else tokens).add(part.p)
    options = _only("eps", {part.eps for part in parts.values() if isinstance(part, nn.LayerNorm)})
    branches = (float(p.drop_prob or 0) for p in parts.values() if type(p).__name__ == "DropPath")
    options["drop_path"] = max(branches, default=0.0)
    if max(len(attention), len(tokens)) > 1:
        return options, "without dropout, whose rates differ"
    return options | {"dropout": max(tokens, default=0.0), "attention_dropout": max(attention, default=0.0)}, ""


def _parts(module: nn.Module, without: str) -> dict[str, nn.Module]:
    return {name: part for name, part in module.named_modules() if name and not (without and name.startswith(without))}


def _only(field: str, found: set) -> dict[str, object]:
    """The one value of a field, by its name; nothing if there is none, ValueError if there are several."""
    if len(found) > 1:
        refuse(f"it has more than one {field}: {', '.join(map(str, sorted(found)))}")
    return {field: found.pop()} if found else {}


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
