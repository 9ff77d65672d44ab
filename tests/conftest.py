"""Fixtures shared by the tests: data and a model that train in a fraction of a second, and the built site."""

import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as in the chapters' setup cell, before torch is imported

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
import torch
from bs4 import BeautifulSoup

from vitedu.data import Dataset, Split
from vitedu.vit import ViT, ViTConfig

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("book", "chapters", "_config.yml", "_toc.yml")  # what the build of the site reads


def shared_settings() -> dict[str, object]:
    """What a test could change for all that run after it in this process."""
    settings = {f"matplotlib {name}": value for name, value in mpl.rcParams.copy().items() if "backend" not in name}
    return settings | {
        "torch's threads": torch.get_num_threads(),
        "torch's default type": torch.get_default_dtype(),
        "torch's deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "torch's gradients": torch.is_grad_enabled(),
    }


@pytest.fixture(autouse=True)
def _leaves_no_trace():
    """Fail a test that leaves a setting changed, and put it right, so that no other test can depend on the order."""
    before = shared_settings()
    with mpl.rc_context():
        yield
        after = shared_settings()
    plt.close("all")
    torch.set_num_threads(before["torch's threads"])
    torch.set_default_dtype(before["torch's default type"])
    torch.use_deterministic_algorithms(before["torch's deterministic algorithms"])
    torch.set_grad_enabled(before["torch's gradients"])
    changed = [name for name, value in before.items() if after[name] != value]
    assert not changed, f"left changed for the tests that follow: {', '.join(changed)}"


@pytest.fixture
def bright_or_dark() -> Dataset:
    """48 + 16 + 16 images 1×8×12 of two classes that differ in brightness: not square, and learned at once."""
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        labels = torch.arange(count) % 2
        noise = torch.randint(60, (count, 1, 8, 12), generator=generator)
        return Split((noise + 150 * labels.view(-1, 1, 1, 1)).to(torch.uint8), labels)

    return Dataset("bright-or-dark", "made by a test", ("dark", "bright"), split(48), split(16), split(16), flip=True)


@pytest.fixture
def small_config() -> ViTConfig:
    """A ViT for 8×12 images with every kind of randomness switched on."""
    return ViTConfig(
        image_size=(8, 12),
        patch_size=4,
        in_channels=1,
        num_classes=2,
        dim=16,
        depth=2,
        num_heads=2,
        dropout=0.1,
        drop_path=0.1,
    )


@pytest.fixture
def small_model(small_config) -> ViT:
    torch.manual_seed(0)
    return ViT(small_config)


# --- the site, built once for all tests of a run ---


def state_of_sources() -> dict[Path, tuple[int, int]]:
    """Size and time of change of every file that the build reads, Python's own caches aside."""
    found = {}
    for name in SOURCES:
        top = ROOT / name
        for path in [top] if top.is_file() else top.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                found[path] = (path.stat().st_size, path.stat().st_mtime_ns)
    return found


@pytest.fixture(scope="session")
def build(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess, bool]:
    """(site, what the builder said, whether the sources stayed as they were); built in a temporary folder."""
    output = tmp_path_factory.mktemp("book")
    before = state_of_sources()
    command = [str(Path(sys.executable).parent / "jupyter-book"), "build", str(ROOT), "--path-output", str(output)]
    command += ["-W", "-n", "--keep-going", "-q"]
    result = subprocess.run(command, cwd=output, capture_output=True, text=True, timeout=900, check=False)
    return output / "_build" / "html", result, state_of_sources() == before


@pytest.fixture(scope="session")
def site(build) -> Path:
    site, result, _ = build
    if result.returncode:
        pytest.fail(f"the book does not build:\n{result.stdout[-2000:]}{result.stderr[-4000:]}", pytrace=False)
    return site


@pytest.fixture(scope="session")
def pages(site) -> dict[Path, BeautifulSoup]:
    """Every page by its file; what lies in _static are the theme's templates, not pages."""
    files = [path for path in sorted(site.rglob("*.html")) if path.relative_to(site).parts[0] != "_static"]
    return {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in files}
