"""Training for a given time instead of a given number of epochs, so that recipes can be compared at equal time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor

from vitedu.data import Split
from vitedu.train.loop import TrainingLoop, seeded

Clock = Callable[[], float]


@contextmanager
def undisturbed(device: torch.device) -> Iterator[Clock]:
    """A clock that other programs do not move: processor time, and one thread meanwhile; for a GPU that of the wall."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield time.process_time if device.type == "cpu" else time.perf_counter
    finally:
        torch.set_num_threads(threads)


def steps_for(
    loop: TrainingLoop,
    train: Split,
    seconds: float,
    clock: Clock,
    wait: int = 1,
    each_round: Callable[[Tensor], Tensor] | None = None,
) -> Iterator[float]:
    """Take steps until `seconds` are spent; the schedule follows the time, so that it ends when the time does.

    Only the steps count: what the caller does between them, such as an evaluation, is free.

    Args:
        loop: the model with its recipe. Of `config.epochs` only the fineness of the schedule remains.
        train: the images to learn from, on the device of the loop.
        seconds: how long.
        clock: what tells the time, in seconds.
        wait: after how many steps to wait for a GPU, which else runs behind its orders; the time is exact then alone.
        each_round: what changes the images (N, C, H, W), bytes, anew before each time that all are shown.

    Yields:
        The seconds spent, after each step.

    Raises:
        ValueError: no time at all.
    """
    if seconds <= 0:
        raise ValueError(f"{seconds} seconds leave no time for a step; give it some")
    spent, step, batches, images = 0.0, 0, iter(()), train.images
    while spent < seconds:
        loop.model.train()  # an evaluation since the last step may have ended in the other mode
        began = clock()
        with seeded(loop.config.seed, step, loop.device):
            chosen = next(batches, None)
            if chosen is None:  # every image once, then all of them again in another order
                batches = iter(torch.randperm(len(train.labels)).to(loop.device).split(loop.config.batch_size))
                chosen = next(batches)
                images = each_round(train.images) if each_round else images
            loop.set_learning_rate(int(spent / seconds * loop.total_steps))
            loop.step(images[chosen], train.labels[chosen])
        step += 1
        if loop.device.type == "cuda" and step % wait == 0:
            torch.cuda.synchronize(loop.device)  # a GPU only takes orders: wait until they are carried out
        spent += clock() - began
        yield spent


def train_in_turns(
    loops: list[TrainingLoop], train: Split, seconds: float, clock: Clock | None = None
) -> list[tuple[int, float]]:
    """Train all for `seconds` each: a step of the one that has used least, so that a busy machine slows all alike.

    Returns:
        The steps that each has taken, and the seconds they took. Arguments are those of `steps_for`; without a clock
        it is the `undisturbed` one.
    """
    used = [(0, 0.0)] * len(loops)
    with nullcontext(clock) if clock else undisturbed(loops[0].device) as clock:
        running = {index: steps_for(loop, train, seconds, clock) for index, loop in enumerate(loops)}
        while running:
            index = min(running, key=lambda i: used[i][1])
            spent = next(running[index], None)
            if spent is None:
                del running[index]
            else:
                used[index] = used[index][0] + 1, spent
    return used
