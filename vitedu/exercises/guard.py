"""Guards around a reader's code: a time limit, and global state that is afterwards as it was."""

import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
import torch

TICK = 0.05  # seconds between two looks at the clock
PATIENCE = 20  # times the limit that code may take when it waits: for the processor, for other threads, or asleep


class TimeLimit(BaseException):
    """The time is up. Not an `Exception`, so that `except Exception:` does not catch it."""


def run_limited(function: Callable[[], Any], seconds: float) -> Any:
    """`function()`, or `TimeLimit` raised inside it, wherever it is, once it has worked for `seconds`.

    What counts is the processor time of this thread, so that a busy machine fails no answer. What other threads and
    processes do for the function does not count, but ends it after `PATIENCE * seconds` on the clock on the wall, as
    sleeping does. Signal handler and timer are afterwards as before, and a timer of somebody else's goes on.

    Code that catches `TimeLimit` meets the next at the next tick, and is too late all the same when it returns. What
    cannot be ended: a loop that catches every one of them (`while True: try: … except: pass`), one long call of C code
    (`sum(itertools.count())`) before it returns, and anything on Windows or outside the main thread, where there are no
    alarm signals and the function just runs.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        return function()
    late, running = False, True

    def on_tick(signum: int, frame: FrameType | None) -> None:
        nonlocal late
        if not running or frame is None or frame.f_code in (run_limited.__code__, on_tick.__code__):
            return  # before or after the function: a late tick must not escape
        waited, worked = time.monotonic() - start, time.thread_time() - work_before
        late = late or worked > seconds or waited > PATIENCE * seconds
        if late:
            raise TimeLimit

    def inside() -> Any:  # a frame of its own, so that ticks reach a function that is C code, too
        return function()

    start, work_before = time.monotonic(), time.thread_time()
    handler = signal.signal(signal.SIGALRM, on_tick)
    delay, interval = signal.setitimer(signal.ITIMER_REAL, TICK, TICK)
    try:
        result = inside()
    finally:
        running = False  # before any call: Python's own `signal.signal` is Python code, in which a tick would raise
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if delay:  # somebody else's timer: it goes on where it would be now
            signal.setitimer(signal.ITIMER_REAL, max(delay - (time.monotonic() - start), 1e-3), interval)
    if late:
        raise TimeLimit
    return result


@contextmanager
def global_state_kept() -> Iterator[None]:
    """Inside, gradients are on, and new tensors are on the CPU, which has one thread; afterwards all is as it was.

    All: random generators (Python, NumPy, torch), gradient mode, default dtype and device, deterministic mode, number
    of threads, `sys.stdout`. With one thread its processor time is that of all the work.
    """
    generators = [(random.setstate, random.getstate()), (np.random.set_state, np.random.get_state())]
    generators.append((torch.set_rng_state, torch.get_rng_state()))
    if torch.cuda.is_initialized():
        generators.append((torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    settings = [(read, write, read()) for read, write in SETTINGS]
    try:
        with torch.inference_mode(False):
            torch.set_num_threads(1)
            start_call()
            yield
    finally:
        for restore, state in generators:
            restore(state)
        for read, write, value in settings:
            if read() != value:  # to set the deterministic mode alone takes a second: it imports torch's compiler
                write(value)


def start_call() -> None:
    """The same start for every call of an answer, whatever the call before it has changed."""
    random.seed(0)
    np.random.seed(0)
    torch.default_generator.manual_seed(0)  # the CPU's only: `torch.manual_seed` is slow, and answers run on the CPU
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)
    if _default_device().type != "cpu":
        _use_device(torch.device("cpu"))


def _default_device() -> torch.device:
    """Where a new tensor is. In PyTorch 2.6, `get_default_device` raises once the default has been set and reset."""
    return torch.empty(0).device


def _use_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


SETTINGS = [  # how to read it, how to set it
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_default_dtype, torch.set_default_dtype),
    (_default_device, _use_device),
    (_deterministic, lambda mode: torch.use_deterministic_algorithms(mode[0], warn_only=mode[1])),
    (torch.get_num_threads, torch.set_num_threads),
    (lambda: sys.stdout, lambda stdout: setattr(sys, "stdout", stdout)),
]
