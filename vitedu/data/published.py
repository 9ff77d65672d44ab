"""The published sets: Fashion-MNIST, CIFAR-10, CIFAR-100, Imagenette, in torchvision's layout, read without unpacking.

Addresses, MD5 sums, file names and class names are those of torchvision's classes. Every load checks the MD5 sums.

Xiao et al. 2017, arXiv:1708.07747; Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009;
Howard, Imagenette, github.com/fastai/imagenette. torchvision takes seconds to import, so the functions here do it.
"""

import gzip
import pickle
import struct
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from vitedu.data.dataset import Dataset, Split, hold_out
from vitedu.data.download import DatasetUnavailable, Remote, fetch
from vitedu.data.folder import load_folder
from vitedu.patch import Size, pair

# The authors' own repository, beside the host that torchvision names; the MD5 sums in its README are torchvision's.
FASHION_MIRROR = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
IMAGENETTE_SIZE = 96  # pixels, where none is asked for


@dataclass(frozen=True)
class PublishedSet:
    """How to get one published set: its files, and how to read them once they are whole."""

    shape: tuple[int, int, int] | None  # (C, H, W), or None where image_size decides
    classes: int
    files: Callable[[Size | None], list[Remote]]
    read: Callable[[Path, list[Remote], Size | None, bool], Dataset]


def load_named(name: str, /, root: Path, image_size: Size | None = None, quiet: bool = False) -> Dataset:
    """Load a published set from `root`: its own files if whole, else `<root>/<name>.zip` or .tar.xz, else by download.

    The publishers give training and test images; the validation split is a fixed, stratified tenth of the training
    images, at most 5,000 (Fashion-MNIST 55,000/5,000/10,000; CIFAR 45,000/5,000/10,000). Imagenette's own `val` is the
    test split here, and its photographs are resized and cropped to `image_size`, 96 by default.

    Raises:
        DatasetUnavailable: no copy is whole and none can be downloaded, or the zip is damaged.
        ValueError: `image_size` is given for a set whose images have one fixed size.
    """
    published = PUBLISHED[name]
    if published.shape is None:
        image_size = pair(image_size or IMAGENETTE_SIZE)
    elif image_size is not None and pair(image_size) != published.shape[1:]:
        raise ValueError(f"{name} has images of {published.shape[1:]}, not {image_size}; leave it out, resize later")
    files = published.files(image_size)
    copy = next((path for end in ("zip", "tar.xz") if (path := root / f"{name}.{end}").exists()), None)
    if copy and not all(remote.is_whole(root) for remote in files):
        return _load_copy(name, copy, image_size, quiet)
    fetch(name, files, root)
    return replace(published.read(root, files, image_size, quiet), name=name)


def _load_copy(name: str, copy: Path, image_size: Size | None, quiet: bool) -> Dataset:
    shape, classes = PUBLISHED[name].shape, PUBLISHED[name].classes
    try:
        dataset = load_folder(copy, image_size, channels=shape[0] if shape else 3, name=name, quiet=quiet)
    except ValueError as error:
        raise DatasetUnavailable(f"the offline copy of {name} cannot be used: {error}") from error
    found = len(dataset.class_names), tuple(dataset.train.images.shape[1:])
    expected = classes, shape or found[1]
    if found != expected:
        raise DatasetUnavailable(
            f"{copy} has (classes, image shape) {found}, {name} has {expected}; rename it, and load it by its path"
        )
    note = " with re-encoded images" if shape else ""  # the publishers of these sets give bare pixels, not image files
    readable = tuple(_readable_names(name).get(label, label) for label in dataset.class_names)
    source = dataset.source.replace(f"file {copy.name}", f"offline copy {copy.name}{note}", 1)
    return replace(dataset, source=source, class_names=readable)


def _readable_names(name: str) -> dict[str, str]:
    """Class names by what a folder of the class is called, where the two differ."""
    if name == "fashion-mnist":
        from torchvision.datasets import FashionMNIST

        return {str(label): title for label, title in enumerate(FashionMNIST.classes)}
    if name == "imagenette":
        from torchvision.datasets import Imagenette

        return {wordnet_id: titles[0] for wordnet_id, titles in Imagenette._WNID_TO_CLASS.items()}
    return {}


