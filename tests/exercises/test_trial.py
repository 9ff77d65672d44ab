"""`vitedu.exercises.trial`: one kind, exact line for whatever an answer does."""

import functools
import random
import re
import signal

import numpy as np
import pytest
import torch
from torch import nn

from tests.exercises.conftest import INPUT, count, pad


def matches(line: str, pattern: str) -> bool:
    """Whether the line is the pattern, in which `…` may stand for anything."""
    return re.fullmatch(re.escape(pattern).replace("…", ".*"), line) is not None


def raising(error, when=lambda images: True):
    """A right answer that raises the error on some images."""

    def answer(images, patch):
        if when(images):
            raise error
        return pad(images, patch)

    return answer


def without_return(images, patch):
    pad(images, patch)


def changing(images, patch):
    padded = pad(images, patch)
    images.zero_()
    return padded


def generator(images, patch):
    yield pad(images, patch)


def recursive(images, patch):
    return recursive(images, patch)


class Layer(nn.Module):
    def forward(self, images, patch):
        return pad(images, patch)


class Unwilling(torch.Tensor):
    """A tensor that may not be touched."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        raise ZeroDivisionError("hands off")


class Mute(Exception):
    def __str__(self):
        raise RuntimeError


CROPPED = f"shape (2, 3, 4, 4) instead of (2, 3, 8, 8) {INPUT}; likely slip: it is cropped"
CHANGED = "the values are right, but your function changes its input `images` in place …; work on a new tensor, or on …"
UNTOUCHED = "returned a value of type …Unwilling that cannot be compared (ZeroDivisionError: hands off) …"
TYPES = {"numpy.ndarray": np.zeros(3), "list": [1], "int": 3, "str": "text", "dict": {}, "function": pad}
NOT_YET = [
    (raising(NotImplementedError("no kernel")), f"raised NotImplementedError: no kernel, at line …: `raise …` {INPUT}"),
    (raising(NotImplementedError(), lambda x: len(x) == 3), "raised NotImplementedError, at line …"),
    (raising(ValueError(f"{object()}")), "raised ValueError: <object object>, at line …"),
    (raising(ValueError("many\nlines\n" * 1000)), "raised ValueError: many lines many …"),
    (raising(Mute()), "raised …Mute, at line …"),
    (raising(SystemExit("done")), f"called `exit`; end the function with `return` instead {INPUT}"),
    (raising(GeneratorExit()), "raised GeneratorExit, at line …"),
    (raising(BaseException()), "raised BaseException, at line …"),
    (recursive, "raised RecursionError: maximum recursion …; does the function call itself without an end? …"),
    (lambda x, p: torch.zeros(2**60), "raised RuntimeError: …"),
    (lambda x, p: pad(x, p) + (x.shape[2] == 5) / 2, f"384 of 384 values differ, the first at [0, 0, 0, 0]: … {INPUT}"),
    (lambda x, p: pad(x, p) / 0 * 0, "384 of 384 values differ, the first at [0, 0, 0, 0]: nan instead of …"),
    (lambda x, p: x[:, :, : x.shape[2] // p * p, : x.shape[3] // p * p], CROPPED),
    (lambda x, p: torch.zeros(1).expand(10**9, 10**9), f"shape (1000000000, 1000000000) instead of … {INPUT}"),
    (lambda x, p: pad(x, p).float(), "dtype torch.float32 instead of torch.float64 (input: images (1, 2, 4, 7) …"),
    (lambda x, p: pad(x, p).as_subclass(Unwilling), UNTOUCHED),
    (without_return, f"returned None; did you forget `return`? {INPUT}"),
    (changing, CHANGED),
    (generator, f"returned a value of type generator, expected a tensor of shape (2, 3, 8, 8) {INPUT}"),
    *((lambda x, p, value=v: value, f"returned a value of type {kind}, expected …") for kind, v in TYPES.items()),
    (None, "NoneType cannot be called; pass the function itself, without brackets after its name"),
    (torch.zeros(2), "Tensor cannot be called; …"),
    (lambda images: images, "your function takes (images), it is called with (images, patch)"),
    (lambda: None, "your function takes (nothing), it is called with (images, patch)"),
]


@pytest.mark.parametrize(("answer", "text"), NOT_YET)
def test_not_yet(line, answer, text):
    printed = line("5.4", answer)
    assert matches(printed, f"Exercise 5.4: not yet: {text}"), printed
    assert len(printed) < 400


@pytest.mark.parametrize("answer", [pad, Layer(), functools.partial(pad)])
def test_passed(line, answer):
    assert line("5.4", answer) == "Exercise 5.4: passed (6 checks)"


def test_not_attempted_yet(line):
    assert line("5.4", raising(NotImplementedError())) == "Exercise 5.4: not attempted yet"


def test_random_numbers_are_the_same_every_time(line):
    line("5.4", lambda x, p: pad(x, p) + torch.rand(1) + random.random() + np.random.rand())


def test_ctrl_c_ends_the_check_with_one_line(line):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts with it ignored
    try:
        text = line("5.4", lambda x, p: signal.raise_signal(signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, before)
    assert text == "Exercise 5.4: interrupted; run the cell again to check it"


class Odd:
    """Every comparison and every conversion fails."""

    def __bool__(self, *other):
        raise ZeroDivisionError

    __eq__ = __ne__ = __lt__ = __gt__ = __len__ = __iter__ = __str__ = __repr__ = __bool__


@pytest.mark.parametrize("exercise_id", ["1.5", "3.6", "5.1", "5.2", "5.3", "7.6", "9.1", "9.3", "9.6"])
def test_a_result_whose_every_method_raises(line, exercise_id):
    """Whatever compares results: tensors, ints, floats, tuples, pairs, dicts and models."""
    assert ": not yet: returned" in line(exercise_id, lambda *args: Odd())


def test_a_missing_and_another_error(line):
    """Where an error is due, the values come first."""
    due = "but here a ValueError should be raised (input: height = 30, width = 32, patch = 4)"
    missing = line("5.1", lambda height, width, patch: height // patch * (width // patch))
    assert missing == f"Exercise 5.1: not yet: returned the int 56, {due}"
    another = line("5.1", lambda height, width, patch: height // patch * (width // patch) // (height != 30))
    assert matches(another, f"Exercise 5.1: not yet: raised ZeroDivisionError: …, {due}")


# Which hint ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [(), ("no",), ("does not divide",)])
def test_the_text_of_the_readers_own_error_does_not_hide_the_mistake(line, text):
    """The stored mistake raises `ValueError("does not divide")`."""

    def answer(height, width, patch):
        if patch != 4:
            raise ValueError(*text)
        return 4

    assert line("5.1", answer).endswith("; likely slip: a patch side may be 3, too")


def test_the_first_word_of_a_librarys_error_tells_mistakes_apart(line):
    """`Sizes of tensors …` is the stored one's; `einsum(): …` is not."""
    assert line("5.4", lambda x, p: torch.cat([x, x[:, :, :1]])).endswith("; likely slip: the channels are missing")
    assert line("5.4", lambda x, p: torch.einsum("bchw->zb", x)).endswith(INPUT)


