"""`vitedu.exercises.check` and `progress`: one kind, exact, stable line for whatever an answer does; never an error."""

import math
import random
import signal
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from vitedu.exercises import check, engine, progress
from vitedu.exercises.exercise import chapter_exercises
from vitedu.exercises.registry import CHAPTERS

INPUT = "(input: images (2, 3, 5, 6), patch = 4)"  # of the first case of exercise 5.4


@pytest.fixture
def line(capsys):
    """What `check` prints for an answer, asserted to be one line, and the same one when asked again."""

    def run(exercise_id, answer, seconds=5.0):
        printed = []
        for _ in range(2):
            assert check(exercise_id, answer, seconds) is None
            printed.append(capsys.readouterr().out)
        assert printed[0] == printed[1]
        assert printed[0].endswith("\n")
        assert printed[0].count("\n") == 1
        return printed[0].rstrip("\n")

    return run


def pad(images, patch):
    """A right answer to exercise 5.4."""
    return F.pad(images, (0, -images.shape[3] % patch, 0, -images.shape[2] % patch))


# The three outcomes --------------------------------------------------------------------------------------------------


def test_passed(line):
    assert line("5.4", pad) == "Exercise 5.4: passed (8 checks)"


def test_not_attempted_yet(line):
    def stub(images, patch):
        """Pad."""
        raise NotImplementedError

    assert line("5.4", stub) == "Exercise 5.4: not attempted yet"


def test_an_error_of_torch_is_no_stub(line):
    """torch raises NotImplementedError too, with a text."""

    def answer(images, patch):
        return F.pad(images, (0, 1, 0, 3), mode="reflect", value=None).to(torch.int8).to("meta").numpy()

    def not_implemented(images, patch):
        raise NotImplementedError("no kernel for that")

    assert line("5.4", answer).startswith("Exercise 5.4: not yet: raised ")
    assert "raised NotImplementedError: no kernel for that, at line" in line("5.4", not_implemented)


def test_only_a_stub_that_fails_at_once_is_not_attempted(line):
    """An answer that gives up on square images has been attempted."""

    def answer(images, patch):
        if images.shape[2] == images.shape[3]:
            raise NotImplementedError
        return pad(images, patch)

    assert line("5.4", answer).startswith("Exercise 5.4: not yet: raised NotImplementedError, at line")


