"""A folder of small pictures in two classes, and runs that were trained on it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.book.conftest import browser  # noqa: F401  (a fixture)
from vitedu.train.cli import main

TINY = ["--dim", "16", "--depth", "1", "--num-heads", "2", "--patch-size", "4"]
CLASSES = {"blue sky": (90, 140, 220), "red brick": (190, 70, 50)}


def draw(colour: tuple[int, int, int], seed: int, size: tuple[int, int] = (20, 14)) -> Image.Image:
    """A noisy picture of about one colour, wider than high."""
    noise = np.random.RandomState(seed).randint(-40, 40, (size[1], size[0], 3))
    return Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """`<class>/<number>.png`, 30 of each class."""
    folder = tmp_path_factory.mktemp("photos")
    for name, colour in CLASSES.items():
        (folder / name).mkdir()
        for number in range(30):
            draw(colour, number).save(folder / name / f"{number:02}.png")
    return folder


@pytest.fixture(scope="session")
def trained(photos, tmp_path_factory) -> Callable[..., Path]:
    """Trains with the command line, once for each set of options, and returns the folder of the run."""
    runs: dict[tuple[str, ...], Path] = {}

    def train(*options: str) -> Path:
        if options not in runs:
            runs[options] = out = tmp_path_factory.mktemp("runs") / "first"
            arguments = ["--data", str(photos), "--image-size", "16", "--epochs", "4", "--batch-size", "16"]
            shape = [] if "resnet" in options else TINY
            assert main([*arguments, *shape, *options, "--lr", "3e-3", "--out", str(out)]) == 0
        return runs[options]

    return train


@pytest.fixture(scope="session")
def run(trained) -> Path:
    """A small ViT that tells the two classes apart."""
    return trained()
