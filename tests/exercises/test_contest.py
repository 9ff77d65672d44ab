"""The contest of exercise 9.6: equal time, an error over the same images, and one line for whatever goes wrong."""

import math

import pytest
import torch
from torch import nn

from tests.clocks import Ticks
from vitedu.exercises import contest as module
from vitedu.exercises.contest import Score, book_entry, contest, prepare, right_answers, run
from vitedu.train import TrainConfig, recipe
from vitedu.train.budget import train_in_turns
from vitedu.vit import ViT

CPU = torch.device("cpu")


def linear(data) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(data.train.images[0].numel(), len(data.class_names)))


def good_entry(data):
    return linear(data), TrainConfig(batch_size=16, lr=1e-2)


def answers(right: int, wrong: int) -> torch.Tensor:
    """Ones and zeros, in that order."""
    return torch.cat([torch.ones(right), torch.zeros(wrong)]).double()


# The score -----------------------------------------------------------------------------------------------------------


def test_the_error_is_that_of_paired_answers():
    """With b images right by the entry alone and c by the book alone: n² var = (n (b + c) - (b - c)²) / (n - 1)."""
    n, both, b, c = 40, 10, 7, 3
    mine = torch.cat([torch.ones(both + b), torch.zeros(n - both - b)]).double()
    theirs = torch.cat([torch.ones(both), torch.zeros(b), torch.ones(c), torch.zeros(n - both - b - c)]).double()
    score = Score(mine, theirs)
    assert score.difference == pytest.approx((b - c) / n)
    assert score.error == pytest.approx(math.sqrt((n * (b + c) - (b - c) ** 2) / (n - 1)) / n)


def test_the_error_does_not_count_what_both_answer_alike():
    """Unlike that of two independent samples, it does not change when images of one kind are exchanged for another."""
    few, many = (Score(answers(right, 60 - right), answers(right - 5, 65 - right)) for right in (10, 30))
    assert few.error == pytest.approx(many.error)
    assert Score(answers(30, 30), answers(30, 30)).error == 0


@pytest.mark.parametrize(
    ("mine", "theirs", "verdict"),
    [
        (60, 40, "ahead, beyond chance"),
        (41, 40, "ahead, within chance"),
        (40, 40, "level"),
        (40, 41, "behind, within chance"),
        (40, 60, "behind, beyond chance"),
    ],
)
def test_verdicts(mine, theirs, verdict, capsys):
    score = Score(answers(mine, 100 - mine), answers(theirs, 100 - theirs))
    assert score.verdict == verdict
    module.report(score)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"your entry         {mine:.2f} %"
    assert printed[1] == f"the book's recipe  {theirs:.2f} %"
    assert printed[2] == f"difference        {mine - theirs:+6.2f} ± {100 * score.error:.2f} points (100 images)"
    assert printed[3] == f"Contest: {verdict}"


def test_the_bound_is_two_standard_errors():
    """Four images that the entry alone answers right are 2.03 errors from zero; three are 1.75."""
    assert [Score(answers(k, 100 - k), answers(0, 100)).verdict[7:13] for k in (3, 4)] == ["within", "beyond"]


# Equal time ----------------------------------------------------------------------------------------------------------


def slowed(loop, factor: int, clock: Ticks):
    """Each step of the loop takes `factor` seconds in all."""
    step, order = loop.step, []

    def slow(images, labels):
        for _ in range(factor - 1):
            clock()
        order.append(1)
        return step(images, labels)

    loop.step = slow
    return order


def test_both_get_the_same_time_and_the_faster_takes_more_steps(bright_or_dark):
    clock = Ticks()
    loops = [prepare(good_entry, bright_or_dark, 0, CPU) for _ in range(2)]
    steps = [slowed(loop, factor, clock) for loop, factor in zip(loops, (1, 3), strict=True)]
    train_in_turns(loops, bright_or_dark.train, 12, clock)
    assert [len(taken) for taken in steps] == [12, 4]


def test_they_take_turns(bright_or_dark):
    """One that is alone on a quiet machine, and the other on a busy one, would not be compared at equal time."""
    order, loops = [], [prepare(good_entry, bright_or_dark, 0, CPU) for _ in range(2)]
    for name, loop in zip("ab", loops, strict=True):
        step = loop.step
        loop.step = lambda *batch, name=name, step=step: (order.append(name), step(*batch))[1]
    train_in_turns(loops, bright_or_dark.train, 6, Ticks())
    assert "".join(order) == "ab" * 6


def test_taking_turns_changes_nothing(bright_or_dark):
    """A model ends with the same weights, whoever trains beside it."""
    alone, beside, other = (prepare(good_entry, bright_or_dark, 1, CPU) for _ in range(3))
    train_in_turns([alone], bright_or_dark.train, 5, Ticks())
    train_in_turns([other, beside], bright_or_dark.train, 5, Ticks())
    assert torch.equal(alone.model[1].weight, beside.model[1].weight)


