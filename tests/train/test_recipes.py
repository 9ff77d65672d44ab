"""Recipes fit their data, and every change by name arrives."""

import pytest
import torch

from vitedu.data import NAMES, Dataset, Split, load
from vitedu.train.recipes import RECIPES, recipe
from vitedu.vit import ViT


def blank(name: str, side: int, channels: int, classes: int) -> Dataset:
    split = Split(torch.zeros(classes, channels, side, side, dtype=torch.uint8), torch.arange(classes))
    return Dataset(name, "made by a test", tuple(map(str, range(classes))), split, split, split, flip=True)


def test_every_recipe_is_for_a_set_that_exists():
    assert set(RECIPES) <= set(NAMES)


@pytest.mark.parametrize(
    ("name", "side", "channels", "classes"),
    [
        ("digits", 8, 1, 10),
        ("fashion-mnist", 28, 1, 10),
        ("cifar100", 32, 3, 100),
        ("imagenette", 96, 3, 10),
        ("own", 30, 3, 2),
    ],
)
def test_the_recipe_builds_a_model_for_the_images(name, side, channels, classes):
    data = blank(name, side, channels, classes)
    config, _ = recipe(data)
    assert ViT(config)(torch.zeros(1, channels, side, side)).shape == (1, classes)
    assert 4 <= config.grid[0] <= 10


def test_changes_win_over_the_recipe_and_the_recipe_over_the_defaults():
    data = load("digits", quiet=True)
    config, settings = recipe(data, "small", {"pool": "mean"}, {"epochs": 3}, {"erase": 0.5})
    assert (config.dim, config.pool, config.patch_size) == (128, "mean", RECIPES["digits"]["model"]["patch_size"])
    assert (settings.epochs, settings.lr) == (3, RECIPES["digits"]["train"]["lr"])
    assert settings.augment.erase == 0.5


def test_an_unknown_field_is_named():
    with pytest.raises(TypeError, match="widht"):
        recipe(load("digits", quiet=True), model={"widht": 3})
