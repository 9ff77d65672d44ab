"""Which class and split a file belongs to: the layouts that people have, or one true sentence."""

import unicodedata
from pathlib import Path

import pytest
from PIL import features

from vitedu.data.layout import IMAGE_TYPES, sort_images

SOURCE = Path("pets")
NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
PLAIN = tuple(f"{split}/{label}/{i}.png" for split in ("train", "test") for label in ("cat", "dog") for i in range(2))
BARE = tuple(f"{label}/{i}.png" for label in ("cat", "dog") for i in range(3))


def sort(*names: str):
    """The listing of files; a name that ends in `/` is a folder, and the folders of the files are there too."""
    folders = {name[: place + 1] for name in names for place, letter in enumerate(name) if letter == "/"}
    return sort_images(SOURCE, {name.rstrip("/"): None if name.endswith("/") else name for name in {*names, *folders}})


def moved(change, names: tuple[str, ...] = PLAIN) -> list[str]:
    return [change(name) for name in names]


def counts(listing) -> dict[tuple[str, str], int]:
    places = [(split, listing.class_names[label]) for split, label in listing.files.values()]
    return {place: places.count(place) for place in places}


SPLIT = {(split, label): 2 for split in ("train", "test") for label in ("cat", "dog")}
UNSPLIT = {("", "cat"): 3, ("", "dog"): 3}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (PLAIN, SPLIT),
        (BARE, UNSPLIT),
        (moved("pets/".__add__), SPLIT),
        (moved("home/me/pets/".__add__, BARE), UNSPLIT),
        (moved("test/".__add__), SPLIT),  # a folder around it all that is called like a split
        ([*moved("pets/".__add__), "README.md", "LICENSE", "docs/page.txt"], SPLIT),
        ([*PLAIN, "labels.csv", "notes/a.txt", "val/"], SPLIT),
        ([*BARE, "labels.csv"], UNSPLIT),
        (moved(lambda n: n.replace("train", "Train").replace("test", "TEST")), SPLIT),
        (moved(lambda n: n.replace("train", "training").replace("test", "Testing")), SPLIT),
        (moved(lambda n: n.replace("test", "valid")), {(s.replace("test", "val"), c): 2 for s, c in SPLIT}),
        (moved(lambda n: n.replace("test", "Validation")), {(s.replace("test", "val"), c): 2 for s, c in SPLIT}),
        (moved(lambda n: n.replace(".png", ".JPEG")), SPLIT),
        (moved(lambda n: n.replace("0.png", "a.JFIF").replace("1.png", "b.c.jpe")), SPLIT),
    ],
)
def test_the_layouts_that_people_have_are_read(names, expected):
    assert counts(sort(*names)) == expected


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow does not read AVIF")
def test_avif_is_an_image_where_pillow_reads_it():
    assert ".avif" in IMAGE_TYPES
    assert counts(sort(*moved(lambda n: n.replace(".png", ".avif")))) == SPLIT


def test_an_accented_class_is_one_class_however_it_is_encoded_and_the_order_of_files_is_the_same():
    names = moved(lambda n: n.replace("cat", NFC))
    mixed = moved(lambda n: n.replace("cat", NFD if n.startswith("test") else NFC))
    listing = sort(*mixed)
    assert listing.class_names == (NFC, "dog") == sort(*names).class_names
    assert counts(listing) == {(split, {"cat": NFC}.get(label, label)): n for (split, label), n in SPLIT.items()}
    assert [unicodedata.normalize("NFC", name) for name in listing.files] == list(sort(*names).files)
    both = sort(*PLAIN, *(f"{split}/{form}/{form}.png" for split in ("train", "test") for form in (NFC, NFD)))
    assert counts(both)["train", NFC] == 2


def test_files_come_sorted_whatever_the_order_of_the_folder():
    assert list(sort(*reversed(PLAIN)).files) == list(sort(*PLAIN).files) == sorted(PLAIN)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (PLAIN[:4], "needs class folders under train/ and under val/ or test/; found: train"),
        (PLAIN[4:], "found: test"),
        ([], "pets holds no image of the types .jpg"),
        (["train/cat/1.heic", "test/cat/1.heic"], "holds no image of the types .*; convert others"),
        ([n for n in PLAIN if n[:8] != "test/dog"], "train/ and test/ differ in these classes: dog; both need all"),
        ([*PLAIN, "test/fox/0.png"], "differ in these classes: fox"),
        (
            [*PLAIN, *moved(lambda n: n.replace("test", "val"), PLAIN[4:6])],
            "train/ and val/ differ in these classes: dog",
        ),
        (
            [*PLAIN, "train/dog/1.heic"],
            r"train/dog/1\.heic is not where or what an image should be: train\|val\|test/<class>",
        ),
        ([*PLAIN, "train/0.png"], r"train/0\.png is not where"),
        ([*PLAIN, "train/labels.csv"], r"train/labels\.csv is not where"),
        ([*PLAIN, "0.png"], r": 0\.png is not where"),
        ([*PLAIN, "train/cat/small/0.png"], r"train/cat/small/0\.png is not where"),
        ([*PLAIN, "extra/cat/0.png"], r"extra/cat/0\.png is not where"),
        ([*PLAIN, "Train/cat/0.png"], "Train and train both mean train; put their images into one folder"),
        ([*PLAIN, "val/cat/0.png", "valid/cat/0.png"], "val and valid both mean val"),
        ([*PLAIN, "train/fox/0.png", "test/fox/0.png"], r"train/fox has 1 image\(s\) of at least 2: one is set aside"),
        ([*PLAIN, "val/cat/", "val/dog/"], r"val/cat has 0 image\(s\); add"),
        ([*PLAIN, "train/fox/", "test/fox/"], r"fox has 0 image\(s\); add images, or remove the class"),
        ([*BARE, "0.png"], r": 0\.png is not where or what an image should be: <class>/<image>"),
        ([*BARE, "dog/old/0.png"], r"dog/old/0\.png is not where"),
        ([*BARE, "dog/0.heic"], r"dog/0\.heic is not where"),
        ([*BARE, "fox/"], r"fox has 0 image\(s\); add"),
        ([*BARE, "fox/0.png", "fox/1.png"], r"fox has 2 image\(s\) of at least 3: one each to train on"),
        ([n for n in PLAIN if "cat" in n], "cat is the only class, .*; add a second"),
        (BARE[:3], "cat is the only class"),
        (moved("pets/".__add__, BARE[:3]), "cat is the only class"),
        ([*PLAIN, "train/cat/a\nb.heic"], r"train/cat/a\\nb\.heic is not where"),
        (moved(lambda n: n.replace("cat", "caf\udce9")), r"caf\\udce9 is a class whose name is not UTF-8; rename"),
    ],
)
def test_what_does_not_fit_is_named_in_one_sentence(names, message):
    with pytest.raises(ValueError, match=message) as caught:
        sort(*names)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()