def _fashion_files(_: Size | None) -> list[Remote]:
    from torchvision.datasets import FashionMNIST

    mirrors = (*FashionMNIST.mirrors, FASHION_MIRROR)
    return [Remote(f"FashionMNIST/raw/{name}", md5, mirrors) for name, md5 in FashionMNIST.resources]


def _read_fashion(root: Path, files: list[Remote], *_: object) -> Dataset:
    # torchvision unpacks next to the .gz files, which a read-only root does not allow.
    images, labels, test_images, test_labels = (read_idx(root / remote.path) for remote in files)
    names = tuple(_readable_names("fashion-mnist").values())
    return _build(Split(images[:, None], labels.long()), Split(test_images[:, None], test_labels.long()), names)


def read_idx(path: Path) -> Tensor:
    """A gzipped IDX file of unsigned bytes, the format of MNIST -> uint8 tensor. ValueError if it is not one.

    Two zero bytes, the type (8: unsigned byte), the number of axes, the length of each axis (big-endian), the values.
    """
    data = gzip.decompress(path.read_bytes())
    zero, kind, axes = struct.unpack(">HBB", data[:4])
    shape = struct.unpack(f">{axes}I", data[4 : 4 + 4 * axes])
    values = np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * axes)
    if (zero, kind) != (0, 8) or values.size != np.prod(shape):
        raise ValueError(f"{path} is no IDX file of bytes: type {kind}, {values.size} values for shape {shape}")
    return torch.from_numpy(values.reshape(shape).copy())


def _cifar_files(name: str, _: Size | None) -> list[Remote]:
    published = _cifar_class(name)
    return [Remote(published.filename, published.tgz_md5, (published.url.rsplit("/", 1)[0],))]


def _cifar_class(name: str):
    from torchvision import datasets

    return {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]


def _read_cifar(name: str, root: Path, files: list[Remote], *_: object) -> Dataset:
    published = _cifar_class(name)
    with tarfile.open(root / files[0].path) as archive:
        members = {PurePosixPath(m.name).name: archive.extractfile(m).read() for m in archive if m.isfile()}
    # Unpickling runs what the file says: the MD5 sum of the whole archive has been checked before.
    train, test = (
        _join([pickle.loads(members[batch], encoding="latin1") for batch, _ in batches])
        for batches in (published.train_list, published.test_list)
    )
    meta = pickle.loads(members[published.meta["filename"]], encoding="latin1")
    return _build(train, test, tuple(meta[published.meta["key"]]))


def _join(batches: list[dict]) -> Split:
    images = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)  # planes: red, green, blue
    labels = np.concatenate([batch.get("labels", batch.get("fine_labels")) for batch in batches])
    return Split(torch.from_numpy(images), torch.from_numpy(labels).long())


def _imagenette_files(image_size: Size | None) -> list[Remote]:
    """The smallest of the three published archives whose photographs need no enlarging."""
    from torchvision.datasets import Imagenette

    longest = max(pair(image_size))
    edition = next((e for e, side in (("160px", 160), ("320px", 320)) if longest <= side), "full")
    url, md5 = Imagenette._ARCHIVES[edition]
    base, archive = url.rsplit("/", 1)
    return [Remote(archive, md5, (base,))]


def _read_imagenette(root: Path, files: list[Remote], image_size: Size | None, quiet: bool) -> Dataset:
    dataset = load_folder(root / files[0].path, image_size, quiet=quiet)
    readable = _readable_names("imagenette")
    names = tuple(readable[wordnet_id] for wordnet_id in dataset.class_names)
    source = dataset.source.replace(f"file {files[0].path}", f"the publisher's {files[0].path}, checksum verified", 1)
    return replace(dataset, source=source, class_names=names)


def _build(train: Split, test: Split, class_names: tuple[str, ...]) -> Dataset:
    kept, aside = hold_out(train)
    return Dataset("", "the publisher's files, checksums verified", class_names, kept, aside, test, flip=True)


PUBLISHED = {
    "fashion-mnist": PublishedSet((1, 28, 28), 10, _fashion_files, _read_fashion),
    "cifar10": PublishedSet((3, 32, 32), 10, partial(_cifar_files, "cifar10"), partial(_read_cifar, "cifar10")),
    "cifar100": PublishedSet((3, 32, 32), 100, partial(_cifar_files, "cifar100"), partial(_read_cifar, "cifar100")),
    "imagenette": PublishedSet(None, 10, _imagenette_files, _read_imagenette),
}
