"""The photograph of the picture chapters: Grace Hopper, United States Navy, public domain, shipped with matplotlib."""

import numpy as np
import torch
from matplotlib.cbook import get_sample_data
from PIL import Image
from torch import Tensor

from vitedu.patch import Size, pair


def photograph(size: Size = 224) -> Tensor:
    """The photograph as bytes (3, H, W): its largest centred window of the wanted shape, resized to `size` pixels."""
    height, width = pair(size)
    with get_sample_data("grace_hopper.jpg") as file, Image.open(file) as image:
        scale = min(image.width / width, image.height / height)
        left, top = (image.width - scale * width) / 2, (image.height - scale * height) / 2
        window = (left, top, left + scale * width, top + scale * height)
        resized = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS, box=window)
    return torch.from_numpy(np.asarray(resized).copy()).permute(2, 0, 1).contiguous()  # (3, H, W)
