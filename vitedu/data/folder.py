"""The reader's own images, read from a folder, a .zip or a .tgz, decoded once."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import UnidentifiedImageError

from vitedu.data.archive import Entries, Fault, list_entries, read_files
from vitedu.data.bar import progress_bar
from vitedu.data.cache import Plan, cached
from vitedu.data.dataset import Dataset, Split, divided, held_out
from vitedu.data.layout import OPAQUE_TYPES, SPLITS, Listing, sort_images
from vitedu.data.picture import FAINT, GROUNDS, choose_ground, contrasts, decode_picture
from vitedu.patch import Size, pair

LAID_ON = "transparent parts laid on"
LOOKED_AT = 500  # pictures at most that decide on what transparent ones are laid
T = TypeVar("T")


def load_folder(
    source: Path,
    image_size: Size | None = None,
    channels: int = 3,
    flip: bool = True,
    name: str | None = None,
    quiet: bool = False,
) -> Dataset:
    """Load images laid out `train/<class>/<image>` and `val|test/<class>/<image>`, or `<class>/<image>` alone.

    `source` is a folder, a .zip or a .tgz; folders around it all are accepted, and hidden files ignored. With both
    `val` and `test`, they are taken as they are. With one of them, it becomes the test split, and a fixed tenth of each
    class of `train` (5,000 images at most in all) becomes the validation split. With no splits, fixed tenths of each
    class become the validation and the test split. The images of a split come in one fixed mixed order, so that its
    first hundred are a fair sample. Everything is decoded once, into a file in the cache, from which the images are
    read when they are looked at: they may be more than fits into memory.

    Where pictures have transparent parts, all are laid on white, or on black or grey if fewer of them would then hardly
    be seen; up to 500 pictures decide. `source` of the result says so.

    Args:
        image_size: side, or (height, width): every image is resized until it covers this, and its middle is kept. None
            if all images have one size already. Orientation notes of cameras are followed.
        channels: 3 for colour, 1 for grey.
        flip: whether a mirror image keeps its label; set False for letters, digits, traffic signs.
        name: what to call the data set; the name of the folder or file otherwise.
        quiet: do not say beforehand what decoding will take.

    Raises:
        ValueError: a split or class is missing or empty, there is one class only, the splits have different classes, a
            file cannot be read or is no file (the message names it), or sizes differ and `image_size` is None.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels is {channels}; pass 3 for colour or 1 for grey")
    size = None if image_size is None else pair(image_size)
    source = Path(os.path.realpath(Path(source).expanduser()))
    options = {"size": size, "channels": channels}
    found = cached(source, options, lambda: _plan(source, size, channels), quiet)
    counts, notes = found.about["counts"], found.about["notes"]
    splits = map(Split, found.images.split(counts), found.labels.split(counts))
    kind = "folder" if source.is_dir() else "file"
    title = "; ".join([f"{kind} {source.name}", *notes])
    names, ground = tuple(found.about["class_names"]), _noted_ground(notes)
    return Dataset(name or source.stem, title, names, *splits, flip=flip, ground=ground)


def _plan(source: Path, size: tuple[int, int] | None, channels: int) -> Plan:
    """How the pictures of `source` are going to be decoded, one split after the other."""
    entries = list_entries(source)
    listing = sort_images(source, entries)
    splits, notes = _split(listing)
    names = [name for split in splits for name in split]
    about = {"class_names": listing.class_names, "counts": [len(split) for split in splits], "notes": notes}
    places = {name: place for place, name in enumerate(names)}
    pictures = _decode(source, {name: entries[name] for name in entries if name in places}, size, channels, notes)
    labels = torch.tensor([listing.files[name][1] for name in names])
    return Plan(labels, ((places[name], pixels) for name, pixels in pictures), about)


def _split(listing: Listing) -> tuple[list[list[str]], list[str]]:
    """The files of each split, mixed, and what is to be said about how they came there."""
    found = {split: [name for name, (s, _) in listing.files.items() if s == split] for split in ("", *SPLITS)}
    mixed = {s: [names[i] for i in np.random.RandomState(0).permutation(len(names))] for s, names in found.items()}
    labels = {s: torch.tensor([listing.files[name][1] for name in names]) for s, names in mixed.items()}

    def parts(split: str, indices: tuple[torch.Tensor, ...]) -> list[list[str]]:
        return [[mixed[split][i] for i in part.tolist()] for part in indices]

    if mixed[""]:
        return parts("", divided(labels[""])), ["no splits in it, so divided 80/10/10 by class"]
    if mixed["val"] and mixed["test"]:
        return [mixed[split] for split in SPLITS], []
    return [*parts("train", held_out(labels["train"])), mixed["val"] or mixed["test"]], []


def _decode(
    source: Path, files: Entries, size: tuple[int, int] | None, channels: int, notes: list[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """Each file's pixels (C, H, W), decoded by several threads at a time (the decoder runs outside Python's lock).

    What is to be said about transparent pictures is added to `notes` after the last.
    """
    ground, first, seen = _ground(source, files, channels), None, []
    decoded = _in_parallel(source, files, lambda data: decode_picture(data, size, channels, GROUNDS[ground]))
    with progress_bar(total=len(files), desc="decoding") as bar:
        for name, (pixels, contrast) in decoded:
            first = first or (name, pixels.shape)
            if pixels.shape != first[1]:
                here, there = ("×".join(map(str, shape[1:])) for shape in (pixels.shape, first[1]))
                raise Fault(source, name, f"has {here} pixels, {first[0]} has {there}; pass image_size to equal them")
            seen += [] if contrast is None else [contrast]
            yield name, pixels
            bar.update()
    if seen:
        faint = sum(contrast < FAINT for contrast in seen)
        rest = f", where {faint:,} of {len(seen):,} can hardly be seen" if faint else ""
        notes.append(f"{LAID_ON} {ground}{rest}")


def _noted_ground(notes: list[str]) -> str:
    """On what the notes of a decoded set say that transparent parts were laid; white where they say nothing."""
    return next((ground for ground in GROUNDS for note in notes if note.startswith(f"{LAID_ON} {ground}")), "white")


def _ground(source: Path, files: Entries, channels: int) -> str:
    """On what transparent pictures are laid: `LOOKED_AT` files or fewer decide, evenly spaced among the sorted ones."""
    names = sorted(name for name in files if not name.lower().endswith(OPAQUE_TYPES))
    sample = names[:: max(1, -(-len(names) // LOOKED_AT))]
    found = _in_parallel(source, {name: files[name] for name in sample}, lambda data: contrasts(data, channels))
    return choose_ground(contrast for _, contrast in found if contrast)


def _in_parallel(source: Path, files: Entries, function: Callable[[bytes], T]) -> Iterator[tuple[str, T]]:
    """What `function` makes of each file's bytes; only a few files are in memory at a time."""

    def work(name: str, data: bytes) -> T:
        try:
            return function(data)
        except Exception as error:  # Pillow's many decoders raise many kinds for a damaged file
            reason = "its format is unknown" if isinstance(error, UnidentifiedImageError) else error
            raise Fault(source, name, f"is not a readable image: {reason}; replace or remove it") from error

    workers, waiting, count = os.cpu_count() or 1, deque(), 0
    with ThreadPoolExecutor(workers) as pool:
        for name, data in read_files(source, files):
            waiting.append((name, pool.submit(work, name, data)))
            count += 1
            if len(waiting) > 2 * workers:
                name, future = waiting.popleft()
                yield name, future.result()
        for name, future in waiting:
            yield name, future.result()
    if count != len(files):
        raise ValueError(f"{source} changed while it was read; load it again")
