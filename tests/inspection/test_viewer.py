"""`vitedu.inspection.viewer`: what is drawn is the attention, and where no controls can be shown there is a sheet."""

import sys
import types

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.figure import Figure

from tests.random_weights import random_images, randomise
from vitedu.inspection import AttentionMaps, capture_attention, explore, overlay
from vitedu.vit import ViT, ViTConfig

IMAGES = random_images(3, 3, 8, 12)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def small_vit(pool="cls"):
    fields = {"image_size": (8, 12), "patch_size": 4, "num_classes": 5, "dim": 12, "depth": 2, "num_heads": 3}
    return randomise(ViT(ViTConfig(**fields, pool=pool))).train()


def some_maps(pool="cls"):
    return AttentionMaps(small_vit(pool), IMAGES, (IMAGES.sigmoid() * 255).to(torch.uint8))


def test_weights_are_those_of_the_query_without_the_class_token():
    model = small_vit()
    with capture_attention(model) as maps:
        model(IMAGES)
    shown = some_maps()
    expected = maps[1][2, 0, 1 + 4, 1:].reshape(2, 3)
    torch.testing.assert_close(shown.weights(image=2, layer=1, head=0, query=4), expected)
    expected = maps[0][1, :, 0, 1:].mean(dim=0).reshape(2, 3)
    torch.testing.assert_close(shown.weights(image=1, layer=0, head=None, query=None), expected)


def test_the_model_keeps_its_mode():
    model = small_vit()
    AttentionMaps(model, IMAGES, IMAGES.sigmoid())
    assert model.training


def test_a_model_without_a_class_token_is_asked_by_its_patches():
    maps = some_maps("mean")
    assert maps.weights(0, 0, 1, 5).shape == (2, 3)
    with pytest.raises(ValueError, match="asks the class token, and this model has none"):
        maps.weights(0, 0, 1, None)


def test_the_frame_lies_around_the_query_patch():
    ax = some_maps().draw(image=0, layer=0, head=0, query=4)  # row 1, column 1 of the grid
    boxes = {(p.get_x(), p.get_y(), p.get_width(), p.get_height()) for p in ax.patches}
    assert boxes == {(3.5, 3.5, 4, 4)}
    assert not some_maps().draw(0, 0, 0, None).patches


def test_an_overlay_lays_each_weight_over_the_pixels_of_its_patch():
    weights = torch.rand(2, 3, generator=torch.Generator().manual_seed(0))
    ax = overlay(torch.zeros(3, 8, 12), weights)
    below, above = ax.images
    assert below.get_array().shape == (8, 12)
    torch.testing.assert_close(torch.as_tensor(above.get_array().filled()), weights)
    assert above.get_clim() == (0, pytest.approx(weights.max().item()))
    assert above.get_extent() == below.get_extent()
    assert overlay(torch.zeros(3, 8, 12), torch.zeros(2, 3)).images[1].get_clim()[1] > 0


def test_a_sheet_has_a_picture_for_every_layer_and_head_and_their_mean():
    figure = some_maps().sheet(image=1, query=None)
    assert len(figure.axes) == 2 * (3 + 1)
    assert [ax.get_title() for ax in figure.axes[:4]] == ["0, head 0", "0, head 1", "0, head 2", "0, mean"]
    assert len(some_maps().sheet(1, 0, layers=[1]).axes) == 4


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_without_a_notebook_there_is_a_sheet_and_a_line_that_says_why(pool, capsys):
    assert isinstance(explore(some_maps(pool)), Figure)
    assert capsys.readouterr().out == "there is no notebook here to show controls in; this is the sheet of image 0\n"


def test_without_ipywidgets_there_is_a_sheet_and_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert isinstance(explore(some_maps()), Figure)
    assert "ipywidgets is not installed (pip install ipywidgets)" in capsys.readouterr().out


def test_in_a_notebook_the_controls_choose_image_layer_head_and_query(monkeypatch):
    """A stand-in for the kernel; the widgets are the real ones."""
    pytest.importorskip("ipywidgets")
    monkeypatch.setattr("IPython.get_ipython", lambda: types.SimpleNamespace(kernel=object()))
    monkeypatch.setattr(plt, "show", lambda: None)
    drawn = []
    maps = some_maps()
    monkeypatch.setattr(maps, "draw", lambda *choice: drawn.append(choice))
    controls = explore(maps).children[0].children
    assert [c.description for c in controls] == ["image", "layer", "head", "query"]
    image, layer, head, query = controls
    assert (image.max, layer.max) == (2, 1)
    assert len(head.options) == 1 + 3
    assert [value for _, value in query.options] == [None, *range(6)]
    head.value, query.value, image.value = 2, 5, 1
    assert drawn[0] == (0, 1, None, None)
    assert drawn[-1] == (1, 1, 2, 5)


def test_controls_of_a_model_without_cls_offer_patches_only(monkeypatch):
    pytest.importorskip("ipywidgets")
    monkeypatch.setattr("IPython.get_ipython", lambda: types.SimpleNamespace(kernel=object()))
    monkeypatch.setattr(plt, "show", lambda: None)
    query = explore(some_maps("mean")).children[0].children[3]
    assert [value for _, value in query.options] == list(range(6))
