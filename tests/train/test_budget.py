"""Training for a given time: the schedule ends with it, only steps count, and every image is seen equally often."""

import time
from collections import Counter

import pytest
import torch
from torch import nn

from tests.clocks import Ticks
from vitedu.data import load
from vitedu.train import TrainConfig, TrainingLoop
from vitedu.train.budget import steps_for, train_in_turns

CPU = torch.device("cpu")


def make_loop(**settings) -> TrainingLoop:
    data = load("digits", quiet=True)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    return TrainingLoop(model, data, TrainConfig(**{"epochs": 100, "batch_size": 500} | settings), 1257, CPU)


def test_the_schedule_follows_the_time():
    loop = make_loop(warmup=0.2, lr=1.0)
    rates = []
    for spent in steps_for(loop, loop.data.train, seconds=20, clock=Ticks()):
        rates.append(loop.lr)
        assert spent == len(rates)  # one tick for each step
    assert len(rates) == 20
    assert rates.index(max(rates)) == 4  # a fifth of the time
    assert rates[0] < 0.05
    assert 0 < rates[-1] < 0.02


def test_what_happens_between_steps_is_free():
    loop, clock = make_loop(), Ticks()
    times = []
    for spent in steps_for(loop, loop.data.train, seconds=6, clock=clock):
        times.append(spent)
        for _ in range(10):
            clock()
    assert times == [1, 2, 3, 4, 5, 6]


def test_the_mode_is_training_at_each_step():
    loop, modes = make_loop(), []
    loop.model.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    for _ in steps_for(loop, loop.data.train, seconds=3, clock=Ticks()):
        loop.model.eval()
    assert modes == [True] * 3


def test_each_round_shows_every_image_once_and_rounds_differ(monkeypatch):
    loop, seen = make_loop(), []
    monkeypatch.setattr(loop, "step", lambda images, labels: seen.append(images.flatten(1)))
    for _ in steps_for(loop, loop.data.train, seconds=6, clock=Ticks()):  # 1,257 images are three batches of 500
        pass
    first, second = (torch.cat(part) for part in (seen[:3], seen[3:]))
    everything = Counter(map(tuple, loop.data.train.images.flatten(1).tolist()))
    assert Counter(map(tuple, first.tolist())) == Counter(map(tuple, second.tolist())) == everything
    assert not torch.equal(first, second)


def test_what_changes_the_images_does_so_anew_in_each_round(monkeypatch):
    loop, seen, rounds = make_loop(), [], []
    monkeypatch.setattr(loop, "step", lambda images, labels: seen.append(images.unique().tolist()))

    def fill(images: torch.Tensor) -> torch.Tensor:
        rounds.append(len(images))
        return torch.full_like(images, len(rounds))

    for _ in steps_for(loop, loop.data.train, seconds=6, clock=Ticks(), each_round=fill):
        pass
    assert seen == [[1]] * 3 + [[2]] * 3
    assert rounds == [1257, 1257]


def test_it_is_repeatable_and_leaves_the_generator_alone():
    weights = []
    for _ in range(2):
        loop = make_loop()
        before = torch.get_rng_state()
        for _ in steps_for(loop, loop.data.train, seconds=5, clock=Ticks()):
            pass
        assert torch.equal(before, torch.get_rng_state())
        weights.append(loop.model[1].weight)
    assert torch.equal(*weights)


def test_no_time_is_refused():
    loop = make_loop()
    with pytest.raises(ValueError, match="0 seconds leave no time"):
        next(steps_for(loop, loop.data.train, seconds=0, clock=Ticks()))


def test_time_in_which_the_processor_does_something_else_does_not_count(monkeypatch):
    """As on a busy machine; and one thread does the work, for two would count twice."""
    loop, threads = make_loop(), []
    step = loop.step
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    loop.step = lambda *batch: (time.sleep(0.1), step(*batch))
    [(steps, spent)] = train_in_turns([loop], loop.data.train, seconds=0.02)
    assert steps > 1
    assert 0.02 <= spent < 0.1
    assert threads == [1, torch.get_num_threads()]


def test_in_turns_each_has_its_time_and_its_steps_are_counted():
    """Three seconds of a clock that ticks once for each step are three steps, whoever else trains."""
    loops = [make_loop(), make_loop()]
    taken = [[], []]
    for loop, steps in zip(loops, taken, strict=True):
        step = loop.step
        loop.step = lambda *batch, step=step, steps=steps: (steps.append(1), step(*batch))[1]
    used = train_in_turns(loops, loops[0].data.train, 3, Ticks())
    assert used == [(3, 3.0), (3, 3.0)]
    assert [len(steps) for steps in taken] == [3, 3]