def test_the_recipe_is_the_entrys_own_and_the_seed_that_of_the_run(bright_or_dark):
    first, second, again = (prepare(good_entry, bright_or_dark, seed, CPU) for seed in (0, 1, 0))
    assert first.config.batch_size == 16
    assert [loop.config.seed for loop in (first, second)] == [0, 1]
    assert torch.equal(first.model[1].weight, again.model[1].weight)
    assert not torch.equal(first.model[1].weight, second.model[1].weight)


def test_the_books_entry_is_its_recipe(bright_or_dark):
    model, settings = book_entry(bright_or_dark)
    assert type(model) is ViT
    assert (model.config, settings) == recipe(bright_or_dark)


def test_right_answers_are_counted_on_the_validation_images_of_the_averaged_weights(bright_or_dark):
    def averaging(data):
        return linear(data), TrainConfig(batch_size=16, ema=0.9)

    loop = prepare(averaging, bright_or_dark, 0, CPU)
    dark = nn.Linear(96, 2)
    nn.init.zeros_(dark.weight)
    dark.bias.data = torch.tensor([1.0, 0.0])
    loop.eval_model[1].load_state_dict(dark.state_dict())
    assert torch.equal(right_answers("it", loop, bright_or_dark), (bright_or_dark.val.labels == 0).double())


def test_several_seeds_are_averaged_image_by_image(bright_or_dark, monkeypatch):
    rights = {0: [answers(4, 12), answers(0, 16)], 1: [answers(8, 8), answers(16, 0)]}
    monkeypatch.setattr(module, "run_once", lambda entry, data, seconds, seed, device, clock: rights[seed])
    score = run(good_entry, bright_or_dark, 1, 2, CPU, Ticks())
    assert score.mine.tolist() == [1.0] * 4 + [0.5] * 4 + [0.0] * 8
    assert score.theirs.tolist() == [0.5] * 16


# What is printed -----------------------------------------------------------------------------------------------------


@pytest.fixture
def printed(bright_or_dark, capsys):
    """What a contest prints, line by line, with whatever it is given."""

    def go(entry, **options) -> list[str]:
        options = {"seconds": 4, "device": CPU, "clock": Ticks()} | options
        assert contest(entry, bright_or_dark, **options) is None
        return capsys.readouterr().out.splitlines()

    return go


def test_a_stub_is_not_attempted_yet_and_nothing_is_trained(printed, monkeypatch):
    def stub(data):
        raise NotImplementedError

    monkeypatch.setattr(module, "TrainingLoop", None)
    assert printed(stub) == ["Contest: not attempted yet"]


def test_a_contest_from_beginning_to_end_is_the_same_twice(printed):
    first, second = printed(good_entry, seeds=2), printed(good_entry, seeds=2)
    assert first[0] == "training your entry and the book's recipe, 4 s each, 2 seeds"
    assert [line[:17].strip() for line in first[1:4]] == ["your entry", "the book's recipe", "difference"]
    assert first[4].startswith("Contest: ")
    assert first == second


def test_an_entry_that_learns_beats_one_that_hardly_moves(printed, monkeypatch):
    monkeypatch.setattr(module, "book_entry", lambda data: (linear(data), TrainConfig(batch_size=16, lr=1e-9)))
    assert printed(good_entry, seconds=12)[-1] == "Contest: ahead, beyond chance"


class RightOnce:
    """Right when it is checked, and then not."""

    calls = 0

    def __call__(self, data):
        self.calls += 1
        if self.calls > 1:
            raise OSError("the disk is full")
        return good_entry(data)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (lambda data: good_entry(data)[::-1], "the first part is a value of type vitedu.TrainConfig, expected a model"),
        (lambda data: None, "returned a value of type NoneType, expected a pair (model, TrainConfig)"),
        (lambda data: (nn.Linear, TrainConfig()), "the first part is the class Linear, not called"),
        (lambda data: (nn.Flatten(), TrainConfig()), "the model returns scores (32, 96), expected (B, K) = (32, 2)"),
        (lambda data: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda data: data.nothing, "AttributeError: 'Dataset' object has no attribute 'nothing'"),
        (RightOnce(), "OSError: the disk is full"),
        (lambda: good_entry, "TypeError: "),
    ],
)
def test_what_is_wrong_with_an_entry_is_said_in_one_line(entry, text, printed):
    lines = printed(entry)
    assert lines[-1].startswith(f"Contest: not held: {text}")
    assert len(lines) <= 2


def test_a_model_whose_weights_overflow_is_told_so(printed, monkeypatch):
    monkeypatch.setattr(module, "entry_problem", lambda returned, data: "")
    lines = printed(lambda data: (linear(data), TrainConfig(lr=1e38, clip_norm=0.0)))
    assert lines[-1].startswith("Contest: not held: ValueError: the scores of your entry are no longer finite")


def test_less_than_one_seed_is_refused(printed):
    assert printed(good_entry, seeds=0)[-1] == "Contest: not held: ValueError: 0 seeds; a contest needs at least 1"


def test_the_test_images_are_not_touched(bright_or_dark, printed):
    object.__setattr__(bright_or_dark, "test", None)
    assert printed(good_entry)[-1].startswith("Contest: ")
