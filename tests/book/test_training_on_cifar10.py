"""Chapter 9 runs from top to bottom with `load("cifar10")` in its second cell, as its page says.

The pictures are a stand-in of that name and shape, few enough for seconds: a colour and a stripe for each class.
"""

import contextlib
import io
from pathlib import Path

import matplotlib as mpl
import nbformat
import pytest
import torch

from vitedu import data as sets
from vitedu.data import Dataset, Split

CHAPTER = Path(__file__).resolve().parents[2] / "chapters" / "09_training.ipynb"
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def pictures(count: int, seed: int) -> Split:
    """So many pictures of 3 × 32 × 32 bytes, as many of each class; every tenth or so looks like the next class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 10
    looks = (labels + (torch.rand(count, generator=generator) < 0.1)) % 10
    colours = torch.rand(10, 3, generator=torch.Generator().manual_seed(0))[looks]  # (N, 3)
    images = 60 * torch.randn(count, 3, 32, 32, generator=generator) + 255 * colours[:, :, None, None]
    for number, look in enumerate(looks.tolist()):
        images[number, :, 3 * look : 3 * look + 3] += 120
    return Split(images.clamp(0, 255).to(torch.uint8), labels)


@pytest.fixture
def stand_in(monkeypatch):
    """`vitedu.data.load` with the stand-in under the name of CIFAR-10, and pictures that are drawn on no screen."""
    data = Dataset("cifar10", "a stand-in", NAMES, pictures(600, 1), pictures(200, 2), pictures(200, 3), flip=True)
    real = sets.load

    def load(name: str, **options) -> Dataset:
        return data if name == "cifar10" else real(name, **options)

    monkeypatch.setattr(sets, "load", load)
    before, threads = mpl.get_backend(), torch.get_num_threads()
    mpl.use("agg")
    torch.set_num_threads(1)
    with mpl.rc_context():
        yield data
    mpl.pyplot.close("all")
    mpl.use(before)
    torch.set_num_threads(threads)


@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_the_chapter_runs_with_cifar10_in_its_second_cell(stand_in, monkeypatch):
    monkeypatch.chdir(CHAPTER.parent)
    cells = [cell for cell in nbformat.read(CHAPTER, as_version=4).cells if cell.cell_type == "code"]
    assert cells[1].source.count('load("fashion-mnist")') == 1
    cells[1].source = cells[1].source.replace("fashion-mnist", "cifar10")
    namespace = {"__name__": "__main__"}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for cell in cells:
            exec(compile(cell.source, cell.id, "exec"), namespace)  # a fault names the cell
    assert namespace["data"] is stand_in
    assert "8 × 8 patches" in printed.getvalue()
