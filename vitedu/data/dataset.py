"""What every data set looks like once it is loaded: three splits of `uint8` images, ready to be moved to a device."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from vitedu.data.mapped import join, take

VAL_SHARE, VAL_MOST = 0.1, 5_000  # a tenth of the published training images, and never more than 5,000
CHUNK = 2**20  # pixels looked at together: a set may be larger than memory
HASHED = 2**28  # bytes of a split up to which every image counts in the fingerprint


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels: `images` uint8 (N, C, H, W), `labels` int64 (N,), `masks` bool (N, H, W) or None.

    `masks` are True on the object. `cues` are further labels (N,) by name: on `shapes`, the class to which the colour
    and the texture point. ValueError or TypeError where lengths, dimensions or dtypes differ from these.
    """

    images: Tensor
    labels: Tensor
    masks: Tensor | None = None
    cues: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.labels.dtype != torch.int64:
            raise TypeError(f"images are {self.images.dtype}, labels {self.labels.dtype}; pass uint8 and int64")
        if self.images.ndim != 4:
            raise ValueError(f"images have {self.images.ndim} dimensions, expected 4 (N, C, H, W); grey has C = 1")
        count, _, height, width = self.images.shape
        if self.masks is not None and self.masks.shape != (count, height, width):
            raise ValueError(f"masks are {tuple(self.masks.shape)}, expected {(count, height, width)}: one per image")
        for name, values in {"labels": self.labels, **self.cues}.items():
            if values.shape != (count,):
                raise ValueError(f"{count} images but {name} of shape {tuple(values.shape)}; each image needs one")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Split of {len(self):,} images {'×'.join(map(str, self.images.shape[1:]))}"

    def to(self, device: torch.device | str) -> "Split":
        """The same split on `device`."""
        return self._map(lambda tensor: tensor.to(device))

    def subset(self, indices: Tensor) -> "Split":
        """A copy of the images at `indices` (M,), in that order; of a set on the disk, on the disk."""
        return self._map(lambda tensor: take(tensor, indices))

    def _map(self, function: Callable[[Tensor], Tensor]) -> "Split":
        masks = None if self.masks is None else function(self.masks)
        cues = {name: function(values) for name, values in self.cues.items()}
        return Split(function(self.images), function(self.labels), masks, cues)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named data set with training, validation and test splits.

    Choose on `val`; touch `test` once, at the end. `source` says where the bytes came from. `flip` says whether a
    left-right mirror image keeps its label, and `drawn` that the pictures were computed here, up to rounding. `ground`
    is one of `vitedu.data.picture.GROUNDS`: on what transparent parts of pictures are laid.
    ValueError where there are less than two classes, or labels outside 0 to K - 1.
    """

    name: str
    source: str
    class_names: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    flip: bool
    drawn: bool = False
    ground: str = "white"

    def __post_init__(self) -> None:
        classes = len(self.class_names)
        if classes < 2:
            raise ValueError(f"{self.name} has {classes} class, so there is nothing to tell apart; add a second one")
        for name, split in (("train", self.train), ("val", self.val), ("test", self.test)):
            least, most = (split.labels.min().item(), split.labels.max().item()) if len(split) else (0, 0)
            if least < 0 or most >= classes:
                raise ValueError(
                    f"the labels of {name} run from {least} to {most}, and those of {classes} classes from 0 to "
                    f"{classes - 1}; count classes from 0, leave out what has none, or name more classes"
                )

    @cached_property
    def mean(self) -> Tensor:
        """Mean of each channel over the training images, in [0, 1] units, float32 (C,)."""
        return self._moments[0].float()

    @cached_property
    def std(self) -> Tensor:
        """Standard deviation of each channel over the training images, in [0, 1] units, float32 (C,).

        At least 1/255, one grey level, so that a channel without any spread can still be divided by it.
        """
        return self._moments[1].clamp(min=1 / 255).float()

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        # Counting how often each of the 256 values occurs is exact, and needs no float copy of the images.
        counts = torch.zeros(self.train.images.shape[1], 256, dtype=torch.float64)
        for chunk in _chunks(self.train.images):
            counts += torch.stack([torch.bincount(c.flatten(), minlength=256) for c in chunk.unbind(1)])
        share, value = counts / counts.sum(1, keepdim=True), torch.arange(256, dtype=torch.float64) / 255
        mean = share @ value  # (C,)
        return mean, ((value - mean[:, None]) ** 2 * share).sum(1).sqrt()  # (C,), (C,)

    @cached_property
    def fingerprint(self) -> str:
        """64 hex digits, the same on every machine for the same classes, counts, labels and pictures.

        Of a split beyond 256 MiB every n-th image counts. Of drawn pictures, which another kind of processor rounds
        otherwise here and there, the mean of each channel counts, in steps of four grey levels.
        """
        shapes = [list(split.images.shape) for split in (self.train, self.val, self.test)]
        digest = hashlib.sha256(json.dumps([self.class_names, shapes]).encode())
        for split in (self.train, self.val, self.test):
            digest.update(split.labels.cpu().numpy().astype("<i8").tobytes())
            for chunk in _chunks(split.images[:: 1 + split.images.nbytes // HASHED]):
                if self.drawn:
                    chunk = (chunk.flatten(2).sum(-1) // (4 * chunk[0, 0].numel())).byte()  # (n, C)
                digest.update(chunk.contiguous().numpy())
        return digest.hexdigest()

    def normalised_by(self, mean: Tensor, std: Tensor) -> "Dataset":
        """The same pictures with another mean and standard deviation (C,): of those that a model has learned from."""
        other = replace(self)
        vars(other).update(mean=mean, std=std)  # where `cached_property` keeps them
        return other

    def train_and_val(self) -> Split:
        """Training and validation images in one split, for a last run once the choices are made."""
        return concatenate(self.train, self.val)

    def __repr__(self) -> str:
        return self.describe()

    def describe(self) -> str:
        """One line: name, source, counts, shape."""
        counts = ", ".join(f"{len(getattr(self, split)):,} {split}" for split in ("train", "val", "test"))
        shape = "×".join(map(str, self.train.images.shape[1:]))
        return f"{self.name} ({self.source}): {counts}; {len(self.class_names)} classes, images {shape}"


def _chunks(images: Tensor) -> Iterator[Tensor]:
    """The images, on the CPU, a few at a time."""
    return (chunk.cpu() for chunk in images.split(max(1, CHUNK // max(1, images[:1].numel()))))


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Bytes (B, C, H, W) -> float32 with mean 0 and std 1 per channel, given those of the training set in [0, 1]."""
    shape = (1, -1, 1, 1)
    scale = (1 / (255 * std)).to(images.device).view(shape)
    shift = (mean / std).to(images.device).view(shape)
    return images.float() * scale - shift


