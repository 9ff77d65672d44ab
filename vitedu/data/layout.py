"""Which class and split a file belongs to: `train|val|test/<class>/*.jpg`, or `<class>/*.jpg` without splits."""

import unicodedata
from pathlib import Path
from typing import NamedTuple

from PIL import features

from vitedu.data.archive import Entries, Fault

SPLITS = ("train", "val", "test")
SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
SPLIT_NAMES |= {"test": "test", "testing": "test"}
AVIF = (".avif",) * ("avif" in features.modules and features.check("avif"))  # since Pillow 11.3
OPAQUE_TYPES = (".jpg", ".jpeg", ".jpe", ".jfif", ".ppm", ".pgm")
IMAGE_TYPES = (*OPAQUE_TYPES, ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", *AVIF)


class Listing(NamedTuple):
    """What a folder or archive holds: its class folders, and each file's split ("" without splits) and label."""

    class_names: tuple[str, ...]
    files: dict[str, tuple[str, int]]  # name -> split, label; sorted by name


def sort_images(source: Path, entries: Entries) -> Listing:
    """Sort files into splits and classes. ValueError says what does not fit the layout.

    Folders around it all, with a README or a licence beside them, are passed by. Splits go by their usual names,
    whatever the case; an accented letter counts as one, however it is encoded.
    """
    plain = {name: unicodedata.normalize("NFC", name) for name in entries}
    images = [plain[name].split("/") for name, place in entries.items() if place is not None and _is_image(name)]
    if not images:
        raise ValueError(f"{source} holds no image of the types {' '.join(IMAGE_TYPES)}; convert others to .png")
    around = _folders_around(images)
    inner = [path.split("/")[len(around) :] for path in plain.values() if path.split("/")[: len(around)] == around]
    splits = _splits(source, {path[0] for path in inner if len(path) > 1})
    files, counts = {}, {}
    for name in sorted(entries, key=lambda name: (plain[name], name)):
        path, is_file = plain[name].split("/"), entries[name] is not None
        inside = path[len(around) :] if path[: len(around)] == around else []
        if splits:  # what lies beside them is no matter
            split, inside = (splits[inside[0]], inside[1:]) if inside and inside[0] in splits else ("", [])
        else:
            split = ""
        if is_file and len(inside) == 2 and _is_image(name):
            counts[split, inside[0]] = counts.get((split, inside[0]), 0) + 1
            files[name] = (split, inside[0])
        elif is_file and (_is_image(name) or len(inside) > (0 if splits else 1)):
            layout = "train|val|test/<class>/<image>" if splits else "<class>/<image>"
            fault = f"is not where or what an image should be: {layout}, one of the types {' '.join(IMAGE_TYPES)}"
            raise Fault(source, name, f"{fault}; move, convert or remove it")
        elif len(inside) == 1 and not is_file:
            counts.setdefault((split, inside[0]), 0)
    numbers = {label: number for number, label in enumerate(_check_classes(source, counts))}
    return Listing(tuple(numbers), {name: (split, numbers[label]) for name, (split, label) in files.items()})


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_TYPES)


def _folders_around(images: list[list[str]]) -> list[str]:
    """The folders that hold everything, down to those of the splits or classes."""
    around, least = [], min(map(len, images))
    while len(tops := {path[len(around)] for path in images}) == 1:
        (top,) = tops
        below = least - len(around) - 1  # parts that are left without it: a class and a file at least
        if below < (3 if top.casefold() in SPLIT_NAMES else 2):
            break
        around.append(top)
    return around


def _splits(source: Path, tops: set[str]) -> dict[str, str]:
    """Which folder is which split; empty if there are none. ValueError if two are the same split."""
    splits = {top: SPLIT_NAMES[top.casefold()] for top in sorted(tops) if top.casefold() in SPLIT_NAMES}
    for split in SPLITS:
        if len(same := [top for top in splits if splits[top] == split]) > 1:
            raise ValueError(f"{source}: {' and '.join(same)} both mean {split}; put their images into one folder")
    return splits


def _check_classes(source: Path, counts: dict[tuple[str, str], int]) -> tuple[str, ...]:
    """The class names, sorted, from images per (split, class). ValueError if a split or class is missing or empty."""
    classes = {split: {label for s, label in counts if s == split} for split in ("", *SPLITS)}
    names = tuple(sorted(classes[""] or classes["train"]))
    if not classes[""] and not (names and (classes["val"] or classes["test"])):
        found = ", ".join(split for split in SPLITS if classes[split])
        raise ValueError(f"{source} needs class folders under train/ and under val/ or test/; found: {found}")
    for split in ("val", "test"):
        if classes[split] and classes[split] != classes["train"]:
            differ = ", ".join(sorted(classes[split] ^ classes["train"]))
            raise Fault(source, f"train/ and {split}/", f"differ in these classes: {differ}; both need all of them")
    if len(names) == 1:
        raise Fault(source, names[0], "is the only class, so there is nothing to tell apart; add a second class folder")
    whole = classes["val"] and classes["test"]
    need = {"": (3, "one each to train on, to choose on and to test on"), "train": (2, "one is set aside to choose on")}
    for (split, label), count in counts.items():
        least, why = (1, "") if whole else need.get(split, (1, ""))
        if count < least:
            reason = f" of at least {least}: {why}" if count else ""
            name = f"{split}/{label}" if split else label
            raise Fault(source, name, f"has {count} image(s){reason}; add images, or remove the class")
        try:
            label.encode()
        except UnicodeEncodeError:
            raise Fault(source, label, "is a class whose name is not UTF-8; rename its folder") from None
    return names
