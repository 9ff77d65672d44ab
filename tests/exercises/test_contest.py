"""The contest of exercise 9.6: equal time, an error over the same images, and one line for whatever goes wrong."""

import math

import pytest
import torch
from torch import nn

from tests.clocks import Ticks
from vitedu.exercises import contest as module
from vitedu.exercises.contest import contest, entry_problem, prepare, report, right_answers, run
from vitedu.train import TrainConfig
from vitedu.train.budget import train_in_turns

CPU = torch.device("cpu")


def linear(data) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(data.train.images[0].numel(), len(data.class_names)))


def good_entry(data):
    return linear(data), TrainConfig(batch_size=16, lr=1e-2)


def answers(right: int, wrong: int) -> torch.Tensor:
    """Ones and zeros, in that order."""
    return torch.cat([torch.ones(right), torch.zeros(wrong)]).double()


# The score -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mine", "theirs", "verdict"),
    [
        (60, 40, "ahead, beyond chance"),
        (44, 40, "ahead, beyond chance"),  # by 2.03 errors
        (43, 40, "ahead, within chance"),  # by 1.75
        (40, 40, "level"),
        (40, 41, "behind, within chance"),
        (40, 60, "behind, beyond chance"),
    ],
)
def test_verdicts(mine, theirs, verdict, capsys):
    """With k images answered right by one alone: n² var = (n k - k²) / (n - 1); what both answer alike is left out."""
    report(answers(mine, 100 - mine), answers(theirs, 100 - theirs))
    k = abs(mine - theirs)
    error = math.sqrt((100 * k - k * k) / 99) / 100
    assert capsys.readouterr().out.splitlines() == [
        f"your entry         {mine:.2f} %",
        f"the book's recipe  {theirs:.2f} %",
        f"difference        {mine - theirs:+6.2f} ± {100 * error:.2f} points (100 images)",
        f"Contest: {verdict}",
    ]


# Equal time ----------------------------------------------------------------------------------------------------------


def test_both_get_the_same_time_in_turns_and_end_as_they_would_alone(bright_or_dark):
    """One that is alone on a quiet machine, and the other on a busy one, would not be compared at equal time."""
    order, clock = [], Ticks()
    alone, fast, slow = (prepare(good_entry, bright_or_dark, 0, CPU) for _ in range(3))
    train_in_turns([alone], bright_or_dark.train, 6, Ticks())
    for name, loop, ticks in (("f", fast, 0), ("s", slow, 2)):
        loop.step = lambda *batch, step=loop.step, more=(name, ticks): (
            order.append(more[0]),
            [clock() for _ in range(more[1])],
            step(*batch),
        )[2]
    train_in_turns([fast, slow], bright_or_dark.train, 6, clock)
    assert "".join(order) == "fsfffsff"  # a step of the slow one takes three seconds
    assert torch.equal(alone.model[1].weight, fast.model[1].weight)


def test_the_recipe_is_the_entrys_own_and_the_seed_that_of_the_run(bright_or_dark):
    first, second, again = (prepare(good_entry, bright_or_dark, seed, CPU) for seed in (0, 1, 0))
    assert first.config.batch_size == 16
    assert [loop.config.seed for loop in (first, second)] == [0, 1]
    assert torch.equal(first.model[1].weight, again.model[1].weight)
    assert not torch.equal(first.model[1].weight, second.model[1].weight)


def test_right_answers_are_counted_on_the_validation_images_of_the_averaged_weights(bright_or_dark):
    loop = prepare(lambda data: (linear(data), TrainConfig(batch_size=16, ema=0.9)), bright_or_dark, 0, CPU)
    dark = nn.Linear(96, 2)
    nn.init.zeros_(dark.weight)
    dark.bias.data = torch.tensor([1.0, 0.0])
    loop.kept[1].load_state_dict(dark.state_dict())
    assert torch.equal(right_answers("it", loop, bright_or_dark), (bright_or_dark.val.labels == 0).double())


