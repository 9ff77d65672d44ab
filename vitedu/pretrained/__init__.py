"""Models that somebody has trained: the book's own, which ship with it, and those that others published.

`load(name)` gives one of the book's, ready to use; `load_torchvision` and `load_timm` make a `ViT` of published
weights, the latter a `DistilledViT` of a distilled DeiT's; `load_hf` a `CvT`, `load_swin` a `Swin`, `load_bit` a `BiT`;
`load_dinov2`, `load_clip` and `load_mae` what was trained without labels.
"""

from vitedu.pretrained.convert import load_timm, load_torchvision
from vitedu.pretrained.convert_bit import load_bit
from vitedu.pretrained.convert_cvt import load_hf
from vitedu.pretrained.convert_swin import load_swin
from vitedu.pretrained.convert_towers import load_clip, load_dinov2, load_mae
from vitedu.pretrained.store import WEIGHTS, available, describe, load, save

__all__ = [
    "WEIGHTS",
    "available",
    "describe",
    "load",
    "load_bit",
    "load_clip",
    "load_dinov2",
    "load_hf",
    "load_mae",
    "load_swin",
    "load_timm",
    "load_torchvision",
    "save",
]
