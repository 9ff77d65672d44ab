"""Models trained together end where the book's loop leaves each of them."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vitedu.data import Dataset, Split
from vitedu.train import TrainConfig, TrainingLoop
from vitedu.train.augment import Augment
from vitedu.train.progress import Progress
from vitedu.vit import ViT, ViTConfig

CPU = torch.device("cpu")
SIZE = {"image_size": 8, "patch_size": 4, "in_channels": 1, "num_classes": 3, "dim": 8, "depth": 2, "num_heads": 2}
RECIPES = {
    "plain": TrainConfig(epochs=2, batch_size=8, label_smoothing=0.0, warmup=0.0),
    "augmented": TrainConfig(epochs=2, batch_size=8, augment=Augment(crop=1, flip=True, erase=0.5)),
    "mixed": TrainConfig(epochs=2, batch_size=8, mixup=0.8, cutmix=1.0, weight_decay=0.0),
    "another rate": TrainConfig(epochs=2, batch_size=8, lr=0.01, schedule="constant", weight_decay=1.0),
    "another seed": TrainConfig(epochs=2, batch_size=8, seed=3),
}


@pytest.fixture
def together(monkeypatch):
    """The class, from the folder of the scripts."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "book" / "experiments")
    yield __import__("_together").Together
    sys.modules.pop("_together", None)


@pytest.fixture
def data():
    """20 random pictures, so that the last of three batches is a smaller one."""
    images = torch.randint(256, (20, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    split = Split(images, torch.arange(20) % 3)
    return Dataset("noise", "made up", ("a", "b", "c"), split, split, split, flip=True)


def vit(seed: int, **changes) -> ViT:
    torch.manual_seed(seed)
    return ViT(ViTConfig(**SIZE | {"pool": "mean"} | changes))


def by_the_loop(model: ViT, config: TrainConfig, data: Dataset) -> list[float]:
    """The training losses of each epoch; the model is trained in place."""
    loop = TrainingLoop(model, data, config, len(data.train), CPU)
    return [loop.epoch(data.train, number, Progress(2, shown=False)) for number in (1, 2)]


def scores(model: ViT, data: Dataset) -> torch.Tensor:
    with torch.no_grad():
        return model(data.val.images / 255)


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_each_model_goes_the_way_it_goes_alone(together, data, pool):
    models = [vit(seed, pool=pool) for seed in range(len(RECIPES))]
    all_of_them = together(models, list(RECIPES.values()), data, data.train, CPU)
    losses = torch.stack([all_of_them.epoch(number) for number in (1, 2)])  # (epochs, M)
    for index, (name, config) in enumerate(RECIPES.items()):
        alone = vit(index, pool=pool)
        before = scores(alone, data)
        expected = by_the_loop(alone, config, data)
        # weights are not compared: no gradient reaches a key's bias but rounding, which AdamW takes at its full step
        torch.testing.assert_close(losses[:, index], torch.tensor(expected), atol=1e-4, rtol=1e-4, msg=name)
        found = scores(all_of_them.model(index), data)
        torch.testing.assert_close(found, scores(alone, data), atol=2e-3, rtol=1e-3)
        assert (found - before).abs().max() > 0.02  # it has moved by more than the tolerance


def test_long_gradients_are_clipped_for_each_model_alone(together, data):
    config = replace(RECIPES["plain"], clip_norm=1e-3)
    one = together([vit(0)], [config], data, data.train, CPU)
    one.epoch(1)
    two = together([vit(1), vit(0)], [config, config], data, data.train, CPU)
    two.epoch(1)
    torch.testing.assert_close(two.mean[1], one.mean[0], atol=1e-7, rtol=1e-3)
    assert two.mean.norm(dim=1).max() <= 1e-3  # a mean of gradients none of which was longer


def test_models_that_see_the_same_are_fed_once(together, data):
    config = RECIPES["augmented"]
    configs = [config, replace(config, lr=1e-4), RECIPES["plain"]]
    crowd = together([vit(0), vit(1), vit(2)], configs, data, data.train, CPU)
    assert len(crowd.feeds) == 2
    assert crowd.places == [0, 0, 1]
    images, _ = next(crowd.batches(1))
    assert torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 4}, "batch_size differs, {.*}; train models together that have it in common"),
        ({"clip_norm": 0.0}, "clip_norm differs"),
    ],
)
def test_recipes_have_to_agree_in_what_is_shared(together, data, change, message):
    configs = [RECIPES["plain"], replace(RECIPES["plain"], **change)]
    with pytest.raises(ValueError, match=message):
        together([vit(0), vit(1)], configs, data, data.train, CPU)


@pytest.mark.parametrize("change", [{"optimizer": "sgd"}, {"ema": 0.9}, {"accumulate": 2}])
def test_what_it_cannot_do_is_refused(together, data, change):
    with pytest.raises(ValueError, match="only AdamW in one piece"):
        together([vit(0)], [replace(RECIPES["plain"], **change)], data, data.train, CPU)
