"""Which settings to start from for which data set: chosen on the validation splits, as chapter 9 shows."""

from vitedu.data import Dataset
from vitedu.train.augment import Augment
from vitedu.train.config import TrainConfig
from vitedu.vit import ViTConfig, preset

# What differs from the defaults of `ViTConfig`, `TrainConfig` and `Augment`. The measurements: book/results/.
RECIPES: dict[str, dict[str, dict]] = {
    "digits": {"model": {"patch_size": 2}, "train": {"epochs": 20, "batch_size": 64, "lr": 2e-3}},
    # 16 patches and no CLS token: on a CPU attention over 16 tokens is a third faster than over 17, and as accurate
    "fashion-mnist": {"model": {"patch_size": 7, "pool": "mean"}, "train": {"lr": 2e-3}},
}


def recipe(
    data: Dataset, size: str = "tiny", model: dict | None = None, train: dict | None = None, augment: dict | None = None
) -> tuple[ViTConfig, TrainConfig]:
    """The configs for `data` at the preset `size`; `model`, `train` and `augment` change single fields by name."""
    defaults = RECIPES.get(data.name, {})
    model, train, augment = (
        defaults.get(part, {}) | (changes or {})
        for part, changes in {"model": model, "train": train, "augment": augment}.items()
    )
    _, channels, height, width = data.train.images.shape
    shape = {"image_size": (height, width), "in_channels": channels, "num_classes": len(data.class_names)}
    return preset(size, **shape | model), TrainConfig(**train, augment=Augment(**augment))
