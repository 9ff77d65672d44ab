"""Chapter 10, section 10.10, with other models in the place of `mine`: torchvision's and timm's, at random weights."""

import importlib.util

import matplotlib.pyplot as plt
import nbformat
import pytest
import timm
import torch
import torchvision
from torchvision.models import VisionTransformer

from book.tools.site.chapters import all_chapters
from tests.random_weights import random_images, randomise
from vitedu import inspection as look
from vitedu.data import normalise
from vitedu.data.photograph import photograph
from vitedu.pretrained import load_dinov2, load_timm, load_torchvision
from vitedu.vit import ViT, ViTConfig

IMAGES = random_images(4, 3, 32, 32)
CELLS = {
    cell.id: cell.source
    for chapter in all_chapters()
    if chapter.number == 10
    for cell in nbformat.read(chapter.path, as_version=4).cells
}


def of_torchvision():
    return randomise(VisionTransformer(32, 8, 2, 3, 12, 48, num_classes=5)).eval()


def of_timm(**options):
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 3, "num_classes": 5}
    return randomise(timm.models.VisionTransformer(**sizes | options)).eval()


@pytest.fixture
def page() -> dict:
    """What the setup cell has brought in, and the chapter has made, as far as the section needs it."""
    names = {"look": look, "torch": torch, "importlib": importlib, "VisionTransformer": VisionTransformer}
    names |= {"load_timm": load_timm, "load_torchvision": load_torchvision, "plt": plt, "torchvision": torchvision}
    yield names | {"x": IMAGES, "pictures": IMAGES.sigmoid(), "normalise": normalise, "photograph": photograph}
    plt.close("all")


@pytest.mark.parametrize("build", [of_torchvision, of_timm])
def test_the_section_runs_on_a_model_of(build, page, capsys):
    page["mine"] = build()
    for cell in ("ch10-own-as-it-is", "ch10-own-rest"):
        exec(CELLS[cell], page)
    printed = capsys.readouterr().out
    assert "maps (2, 4, 3, 17, 17) rollout (4, 4, 4)" in printed
    assert "converted: the same scores, the same maps" in printed
    assert "places (4, 4, 4, 4)" in printed
    assert "for the winning class (4, 4, 4)" in printed


def test_a_dinov2_with_registers_is_looked_at_as_it_is_and_turned_into_one_of_the_books(page, capsys):
    page["mine"] = theirs = of_timm(reg_tokens=4, no_embed_class=True, init_values=0.1, num_classes=0)
    ours = load_dinov2(theirs, num_heads=3)
    page |= {"ours": ours, "kept": look.AttentionMaps(ours, IMAGES, page["pictures"])}
    torch.testing.assert_close(page["kept"].maps, look.AttentionMaps(theirs, IMAGES, page["pictures"]).maps)
    exec(CELLS["ch10-own-rest"], page)
    assert "lengths (3, 4, 16)" in capsys.readouterr().out


@pytest.mark.parametrize("options", [{}, {"reg_tokens": 4}, {"class_token": False, "global_pool": "avg"}])
def test_the_hook_of_six_lines_finds_what_capture_attention_finds(options, page):
    model, page["seen"] = of_timm(**options), []
    exec(CELLS["ch10-own-qkv"], page)
    for block in model.blocks:
        block.attn.register_forward_pre_hook(page["watch_qkv"])
    with look.capture_attention(model) as maps, torch.no_grad():
        model(IMAGES)
    for found, expected in zip(page["seen"], maps, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_published_weights_are_laid_over_the_portrait_once_they_are_there(page, monkeypatch):
    """A small model stands in for torchvision's; no file is fetched."""
    config = ViTConfig(image_size=224, patch_size=32, num_classes=5, dim=12, depth=2, num_heads=3)
    asked = []
    page["load_torchvision"] = lambda name, weights: asked.append((name, weights)) or randomise(ViT(config)).eval()
    exec(CELLS["ch10-published-ask"], page)
    page["ask"] = "IMAGENET1K_V1"
    monkeypatch.setattr(plt, "show", lambda: None)
    exec(CELLS["ch10-published-run"], page)
    assert asked == [("vit_b_16", "IMAGENET1K_V1")]
    assert len(plt.gcf().axes) == 4


def test_without_the_weights_the_page_says_so_and_goes_on(page, capsys):
    def unreachable(name, weights):
        raise OSError("no network")

    page |= {"load_torchvision": unreachable}
    exec(CELLS["ch10-published-ask"], page)
    exec(CELLS["ch10-published-run"], page)
    page["ask"] = "IMAGENET1K_V1"
    exec(CELLS["ch10-published-run"], page)
    said, then = capsys.readouterr().out.splitlines()
    assert said.startswith("No weights asked for")
    assert then.startswith("The weights could not be fetched")
