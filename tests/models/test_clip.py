"""CLIP: the loss is a naive double loop, texts are read at their end, the scale is bounded, and it learns captions."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.random_weights import random_images, randomise
from vitedu.data import load, normalise
from vitedu.data.captions import CAPTIONS, LENGTH, WORDS, is_kept_back, tokenise, with_captions
from vitedu.models.clip import CLIP, ImageTower, ImageTowerConfig, TextTower, TextTowerConfig, contrastive_loss, preset
from vitedu.models.cnn import CNNConfig
from vitedu.models.hybrid import HybridViT
from vitedu.train import TrainConfig, evaluate, fit
from vitedu.train.pretext import matching_captions, measured
from vitedu.vit import ViTConfig

IMAGE = ImageTowerConfig(image_size=8, patch_size=4, dim=12, depth=2, num_heads=3, num_classes=6)
TEXT = TextTowerConfig(vocabulary=len(WORDS), length=LENGTH, dim=12, depth=2, num_heads=2, width=6)
TEXTS, IMAGES = tokenise(["a red plain star", "a star", "blue"]), random_images(4, 3, 8, 8)


@pytest.fixture
def model() -> CLIP:
    model = CLIP(IMAGE, TEXT)
    randomise(model.image)
    randomise(model.text, seed=1)
    return model.eval()


def test_the_loss_is_a_naive_double_loop_and_symmetric():
    scores, total = torch.randn(5, 5), 0.0
    for i in range(5):
        for row in (scores[i], scores[:, i]):
            total -= math.log(math.exp(row[i]) / sum(math.exp(row[j]) for j in range(5)))
    assert contrastive_loss(scores).item() == pytest.approx(total / 10, rel=1e-5)
    torch.testing.assert_close(contrastive_loss(scores.T), contrastive_loss(scores))
    assert contrastive_loss(100 * torch.eye(5)).item() == pytest.approx(0.0, abs=1e-6)


def test_scores_are_cosines_times_the_scale(model):
    scores = model(IMAGES, TEXTS)
    assert scores.shape == (4, 3)
    pictures, captions = model.image(IMAGES), model.text(TEXTS)
    for i in range(4):
        for j in range(3):
            cosine = pictures[i] @ captions[j] / pictures[i].norm() / captions[j].norm()
            torch.testing.assert_close(scores[i, j], cosine / 0.07, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        model.image.head.weight.mul_(3)
    torch.testing.assert_close(model(IMAGES, TEXTS), scores, atol=1e-4, rtol=1e-4)  # lengths do not matter


@pytest.mark.parametrize(("log", "scale"), [(0.0, 1.0), (math.log(50), 50.0), (math.log(100), 100.0), (9.0, 100.0)])
def test_the_scale_is_at_most_100_and_can_always_be_lowered(model, log, scale):
    nn.init.constant_(model.log_scale, log)
    assert model.scale.item() == pytest.approx(scale, rel=1e-5)
    model.scale.backward()
    assert model.log_scale.grad.item() == pytest.approx(scale, rel=1e-5)


def test_any_network_that_gives_vectors_can_be_the_image_tower():
    vit = ViTConfig(image_size=16, patch_size=4, dim=12, depth=1, num_heads=2, num_classes=6)
    tower = HybridViT(vit, CNNConfig(widths=(4, 8), depths=(1, 1)))
    randomise(tower)
    model, images = CLIP(tower, TEXT).eval(), random_images(4, 3, 16, 16)
    pictures, captions = (nn.functional.normalize(x, dim=1) for x in (tower(images), model.text(TEXTS)))
    torch.testing.assert_close(model(images, TEXTS), pictures @ captions.T / 0.07, atol=1e-5, rtol=1e-5)
    assert (model.width, model.stages) == (12, [*tower.stages, model.text.encoder])
    with pytest.raises(ValueError, match="images become 5 numbers and texts 6"):
        CLIP(HybridViT(replace(vit, num_classes=5), CNNConfig(widths=(4, 8), depths=(1, 1))), TEXT)


def test_a_text_is_read_at_its_end_and_nothing_behind_it_counts(model):
    longer = torch.cat([TEXTS, torch.zeros(3, 1, dtype=torch.long)], dim=1)
    tower = TextTower(TextTowerConfig(**vars(TEXT) | {"length": 6})).eval()
    weights = model.text.state_dict()
    tower.load_state_dict(weights | {"positions": torch.cat([weights["positions"], torch.randn(1, 12)])})
    torch.testing.assert_close(tower(longer), model.text(TEXTS), atol=1e-5, rtol=1e-5)
    padded = TEXTS.clone()
    padded[1, 3:] = 4  # behind the end of "a star"
    torch.testing.assert_close(model.text(padded), model.text(TEXTS), atol=1e-5, rtol=1e-5)
    changed = TEXTS.clone()
    changed[1, 0] = 4
    assert (model.text(changed)[1] - model.text(TEXTS)[1]).abs().max() > 1e-3
    assert (model.text(TEXTS[:1, [0, 2, 1, 3, 4]]) - model.text(TEXTS[:1])).abs().max() > 1e-3  # order counts


def test_words_look_back_only(model):
    seen = []
    model.text.encoder.register_forward_hook(lambda _, args, output: seen.append(output))
    changed = TEXTS.clone()
    changed[0, 2] = 11
    model.text(TEXTS)
    model.text(changed)
    torch.testing.assert_close(seen[0][0, :2], seen[1][0, :2])
    assert (seen[0][0, 2:] - seen[1][0, 2:]).abs().amin(dim=0).max() > 0


def test_the_image_tower_has_no_bias_before_and_after_its_blocks_and_one_more_norm():
    names = {name for name, _ in ImageTower(IMAGE).named_parameters()}
    assert {"patch_embed.proj.weight", "norm_pre.weight", "head.weight"} <= names
    assert not {"patch_embed.proj.bias", "head.bias"} & names


@pytest.mark.parametrize(("name", "parameters"), [("B/32", 87_849_216), ("B/16", 86_192_640), ("L/14", 303_966_208)])
def test_image_towers_have_the_published_number_of_parameters(name, parameters):
    with torch.device("meta"):
        assert sum(p.numel() for p in ImageTower(preset(name)).parameters()) == parameters


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ImageTowerConfig(pool="mean"), "the tower projects CLS"),
        (lambda: ImageTowerConfig(activation="relu"), "activation 'relu' is not one of"),
        (lambda: TextTowerConfig(vocabulary=0), "vocabulary is 0"),
        (lambda: CLIP(IMAGE, TextTowerConfig(width=5)), "images become 6 numbers and texts 5"),
        (lambda: TextTower(TEXT)(torch.zeros(1, 6, dtype=torch.long)), "texts have 6 words, the tower was built for 5"),
        (lambda: preset("H/14"), "preset 'H/14' is not one of B/32, B/16, L/14"),
    ],
)
def test_what_makes_no_sense_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


class ZeroShot(nn.Module):
    """A classifier made of captions."""

    def __init__(self, clip: CLIP, texts: torch.Tensor):
        super().__init__()
        self.clip, self.texts = clip, texts

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.clip(images, self.texts)


def test_it_learns_captions_of_shapes_in_the_shared_loop():
    """Three hundred pictures and a minute would name the shape; here the colour is enough: its words alone."""
    data = with_captions(load("shapes", counts=(600, 120, 120), clutter=0.0, quiet=True))
    torch.manual_seed(0)
    image = ImageTowerConfig(image_size=32, patch_size=8, dim=32, depth=1, num_heads=2, num_classes=16)
    text = TextTowerConfig(vocabulary=len(WORDS), length=LENGTH, dim=32, depth=1, num_heads=2, width=16)
    model, loss = CLIP(image, text), matching_captions(tokenise(CAPTIONS))
    recipe = TrainConfig(epochs=12, batch_size=60, lr=3e-3)
    history = fit(
        model, data, recipe, device=torch.device("cpu"), shown=False, loss=loss, measure=measured(loss, 0, 60)
    )
    assert history[-1]["loss"] < history[0]["loss"] - 0.3
    scores = model(normalise(data.val.images, data.mean, data.std), tokenise(CAPTIONS)).argmax(dim=1)
    colours = data.val.cues["colour"]
    assert ((scores // 6 % 6) == colours).float().mean() > 0.5
    assert evaluate(ZeroShot(model, tokenise(CAPTIONS)), data.val, data).logits.shape == (120, 216)
    assert not is_kept_back(torch.arange(216)).all()
