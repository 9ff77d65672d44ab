"""The published sets, read from files in torchvision's layout and from offline copies; torchvision is the reference."""

import gzip
import hashlib
import io
import os
import pickle
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision import datasets
from torchvision.datasets.mnist import read_sn3_pascalvincent_tensor

from vitedu.data import DatasetUnavailable, load
from vitedu.data.published import read_idx

REAL = Path(os.environ.get("VITEDU_DATA", "no-such-folder"))
SAFELY = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # since Python 3.11.4


def needs(name: str):
    return pytest.mark.skipif(
        not (REAL / name).exists(), reason=f"the real data are not here: no {name} under VITEDU_DATA"
    )


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """A cache of our own, and no host to ask."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("VITEDU_MIRRORS", "http://127.0.0.1:9/")


def jpeg(seed: int, size: tuple[int, int] = (32, 32)) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1] // 4, size[0] // 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size).save(file, "jpeg")
    return file.getvalue()


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def write_tar(path: Path, files: dict[str, bytes], packed: str = "gz") -> str:
    """The MD5 sum of the archive."""
    with tarfile.open(path, f"w:{packed}") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return hashlib.md5(path.read_bytes()).hexdigest()


def sorted_images(images: torch.Tensor) -> torch.Tensor:
    rows = images.flatten(1).numpy()
    return torch.from_numpy(rows[np.lexsort(rows.T[::-1])])


@pytest.mark.parametrize("shape", [(7,), (5, 3, 4)])
def test_idx_files_are_read_as_torchvision_reads_them_unzipped(tmp_path, shape):
    values = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    raw = bytes([0, 0, 8, len(shape)]) + np.array(shape, dtype=">u4").tobytes() + values.tobytes()
    (tmp_path / "raw").write_bytes(raw)
    (tmp_path / "raw.gz").write_bytes(gzip.compress(raw))
    assert torch.equal(read_idx(tmp_path / "raw.gz"), read_sn3_pascalvincent_tensor(str(tmp_path / "raw")))


@pytest.mark.parametrize(
    "raw", [b"\0\0\x08\x01\0\0\0\x05abc", b"\0\0\x0d\x01\0\0\0\x03abc", b"\1\0\x08\x01\0\0\0\x03abc"]
)
def test_what_is_no_whole_idx_file_of_bytes_is_refused(tmp_path, raw):
    (tmp_path / "raw.gz").write_bytes(gzip.compress(raw))
    with pytest.raises(ValueError, match="is no IDX file of bytes"):
        read_idx(tmp_path / "raw.gz")


@needs("FashionMNIST/raw/train-images-idx3-ubyte.gz")
def test_fashion_mnist_is_that_of_torchvision_in_less_than_three_seconds(tmp_path):
    start = time.process_time()
    data = load("fashion-mnist", root=REAL, quiet=True)
    assert time.process_time() - start < 3
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, _ in datasets.FashionMNIST.resources:
        packed = (REAL / "FashionMNIST" / "raw" / name).read_bytes()
        (raw / name.removesuffix(".gz")).write_bytes(gzip.decompress(packed))
    train, test = (datasets.FashionMNIST(tmp_path, train=part) for part in (True, False))
    assert torch.equal(data.test.images[:, 0], test.data)
    assert torch.equal(data.test.labels, test.targets)
    joined, chosen = data.train_and_val(), torch.bincount(data.val.labels)
    assert torch.equal(sorted_images(joined.images), sorted_images(train.data[:, None]))
    assert torch.equal(torch.bincount(joined.labels), torch.bincount(train.targets))
    assert chosen.tolist() == [500] * 10
    assert data.class_names == tuple(train.classes)


@needs("FashionMNIST/raw/train-images-idx3-ubyte.gz")
def test_the_validation_images_keep_their_published_labels_and_order():
    data = load("fashion-mnist", root=REAL, quiet=True)
    images, labels = (
        read_idx(REAL / "FashionMNIST" / "raw" / f"train-{part}-ubyte.gz") for part in ("images-idx3", "labels-idx1")
    )
    places = {image.numpy().tobytes(): i for i, image in enumerate(images)}  # Fashion-MNIST has few doubles
    found = torch.tensor([places[image.numpy().tobytes()] for image in data.val.images[:, 0]])
    assert torch.equal(labels[found].long(), data.val.labels)
    assert (found.diff() > 0).float().mean() > 0.99


CIFAR = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}


@pytest.fixture(params=["cifar10", "cifar100"])
def cifar(request, tmp_path, monkeypatch):
    """A small archive in the layout of the published one; torchvision's checksums are replaced by its own."""
    published, random = CIFAR[request.param], np.random.default_rng(0)
    classes, key = (10, "labels") if request.param == "cifar10" else (100, "fine_labels")
    batches = [name for name, _ in published.train_list + published.test_list]
    members = {
        name: {"data": random.integers(0, 256, (2 * classes, 3072)).astype(np.uint8), key: [*range(classes)] * 2}
        for name in batches
    }
    members[published.meta["filename"]] = {published.meta["key"]: [f"class {i}" for i in range(classes)]}
    files = {f"{published.base_folder}/{name}": pickle.dumps(entry, protocol=2) for name, entry in members.items()}
    files[f"{published.base_folder}/readme.html"] = b"<html>"
    root = tmp_path / "root"
    root.mkdir()
    sums = {Path(name).name: hashlib.md5(data).hexdigest() for name, data in files.items()}
    monkeypatch.setattr(published, "tgz_md5", write_tar(root / published.filename, files))
    for part in ("train_list", "test_list"):
        monkeypatch.setattr(published, part, [[name, sums[name]] for name, _ in getattr(published, part)])
    monkeypatch.setattr(published, "meta", {**published.meta, "md5": sums[published.meta["filename"]]})
    return request.param, root