def concatenate(first: Split, second: Split) -> Split:
    """One split after the other: N + M images. ValueError if only one of them has masks, or their cues differ."""
    if (first.masks is None) != (second.masks is None) or first.cues.keys() != second.cues.keys():
        raise ValueError("one split has masks or cues that the other lacks; join splits of one data set")
    masks = None if first.masks is None else torch.cat([first.masks, second.masks])
    cues = {name: torch.cat([first.cues[name], second.cues[name]]) for name in first.cues}
    return Split(join(first.images, second.images), torch.cat([first.labels, second.labels]), masks, cues)


def stratified_split(labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Set `count` images aside so that each class gives the same share of its own: labels (N,) -> kept, set aside.

    Both are ascending indices. The choice is fixed: it depends on the labels alone, neither on torch's nor on NumPy's
    global random state. Every class keeps at least one image and gives at least one.

    Raises:
        ValueError: a class has a single image, or `count` leaves one of the sides with less than an image per class.
    """
    sizes = torch.bincount(labels)
    classes = int((sizes > 0).sum())
    if (sizes == 1).any():
        alone = int((sizes == 1).nonzero()[0])
        raise ValueError(f"class {alone} has 1 image; it needs 2, to keep one and set one aside")
    if not classes <= count <= len(labels) - classes:
        raise ValueError(f"{count} of {len(labels)} images set aside; {classes} classes need one each on both sides")
    random = np.random.RandomState(0)  # the one generator whose stream NumPy promises never to change
    aside = []
    for label, size in enumerate(_shares(sizes, count).tolist()):
        members = (labels == label).nonzero().flatten()
        aside.append(members[torch.from_numpy(random.permutation(len(members))[:size])])
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    chosen[torch.cat(aside)] = True
    return (~chosen).nonzero().flatten(), chosen.nonzero().flatten()


def _shares(sizes: Tensor, count: int) -> Tensor:
    """Whole numbers that sum to `count`, in proportion to `sizes` (K,), each between 1 and size - 1 (0 for size 0)."""
    exact = sizes.double() * count / sizes.sum()
    shares = torch.minimum(exact.floor().clamp(min=1), (sizes - 1).double()).clamp(min=0)
    while shares.sum() != count:  # one image at a time to (or from) the class that is furthest below (above) its share
        step = 1 if shares.sum() < count else -1
        room = (shares < sizes - 1) if step > 0 else (shares > 1)
        shares[torch.where(room, step * (exact - shares), -torch.inf).argmax()] += step
    return shares.long()


def held_out(labels: Tensor) -> tuple[Tensor, Tensor]:
    """What to train on and what to choose on, as indices: a tenth is set aside, stratified, at most 5,000."""
    count = max(len(labels.unique()), min(VAL_MOST, round(VAL_SHARE * len(labels))))
    return stratified_split(labels, count)


def hold_out(train: Split) -> tuple[Split, Split]:
    """Training and validation splits from the published training images, by `held_out`."""
    kept, aside = held_out(train.labels)
    return train.subset(kept), train.subset(aside)


def divided(labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Images without splits, as indices to train on, to choose on and to test on: 80, 10 and 10 %, stratified."""
    count = max(len(labels.unique()), round(VAL_SHARE * len(labels)))
    rest, test = stratified_split(labels, count)
    train, val = stratified_split(labels[rest], count)
    return rest[train], rest[val], test
