"""Published models with the way in which each wants its photographs prepared, as their libraries have it.

CvT: experiments/imagenet/cvt/*.yaml in github.com/microsoft/CvT. torchvision: `weights.transforms()`. timm: the
`pretrained_cfg` of each model. A model that is given other pixels than it was trained for answers, and worse.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from vitedu.initialise import one_of
from vitedu.pretrained import load_bit, load_hf, load_timm, load_torchvision

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and standard deviation of each channel
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What is done to a photograph: its shorter side to `resize` pixels, the middle `crop` × `crop` kept, normalised.

    With `squash` both sides become `resize`, whatever the picture's were.
    """

    resize: int
    crop: int
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = IMAGENET[0]
    std: tuple[float, float, float] = IMAGENET[1]
    squash: bool = False

    def __post_init__(self) -> None:
        one_of("interpolation", self.interpolation, INTERPOLATIONS)
        if self.crop > self.resize:
            raise ValueError(f"crop {self.crop} is larger than resize {self.resize}; crop at most what is there")

    def __call__(self, picture: Image.Image) -> Tensor:
        """A photograph of any size -> (3, crop, crop), normalised."""
        picture = picture.convert("RGB")
        width, height = picture.size
        short, crop = min(width, height), self.crop
        sides = [self.resize if self.squash else int(self.resize * side / short) for side in (width, height)]
        picture = picture.resize(sides, INTERPOLATIONS[self.interpolation])
        left, top = (round((side - crop) / 2.0) for side in sides)
        pixels = torch.from_numpy(np.array(picture.crop((left, top, left + crop, top + crop))))  # (crop, crop, 3)
        mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (self.mean, self.std))
        return (pixels.permute(2, 0, 1) / 255 - mean) / std  # (3, crop, crop)


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published model.

    Args:
        load: what fetches it, given a number of classes for a new head, or None for the published one.
        prepare: its photographs.
        parameters: of it, with the published head.
        accuracy: top-1 on the ImageNet validation images as it was published, in per cent; None without that head.
        source: who says so.
    """

    load: Callable[[int | None], nn.Module]
    prepare: Preparation
    parameters: int
    accuracy: float | None
    source: str


def _resnet50(weights: str) -> Callable[[int | None], nn.Module]:
    def load(num_classes: int | None) -> nn.Module:
        from torchvision.models import resnet50  # importing torchvision takes seconds

        model = resnet50(weights=weights)
        if num_classes:
            model.fc = zero_linear(model.fc.in_features, num_classes)
        return model.eval()

    return load


def _timm(name: str, convert: Callable[..., nn.Module]) -> Callable[[int | None], nn.Module]:
    def load(num_classes: int | None) -> nn.Module:
        if importlib.util.find_spec("timm") is None:
            raise ValueError(f"{name} comes from timm, which is missing; pip install timm")
        import timm

        return convert(timm.create_model(name, pretrained=True), num_classes=num_classes)

    return load


def zero_linear(inputs: int, num_classes: int) -> nn.Linear:
    """A classifier that starts at zero."""
    head = nn.Linear(inputs, num_classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


BIT_BASE, VIT_BASE = "resnetv2_50x1_bit.goog_in21k", "vit_base_patch16_224.augreg_in21k"
CVT_PAPER, TORCHVISION, TIMM = "Wu et al. 2021, table 3", "torchvision's page of weights", "timm's table of results"

PUBLISHED: dict[str, Published] = {
    "cvt-13": Published(
        load=lambda K: load_hf("cvt-13", num_classes=K, activation="quick_gelu"),
        prepare=Preparation(resize=256, crop=224),
        parameters=19_997_480,
        accuracy=81.6,
        source=CVT_PAPER,
    ),
    "cvt-21": Published(
        load=lambda K: load_hf("cvt-21", num_classes=K, activation="quick_gelu"),
        prepare=Preparation(resize=256, crop=224),
        parameters=31_622_696,
        accuracy=82.5,
        source=CVT_PAPER,
    ),
    "resnet50-v1": Published(
        load=_resnet50("IMAGENET1K_V1"),
        prepare=Preparation(resize=256, crop=224, interpolation="bilinear"),
        parameters=25_557_032,
        accuracy=76.13,
        source=TORCHVISION,
    ),
    "resnet50-v2": Published(
        load=_resnet50("IMAGENET1K_V2"),
        prepare=Preparation(resize=232, crop=224, interpolation="bilinear"),
        parameters=25_557_032,
        accuracy=80.858,
        source=TORCHVISION,
    ),
    "vit-b16": Published(
        load=lambda K: load_torchvision("vit_b_16", "IMAGENET1K_V1", num_classes=K),
        prepare=Preparation(resize=256, crop=224, interpolation="bilinear"),
        parameters=86_567_656,
        accuracy=81.072,
        source=TORCHVISION,
    ),
    "vit-b16-21k": Published(
        load=_timm(f"{VIT_BASE}_ft_in1k", load_timm),
        prepare=Preparation(resize=248, crop=224, mean=HALF[0], std=HALF[1]),
        parameters=86_567_656,
        accuracy=84.53,
        source=TIMM,
    ),
    "bit-50x1-21k": Published(
        load=_timm(f"{BIT_BASE}_ft_in1k", load_bit),
        prepare=Preparation(resize=448, crop=448, interpolation="bilinear", mean=HALF[0], std=HALF[1]),
        parameters=25_549_352,
        accuracy=80.39,
        source=TIMM,
    ),
}

# Pre-trained on the 14 million pictures of ImageNet-21k, to be fine-tuned: for the second table of chapter 14. CvT's
# released weights of that kind have been fine-tuned on ImageNet's 1,000 classes at 384 pixels already.
STARTS: dict[str, Published] = {
    "cvt-13-22k": Published(
        load=lambda K: load_hf("cvt-13-384-22k", num_classes=K, activation="quick_gelu"),
        prepare=Preparation(resize=384, crop=384, squash=True),
        parameters=19_997_480,
        accuracy=83.3,
        source=CVT_PAPER,
    ),
    "vit-b16-21k": Published(
        load=_timm(VIT_BASE, load_timm),
        prepare=Preparation(resize=248, crop=224, mean=HALF[0], std=HALF[1]),
        parameters=102_595_923,
        accuracy=None,
        source=TIMM,
    ),
    "bit-50x1-21k": Published(
        load=_timm(BIT_BASE, load_bit),
        prepare=Preparation(resize=256, crop=224, interpolation="bilinear", mean=HALF[0], std=HALF[1]),
        parameters=68_256_659,
        accuracy=None,
        source=TIMM,
    ),
}
