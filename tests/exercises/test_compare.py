"""`vitedu.exercises.compare`: what differs, in words."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from vitedu.exercises import compare

EXPECTED = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


WORDS = {
    (compare.tensors, EXPECTED): [
        (EXPECTED, None),
        (EXPECTED + 1e-7, None),
        (nn.Parameter(EXPECTED), None),
        (EXPECTED.T, "2 of 4 values differ, the first at [0, 1]: 3 instead of 2"),
        (EXPECTED * 1.001, "4 of 4 values differ, the first at [0, 0]: 1.001 instead of 1"),
        (EXPECTED[0], "shape (2,) instead of (2, 2)"),
        (torch.zeros(1).expand(10**6, 10**6), "shape (1000000, 1000000) instead of (2, 2)"),  # and its values untouched
        (EXPECTED.double(), "dtype torch.float64 instead of torch.float32"),
        (EXPECTED.to("meta"), "device meta instead of cpu"),
        (torch.full((2, 2), math.nan), "4 of 4 values differ, the first at [0, 0]: nan instead of 1"),
        (EXPECTED.numpy(), "returned a value of type numpy.ndarray, expected a tensor of shape (2, 2)"),
        ([EXPECTED], "returned a value of type list, expected a tensor of shape (2, 2)"),
    ],
    (compare.tensors, torch.tensor(1235.1)): [(torch.tensor(1234.9), "1234.9 instead of 1235.1")],  # not 1235 twice
    (compare.integers, 6): [
        (6, None),
        (np.int64(6), None),
        (7, "7 instead of 6"),
        (6.0, "returned the float 6.0, expected the int 6"),
        (True, "returned a value of type bool, expected the int 6"),
        ("6", "returned a value of type str, expected the int 6"),
        (10**4000, "1" + 58 * "0" + "… instead of 6"),
    ],
    (compare.floats, 0.5): [
        (0.5, None),
        (0.5 + 1e-9, None),
        (np.float32(0.5), None),
        (0.25, "0.25 instead of 0.5"),
        (math.nan, "nan instead of 0.5"),
        (torch.tensor(0.5), "returned a tensor, expected a float; use `math` instead of `torch`, or `.item()`"),
        (1j, "returned a value of type complex, expected a float"),
    ],
    (compare.integer_tuples, (0, 4)): [
        ((0, 4), None),
        ([0, 4], None),
        ((4, 0), "(4, 0) instead of (0, 4)"),
        ([4, 0], "[4, 0] instead of (0, 4)"),
        ((0, 4, 8), "returned a tuple of 3, expected 2 ints"),
        ((0, 4.0), "item 1 of the tuple is the float 4.0, expected an int"),
        ([0, 4.0], "item 1 of the list is the float 4.0, expected an int"),
        ({0, 4}, "returned a value of type set, expected a tuple of 2 ints"),
    ],
}


@pytest.mark.parametrize(
    ("difference", "expected", "got", "text"), [(*key, *row) for key, rows in WORDS.items() for row in rows]
)
def test_the_difference_in_words(difference, expected, got, text):
    assert difference(got, expected) == text


@pytest.mark.parametrize(
    ("a", "b", "strict", "loose"),
    [
        (6, 6.0, False, True),
        (6, 7, False, False),
        ([1, 2], (1, 2), False, True),
        ((1, 2), (1, 2, 3), False, False),
        (EXPECTED, EXPECTED.double(), False, True),
        (EXPECTED, EXPECTED.clone(), True, True),
        (EXPECTED, EXPECTED[0], False, False),
        (torch.tensor(math.nan), torch.tensor(math.nan), True, True),
        (math.inf, math.inf, True, True),
        (math.nan, math.nan, True, True),
        (EXPECTED, 1.0, False, False),
        (True, True, True, True),
        (True, False, False, False),
        (True, 1, False, False),
        ("a", "a", True, True),
        (None, None, False, False),  # nothing that a known mistake returns
    ],
)
def test_agree(a, b, strict, loose):
    """What counts as the same outcome of two answers, with and without their types."""
    assert (compare.agree(a, b, strict=True), compare.agree(a, b, strict=False)) == (strict, loose)


def test_short_is_one_line_of_bounded_length():
    text = compare.short("a\n  b\t" + "c" * 1000, limit=20)
    assert text.startswith("a b ccc")
    assert len(text) == 20
