"""Three hundred malformed inputs, drawn from a seed: each ends in one sentence of the right kind, and harms nothing."""

import io
import json
import random
import struct
import tarfile
import zipfile
from collections import Counter
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save

from vitedu.data import DatasetUnavailable, load
from vitedu.files import CheckpointError
from vitedu.models.cnn import CNNConfig, ResNet
from vitedu.models.detr import DETR, DETRConfig
from vitedu.pretrained import load as load_weights
from vitedu.pretrained import save as save_weights
from vitedu.train import TrainConfig
from vitedu.train.augment import Augment
from vitedu.train.checkpoint import load_checkpoint, save_checkpoint
from vitedu.train.cli import main
from vitedu.train.run import read_run
from vitedu.vit import ViT, ViTConfig

EACH = 50  # of every kind
COUNTS: Counter = Counter()
CONFIG = ViTConfig(image_size=8, patch_size=4, dim=8, depth=1, num_heads=2, num_classes=2)
EDGES = [
    0,
    -1,
    1,
    2,
    3,
    0.5,
    1.0,
    1e-9,
    1e300,
    float("nan"),
    float("inf"),
    -0.0,
    True,
    None,
    "x",
    "",
    [],
    (1, 2),
    2**70,
]
EDGES += [b"x", {}, (0, 0), (3,), "1", "cls"]


@pytest.fixture(scope="module", autouse=True)
def counted():
    yield
    print("\nmalformed inputs:", ", ".join(f"{kind} {count}" for kind, count in sorted(COUNTS.items())))


def outcome(kind: str, run, *right: type[Exception]) -> None:
    """Run; what it raises has to be one of these, in one sentence."""
    try:
        run()
        COUNTS[f"{kind}: read"] += 1
        return
    except right as error:
        text = str(error).strip()
    assert 0 < len(text) < 700, text
    assert "\n" not in text, text
    COUNTS[f"{kind}: refused"] += 1


