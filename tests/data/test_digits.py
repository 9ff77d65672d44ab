"""The embedded digits."""

import torch
from sklearn import datasets

from vitedu.data.digits import load_digits


def test_every_scan_is_in_exactly_one_split_with_its_own_label():
    data, scans = load_digits(), datasets.load_digits()
    splits = (data.train, data.val, data.test)
    assert [len(split) for split in splits] == [1_257, 180, 360]
    ours = torch.cat([torch.cat([s.images.flatten(1).long(), s.labels[:, None]], dim=1) for s in splits])
    values = torch.from_numpy(scans.images).flatten(1) * 255 / 16
    theirs = torch.cat([values.round().long(), torch.from_numpy(scans.target)[:, None]], dim=1)
    assert sorted(ours.tolist()) == sorted(theirs.tolist())


def test_every_split_has_the_classes_in_the_same_proportion():
    data = load_digits()
    for split in (data.train, data.val, data.test):
        assert torch.bincount(split.labels).min() >= 0.096 * len(split)
        assert torch.bincount(split.labels).max() <= 0.103 * len(split)


def test_the_split_is_fixed():
    """Two loads agree, whatever the random state; and it is the one that earlier results were measured on."""
    torch.manual_seed(3)
    first = load_digits()
    torch.manual_seed(4)
    assert torch.equal(first.test.images, load_digits().test.images)
    assert first.val.labels[:12].tolist() == load_digits().val.labels[:12].tolist()


def test_the_sixteen_grey_levels_span_the_whole_range_and_digits_are_never_flipped():
    data = load_digits()
    assert len(data.train.images.unique()) == 17
    assert (data.train.images.min(), data.train.images.max()) == (0, 255)
    assert data.flip is False
    assert data.class_names == tuple("0123456789")
