"""`vitedu.plot`: what is drawn is the data, on the axes that were given, and nothing is shown or set on the way."""

import re

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix

from vitedu import plot
from vitedu.patch import patchify

NAMES = ("cat", "dog", "owl")


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    """Draw without a screen, fail on `plt.show`, and begin without a figure and with matplotlib's own settings."""

    def shown(*arguments, **options):
        raise AssertionError("a plot function called plt.show()")

    plt.switch_backend("Agg")
    monkeypatch.setattr(plt, "show", shown)
    plt.close("all")
    with mpl.rc_context():
        mpl.rcdefaults()
        yield


def drawn(ax: Axes) -> np.ndarray:
    """The array behind the only image of an axes."""
    (image,) = ax.get_images()
    return np.asarray(image.get_array())


def history(epochs: int) -> list[dict]:
    return [{"epoch": e, "train_loss": 2 / e, "loss": 3 / e, "accuracy": 1 - 1 / (e + 1)} for e in range(1, epochs + 1)]


def some_labels(K: int = 3, N: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(K, (N,), generator=generator), torch.randint(K, (N,), generator=generator)


CALLS = {
    "show_image": lambda ax: plot.show_image(torch.rand(3, 4, 4), ax),
    "show_patches": lambda ax: plot.show_patches(torch.rand(4, 1, 2, 2), (2, 2), numbers=True, ax=ax),
    "outline_patches": lambda ax: plot.outline_patches(ax or plt.figure().add_subplot(), 8, 4),
    "show_confusion": lambda ax: plot.show_confusion(*some_labels(), NAMES, ax),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_it_draws_on_the_axes_it_is_given_and_makes_its_own_otherwise(call):
    given = plt.figure().add_subplot()
    figures = len(plt.get_fignums())
    assert call(given) is given
    assert len(plt.get_fignums()) == figures
    assert given.has_data()
    own = call(None)
    assert isinstance(own, Axes)
    assert own is not given
    assert len(plt.get_fignums()) == figures + 1


@pytest.mark.parametrize(
    "call", [lambda: plot.show_images(torch.rand(3, 1, 4, 4)), lambda: plot.show_history(history(2))]
)
def test_several_axes_come_as_one_new_figure(call):
    figure = call()
    assert isinstance(figure, Figure)
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize(
    "call",
    [
        *(lambda call=call: call(None) for call in CALLS.values()),
        lambda: plot.show_images(torch.rand(3, 1, 4, 4), ["a", "b", "c"]),
        lambda: plot.show_history(history(2)),
    ],
)
def test_drawing_changes_no_setting_and_every_figure_can_be_rendered(call):
    before = dict(mpl.rcParams)
    call()
    assert dict(mpl.rcParams) == before
    plt.gcf().canvas.draw()


def test_only_use_style_changes_the_settings_and_makes_lines_differ_in_more_than_colour():
    before = dict(mpl.rcParams)
    plot.use_style()
    assert dict(mpl.rcParams) != before
    ax = plt.figure().add_subplot()
    lines = [ax.plot([0, 1])[0] for _ in range(6)]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 6
    assert len({line.get_linestyle() for line in lines[:4]}) == 4
    assert mpl.rcParams["image.cmap"] == "gray"


@pytest.mark.parametrize("scale", [1.0, 255])
def test_a_picture_has_the_channel_axis_last_and_a_grey_one_none(scale):
    image = torch.rand(3, 4, 5) if scale == 1.0 else torch.randint(256, (3, 4, 5), dtype=torch.uint8)
    picture = plot.to_picture(image)
    assert picture.shape == (4, 5, 3)
    assert picture.dtype == image.numpy().dtype
    for channel in range(3):
        assert np.array_equal(picture[:, :, channel], image[channel].numpy())
    assert np.array_equal(plot.to_picture(image[:1]), image[0].numpy())


def test_a_picture_that_needs_a_gradient_can_be_drawn():
    image = torch.rand(1, 2, 2, requires_grad=True)
    assert np.array_equal(plot.to_picture(image), image.detach()[0].numpy())


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(2, 4, 4), "an image of shape (2, 4, 4) cannot be drawn; pass (1, H, W) or (3, H, W)"),
        (torch.zeros(4, 4), "an image of shape (4, 4) cannot be drawn"),
        (torch.zeros(1, 3, 4, 4), "an image of shape (1, 3, 4, 4) cannot be drawn"),
        (torch.tensor([[[-0.5, 1.25]]]), "the image reaches from -0.50 to 1.25; scale it to [0, 1]"),
        (torch.tensor([[[float("nan"), 0.5]]]), "scale it to [0, 1]"),
    ],
)
def test_what_is_not_an_image_is_refused(image, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        plot.show_image(image)


@pytest.mark.parametrize(("image", "white"), [(torch.full((1, 2, 2), 0.5), 1), (torch.full((1, 2, 2), 9).byte(), 255)])
def test_grey_runs_from_zero_to_the_largest_value_of_the_type_whatever_the_image(image, white):
    ax = plot.show_image(image, title="half")
    assert ax.get_images()[0].get_clim() == (0, white)
    assert ax.get_title() == "half"
    assert not ax.axison


def test_images_stand_row_by_row_under_their_titles_and_the_rest_stays_empty():
    images = torch.rand(5, 1, 3, 4)
    figure = plot.show_images(images, titles=list("abcde"), columns=3)
    assert len(figure.axes) == 6
    for index in range(5):
        assert np.array_equal(drawn(figure.axes[index]), images[index, 0].numpy())
        assert figure.axes[index].get_title() == "abcde"[index]
    assert not figure.axes[5].get_images()
    tops = [ax.get_position().y0 for ax in figure.axes]
    assert tops[0] == tops[1] == tops[2] > tops[3]


@pytest.mark.parametrize("gap", [0, 1, 2])
@pytest.mark.parametrize("C", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_every_patch_stands_at_its_place_between_white_gaps(gap, C, dtype):
    patches = (255 * torch.rand(6, C, 2, 3)).byte() if dtype == torch.uint8 else torch.rand(6, C, 2, 3)
    sheet = drawn(plot.show_patches(patches, (2, 3), gap=gap)).reshape(4 + gap, 9 + 2 * gap, C)
    rest = np.ones(sheet.shape[:2], dtype=bool)
    for n in range(6):
        top, left = n // 3 * (2 + gap), n % 3 * (3 + gap)
        window = np.s_[top : top + 2, left : left + 3]
        assert np.array_equal(sheet[window], patches[n].permute(1, 2, 0).numpy())
        rest[window] = False
    assert (sheet[rest] == (255 if dtype == torch.uint8 else 1)).all()


def test_without_a_gap_patches_in_raster_order_make_the_image_again():
    image = torch.rand(1, 3, 8, 12)
    patches = patchify(image, 4)[0].unflatten(1, (3, 4, 4))
    assert np.array_equal(drawn(plot.show_patches(patches, (2, 3), gap=0)), image[0].permute(1, 2, 0).numpy())


def test_numbers_count_the_patches_from_zero_each_inside_its_own():
    ax = plot.show_patches(torch.rand(6, 1, 4, 4), (2, 3), numbers=True)
    assert [text.get_text() for text in ax.texts] == ["0", "1", "2", "3", "4", "5"]
    for n, text in enumerate(ax.texts):
        x, y = text.get_position()
        assert (y // 6, x // 6) == (n // 3, n % 3)
    assert not plot.show_patches(torch.rand(6, 1, 4, 4), (2, 3)).texts


def test_a_grid_that_does_not_hold_the_patches_is_refused():
    message = "6 patches do not fill a grid of 2×2; pass a grid with N = rows · columns"
    with pytest.raises(ValueError, match=re.escape(message)):
        plot.show_patches(torch.rand(6, 1, 4, 4), (2, 2))


def test_cuts_lie_between_pixels_at_every_multiple_of_the_patch_side():
    ax = plot.outline_patches(plot.show_image(torch.rand(1, 6, 8)), (6, 8), (2, 4))
    segments = np.concatenate([collection.get_segments() for collection in ax.collections])
    assert segments.tolist() == [[[-0.5, 1.5], [7.5, 1.5]], [[-0.5, 3.5], [7.5, 3.5]], [[3.5, -0.5], [3.5, 5.5]]]
    with pytest.raises(ValueError, match="image side 6 is not divisible by patch side 4"):
        plot.outline_patches(ax, (6, 8), 4)


def test_the_history_is_drawn_as_it_is_with_accuracy_in_per_cent():
    records = history(3)
    left, right = plot.show_history(records, "run").axes
    curves = {line.get_label(): line for line in left.get_lines()}
    for label, key in [("training", "train_loss"), ("validation", "loss")]:
        assert list(curves[label].get_xdata()) == [1, 2, 3]
        assert list(curves[label].get_ydata()) == [record[key] for record in records]
    assert list(right.get_lines()[0].get_ydata()) == [100 * record["accuracy"] for record in records]
    assert left.get_title() == "run"
    labels = [left.get_xlabel(), left.get_ylabel(), right.get_xlabel(), right.get_ylabel()]
    assert labels == ["epoch", "cross-entropy (nats)", "epoch", "validation accuracy (%)"]


@pytest.mark.parametrize("K", [2, 3, 10])
def test_the_confusion_matrix_is_sklearns_normalised_over_the_truth(K):
    labels, predictions = some_labels(K, 500)
    expected = 100 * confusion_matrix(labels, predictions, normalize="true", labels=range(K))
    names = tuple(f"class {k}" for k in range(K))
    ax = plot.show_confusion(labels, predictions, names)
    np.testing.assert_allclose(drawn(ax), expected)
    written = {text.get_position(): text.get_text() for text in ax.texts}
    assert written == {(c, r): f"{expected[r, c]:.0f}" for r in range(K) for c in range(K) if expected[r, c] > 0.5}
    assert [label.get_text() for label in ax.get_yticklabels()] == list(names)
    assert [label.get_text() for label in ax.get_xticklabels()] == list(names)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")


def test_a_class_without_images_is_an_empty_row():
    labels, predictions = torch.tensor([0, 0, 2]), torch.tensor([0, 1, 2])
    ax = plot.show_confusion(labels, predictions, NAMES)
    assert drawn(ax).tolist() == [[50, 50, 0], [0, 0, 0], [0, 0, 100]]
    assert sorted(text.get_text() for text in ax.texts) == ["100", "50", "50"]