def test_several_seeds_are_averaged_image_by_image(bright_or_dark, monkeypatch):
    rights = iter([answers(4, 12), answers(0, 16), answers(8, 8), answers(16, 0)])
    monkeypatch.setattr(module, "right_answers", lambda name, loop, data: next(rights))
    mine, theirs = run(good_entry, bright_or_dark, 1, 2, CPU, Ticks())
    assert mine.tolist() == [1.0] * 4 + [0.5] * 4 + [0.0] * 8
    assert theirs.tolist() == [0.5] * 16


# What is printed -----------------------------------------------------------------------------------------------------


@pytest.fixture
def printed(bright_or_dark, capsys):
    """What a contest prints, line by line, with whatever it is given."""

    def go(entry, **options) -> list[str]:
        options = {"seconds": 4, "device": CPU, "clock": Ticks()} | options
        torch.manual_seed(0)  # of two classes as easy as these, one untrained model in many knows the answer
        assert contest(entry, bright_or_dark, **options) is None
        return capsys.readouterr().out.splitlines()

    return go


def test_a_stub_is_not_attempted_yet_and_nothing_is_trained(printed, monkeypatch):
    def stub(data):
        raise NotImplementedError

    monkeypatch.setattr(module, "TrainingLoop", None)
    assert printed(stub) == ["Contest: not attempted yet"]


def test_a_contest_from_beginning_to_end_is_the_same_twice_and_leaves_the_test_images(bright_or_dark, printed):
    object.__setattr__(bright_or_dark, "test", None)
    first, second = printed(good_entry, seeds=2), printed(good_entry, seeds=2)
    assert first[0] == "training your entry and the book's recipe, 4 s each, 2 seeds"
    assert [line[:17].strip() for line in first[1:4]] == ["your entry", "the book's recipe", "difference"]
    assert first[4].startswith("Contest: ")
    assert first == second


def test_an_entry_that_learns_beats_one_that_hardly_moves(printed, monkeypatch):
    monkeypatch.setattr(module, "book_entry", lambda data: (linear(data), TrainConfig(batch_size=16, lr=1e-9)))
    assert printed(good_entry, seconds=12)[-1] == "Contest: ahead, beyond chance"


def right_once():
    """Right when it is checked, and then not."""
    calls = iter([good_entry])
    return lambda data: next(calls, lambda data: 1 / 0)(data)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (lambda data: good_entry(data)[::-1], "the first part is a value of type vitedu.TrainConfig, expected a model"),
        (lambda data: None, "returned a value of type NoneType, expected a pair (model, TrainConfig)"),
        (lambda data: (1, 2, 3), "returned a tuple of 3, expected a pair (model, TrainConfig)"),
        (lambda data: (nn.Linear, TrainConfig()), "the first part is the class Linear, not called"),
        (lambda data: (nn.Flatten(), TrainConfig()), "the model returns scores (32, 96), expected (B, K) = (32, 2)"),
        (lambda data: data.nothing, "AttributeError: 'Dataset' object has no attribute 'nothing'"),
        (right_once(), "ZeroDivisionError: division by zero"),
        (lambda: good_entry, "TypeError: "),
    ],
)
def test_what_is_wrong_with_an_entry_is_said_in_one_line(entry, text, printed):
    lines = printed(entry)
    assert lines[-1].startswith(f"Contest: not held: {text}")
    assert len(lines) <= 2


def test_a_trained_model_is_found_out_and_a_copy_is_tried(bright_or_dark):
    loop = prepare(good_entry, bright_or_dark, 0, CPU)
    before = loop.model[1].weight.clone()
    assert entry_problem((loop.model, loop.config), bright_or_dark) == ""
    assert torch.equal(loop.model[1].weight, before)
    train_in_turns([loop], bright_or_dark.train, 200, Ticks())
    assert "knows the images" in entry_problem((loop.model, loop.config), bright_or_dark)


def test_a_model_whose_weights_overflow_is_told_so_and_no_seed_is_refused(printed, monkeypatch):
    assert printed(good_entry, seeds=0)[-1] == "Contest: not held: ValueError: 0 seeds; a contest needs at least 1"
    monkeypatch.setattr(module, "entry_problem", lambda returned, data: "")
    lines = printed(lambda data: (linear(data), TrainConfig(lr=1e38, clip_norm=0.0)))
    assert lines[-1].startswith("Contest: not held: ValueError: the scores of your entry are no longer finite")
