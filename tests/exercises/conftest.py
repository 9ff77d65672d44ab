"""Two small exercises, in place of 5.1 and 5.4, and what `check` prints."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from vitedu.exercises import check, compare
from vitedu.exercises.exercise import _REGISTER, DEMANDS, Exercise, Mistake, chapter_exercises, image_case, on

INPUT = "(input: images (2, 3, 5, 6), patch = 4)"  # the first of exercise 5.4


def pad(images, patch):
    """(B, C, H, W) -> zeros at the right and at the bottom until both sides divide by P."""
    return F.pad(images, (0, -images.shape[3] % patch, 0, -images.shape[2] % patch))


def pad_cases():
    first = image_case(2, 3, 5, 6, 4, gradient=True)
    others = [image_case(1, 3, 7, 10, 4), image_case(2, 3, 6, 6, 5), image_case(3, 5, 8, 6, 4)]
    return [first, *others, image_case(1, 2, 4, 7, 3, dtype=torch.float64)]


def count(height, width, patch):
    """How many patches there are; ValueError where a side does not divide."""
    if height % patch or width % patch:
        raise ValueError("does not divide")
    return height // patch * (width // patch)


def count_cases():
    return [*on((8, 8, 4), (8, 12, 4), (6, 6, 3)), *on((30, 32, 4), raises=ValueError)]


PAD_SLIPS = (
    Mistake("it is cropped", lambda images, p: images[..., : images.shape[2] // p * p, : images.shape[3] // p * p]),
    Mistake("the channels are missing", lambda images, p: torch.cat([images, images[:, :1, :4]])),  # `torch.cat` raises
)
COUNT_SLIPS = (
    Mistake("one side is forgotten", lambda height, width, patch: height // patch),
    Mistake("a patch side may be 3, too", lambda height, width, patch: 4 if patch == 4 else count(1, 2, 3)),
)
PAD = Exercise("5.4", pad, pad_cases, PAD_SLIPS, demands=DEMANDS)
COUNT = Exercise("5.1", count, count_cases, COUNT_SLIPS, compare.integers)


@pytest.fixture
def line(monkeypatch, capsys):
    """What `check` prints, asserted to be one line, and the same when asked again; `modest` demands nothing of 5.4."""

    def run(exercise_id, answer, seconds=5.0, modest=False):
        monkeypatch.setitem(_REGISTER, "5.4", replace(PAD, demands=()) if modest else PAD)
        for _ in range(2):
            assert check(exercise_id, answer, seconds) is None
        first, second, rest = capsys.readouterr().out.split("\n")
        assert (first, rest) == (second, "")
        return first

    chapter_exercises(5)  # its own exercises have to be there before these take their place
    monkeypatch.setitem(_REGISTER, "5.1", COUNT)
    return run