def test_cifar_is_that_of_torchvision_without_unpacking(cifar, tmp_path):
    name, root = cifar
    data = load(name, root=root, quiet=True)
    assert os.listdir(root) == [CIFAR[name].filename]
    with tarfile.open(root / CIFAR[name].filename) as archive:
        archive.extractall(tmp_path / "unpacked", **SAFELY)
    train, test = (CIFAR[name](tmp_path / "unpacked", train=part) for part in (True, False))
    assert torch.equal(data.test.images, torch.from_numpy(test.data).permute(0, 3, 1, 2))
    assert data.test.labels.tolist() == test.targets
    joined = data.train_and_val()
    assert torch.equal(sorted_images(joined.images), sorted_images(torch.from_numpy(train.data).permute(0, 3, 1, 2)))
    assert torch.bincount(joined.labels).tolist() == np.bincount(train.targets).tolist()
    assert data.class_names == tuple(train.classes)


def test_cifar_is_downloaded_where_it_is_missing_or_damaged(cifar, tmp_path, monkeypatch):
    name, root = cifar
    monkeypatch.setenv("VITEDU_MIRRORS", root.as_uri())
    target = tmp_path / "target"
    first = load(name, root=target, quiet=True)
    archive = target / CIFAR[name].filename
    archive.write_bytes(archive.read_bytes()[:-100])
    assert torch.equal(load(name, root=target, quiet=True).train.images, first.train.images)
    assert archive.read_bytes() == (root / CIFAR[name].filename).read_bytes()
    assert sorted(os.listdir(target)) == sorted([".lock", CIFAR[name].filename])


def test_a_damaged_archive_is_never_unpickled(cifar, monkeypatch):
    name, root = cifar
    archive = root / CIFAR[name].filename
    archive.write_bytes(archive.read_bytes() + b"!")
    monkeypatch.setattr(pickle, "loads", lambda *_, **__: pytest.fail("unpickled"))
    with pytest.raises(DatasetUnavailable):
        load(name, root=root, quiet=True)


WORDNET_IDS = tuple(datasets.Imagenette._WNID_TO_CLASS)


def photographs() -> dict[str, bytes]:
    files, seed = {}, 0
    for split, count in (("train", 3), ("val", 2)):
        for wordnet_id in reversed(WORDNET_IDS):
            for i in range(count):
                files[f"{split}/{wordnet_id}/{i}.JPEG"] = jpeg(seed := seed + 1, [(40, 60), (64, 48), (30, 30)][i])
    return files


def assert_is_imagenette(data, files: dict[str, bytes], side: int) -> None:
    """Readable names in the order of the identifiers; `val` is the test split; every photograph fitted to a square."""
    assert data.class_names[0] == "tench"
    assert data.class_names == tuple(datasets.Imagenette._WNID_TO_CLASS[w][0] for w in sorted(WORDNET_IDS))
    assert (len(data.train), len(data.val), len(data.test)) == (20, 10, 20)
    for label, wordnet_id in enumerate(sorted(WORDNET_IDS)):
        names = [name for name in files if name.startswith(f"val/{wordnet_id}")]
        fitted = [ImageOps.fit(Image.open(io.BytesIO(files[name])), (side, side)) for name in names]
        expected = torch.from_numpy(np.stack(fitted)).permute(0, 3, 1, 2)
        assert torch.equal(sorted_images(data.test.images[data.test.labels == label]), sorted_images(expected))


def test_imagenette_is_read_from_the_published_archive(tmp_path, monkeypatch):
    files = photographs()
    inside = {f"imagenette2-160/{name}": data for name, data in files.items()}
    md5 = write_tar(tmp_path / "imagenette2-160.tgz", {**inside, "imagenette2-160/noisy_imagenette.csv": b"path,label"})
    archives = {**datasets.Imagenette._ARCHIVES, "160px": (datasets.Imagenette._ARCHIVES["160px"][0], md5)}
    monkeypatch.setattr(datasets.Imagenette, "_ARCHIVES", archives)
    data = load("imagenette", root=tmp_path, image_size=48, quiet=True)
    assert_is_imagenette(data, files, side=48)
    assert "imagenette2-160.tgz" in data.source