def picture(random_: random.Random, side: int = 8) -> bytes:
    file = io.BytesIO()
    kind = random_.choice(["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
    Image.new("RGB", (side, side), tuple(random_.randrange(256) for _ in range(3))).save(file, kind)
    return file.getvalue()


def spoilt(random_: random.Random, content: bytes) -> bytes:
    """Bytes cut, turned, exchanged, added or lost."""
    data, way = bytearray(content), random_.randrange(6)
    if way == 0:
        return bytes(data[: random_.randrange(len(data) + 1)])
    if way == 1:
        return random_.randbytes(random_.randrange(200))
    if way == 2:
        return bytes(data) + random_.randbytes(50)
    if way == 3:
        start = random_.randrange(len(data))
        return bytes(data[:start] + data[start + random_.randrange(30) :])
    for _ in range(random_.choice([1, 3, 20])):
        data[random_.randrange(len(data))] = random_.randrange(256)
    return bytes(data)


def members(random_: random.Random) -> dict[str, bytes]:
    """A small set that is as it should be."""
    names = [f"{split}/{name}/{n}.png" for split in ("train", "test") for name in ("a", "b") for n in range(3)]
    return {name: picture(random_) for name in names}


@pytest.mark.parametrize("seed", range(EACH))
def test_pictures(seed, tmp_path):
    random_ = random.Random(seed)
    files = members(random_)
    for name in random_.sample(sorted(files), random_.choice([1, 1, 4])):
        files[name] = spoilt(random_, files[name])
    for name, content in files.items():
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def run():
        data = load(tmp_path / "set", quiet=True)
        assert len(data.test) == 6
        assert len(data.train) + len(data.val) == 6

    before = sorted(tmp_path.rglob("*"))
    outcome("picture", run, ValueError)
    assert sorted(tmp_path.rglob("*")) == before


ODD_NAMES = [
    "../evil.png",
    "/evil.png",
    "train/../../evil.png",
    "train/a/../../../evil.png",
    "C:\\evil.png",
    "train\\a\\9.png",
]
ODD_NAMES += [
    "train/a/",
    "train/a/x\x00y.png",
    "train//a/9.png",
    "./train/a/9.png",
    "train/c/9.png",
    "TRAIN/a/9.png",
    "9.png",
    "",
]
ODD_TYPES = [
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.FIFOTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.DIRTYPE,
    b"Z",
]
TARGETS = ["0.png", "../../train/b/0.png", "/etc/hostname", "../../../evil", "9.png", "train/a/0.png", ""]


def archive(random_: random.Random, path: Path) -> Path:
    """A zip or tar with a name, a member or bytes that are not as they should be."""
    files, trick = members(random_), random_.randrange(3)
    if random_.random() < 0.5:
        path = path.with_suffix(".zip")
        with zipfile.ZipFile(path, "w") as file:
            for name, content in files.items():
                file.writestr(name, content)
            if trick == 0:
                file.writestr(random_.choice(ODD_NAMES) or "x", picture(random_))
    else:
        path = path.with_suffix(".tgz")
        with tarfile.open(path, "w:gz") as file:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
            info = tarfile.TarInfo(random_.choice(ODD_NAMES).replace("\x00", "") if trick == 0 else "train/a/9.png")
            if trick < 2:
                info.type, info.linkname = random_.choice(ODD_TYPES), random_.choice(TARGETS)
                file.addfile(info)
    if trick == 2:
        path.write_bytes(spoilt(random_, path.read_bytes()))
    return path


@pytest.mark.parametrize("seed", range(EACH))
def test_archives(seed, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("VITEDU_DATA", str(tmp_path / "cache"))
    folder = tmp_path / "in"
    folder.mkdir()
    path = archive(random.Random(seed), folder / "set")
    outcome("archive", lambda: load(path, quiet=True), ValueError, DatasetUnavailable)
    assert [entry.name for entry in folder.iterdir()] == [path.name]
    assert not list(tmp_path.rglob("*evil*"))
    assert not Path("/evil.png").exists()


def lying(random_: random.Random, content: bytes) -> bytes:
    """A safetensors file whose header says something else than the file holds."""
    (length,) = struct.unpack("<Q", content[:8])
    header, rest = json.loads(content[8 : 8 + length]), content[8 + length :]
    name = random_.choice([key for key in header if key != "__metadata__"])
    entry, way = header[name], random_.randrange(7)
    if way == 0:
        entry["data_offsets"] = [random_.randrange(-9, 9999), random_.randrange(-9, 9999)]
    elif way == 1:
        entry["shape"] = [random_.choice([-1, 0, 1, 7, 2**40, "x"]) for _ in range(random_.randrange(5))]
    elif way == 2:
        entry["dtype"] = random_.choice(["F64", "BF16", "I8", "bool", "", None, 3])
    elif way == 3:
        del header[name]
    elif way == 4:
        header[random_.choice(["head.weight", "extra", ""])] = entry
    elif way == 5:
        return struct.pack("<Q", random_.choice([0, 1, length - 1, length + 9, 2**40, 2**63])) + content[8:]
    else:
        return spoilt(random_, content)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rest


@pytest.mark.parametrize("seed", range(EACH))
def test_safetensors(seed, tmp_path):
    """The checksum is made to agree, so that it is the file itself that has to be looked at."""
    import hashlib

    random_ = random.Random(seed)
    if seed % 2:
        save_weights("w", ViT(CONFIG), folder=tmp_path)
        tensors, card = tmp_path / "w.safetensors", tmp_path / "w.json"
    else:
        model = ViT(CONFIG)
        save_checkpoint(tmp_path, model, torch.optim.SGD(model.parameters(), lr=0.1), {"epoch": 1})
        tensors, card = tmp_path / "checkpoint-0001.safetensors", tmp_path / "checkpoint.json"
    tensors.write_bytes(lying(random_, tensors.read_bytes()))
    digest = hashlib.sha256(tensors.read_bytes()).hexdigest()
    card.write_text(json.dumps(json.loads(card.read_text()) | {"sha256": digest}))
    model = ViT(CONFIG)
    before = save(model.state_dict())
    if seed % 2:
        outcome("safetensors", lambda: load_weights("w", tmp_path), CheckpointError)
    else:

        def run():
            try:
                load_checkpoint(tmp_path, model)
            except CheckpointError:
                assert save(model.state_dict()) == before  # nothing half done
                raise

        outcome("safetensors", run, CheckpointError)


def altered(random_: random.Random, state: dict) -> dict:
    """A field less, more, or of another kind, at any depth."""
    state = json.loads(json.dumps(state))
    place = state
    while True:
        key = random_.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if isinstance(place[key], dict | list) and place[key] and random_.random() < 0.7:
            place = place[key]
            continue
        way = random_.randrange(3)
        if way == 0:
            del place[key]
        elif way == 1 and isinstance(place, dict):
            place["another"] = 1
        else:
            place[key] = random_.choice([None, -1, 1e9, "x", [], {}, [1], {"x": 1}, True, 2**70])
        return state


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    options = [
        "--data",
        "digits",
        "--dim",
        "8",
        "--depth",
        "1",
        "--num-heads",
        "1",
        "--patch-size",
        "4",
        "--batch-size",
        "512",
        "--epochs",
        "1",
    ]
    assert main([*options, "--out", str(out)]) == 0
    save_weights("w", ViT(CONFIG), folder=out)
    return out


@pytest.mark.parametrize("seed", range(EACH))
def test_states(seed, finished_run, tmp_path, capsys):
    random_ = random.Random(seed)
    name = ["run.json", "checkpoint.json", "w.json"][seed % 3]
    for path in finished_run.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = altered(random_, json.loads((tmp_path / name).read_text()))
    text = json.dumps(content)
    (tmp_path / name).write_text(text if random_.random() < 0.9 else text[: random_.randrange(len(text))])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    if name == "w.json":
        outcome("state", lambda: load_weights("w", tmp_path), CheckpointError, ValueError)
        return
    if name == "run.json":
        outcome("state", lambda: read_run(tmp_path), CheckpointError)
    status = main(["--resume", str(tmp_path)])
    error = capsys.readouterr().err
    assert status in (0, 2), error
    assert error.count("\n") <= (status == 2) + ("recipe" in error) * 2, error
    if status == 2:
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    COUNTS[f"state: {'refused' if status else 'read'}"] += name != "run.json"


MAKERS = {
    ViTConfig: lambda c: ViT(c)(torch.zeros(1, c.in_channels, *[8, 8])),
    CNNConfig: lambda c: ResNet(c).eval()(torch.zeros(1, c.in_channels, 16, 16)),
    DETRConfig: lambda c: DETR(c).eval()(torch.zeros(1, 3, 64, 64)).logits,
    TrainConfig: lambda c: torch.zeros(1),
    Augment: lambda c: c(torch.zeros(2, 3, 8, 8)),
}
BASE = {
    ViTConfig: {"image_size": 8, "patch_size": 4, "dim": 8, "depth": 1, "num_heads": 2, "num_classes": 2},
    DETRConfig: {"dim": 8, "num_heads": 2, "widths": (4, 8, 8)},
    CNNConfig: {"widths": (4, 8), "depths": (1, 1)},
}


@pytest.mark.parametrize("seed", range(EACH))
def test_configs(seed):
    random_ = random.Random(seed)
    kind = random_.choice(list(MAKERS))
    names = random_.sample(
        [field.name for field in fields(kind)], k=random_.choice([1, 1, 2]) if kind != Augment else 1
    )
    changes = {name: random_.choice(EDGES) for name in names}

    def run():
        config = kind(**BASE.get(kind, {}) | changes)
        sizes = [value for value in vars(config).values() if isinstance(value, int | float)]
        if max(sizes, default=0) < 1000:
            assert MAKERS[kind](config).isfinite().all(), changes

    outcome("config", run, ValueError, TypeError)


OPTIONS = (
    "data resume start-from out root image-size preset model hybrid train-on-val dim depth num-heads mlp-ratio lr "
)
OPTIONS += "epochs batch-size optimizer schedule warmup ema clip-norm keep crop flip no-flip zoom erase seed pool typo"
VALUES = ["", "0", "-1", "1", "nan", "inf", "1e400", "x", "digits", "/nowhere", "tiny", "vit", "best", "--", "a b", "é"]


@pytest.mark.parametrize("seed", range(EACH))
def test_command_lines(seed, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vitedu.train.cli.fit", lambda *_, **__: [])  # nothing is trained here
    monkeypatch.setattr("vitedu.train.cli.evaluate_shared", lambda *_: {"loss": 0.0, "accuracy": 0.0})
    random_ = random.Random(seed)
    line = ["--data", random_.choice(["digits", "digits", "nowhere"])] if random_.random() < 0.8 else []
    for _ in range(random_.choice([1, 2, 3])):
        line += [f"--{random_.choice(OPTIONS.split())}", *random_.sample(VALUES, k=random_.choice([0, 1, 1, 1, 2]))]
    try:
        status = main(line)
    except SystemExit as ended:
        status = ended.code
    error = capsys.readouterr().err
    assert status in (0, 2), (line, error)
    if status == 2:
        assert error.strip().splitlines()[-1].partition("error: ")[2], (line, error)
        assert "Traceback" not in error
        assert not [path for path in tmp_path.rglob("*") if path.name != "cache"], line
    COUNTS[f"command line: {'refused' if status else 'read'}"] += 1
