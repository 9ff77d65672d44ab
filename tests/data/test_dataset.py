"""Splits, statistics, fingerprints, and setting images aside by class."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vitedu.data import dataset, load
from vitedu.data.dataset import Dataset, Split, concatenate, hold_out, stratified_split


def make_split(count: int = 12, classes: int = 3, channels: int = 2, **extra) -> Split:
    random = torch.Generator().manual_seed(count)
    images = torch.randint(0, 256, (count, channels, 4, 5), generator=random).to(torch.uint8)
    images[:, 1:] //= 3  # so that the channels have different means and spreads
    return Split(images, torch.arange(count) % classes, **extra)


def make_dataset(train: Split, flip: bool = True) -> Dataset:
    return Dataset("toy", "made here", ("a", "b", "c"), train, make_split(6), make_split(9), flip)


def test_mean_and_std_equal_those_of_the_training_images_computed_directly():
    train = make_split(50)
    data = make_dataset(train)
    pixels = train.images.double() / 255
    torch.testing.assert_close(data.mean, pixels.mean((0, 2, 3)).float())
    torch.testing.assert_close(data.std, pixels.std((0, 2, 3), correction=0).float())


def test_a_channel_without_spread_can_still_be_divided_by_its_std():
    constant = Split(torch.full((3, 1, 2, 2), 7, dtype=torch.uint8), torch.tensor([0, 1, 2]))
    torch.testing.assert_close(make_dataset(constant).std, torch.tensor([1 / 255]))


def test_mean_and_fingerprint_are_the_same_whatever_the_size_of_a_chunk(monkeypatch):
    whole = make_dataset(make_split(50))
    monkeypatch.setattr(dataset, "CHUNK", 100)
    in_parts = make_dataset(make_split(50))
    assert torch.equal(in_parts.mean, whole.mean)
    assert in_parts.fingerprint == whole.fingerprint


def test_the_fingerprint_is_that_of_every_machine_and_every_process():
    assert load("digits", quiet=True).fingerprint.startswith("915c74d47d5382a0")
    drawn = load("shapes", quiet=True, counts=(240, 120, 120))
    assert drawn.fingerprint.startswith("74ed4e638a4a6d67")
    drawn.train.images[7, 0, 3, 4] += 1  # as another processor may round it
    assert replace(drawn).fingerprint == drawn.fingerprint


@pytest.mark.parametrize("what", ["class", "label", "pixel", "order", "count", "split"])
def test_another_class_label_picture_order_or_count_has_another_fingerprint(what):
    data = make_dataset(make_split(12))
    images, labels = data.train.images.clone(), data.train.labels.clone()
    if what == "label":
        labels[3] = (labels[3] + 1) % 3
    elif what == "pixel":
        images[-1, -1, -1, -1] ^= 1
    elif what == "order":
        images[[0, 3]] = images[[3, 0]]
    keep = torch.arange(11 if what == "count" else 12)
    other = replace(data, train=Split(images, labels).subset(keep))
    if what == "class":
        other = replace(data, class_names=("a", "b", "d"))
    elif what == "split":
        other = replace(data, val=data.test, test=data.val)
    assert other.fingerprint != data.fingerprint == make_dataset(make_split(12)).fingerprint


def test_drawn_pictures_with_other_cues_have_another_fingerprint():
    prints = {
        load("shapes", quiet=True, counts=(120, 6, 6), **o).fingerprint for o in ({}, {"seed": 1}, {"clutter": 1})
    }
    assert len(prints) == 3


def test_describe_says_name_source_counts_and_shape_in_one_line():
    assert make_dataset(make_split(1_200)).describe() == (
        "toy (made here): 1,200 train, 6 val, 9 test; 3 classes, images 2×4×5"
    )


def test_train_and_val_is_one_split_after_the_other():
    data = make_dataset(make_split(12))
    joined = data.train_and_val()
    torch.testing.assert_close(joined.images, torch.cat([data.train.images, data.val.images]))
    torch.testing.assert_close(joined.labels, torch.cat([data.train.labels, data.val.labels]))


def test_masks_and_cues_follow_their_images():
    masks = torch.arange(12)[:, None, None].expand(12, 4, 5) % 2 == 0
    split = make_split(masks=masks, cues={"colour": torch.arange(12)})
    part = split.subset(torch.tensor([7, 2]))
    torch.testing.assert_close(part.images, split.images[[7, 2]])
    assert part.cues["colour"].tolist() == [7, 2]
    assert part.masks.all(dim=2).all(dim=1).tolist() == [False, True]
    twice = concatenate(part, part)
    assert twice.cues["colour"].tolist() == [7, 2, 7, 2]
    torch.testing.assert_close(twice.masks, torch.cat([part.masks, part.masks]))


def test_to_moves_every_tensor():
    split = make_split(masks=torch.zeros(12, 4, 5, dtype=torch.bool), cues={"colour": torch.arange(12)}).to("meta")
    devices = {t.device.type for t in (split.images, split.labels, split.masks, split.cues["colour"])}
    assert devices == {"meta"}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"images": torch.zeros(3, 1, 2, 2)}, TypeError, "uint8"),
        ({"labels": torch.zeros(3)}, TypeError, "int64"),
        ({"images": torch.zeros(3, 2, 2, dtype=torch.uint8)}, ValueError, "3 dimensions, expected 4"),
        ({"labels": torch.zeros(4, dtype=torch.int64)}, ValueError, "3 images but labels of shape"),
        ({"masks": torch.zeros(3, 2, 1, dtype=torch.bool)}, ValueError, r"expected \(3, 2, 2\)"),
        ({"cues": {"hue": torch.zeros(2)}}, ValueError, "3 images but hue"),
    ],
)
def test_a_split_whose_parts_do_not_fit_is_refused(change, error, message):
    good = {"images": torch.zeros(3, 1, 2, 2, dtype=torch.uint8), "labels": torch.zeros(3, dtype=torch.int64)}
    with pytest.raises(error, match=message):
        Split(**{**good, **change})


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize(
    ("labels", "range_"), [([1, 2, 3], "from 1 to 3"), ([0, 1, -1], "from -1 to 1"), ([-100] * 3, "from -100 to -100")]
)
def test_labels_outside_the_classes_are_refused_in_every_split(split, labels, range_):
    good = Split(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.arange(3))
    splits = {"train": good, "val": good, "test": good, split: Split(good.images, torch.tensor(labels))}
    with pytest.raises(ValueError, match=f"labels of {split} run {range_}, and those of 3 classes from 0 to 2; count"):
        Dataset("toy", "made here", ("a", "b", "c"), **splits, flip=False)


def test_one_class_is_refused():
    split = Split(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="toy has 1 class, so there is nothing to tell apart"):
        Dataset("toy", "made here", ("a",), split, split, split, flip=False)


def test_splits_with_and_without_masks_cannot_be_joined():
    with pytest.raises(ValueError, match="masks or cues"):
        concatenate(make_split(), make_split(masks=torch.zeros(12, 4, 5, dtype=torch.bool)))


@pytest.mark.parametrize("seed", range(20))
def test_stratified_split_is_a_partition_with_each_class_in_proportion(seed):
    """Whatever the class sizes: nothing twice, nothing lost, the exact count, no class off by more than one image."""
    random = np.random.default_rng(seed)
    sizes = random.integers(20, 200, size=random.integers(2, 12))
    labels = torch.from_numpy(random.permutation(np.repeat(np.arange(len(sizes)), sizes)))
    count = int(random.integers(len(labels) // 10, len(labels) // 2))
    kept, aside = stratified_split(labels, count)
    assert torch.equal(torch.cat([kept, aside]).sort().values, torch.arange(len(labels)))
    assert len(aside) == count
    assert (kept.diff() > 0).all()
    assert (aside.diff() > 0).all()
    shares = torch.bincount(labels[aside], minlength=len(sizes)).numpy()
    assert np.abs(shares - sizes * count / len(labels)).max() < 1


def test_stratified_split_keeps_one_and_gives_one_of_the_rarest_class():
    labels = torch.tensor([0] * 100 + [1] * 2)
    kept, aside = stratified_split(labels, 10)
    assert torch.bincount(labels[aside]).tolist() == [9, 1]
    assert torch.bincount(labels[kept]).tolist() == [91, 1]


def test_stratified_split_neither_uses_nor_moves_the_global_random_states():
    labels = torch.arange(100) % 5
    torch.manual_seed(1)
    np.random.seed(1)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = stratified_split(labels, 20)[1]
    assert torch.equal(before, torch.get_rng_state())
    assert (numpy_before == np.random.get_state()[1]).all()
    torch.manual_seed(2)
    assert torch.equal(first, stratified_split(labels, 20)[1])


def test_the_chosen_images_are_the_same_everywhere():
    """The indices themselves, so that a validation accuracy means the same on every machine and in every year."""
    assert stratified_split(torch.arange(20) % 2, 6)[1].tolist() == [3, 4, 7, 8, 11, 16]


def test_stratified_split_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="class 2 has 1 image"):
        stratified_split(torch.tensor([0, 0, 1, 1, 2]), 3)
    with pytest.raises(ValueError, match="5 of 6 images"):
        stratified_split(torch.tensor([0, 0, 1, 1, 0, 1]), 5)


@pytest.mark.parametrize(("count", "val"), [(60_000, 5_000), (50_000, 5_000), (9_470, 947), (20, 10)])
def test_a_tenth_is_held_out_but_at_most_5000_and_at_least_one_of_each_class(count, val):
    split = Split(torch.zeros(count, 1, 1, 1, dtype=torch.uint8), torch.arange(count) % 10)
    train, held_out = hold_out(split)
    assert (len(train), len(held_out)) == (count - val, val)
    assert torch.bincount(held_out.labels).min() >= val // 10


def test_a_notebook_shows_a_set_in_a_line(bright_or_dark):
    assert repr(bright_or_dark) == bright_or_dark.describe()
    assert repr(bright_or_dark.train) == "Split of 48 images 1×8×12"