@pytest.mark.parametrize(
    ("size", "archive"), [(None, "-160"), (160, "-160"), ((96, 161), "-320"), (320, "-320"), (384, "")]
)
def test_the_smallest_archive_that_needs_no_enlarging_is_asked_for(tmp_path, size, archive):
    with pytest.raises(DatasetUnavailable, match=rf"imagenette2{archive}\.tgz"):
        load("imagenette", root=tmp_path, image_size=size)


def test_a_zip_in_the_root_stands_in_for_imagenette_and_no_host_is_asked(tmp_path, capsys):
    files = photographs()
    write_zip(tmp_path / "imagenette.zip", files)
    data = load("imagenette", root=tmp_path, image_size=48)
    assert_is_imagenette(data, files, side=48)
    assert capsys.readouterr().out.startswith("imagenette (offline copy imagenette.zip): 20 train, 10 val, 20 test")
    assert load("imagenette", root=tmp_path, quiet=True).train.images.shape[1:] == (3, 96, 96)


def cifar_copy(classes: int = 10, size: tuple[int, int] = (32, 32)) -> dict[str, bytes]:
    return {f"{s}/{c:02}/{i}.jpg": jpeg(c, size) for s in ("train", "test") for c in range(classes) for i in range(2)}


def test_a_zip_of_re_encoded_images_says_so(tmp_path):
    write_zip(tmp_path / "cifar10.zip", cifar_copy())
    data = load("cifar10", root=tmp_path, quiet=True)
    assert data.name == "cifar10"
    assert data.source == "offline copy cifar10.zip with re-encoded images"
    assert len(data.test) == 20


def test_a_solid_tar_of_the_same_files_is_the_same_set(tmp_path):
    (tmp_path / "zip").mkdir()
    write_zip(tmp_path / "zip" / "cifar10.zip", cifar_copy())
    write_tar(tmp_path / "cifar10.tar.xz", {f"./{name}": data for name, data in cifar_copy().items()}, "xz")
    zipped, packed = (load("cifar10", root=root, quiet=True) for root in (tmp_path / "zip", tmp_path))
    assert packed.source == "offline copy cifar10.tar.xz with re-encoded images"
    assert packed.fingerprint == zipped.fingerprint


def test_a_zip_without_splits_says_so(tmp_path):
    write_zip(tmp_path / "cifar10.zip", {f"{c:02}/{i}.jpg": jpeg(c) for c in range(10) for i in range(3)})
    data = load("cifar10", root=tmp_path, quiet=True)
    assert data.source.endswith(
        "offline copy cifar10.zip with re-encoded images; no splits in it, so divided 80/10/10 by class"
    )


def test_whole_published_files_come_before_a_zip(cifar):
    name, root = cifar
    write_zip(root / f"{name}.zip", cifar_copy())
    assert load(name, root=root, quiet=True).source == "the publisher's files, checksums verified"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (cifar_copy(classes=9), r"\(9, \(3, 32, 32\)\), cifar10 has \(10"),
        (cifar_copy(size=(28, 28)), r"\(10, \(3, 28, 28\)\)"),
        ({**cifar_copy(), "train/03/1.jpg": b"no image"}, r"train/03/1\.jpg is not a readable image"),
    ],
)
def test_a_zip_that_is_not_the_set_is_refused(tmp_path, files, message):
    write_zip(tmp_path / "cifar10.zip", files)
    with pytest.raises(DatasetUnavailable, match=message):
        load("cifar10", root=tmp_path, quiet=True)


def test_a_cut_zip_is_refused(tmp_path):
    write_zip(tmp_path / "cifar10.zip", cifar_copy())
    path = tmp_path / "cifar10.zip"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(
        DatasetUnavailable, match=r"offline copy of cifar10 cannot be used: .*neither a folder nor a whole"
    ):
        load("cifar10", root=tmp_path, quiet=True)


def test_fashion_mnist_from_a_zip_has_grey_images_and_readable_names(tmp_path):
    files = {}
    for split in ("train", "test"):
        for label in range(10):
            for i in range(2):
                grey = io.BytesIO()
                Image.fromarray(np.full((28, 28), 20 * label + i, dtype=np.uint8)).save(grey, "png")
                files[f"{split}/{label}/{i}.png"] = grey.getvalue()
    write_zip(tmp_path / "fashion-mnist.zip", files)
    data = load("fashion-mnist", root=tmp_path, quiet=True)
    assert data.class_names == tuple(datasets.FashionMNIST.classes)
    assert torch.equal(data.test.images[:, 0, 0, 0] // 20, data.test.labels.to(torch.uint8))
