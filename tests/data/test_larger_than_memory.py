"""A set three times as large as the memory that is left: read, measured, divided, joined and trained on."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems count memory in other ways")

LEFT = 36 * 2**20  # bytes beyond what torch and the modules take
COUNT, SIDE = 2_400, 128  # 2,400 pictures of 48 KiB: 112 MiB

WORK = """
import json, re, resource, sys
from pathlib import Path
import torch
from vitedu.data import load
from vitedu.data.dataset import hold_out
from vitedu.train import TrainConfig, fit
from vitedu.vit import ViT, ViTConfig

def status(name):
    return 1024 * int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

def work(path):
    data = load(path)
    data.mean, data.fingerprint
    train, held = hold_out(data.train_and_val())
    kept = data.train.subset(torch.arange(len(data.train)).flip(0))
    model = ViT(ViTConfig(image_size=128, patch_size=32, dim=16, depth=1, num_heads=2, num_classes=2))
    few = held.subset(torch.arange(5))  # a batch of an evaluation is up to 500 images of floats
    history = fit(model, data, TrainConfig(epochs=1, batch_size=8), train=train, validate=few, shown=False)
    return history[0]["loss"], [len(train), len(held), len(kept), len(data.test)], kept.images

work(sys.argv[1])  # a small set first: what is loaded once is loaded now
anonymous, limit = status("RssAnon"), status("VmData") + int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
loss, lengths, images = work(sys.argv[2])
print(json.dumps([loss, lengths, status("RssAnon") - anonymous]))
try:
    images.clone()
except RuntimeError:
    print("a copy does not fit into memory")
"""


def write(folder: Path, count: int) -> Path:
    """Pictures of two classes, plain but for a bright square, without splits."""
    for i in range(count):
        pixels = np.full((SIDE, SIDE, 3), 40 + 100 * (i % 2), dtype=np.uint8)
        pixels[:8, : 8 + i % 64] = 255
        path = folder / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, compress_level=1)
    return folder


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_set_three_times_as_large_as_the_memory_that_is_left(tmp_path, kind):
    source = write(tmp_path / "large", COUNT)
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "large.zip", "w") as archive:
            for path in source.rglob("*.png"):
                archive.write(path, path.relative_to(tmp_path))
        source = tmp_path / "large.zip"
    command = [sys.executable, "-c", WORK, str(write(tmp_path / "small", 100)), str(source), str(LEFT)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2_000:]
    assert f"decoding {COUNT:,} pictures of 3×128×128 once, {COUNT * 3 * SIDE**2 / 1e6:.0f} MB, into" in done.stderr
    assert COUNT * 3 * SIDE**2 > 3 * LEFT
    *_, found, control = done.stdout.splitlines()
    assert control == "a copy does not fit into memory"
    loss, lengths, grown = json.loads(found)
    assert lengths == [COUNT * share // 100 for share in (81, 9, 80, 10)]
    assert loss < 0.7
    assert grown < LEFT