def test_a_wrong_value_says_what_where_and_on_which_input(line):
    def answer(images, patch):
        return pad(images, patch) + torch.tensor([0.0] * 7 + [0.5])[: -(-images.shape[3] // patch) * patch]

    assert line("5.4", answer) == (
        f"Exercise 5.4: not yet: 48 of 384 values differ, the first at [0, 0, 0, 7]: 0.5 instead of 0 {INPUT}"
    )


def test_the_known_mistake_is_named(line):
    assert line("5.4", lambda images, patch: F.pad(images, (0, 2, 0, 3))[:, :, :4, :4]) == (
        f"Exercise 5.4: not yet: shape (2, 3, 4, 4) instead of (2, 3, 8, 8) {INPUT}"
    )
    cropped = line("5.4", lambda x, p: x[:, :, : x.shape[2] // p * p, : x.shape[3] // p * p])
    assert cropped.endswith(
        f"{INPUT}; likely slip: the image is cropped to a multiple of P, which throws pixels away; pad it instead"
    )


# Messages of their own -----------------------------------------------------------------------------------------------


def test_raises(line):
    """Type, text, and the line of the answer, also when a library raised."""

    def answer(images, patch):
        images = images + 1
        return rearrange(images, "b c (h p) w -> b c h p w", p=4)

    number = answer.__code__.co_firstlineno + 2
    text = line("5.4", answer)
    assert text.startswith("Exercise 5.4: not yet: raised einops.EinopsError: Error while processing")
    assert f', at line {number}: `return rearrange(images, "b c (h p) w -> b c h p w", p=4)` {INPUT}' in text


def test_raises_with_an_address_in_the_text(line):
    """Addresses change from run to run."""

    def answer(images, patch):
        raise ValueError(f"cannot use {object()}")

    assert "raised ValueError: cannot use <object object>, at line" in line("5.4", answer)


def test_raises_an_error_that_cannot_be_printed(line):
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    def answer(images, patch):
        raise Mute

    assert "not yet: raised " in line("5.4", answer)


def test_raises_a_long_text_of_many_lines(line):
    def answer(images, patch):
        raise ValueError("many\nlines\n" * 1000)

    assert len(line("5.4", answer)) < 400


def test_calls_itself_for_ever(line):
    def answer(images, patch):
        return answer(images, patch)

    text = line("5.4", answer)
    assert "raised RecursionError: maximum recursion depth exceeded" in text
    assert "; does the function call itself without an end?" in text


@pytest.mark.parametrize("leave", [sys.exit, lambda: sys.exit("done")])
def test_calls_exit(line, leave):
    def answer(images, patch):
        leave()

    assert line("5.4", answer) == (
        f"Exercise 5.4: not yet: called `exit`; end the function with `return` instead {INPUT}"
    )


@pytest.mark.parametrize("error", [GeneratorExit, BaseException])
def test_raises_what_is_no_exception(line, error):
    def answer(images, patch):
        raise error

    assert f"not yet: raised {error.__name__}, at line" in line("5.4", answer)


def test_ctrl_c_ends_the_check_with_one_line(line):
    def answer(images, patch):
        signal.raise_signal(signal.SIGINT)
        while True:
            pass

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts with it ignored
    try:
        assert line("5.4", answer) == "Exercise 5.4: interrupted; run the cell again to check it"
    finally:
        signal.signal(signal.SIGINT, before)


def test_returns_none(line):
    def answer(images, patch):
        pad(images, patch)

    assert line("5.4", answer) == f"Exercise 5.4: not yet: returned None; did you forget `return`? {INPUT}"


def test_changes_its_input(line):
    def answer(images, patch):
        padded = pad(images, patch)
        images.zero_()
        return padded

    assert line("5.4", answer) == (
        "Exercise 5.4: not yet: the values are right, but your function changes its input `images` in place "
        f"{INPUT}; work on a new tensor, or on `images.clone()`"
    )


def test_wrong_dtype(line):
    text = line("5.4", lambda images, patch: pad(images, patch).float())
    assert (
        "not yet: dtype torch.float32 instead of torch.float64 (input: images (1, 2, 4, 7) float64, patch = 3)" in text
    )


@pytest.mark.parametrize(
    ("returned", "kind"),
    [(np.zeros(3), "numpy.ndarray"), ([1], "list"), (3, "int"), ("text", "str"), (pad, "function"), ({}, "dict")],
)
def test_wrong_type(line, returned, kind):
    expected = f"returned a value of type {kind}, expected a tensor of shape (2, 3, 8, 8) {INPUT}"
    assert line("5.4", lambda images, patch: returned) == f"Exercise 5.4: not yet: {expected}"


def test_a_generator_function_and_a_coroutine(line):
    def answer(images, patch):
        yield pad(images, patch)

    assert "returned a value of type generator, expected a tensor" in line("5.4", answer)


def test_nan(line):
    text = line("5.4", lambda images, patch: pad(images, patch) / 0 * 0)
    assert "384 of 384 values differ, the first at [0, 0, 0, 0]: nan instead of 18" in text


def test_a_huge_output_is_not_printed(line):
    text = line("5.4", lambda images, patch: torch.zeros(1).expand(10**9, 10**9))
    assert f"shape (1000000000, 1000000000) instead of (2, 3, 8, 8) {INPUT}" in text
    text = line("5.3", lambda index, width, patch: tuple(range(10**5)))
    assert "returned a tuple of 100000, expected 4 ints" in text
    assert len(line("5.1", lambda height, width, patch: 10**4000)) < 300


def test_more_memory_than_there_is(line):
    text = line("5.4", lambda images, patch: torch.zeros(2**60))
    assert "not yet: raised RuntimeError: " in text


class Unwilling(torch.Tensor):
    """A tensor that may not be touched."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        raise ZeroDivisionError("hands off")


def test_a_result_that_cannot_be_compared(line):
    text = line("5.4", lambda images, patch: pad(images, patch).as_subclass(Unwilling))
    assert "that cannot be compared (ZeroDivisionError: hands off)" in text


class Odd:
    """Every comparison and every conversion fails."""

    def __eq__(self, other):
        raise ZeroDivisionError

    __ne__ = __lt__ = __gt__ = __bool__ = __len__ = __iter__ = __eq__

    def __str__(self):
        raise ZeroDivisionError

    __repr__ = __str__


@pytest.mark.parametrize("exercise_id", ["5.1", "5.2", "5.3", "5.4", "5.5", "9.1", "9.2", "9.3"])
def test_a_result_whose_every_method_raises(line, exercise_id):
    assert "not yet: returned a value of type " in line(exercise_id, lambda *args: Odd())


def test_a_result_whose_comparison_never_ends(line):
    class Endless(int):
        def __eq__(self, other):
            while True:
                pass

    assert "not yet: not finished after 0.1 s" in line("5.1", lambda *args: Endless(24), seconds=0.1)


# Right only sometimes ------------------------------------------------------------------------------------------------


def unfold_if(condition):
    """A right answer to exercise 5.5 where the condition on the images holds, zeros elsewhere."""
    return lambda images, patch, stride: F.unfold(images, patch, stride=stride).transpose(1, 2) * condition(images)


def test_right_for_square_images_only(line):
    text = line("5.5", unfold_if(lambda images: images.shape[2] == images.shape[3]))
    assert text.endswith("; it is right for square images only: height and width are two different numbers")
    assert "(input: images (2, 3, 6, 8), patch = 4, stride = 2)" in text


def test_wrong_for_square_images_only(line):
    text = line("5.5", unfold_if(lambda images: images.shape[2] != images.shape[3]))
    assert text.endswith("; it is wrong for square images only")
    assert "(input: images (2, 3, 6, 6), patch = 2, stride = 1)" in text


def test_right_for_a_batch_of_one_only(line):
    def answer(images, patch):
        return pad(images[:1], patch)

    text = line("5.4", answer)
    assert "shape (1, 3, 8, 8) instead of (2, 3, 8, 8)" in text
    assert text.endswith(
        "; it is right for a batch of one (B = 1) only: every member of a batch needs the same treatment"
    )


def test_wrong_for_a_batch_of_one_only(line):
    text = line("5.2", lambda tokens, patch, height, width: fold(tokens, patch, height, width).squeeze(0))
    assert text.endswith(
        "; it is wrong for a batch of one (B = 1) only: `squeeze()` without an axis drops the batch axis as well"
    )


def fold(tokens, patch, height, width):
    return F.fold(tokens.transpose(1, 2), (height, width), patch, stride=patch)


def test_right_for_three_channels_only(line):
    def answer(tokens, patch, height, width):
        return fold(tokens[:, :, : 3 * patch**2], patch, height, width).expand(-1, 3, -1, -1)

    text = line("5.2", answer)
    assert text.endswith("; it is right for C = 3 only: work the number of channels out from the shape")


# The gradient --------------------------------------------------------------------------------------------------------

CUT = (
    "Exercise 5.4: not yet: the values are right, but no gradient flows back to `images`: `.detach()`, `.data`, "
    f"`.item()`, `.numpy()`, `torch.tensor(…)` and `torch.no_grad()` cut it off {INPUT}"
)


@pytest.mark.parametrize(
    "answer",
    [
        lambda images, patch: pad(images.detach(), patch),
        lambda images, patch: pad(images.data, patch),
        lambda images, patch: torch.tensor(pad(images, patch).tolist(), dtype=images.dtype),
        torch.no_grad()(pad),
    ],
)
def test_cuts_the_gradient(line, answer):
    assert line("5.4", answer) == CUT


def test_goes_through_numpy(line):
    text = line("5.4", lambda images, patch: torch.from_numpy(pad(images, patch).numpy()))
    assert (
        "the values are right, but when `images` requires a gradient, it raised RuntimeError: Can't call numpy()"
        in text
    )


def test_a_wrong_gradient(line):
    """Right values, the gradient of something else."""

    def answer(images, patch):
        padded = pad(images, patch)
        return 2 * padded - padded.detach()

    text = line("5.4", answer)
    assert "the values are right, but the gradient with respect to `images` is not: 180 of 180 values differ" in text


def test_a_class_with_call_and_a_partial_are_answers_too(line):
    class Pad(nn.Module):
        def forward(self, images, patch):
            return pad(images, patch)

    assert line("5.4", Pad()) == "Exercise 5.4: passed (8 checks)"


# What is not demanded ------------------------------------------------------------------------------------------------


@pytest.fixture
def modest(monkeypatch):
    """Exercise 5.4, whose task asks neither for double precision nor for a gradient."""
    relaxed = replace(chapter_exercises(5)["5.4"], demands=())
    monkeypatch.setitem(chapter_exercises(5), "5.4", relaxed)


def in_single(images, patch):
    """Right in float32 alone."""
    return pad(images, patch).float()


def refuses_double(images, patch):
    return pad(images, patch) @ torch.eye(-(-images.shape[3] // patch) * patch)


@pytest.mark.usefixtures("modest")
def test_what_is_not_demanded_is_a_remark(line):
    use = "make new tensors with `images.new_zeros(…)` or `dtype=images.dtype`"
    assert line("5.4", pad) == "Exercise 5.4: passed (8 checks)"
    assert line("5.4", in_single) == (
        f"Exercise 5.4: passed (7 checks); in double precision dtype torch.float32 instead of torch.float64; {use}"
    )
    text = line("5.4", refuses_double)
    assert text.startswith("Exercise 5.4: passed (7 checks); in double precision it raised RuntimeError: expected ")
    assert text.endswith(use)
    assert line("5.4", lambda images, patch: pad(images.detach(), patch)) == CUT.replace(
        "not yet: the values are right, but", "passed (7 checks);"
    ).removesuffix(f" {INPUT}")


@pytest.mark.usefixtures("modest")
def test_a_case_in_double_precision_is_due_in_single_precision_all_the_same(line):
    """The only one with P = 3."""
    text = line("5.4", lambda images, patch: pad(images, patch) + (patch == 3))
    assert "(input: images (1, 2, 4, 7), patch = 3)" in text


@pytest.mark.usefixtures("modest")
def test_a_precision_that_is_not_demanded_is_no_diagnosis(line):
    """Wrong on one image only, and in double precision: that is not right for C = 3 only."""
    text = line("5.4", lambda images, patch: in_single(images, patch) + (images.shape == (2, 3, 5, 6)))
    assert text.endswith(INPUT)


@pytest.mark.usefixtures("modest")
def test_time_that_runs_out_in_what_is_not_demanded(line):
    def answer(images, patch):
        while images.dtype == torch.float64:
            pass
        return pad(images, patch)

    assert line("5.4", answer, 0.5) == "Exercise 5.4: passed (6 checks); the rest was not finished after 0.5 s"


def test_the_text_of_a_readers_error_does_not_hide_the_mistake(line):
    """But that of a library's error does: it says what went wrong."""

    def answer(text):
        def formula(alone, size, rate, limit):
            ring = 2 * size / rate
            if limit <= ring:
                raise ValueError(*text)
            return math.ceil((alone - ring) / (limit - ring))

        return formula

    lines = [line("15.5", answer(text)) for text in ([], ["the network alone takes longer"], ["no"])]
    assert all(one.endswith("less than 1: look at n = 1 first") for one in lines)


# Calls that cannot work ----------------------------------------------------------------------------------------------


def test_unknown_id(line):
    assert line("5.77", pad) == "Exercise 5.77: there is no such exercise; there are 5.1, 5.2, 5.3, 5.4, 5.5"
    assert ", 5.5, " in line("0.1", pad)  # of no chapter: all there are
    assert line(["?"], pad).startswith("Exercise ['?']: there is no such exercise")


def test_an_id_given_as_a_number(line):
    assert line(5.4, pad) == "Exercise 5.4: passed (8 checks)"


@pytest.mark.parametrize(("answer", "kind"), [(None, "NoneType"), (3, "int"), (torch.zeros(2), "Tensor")])
def test_not_callable(line, answer, kind):
    assert line("5.4", answer) == (
        f"Exercise 5.4: not yet: {kind} cannot be called; pass the function itself, without brackets after its name"
    )


def test_wrong_number_of_arguments(line):
    assert line("5.4", lambda images: images) == (
        "Exercise 5.4: not yet: your function takes (images), it is called with (images, patch)"
    )
    assert line("5.4", lambda: None) == (
        "Exercise 5.4: not yet: your function takes (nothing), it is called with (images, patch)"
    )


def test_a_missing_and_another_error(line):
    """Exercise 5.1 wants a ValueError where a side does not divide."""
    text = line("5.1", lambda height, width, patch: height // patch * (width // patch))
    assert "returned the int 56, but here a ValueError should be raised (input: height = 30, width = 32" in text

    def answer(height, width, patch):
        assert height % patch == 0 == width % patch, "does not divide"
        return height // patch * (width // patch)

    text = line("5.1", answer)
    assert "raised AssertionError: does not divide" in text
    assert "but here a ValueError should be raised" in text


# No end --------------------------------------------------------------------------------------------------------------


def endless(images, patch):
    while True:
        pass


def swallowing(images, patch):
    while True:
        try:
            endless(images, patch)
        except:  # noqa: E722 - what a reader may write
            continue


@pytest.mark.parametrize("answer", [endless, swallowing])
def test_no_end(line, answer):
    start = time.monotonic()
    expected = f"Exercise 5.4: not yet: not finished after 0.1 s {INPUT}; is there a loop that never ends?"
    assert line("5.4", answer, seconds=0.1) == expected
    assert time.monotonic() - start < 5


def test_no_end_for_some_inputs_only(line):
    """The input that is named is the one that did not end."""

    def answer(images, patch):
        while images.shape[0] == 1:
            pass
        return pad(images, patch)

    text = line("5.4", answer, seconds=1.0)
    assert "not finished after 1 s (input: images (1, 3, 7, 10), patch = 4)" in text


@pytest.mark.parametrize("answer", [endless, swallowing, pad])
def test_outside_the_main_thread(answer):
    """`check` works where signals do not."""
    lines = []
    worker = threading.Thread(target=lambda: lines.append(engine._judge("5.4", answer, 0.1 if answer != pad else 5.0)))
    worker.start()
    worker.join(10)
    assert lines == [
        "passed (8 checks)"
        if answer is pad
        else f"not yet: not finished after 0.1 s {INPUT}; is there a loop that never ends?"
    ]


# Side effects --------------------------------------------------------------------------------------------------------


def spoil(images, patch):
    """Right, and rude."""
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    return pad(images, patch)


def slow_and_rude(images, patch):
    spoil(images, patch)
    swallowing(images, patch)


@pytest.mark.parametrize("answer", [pad, spoil, slow_and_rude])
def test_global_state_is_as_before(answer, capsys):
    """Random generators, gradient mode, default dtype, signal handler and trace; also after the time limit."""

    def state():
        generators = random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()
        settings = torch.is_grad_enabled(), torch.get_default_dtype(), sys.gettrace()
        return generators, settings, signal.getsignal(signal.SIGALRM)

    before = state()
    check("5.4", answer, seconds=0.3)
    assert state() == before


def test_an_answer_that_prints(capsys):
    def answer(images, patch):
        print(tuple(images.shape))
        return pad(images, patch)

    check("5.4", answer)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "(2, 3, 5, 6)"
    assert printed[-1] == "Exercise 5.4: passed (8 checks)"


def test_an_answer_that_draws_random_numbers_gets_the_same_line_every_time(line):
    line("5.4", lambda images, patch: pad(images, patch) + torch.rand(1) + random.random() + np.random.rand())


# Progress ------------------------------------------------------------------------------------------------------------


def test_progress_shows_what_has_passed(monkeypatch, capsys):
    """Only what has passed counts, and it stays solved."""
    monkeypatch.setattr(engine, "_solved", set())
    check("5.4", pad)
    check("5.4", lambda images, patch: images)
    check("5.5", lambda images, patch, stride: images)
    capsys.readouterr()
    assert progress() is None
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(CHAPTERS)
    assert "chapter  5: 1 of 5 solved  · 5.1  · 5.2  · 5.3  ✓ 5.4  · 5.5" in printed
    assert "chapter  9: 0 of 6 solved  · 9.1  · 9.2  · 9.3  · 9.4  · 9.5  · 9.6" in printed


def test_progress_of_one_chapter_prints_that_chapter_alone(monkeypatch, capsys):
    """What a chapter stores must not change when another chapter is written."""
    monkeypatch.setattr(engine, "_solved", {"9.2"})
    progress(9)
    assert capsys.readouterr().out == "chapter  9: 1 of 6 solved  · 9.1  ✓ 9.2  · 9.3  · 9.4  · 9.5  · 9.6\n"
    with pytest.raises(
        ValueError, match=f"chapter 99 has no exercises; those that have: {', '.join(map(str, CHAPTERS))}"
    ):
        progress(99)
