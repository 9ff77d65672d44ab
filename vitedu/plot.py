"""The book's pictures: each function draws on an `Axes` or makes a `Figure`, and returns it; none shows it."""

import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from vitedu.patch import Size, pair, patch_grid

# Okabe and Ito's palette, told apart with every common kind of colour blindness; line styles repeat the distinction.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
INK, FAINT, PAPER = "#222222", "#8a8a8a", "#ffffff"


def use_style() -> None:
    """Set matplotlib's defaults to the book's: called by each notebook's setup cell, never on import.

    A notebook's pictures get twice the pixels of their size on the page, for screens that have them.
    """
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython():
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("retina")
    styles = cycler(color=[BLUE, ORANGE, GREEN, RED, PURPLE, SKY]) + cycler(linestyle=["-", "--", "-.", ":", "-", "--"])
    plt.rcParams.update(
        {
            "figure.figsize": (7.0, 3.6),
            "figure.dpi": 110,
            "figure.facecolor": PAPER,  # an opaque sheet, so that a figure reads the same on a dark page
            "figure.constrained_layout.use": True,
            "savefig.bbox": "tight",
            "font.size": 11,
            "axes.titlesize": 12,
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "axes.prop_cycle": styles,
            "image.cmap": "gray",
            "image.interpolation": "nearest",
            "legend.frameon": False,
            "lines.linewidth": 2.0,
        }
    )


def to_picture(image: Tensor) -> np.ndarray:
    """An image (C, H, W), bytes or floats in [0, 1], as matplotlib wants it: (H, W) if C is 1, else (H, W, 3).

    ValueError if C is neither 1 nor 3, or a float lies outside [0, 1] by more than rounding does.
    """
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ValueError(f"an image of shape {tuple(image.shape)} cannot be drawn; pass (1, H, W) or (3, H, W)")
    image = image.detach().cpu()
    if image.is_floating_point():
        low, high = image.min().item(), image.max().item()
        if not (low >= -1e-4 and high <= 1 + 1e-4):
            raise ValueError(f"the image reaches from {low:.2f} to {high:.2f}; scale it to [0, 1] before drawing it")
        image = image.clamp(0, 1)
    return image[0].numpy() if image.shape[0] == 1 else image.permute(1, 2, 0).numpy()


def show_image(image: Tensor, ax: Axes | None = None, title: str = "") -> Axes:
    """Draw one image (C, H, W) without ticks; grey runs from black at 0 to white at the largest value of its type."""
    ax = ax or plt.figure(figsize=(3, 3)).add_subplot()
    ax.imshow(to_picture(image), cmap="gray", vmin=0, vmax=1 if image.is_floating_point() else 255)
    ax.set_title(title, fontsize=10, loc="center")
    ax.set_axis_off()
    return ax


def show_images(images: Tensor, titles: list[str] | None = None, columns: int = 8, side: float = 0.95) -> Figure:
    """Draw a batch (B, C, H, W) row by row, `side` inches each; a title may stand above each image."""
    rows = -(-len(images) // columns)
    height = side * images.shape[-2] / images.shape[-1] + (0.28 if titles else 0.0)
    figure, axes = plt.subplots(rows, columns, figsize=(side * columns, height * rows), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for index, (ax, image) in enumerate(zip(axes.flat, images, strict=False)):
        show_image(image, ax, titles[index] if titles else "")
    return figure


def show_patches(
    patches: Tensor, grid: tuple[int, int], numbers: bool = False, ax: Axes | None = None, gap: int = 2
) -> Axes:
    """Draw patches (N, C, P, P), in raster order, as a grid with white gaps of `gap` pixels between them.

    With `numbers` each patch carries its index n, counted from 0. ValueError if the grid does not hold N patches.
    """
    N, C, ph, pw = patches.shape
    if grid[0] * grid[1] != N:
        raise ValueError(f"{N} patches do not fill a grid of {grid[0]}×{grid[1]}; pass a grid with N = rows · columns")
    ax = ax or plt.figure(figsize=(4.2, 4.2 * grid[0] * ph / (grid[1] * pw))).add_subplot()
    white = 1.0 if patches.is_floating_point() else 255
    sheet = patches.new_full((C, grid[0] * (ph + gap) - gap, grid[1] * (pw + gap) - gap), white)
    for n, patch in enumerate(patches):
        top, left = n // grid[1] * (ph + gap), n % grid[1] * (pw + gap)
        sheet[:, top : top + ph, left : left + pw] = patch
        if numbers:
            box = {"boxstyle": "round,pad=0.15", "facecolor": PAPER, "edgecolor": "none", "alpha": 0.8}
            ax.text(
                left + (pw - 1) / 2, top + (ph - 1) / 2, n, ha="center", va="center", fontsize=8, color=INK, bbox=box
            )
    return show_image(sheet, ax)


def outline_patches(ax: Axes, image_size: Size, patch_size: Size) -> Axes:
    """Draw the cuts between the patches over an image that is already on `ax`."""
    (height, width), (ph, pw) = pair(image_size), pair(patch_size)
    rows, columns = patch_grid(image_size, patch_size)
    ax.hlines([ph * row - 0.5 for row in range(1, rows)], -0.5, width - 0.5, color=PAPER, linewidth=1)
    ax.vlines([pw * column - 0.5 for column in range(1, columns)], -0.5, height - 0.5, color=PAPER, linewidth=1)
    return ax


def show_history(history: list[dict], title: str = "") -> Figure:
    """Training curves: loss in nats and validation accuracy in per cent, against epochs."""
    epochs = [record["epoch"] for record in history]
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.2))
    left.plot(epochs, [record["train_loss"] for record in history], marker="o", label="training")
    left.plot(epochs, [record["loss"] for record in history], marker="s", label="validation")
    left.set(xlabel="epoch", ylabel="cross-entropy (nats)", title=title)
    left.legend()
    right.plot(epochs, [100 * record["accuracy"] for record in history], marker="s", color=ORANGE, linestyle="--")
    right.set(xlabel="epoch", ylabel="validation accuracy (%)")
    for ax in (left, right):
        ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    return figure


def show_confusion(labels: Tensor, predictions: Tensor, class_names: tuple[str, ...], ax: Axes | None = None) -> Axes:
    """A confusion matrix in per cent of each true class: row, the truth; column, what the model said; (N,) and (N,)."""
    K = len(class_names)
    counts = np.bincount((labels * K + predictions).cpu().numpy(), minlength=K * K).reshape(K, K)
    percent = 100 * counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    ax = ax or plt.figure(figsize=(6.4, 5.6)).add_subplot()
    ax.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.argwhere(percent > 0.5):
        colour = PAPER if percent[row, column] > 50 else INK
        ax.text(column, row, f"{percent[row, column]:.0f}", ha="center", va="center", fontsize=8, color=colour)
    ax.set_xticks(range(K), class_names, rotation=45, ha="right", fontsize=9)
    ax.set_yticks(range(K), class_names, fontsize=9)
    ax.set(xlabel="predicted class", ylabel="true class")
    ax.grid(False)
    return ax
