"""Images in folders and archives: the same pixels from each, fixed splits, and errors that name the file."""

import io
import tarfile
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from vitedu.data import folder as folder_module
from vitedu.data.folder import load_folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def png(seed: int, size: tuple[int, int] = (6, 5), mode: str = "RGB") -> bytes:
    """A picture of noise, width × height; RGB or L."""
    shape = (*size[::-1], 3) if mode == "RGB" else size[::-1]
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def pixels(data: bytes) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(io.BytesIO(data)).convert("RGB"))).permute(2, 0, 1)


def layout(splits: dict[str, int], classes: tuple[str, ...] = ("cat", "dog")) -> dict[str, bytes]:
    """Files by name: so many images per class in each split, every one different."""
    names = [f"{s}/{c}/{i}.png" for s, count in splits.items() for c in classes for i in range(count)]
    return {name: png(seed) for seed, name in enumerate(names)}


def as_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def as_zip(path: Path, files: dict[str, bytes]) -> Path:
    path = path.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def as_tgz(path: Path, files: dict[str, bytes]) -> Path:
    path = path.with_suffix(".tgz")
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo("./" + name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


STORES = pytest.mark.parametrize("store", [as_folder, as_zip, as_tgz])


def as_set(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


@STORES
@pytest.mark.parametrize("around", ["", "pets/"])
def test_every_image_arrives_once_with_its_own_label(tmp_path, store, around):
    files = layout({"train": 10, "test": 3})
    data = load_folder(store(tmp_path / "pets", {around + name: data for name, data in files.items()}))
    assert data.class_names == ("cat", "dog")
    for split, part in (("train", data.train_and_val()), ("test", data.test)):
        for label, name in enumerate(data.class_names):
            expected = torch.stack([pixels(d) for n, d in files.items() if n.startswith(f"{split}/{name}/")])
            assert as_set(part.images[part.labels == label]) == as_set(expected)
        assert len(part) == sum(n.startswith(split) for n in files)


def test_folder_zip_and_tgz_give_the_same_tensors_in_the_same_order(tmp_path):
    files = layout({"train": 12, "val": 2, "test": 3})
    backwards = dict(reversed(files.items()))
    first, *others = (
        load_folder(s(tmp_path / "p", f))
        for s, f in zip((as_folder, as_zip, as_tgz), (files, backwards, files), strict=True)
    )
    for other in others:
        for split in ("train", "val", "test"):
            assert torch.equal(getattr(first, split).images, getattr(other, split).images)
            assert torch.equal(getattr(first, split).labels, getattr(other, split).labels)


def test_a_split_starts_with_a_mixture_of_classes(tmp_path):
    data = load_folder(as_folder(tmp_path / "p", layout({"train": 40, "test": 20})))
    for split in (data.train, data.test):
        assert 0 < split.labels[:12].sum() < 12
        assert (split.labels[1:] != split.labels[:-1]).float().mean() > 0.3  # sorted by class, it would be near 0


@pytest.mark.parametrize("published", ["val", "test"])
def test_with_two_splits_a_tenth_of_each_class_of_train_becomes_validation(tmp_path, published):
    files = layout({"train": 20, published: 3})
    data = load_folder(as_folder(tmp_path / "p", files))
    assert torch.bincount(data.val.labels).tolist() == [2, 2]
    assert torch.bincount(data.train.labels).tolist() == [18, 18]
    assert as_set(data.test.images) == as_set(
        torch.stack([pixels(d) for n, d in files.items() if n.startswith(published)])
    )
    assert not as_set(data.val.images) & as_set(data.train.images)


def test_with_three_splits_each_is_taken_as_it_is(tmp_path):
    files = layout({"train": 4, "val": 3, "test": 2})
    data = load_folder(as_folder(tmp_path / "p", files))
    for split, part in (("train", data.train), ("val", data.val), ("test", data.test)):
        assert as_set(part.images) == as_set(torch.stack([pixels(d) for n, d in files.items() if n.startswith(split)]))


@pytest.mark.parametrize("size", [8, (4, 8), (20, 10)])
def test_images_of_any_size_cover_the_asked_one_and_keep_their_middle(tmp_path, size):
    files = {
        f"{s}/{c}/{i}.png": png(i, shape)
        for s in ("train", "test")
        for c in "ab"
        for i, shape in enumerate([(9, 30), (17, 17), (40, 11)])
    }
    data = load_folder(as_folder(tmp_path / "p", files), image_size=size)
    height, width = size if isinstance(size, tuple) else (size, size)
    fitted = [ImageOps.fit(Image.open(io.BytesIO(files[f"test/a/{i}.png"])), (width, height)) for i in range(3)]
    assert as_set(data.test.images) == as_set(torch.from_numpy(np.stack(fitted)).permute(0, 3, 1, 2))


def test_a_wide_photograph_keeps_its_middle_and_its_shape(tmp_path):
    """Left third red, middle green, right blue: the square crop is green from side to side."""
    pixels = np.zeros((20, 60, 3), dtype=np.uint8)
    for third in range(3):
        pixels[:, 20 * third : 20 * third + 20, third] = 200
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    files = {f"{s}/{c}/{i}.png": file.getvalue() for s in ("train", "test") for c in "ab" for i in range(2)}
    image = load_folder(as_folder(tmp_path / "p", files), image_size=20).test.images[0]
    assert image.flatten(1).float().mean(1).tolist() == [0, 200, 0]


def test_the_camera_s_orientation_note_is_followed(tmp_path):
    upright = np.zeros((16, 16, 3), dtype=np.uint8)
    upright[:8] = 255  # bright at the top
    exif = Image.Exif()
    exif[0x0112] = 3  # stored upside down
    file = io.BytesIO()
    Image.fromarray(upright[::-1].copy()).save(file, "jpeg", exif=exif)
    files = {f"{s}/{c}/{i}.jpg": file.getvalue() for s in ("train", "test") for c in "ab" for i in range(2)}
    image = load_folder(as_folder(tmp_path / "p", files)).test.images[0].float()
    assert image[:, :6].mean() > 240
    assert image[:, 10:].mean() < 15


def test_grey_is_one_channel_on_request_and_three_equal_ones_otherwise(tmp_path):
    files = {f"{s}/{c}/{i}.png": png(i, mode="L") for s in ("train", "test") for c in "ab" for i in range(2)}
    source = as_folder(tmp_path / "p", files)
    grey, colour = load_folder(source, channels=1).test.images, load_folder(source).test.images
    assert grey.shape[1:] == (1, 5, 6)
    assert torch.equal(grey.expand(-1, 3, -1, -1), colour)
    raw = np.array(Image.open(io.BytesIO(files["test/a/0.png"])))
    assert raw.tobytes() in as_set(grey)


@STORES
def test_hidden_files_are_ignored(tmp_path, store):
    files = layout({"train": 2, "test": 2})
    junk = ["train/cat/.DS_Store", "__MACOSX/train/cat/._0.png", ".git/config", "test/dog/Thumbs.db", "README.md"]
    data = load_folder(store(tmp_path / "p", {**files, **dict.fromkeys(junk, b"junk")}))
    assert len(data.train_and_val()) + len(data.test) == len(files)


@STORES
@pytest.mark.parametrize("damaged", [b"no image at all", png(0)[:60], b""], ids=["text", "truncated", "empty"])
def test_a_damaged_image_is_named(tmp_path, store, damaged):
    files = {**layout({"train": 3, "test": 2}), "train/dog/1.png": damaged}
    with pytest.raises(ValueError, match=r"train/dog/1\.png is not a readable image"):
        load_folder(store(tmp_path / "p", files))


def test_a_file_that_is_damaged_inside_its_zip_is_named(tmp_path):
    source = as_zip(tmp_path / "p", layout({"train": 3, "test": 2}))
    data = bytearray(source.read_bytes())
    at = data.index(b"train/dog/1.png") + 60
    data[at] ^= 0xFF
    source.write_bytes(data)
    with pytest.raises(ValueError, match=r"train/dog/1\.png cannot be read: Bad CRC"):
        load_folder(source)


@STORES
@pytest.mark.parametrize("other", ["test/dog/big", "test/"])
def test_images_of_two_sizes_are_named(tmp_path, store, other):
    files = {n: png(0, (7, 5)) if n.startswith(other) else d for n, d in layout({"train": 3, "test": 2}).items()}
    files["test/dog/big.png"] = png(0, (7, 5))
    with pytest.raises(ValueError, match=r"has 5×[67] pixels, t\S+ has 5×[67]; pass image_size to equal them"):
        load_folder(store(tmp_path / "p", files))


def test_sixteen_bit_images_are_refused_rather_than_turned_white(tmp_path):
    file = io.BytesIO()
    Image.fromarray(np.full((5, 6), 40_000, dtype=np.uint16)).save(file, "png")
    files = {**layout({"train": 2, "test": 2}), "train/cat/deep.png": file.getvalue()}
    with pytest.raises(ValueError, match=r"train/cat/deep\.png.*more than 8 bits"):
        load_folder(as_folder(tmp_path / "p", files))


@pytest.mark.parametrize("content", [b"", b"no archive", None], ids=["empty", "text", "truncated"])
def test_a_file_that_is_no_whole_archive_is_named(tmp_path, content):
    source = as_zip(tmp_path / "p", layout({"train": 2, "test": 2}))
    source.write_bytes(source.read_bytes()[:-100] if content is None else content)
    with pytest.raises(ValueError, match=r"p\.zip is neither a folder nor a whole \.zip or \.tgz"):
        load_folder(source)


def test_other_channel_counts_are_refused(tmp_path):
    with pytest.raises(ValueError, match="channels is 4"):
        load_folder(tmp_path, channels=4)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_zip_as_people_pack_it_is_the_plain_folder(tmp_path, form):
    """Backslashes, other names of the splits, a README beside the one folder, what other programs leave behind."""
    files = layout({"train": 4, "val": 2, "test": 3}, classes=("café", "dog"))
    plain = load_folder(as_folder(tmp_path / "plain", files))
    names = {name: "Pets/" + name.replace("train", "Train").replace("val", "valid") for name in files}
    packed = {unicodedata.normalize(form, names[name]).replace("/", "\\"): data for name, data in files.items()}
    junk = dict.fromkeys(["README.md", "__MACOSX\\Pets\\._0.png", "Pets\\Train\\dog\\thumbs.db"], b"junk")
    assert load_folder(as_zip(tmp_path / "packed", {**junk, **packed})).fingerprint == plain.fingerprint


# --- sets without splits ---


def test_without_splits_a_tenth_of_each_class_is_set_aside_twice_and_the_line_says_so(tmp_path):
    files = {f"{label}/{i}.png": png(i + 100 * (label == "dog")) for label in ("cat", "dog") for i in range(30)}
    data = load_folder(as_folder(tmp_path / "p", files))
    parts = [data.train, data.val, data.test]
    assert [torch.bincount(part.labels).tolist() for part in parts] == [[24, 24], [3, 3], [3, 3]]
    assert set.union(*(as_set(part.images) for part in parts)) == as_set(
        torch.stack([pixels(d) for d in files.values()])
    )
    assert data.describe().startswith(
        "p (folder p; no splits in it, so divided 80/10/10 by class): 48 train, 6 val, 6 test"
    )


def test_the_division_depends_on_the_names_alone(tmp_path):
    """On their order in the archive, the state of random generators and the folder around them it does not."""
    files = {f"{label}/{i}.png": png(i + 100 * (label == "dog")) for label in ("cat", "dog") for i in range(30)}
    first = load_folder(as_zip(tmp_path / "a", files))
    np.random.seed(3)
    torch.manual_seed(3)
    backwards = {f"pets/{name}": data for name, data in reversed(files.items())}
    other = load_folder(as_tgz(tmp_path / "b", backwards))
    assert other.fingerprint == first.fingerprint
    chosen = [name for name, data in files.items() if pixels(data).numpy().tobytes() in as_set(first.test.images)]
    assert chosen == ["cat/11.png", "cat/13.png", "cat/19.png", "dog/0.png", "dog/25.png", "dog/28.png"]


@pytest.mark.parametrize("count", [3, 4, 7, 11])
def test_each_class_gives_at_least_one_image_to_each_split(tmp_path, count):
    files = {f"{label}/{i}.png": png(i) for label in "ab" for i in range(count)} | {
        f"c/{i}.png": png(i) for i in range(50)
    }
    data = load_folder(as_folder(tmp_path / "p", files))
    counts = torch.stack([torch.bincount(part.labels, minlength=3) for part in (data.train, data.val, data.test)])
    assert counts.min() >= 1
    assert counts.sum(0).tolist() == [count, count, 50]
    assert len(data.val) == len(data.test) == round((2 * count + 50) / 10)


# --- transparent pictures ---


def icons(tmp_path: Path, colours: list[int]) -> Path:
    """A folder of two classes, whose pictures are squares of these tones in turn, on nothing with noise under it."""
    files, pixels = {}, np.random.default_rng(0).integers(0, 256, (8, 8, 4), dtype=np.uint8)
    for number, name in enumerate(f"{s}/{c}/{i}.png" for s in ("train", "test") for c in "ab" for i in range(4)):
        pixels[..., 3] = 0
        pixels[2:6, 2:6] = (*[colours[number % len(colours)]] * 3, 255)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "png")
        files[name] = file.getvalue()
    return as_folder(tmp_path / "icons", files)


@pytest.mark.parametrize(
    ("colours", "ground", "values", "said"),
    [
        ([0], "white", [0, 255], ""),
        ([255], "black", [0, 255], ""),
        ([0, 255], "grey", [0, 128, 255], ""),
        ([200, 60], "white", [60, 200, 255], ""),
        ([0, 255, 128, 128], "white", [0, 128, 255], ", where 4 of 16 can hardly be seen"),
    ],
)
def test_icons_of_a_set_lie_on_one_ground_and_the_line_says_on_which(tmp_path, colours, ground, values, said):
    source = icons(tmp_path, colours)
    for _ in range(2):  # decoded, and from the cache
        data = load_folder(source)
        assert data.train_and_val().images.unique().tolist() == values
        assert (data.test.images[:, :, 0] == {"white": 255, "black": 0, "grey": 128}[ground]).all()
        assert f"(folder icons; transparent parts laid on {ground}{said}): " in data.describe()


def test_a_transparent_picture_that_was_not_looked_at_beforehand_is_spoken_of_too(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_module, "LOOKED_AT", 1)
    assert "laid on black, where 8 of 16 can hardly" in load_folder(icons(tmp_path, [255, 0])).source


# --- the cache ---


def test_a_source_is_decoded_once_for_each_choice_of_size_and_channels(tmp_path, monkeypatch):
    calls, decode = [], folder_module.decode_picture
    monkeypatch.setattr(folder_module, "decode_picture", lambda *args: calls.append(args[1]) or decode(*args))
    for store in (as_folder, as_zip):
        source = store(tmp_path / "p", layout({"train": 4, "test": 2}))
        for options, shape in (({}, (3, 5, 6)), ({"image_size": 4}, (3, 4, 4)), ({"channels": 1}, (1, 5, 6))):
            first, second = load_folder(source, **options), load_folder(source, **options)
            assert first.train.images.shape[1:] == shape
            assert first.fingerprint == second.fingerprint
            assert first.describe() == second.describe()
    assert len(calls) == 2 * 3 * 12


def test_a_folder_in_which_a_file_has_changed_is_decoded_anew(tmp_path):
    source = as_folder(tmp_path / "f", layout({"train": 4, "test": 2}))
    first = load_folder(source)
    before = first.test.images.clone()
    (source / "test" / "cat" / "0.png").write_bytes(png(99))
    assert load_folder(source).fingerprint != first.fingerprint
    assert torch.equal(first.test.images, before)  # the old one is not pulled away


def test_what_is_written_into_the_images_stays_in_this_process(tmp_path):
    source = as_zip(tmp_path / "p", layout({"train": 4, "test": 2}))
    data, again = load_folder(source), load_folder(source)
    data.train.images[:] = 0
    assert again.train.images.any()
    assert load_folder(source).fingerprint == again.fingerprint
