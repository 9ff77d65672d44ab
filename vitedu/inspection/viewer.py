"""Looking at attention query by query: one picture, a sheet of small ones, and controls in a notebook."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from vitedu import plot
from vitedu.capture import capture_attention
from vitedu.files import say
from vitedu.inspection.layout import layout_of


class AttentionMaps:
    """The attention of a model to some images, worked out once, ready to be looked at.

    Args:
        model: a `ViT` or a hybrid, or torchvision's or timm's; put into evaluation mode while it runs, and back
            afterwards.
        images: normalised, (B, C, H, W).
        pictures: the same as they look, (B, C, H, W), bytes or floats in [0, 1].

    Raises:
        ValueError: the model's tokens lie on no grid that is known.
    """

    def __init__(self, model: nn.Module, images: Tensor, pictures: Tensor):
        was_training = model.training
        with capture_attention(model.eval()) as maps, torch.no_grad():
            model(images)
        model.train(was_training)
        layout = layout_of(model, images, maps)
        self.maps = torch.stack([layer.float().cpu() for layer in maps])  # (L, B, h, N, N)
        self.pictures = pictures.cpu()
        self.grid, self.num_prefix, self.has_cls, _ = layout
        height, width = images.shape[-2:]
        self.patch_size = height // self.grid[0], width // self.grid[1]  # a hybrid's tokens stand for its CNN's stride

    def weights(self, image: int, layer: int, head: int | None, query: int | None) -> Tensor:
        """What one query gives to every patch, (gh, gw). No head: their mean. No query: the class token's.

        ValueError if there is no class token to ask.
        """
        if query is None and not self.has_cls:
            raise ValueError("query None asks the class token, and this model has none; give a patch from 0 on")
        maps = self.maps[layer, image]  # (h, N, N)
        row = 0 if query is None else self.num_prefix + query
        chosen = maps.mean(dim=0)[row] if head is None else maps[head, row]  # (N,)
        return chosen[self.num_prefix :].unflatten(0, self.grid)

    def draw(self, image: int, layer: int, head: int | None, query: int | None, ax: Axes | None = None) -> Axes:
        """The picture under the colours of the weights; the query patch has a frame, CLS none."""
        weights = self.weights(image, layer, head, query)
        ax = overlay(self.pictures[image], weights, ax)
        if query is not None:
            (height, width), (row, column) = self.patch_size, divmod(query, self.grid[1])
            corner = (column * width - 0.5, row * height - 0.5)
            for colour, line in (("black", 4), ("white", 2)):  # a black rim, to be seen on any ground
                ax.add_patch(plt.Rectangle(corner, width, height, fill=False, color=colour, lw=line, ls="-"))
        return ax

    def sheet(self, image: int, query: int | None, layers: Sequence[int] | None = None) -> Figure:
        """Small pictures of one query: a row for every layer, a column for every head, and the mean of the heads."""
        layers = range(len(self.maps)) if layers is None else layers
        heads = [*range(self.maps.shape[2]), None]
        size = (1.15 * len(heads), 1.25 * len(layers))
        figure, axes = plt.subplots(len(layers), len(heads), figsize=size, squeeze=False)
        for row, layer in zip(axes, layers, strict=True):
            for ax, head in zip(row, heads, strict=True):
                self.draw(image, layer, head, query, ax)
                name = "mean" if head is None else f"head {head}"
                ax.set_title(f"{layer}, {name}", fontsize=9, loc="center")
        return figure


def overlay(picture: Tensor, weights: Tensor, ax: Axes | None = None, title: str = "") -> Axes:
    """A picture (C, H, W) in pale grey under the colours of weights (gh, gw): black at zero, yellow at the highest."""
    height, width = picture.shape[1:]
    floats = picture if picture.is_floating_point() else picture.float() / 255
    grey = 0.3 + 0.7 * floats.mean(dim=0, keepdim=True)  # (1, H, W)
    ax = plot.show_image(grey, ax, title)
    frame = (-0.5, width - 0.5, height - 0.5, -0.5)  # the patches cover the same area as the pixels
    largest = max(weights.max().item(), 1e-12)
    ax.imshow(weights.numpy(), cmap="inferno", vmin=0, vmax=largest, alpha=0.65, extent=frame)
    return ax


def explore(maps: AttentionMaps) -> object:
    """Controls for image, layer, head and query patch, in Jupyter and Colab; elsewhere a sheet, and a line to say so.

    Returns:
        The controls, an ipywidgets box that a notebook shows; or a `Figure` where ipywidgets or a kernel is missing.
    """
    reason = _why_no_controls()
    if reason:
        say(f"{reason}; this is the sheet of image 0")
        return maps.sheet(0, None if maps.has_cls else 0)
    import ipywidgets as widgets

    layers, images, h = maps.maps.shape[:3]
    gh, gw = maps.grid
    first = [("CLS", None)] if maps.has_cls else []
    controls = {
        "image": widgets.IntSlider(0, 0, images - 1, description="image"),
        "layer": widgets.IntSlider(layers - 1, 0, layers - 1, description="layer"),
        "head": widgets.Dropdown(options=[("mean", None), *((str(i), i) for i in range(h))], description="head"),
        "query": widgets.Dropdown(
            options=[*first, *((f"row {n // gw}, column {n % gw}", n) for n in range(gh * gw))], description="query"
        ),
    }

    def show(image: int, layer: int, head: int | None, query: int | None) -> None:
        maps.draw(image, layer, head, query)
        plt.show()

    return widgets.HBox([widgets.VBox(list(controls.values())), widgets.interactive_output(show, controls)])


def _why_no_controls() -> str:
    """Why there can be none here, or an empty string."""
    try:
        import ipywidgets  # noqa: F401
        from IPython import get_ipython
    except ImportError:
        return "ipywidgets is not installed (pip install ipywidgets)"
    shell = get_ipython()
    return "" if shell is not None and hasattr(shell, "kernel") else "there is no notebook here to show controls in"
