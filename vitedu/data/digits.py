"""`digits`: 1,797 handwritten digits of 8×8 pixels that come with scikit-learn, so they are always there.

Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
"""

import torch

from vitedu.data.dataset import Dataset, Split, stratified_split

TEST, VAL = 360, 180  # a fifth and a tenth of the 1,797 images


def load_digits() -> Dataset:
    """The digits as 1,257 training, 180 validation and 360 test images (1, 8, 8), the split fixed and stratified.

    The scans have 17 grey levels, 0 to 16; here they run from 0 to 255. A mirrored digit is no digit: `flip` is False.
    """
    from sklearn import datasets  # takes a second to import, and only this set needs it

    scans = datasets.load_digits()
    images = torch.from_numpy(scans.images / 16 * 255).round().to(torch.uint8)[:, None]  # (1797, 1, 8, 8)
    everything = Split(images, torch.from_numpy(scans.target).long())
    rest, test = (everything.subset(part) for part in stratified_split(everything.labels, TEST))
    train, val = (rest.subset(part) for part in stratified_split(rest.labels, VAL))
    names = tuple(str(digit) for digit in scans.target_names)
    return Dataset("digits", "embedded: scikit-learn's scans", names, train, val, test, flip=False)
