"""The table of models: each can be exported for batches of any size, and classifies as the task wants."""

import pytest
import torch

from vitedu.models.table import CLASSIFIERS, MODELS
from vitedu.vit import ViTConfig

CONFIG = ViTConfig(image_size=32, patch_size=8, dim=16, depth=2, num_heads=2, num_classes=5)


def build(name: str) -> torch.nn.Module:
    entry = MODELS[name]
    if entry.classifier:
        return entry.classifier(CONFIG).eval()
    return entry.model(*(config() for config in entry.configs.values())).eval()


def flat(output) -> list[torch.Tensor]:
    return [output] if isinstance(output, torch.Tensor) else list(output)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_has_the_images_and_classes_of_its_task(name):
    assert build(name)(torch.zeros(2, 3, 32, 32)).shape == (2, 5)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_exported_with_a_free_batch_size(name):
    model = build(name)
    side = getattr(model.config, "image_size", 32)
    images = torch.randn(3, 3, side, side)
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(model, (images,), dynamic_shapes=({0: batch},)).module()
    for count in (1, 3, 7):
        again = torch.randn(count, 3, side, side)
        for mine, theirs in zip(flat(exported(again)), flat(model(again)), strict=True):
            torch.testing.assert_close(mine, theirs)
