"""Where a model's tokens lie in the picture: the grid of the patches, what stands before them, what is classified.

For the book's models, and for the plain Vision Transformers of torchvision and timm as they are.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torchvision.models import VisionTransformer


class Layout(NamedTuple):
    """Patches down and across; tokens before them; whether the first is CLS; what is classified, "cls" or "mean"."""

    grid: tuple[int, int]
    num_prefix: int
    has_cls: bool
    pool: str


def layout_of(model: nn.Module, images: Tensor, maps: Sequence[Tensor]) -> Layout:
    """The layout of the tokens in maps (B, h, N, N) of a model for images (B, C, H, W).

    ValueError if the model has no such tokens that are known here, as where windows or stages change them.
    """
    while isinstance(inner := getattr(model, "_orig_mod", getattr(model, "module", None)), nn.Module):
        model = inner  # compiled, or in several processes
    size, embed, config = tuple(images.shape[-2:]), getattr(model, "patch_embed", None), getattr(model, "config", None)
    grid, cls, pool = None, getattr(model, "cls_token", None), getattr(model, "global_pool", "token")
    if hasattr(model, "grid") and hasattr(config, "pool"):  # the book's
        grid, cls, pool = model.grid, config.num_prefix or None, config.pool
    elif isinstance(model, VisionTransformer):  # torchvision's
        grid, cls, pool = tuple(side // model.patch_size for side in size), model.class_token, "cls"
    elif hasattr(model, "blocks") and hasattr(embed, "dynamic_feat_size"):  # timm's
        grid, pool = embed.dynamic_feat_size(size), {"token": "cls", "avg": "mean"}.get(pool, pool)
    shapes = {(layer.ndim, *layer.shape[-2:]) for layer in maps}
    axes, N, S = min(shapes)
    if grid is None or len(shapes) > 1 or axes != 4 or N != S or grid[0] * grid[1] > N:
        raise ValueError(
            f"the tokens of a {type(model).__name__} lie on no one grid that is known here; it takes a plain Vision "
            "Transformer, as load_timm and load_torchvision make them"
        )
    return Layout(tuple(grid), N - grid[0] * grid[1], cls is not None, pool)