def test_a_value_of_another_type_is_still_the_same_mistake(line):
    assert line("5.1", lambda height, width, patch: height / patch).endswith("; likely slip: one side is forgotten")


def zeros_unless(condition):
    return lambda images, patch: pad(images, patch) * condition(*images.shape)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (zeros_unless(lambda b, c, h, w: h == w), "right for square images only: height and width are two different …"),
        (zeros_unless(lambda b, c, h, w: h != w), "wrong for square images only"),
        (lambda x, p: pad(x[:1], p), "right for a batch of one (B = 1) only: every member of a batch needs the same …"),
        (lambda x, p: pad(x, p).squeeze(0), "wrong for a batch of one (B = 1) only: `squeeze()` without an axis …"),
        (
            lambda x, p: pad(x[:, :3], p).expand(-1, 3, -1, -1),
            "right for C = 3 only: work the number of channels out …",
        ),
    ],
)
def test_right_only_sometimes(line, answer, hint):
    assert matches(line("5.4", answer), f"Exercise 5.4: not yet: … (input: images …, patch = …); it is {hint}")


# The gradient, and what is not demanded ------------------------------------------------------------------------------

CUT = "no gradient flows back to `images`: `.detach()`, `.data`, `.item()`, `.numpy()`, … and … cut it off"
DTYPE = "in double precision dtype torch.float32 instead of torch.float64"
MEND = "make new tensors with `images.new_zeros(…)` or `dtype=images.dtype`"
LACKS = [
    (lambda x, p: pad(x.detach(), p), CUT),
    (lambda x, p: torch.tensor(pad(x, p).tolist(), dtype=x.dtype), CUT),
    (torch.no_grad()(pad), CUT),
    (lambda x, p: torch.from_numpy(pad(x, p).numpy()), "when `images` requires a gradient, it raised RuntimeError: …"),
    (lambda x, p: 2 * pad(x, p) - pad(x, p).detach(), "the gradient with respect to `images` is not: 180 of 180 …"),
    (lambda x, p: pad(x, p).float(), f"{DTYPE}; {MEND}"),
    (lambda x, p: pad(x, p) @ torch.eye(-(-x.shape[3] // p) * p), f"in double precision it raised …; {MEND}"),
]


@pytest.mark.parametrize(("answer", "lacks"), LACKS)
def test_gradients_and_double_precision_are_demanded_or_remarked_upon(line, answer, lacks):
    demanded = f"the values are right, but {lacks} {INPUT}" if "gradient" in lacks else "… float64, patch = 3)…"
    assert matches(line("5.4", answer), f"Exercise 5.4: not yet: {demanded}")
    assert matches(line("5.4", answer, modest=True), f"Exercise 5.4: passed (5 checks); {lacks}")


def test_two_remarks_in_one_line(line):
    text = line("5.4", lambda x, p: pad(x.detach(), p).float(), modest=True)
    assert matches(text, f"Exercise 5.4: passed (4 checks); {DTYPE}; {MEND}; {CUT}")


def test_a_case_in_double_precision_is_due_in_single_precision_all_the_same(line):
    """The only one with P = 3."""
    text = line("5.4", lambda x, p: pad(x, p) + (p == 3), modest=True)
    assert "(input: images (1, 2, 4, 7), patch = 3)" in text


def test_what_is_not_demanded_is_no_diagnosis(line):
    """Wrong where C is 5, and in double precision, where it is 2: that is not right for C = 3 only."""
    wrong = zeros_unless(lambda b, c, h, w: c != 5)
    text = line("5.4", lambda x, p: wrong(x, p).float(), modest=True)
    assert text.endswith("(input: images (3, 5, 8, 6), patch = 4)")


# No end --------------------------------------------------------------------------------------------------------------


def endless_for(condition):
    def answer(images, patch):
        while condition(images):
            pass
        return pad(images, patch)

    return answer


class Endless(int):
    def __eq__(self, other):
        while True:
            pass


def test_no_end(line):
    """The input that is named is the one that did not end; a comparison may have no end, too."""
    late = "not finished after 0.3 s (input: images (1, 3, 7, 10), patch = 4); is there a loop that never ends?"
    assert line("5.4", endless_for(lambda x: len(x) == 1), 0.3) == f"Exercise 5.4: not yet: {late}"
    assert "not yet: not finished after 0.1 s" in line("5.1", lambda *args: Endless(count(*args)), 0.1)


def test_no_end_in_what_is_not_demanded(line):
    text = line("5.4", endless_for(lambda x: x.dtype == torch.float64), 0.3, modest=True)
    assert text == "Exercise 5.4: passed (4 checks); the rest was not finished after 0.3 s"
