"""`vitedu.exercises.guard`: what does not end is ended, and nothing is left behind."""

import asyncio
import contextlib
import random
import signal
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vitedu.exercises import guard
from vitedu.exercises.guard import TimeLimit, global_state_kept, run_limited, start_call

SECONDS = 0.05


def endless():
    while True:
        pass


def late():
    try:
        endless()
    except BaseException:
        return "late"


def swallowing_once():
    late()
    endless()


def work_for(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "done"


# The time limit ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [endless, swallowing_once, late, lambda: time.sleep(60), threading.Event().wait])
def test_what_does_not_end_is_ended(function):
    """By the processor's time or, asleep, by the wall's; one `except:` delays it by a tick."""
    with pytest.raises(TimeLimit):
        run_limited(function, SECONDS)
    assert not issubclass(TimeLimit, Exception)  # `except Exception:` does not catch it


def test_results_and_errors_pass_through():
    assert run_limited(lambda: 3, 5) == 3
    with pytest.raises(ZeroDivisionError):
        run_limited(lambda: 1 / 0, 5)


def test_a_busy_machine_fails_no_answer(monkeypatch):
    """Code that gets a tenth of a processor may take ten times as long on the wall, and not forty times."""
    clock = SimpleNamespace(monotonic=time.monotonic, thread_time=lambda: time.monotonic() / 10)
    monkeypatch.setattr(guard, "time", clock)
    assert run_limited(lambda: work_for(5 * SECONDS), SECONDS) == "done"
    with pytest.raises(TimeLimit):
        run_limited(lambda: work_for(60), SECONDS)
    clock.thread_time = lambda: 0.0
    with pytest.raises(TimeLimit):
        run_limited(lambda: work_for(60), SECONDS / 5)


@pytest.mark.parametrize("function", [lambda: None, endless, late, sys.exit])
def test_handler_and_timer_are_as_before(function):
    """Whether the function returned, ran out of time or raised; somebody else's timer goes on, and comes."""
    came = []
    handler = signal.signal(signal.SIGALRM, lambda *_: came.append(True))
    mine = signal.getsignal(signal.SIGALRM)
    signal.setitimer(signal.ITIMER_REAL, 100, 7)
    try:
        with contextlib.suppress(TimeLimit, SystemExit):
            run_limited(function, SECONDS)
        left, interval = signal.setitimer(signal.ITIMER_REAL, 0.01)
        assert signal.getsignal(signal.SIGALRM) is mine
        assert (90 < left < 100, interval, came) == (True, 7, [])
        time.sleep(0.1)
        assert came == [True]
    finally:
        signal.signal(signal.SIGALRM, handler)


def test_one_limit_inside_another():
    """An answer may call `check`: the inner limit ends what is inside, and the outer one goes on."""
    inner = []

    def outer():
        with contextlib.suppress(TimeLimit):
            run_limited(endless, SECONDS)
        inner.append("ended")
        endless()

    with pytest.raises(TimeLimit):
        run_limited(outer, 4 * SECONDS)
    assert inner == ["ended"]


def test_a_late_tick_does_not_escape(monkeypatch):
    """Ticks as close together as they come, also while the handler and the timer are put back."""
    before = signal.getsignal(signal.SIGALRM)
    monkeypatch.setattr(guard, "TICK", 2e-5)
    for _ in range(2000):
        with contextlib.suppress(TimeLimit):
            run_limited(lambda: sum(range(100)), 0)
        assert signal.getsignal(signal.SIGALRM) is before
        assert signal.getitimer(signal.ITIMER_REAL)[1] == 0  # no ticks


def test_an_event_loop_goes_on():
    """A notebook's kernel runs its cells in one, in the main thread."""

    async def cells():
        for _ in range(3):
            with pytest.raises(TimeLimit):
                run_limited(endless, SECONDS)
            await asyncio.sleep(3 * guard.TICK)
        return "alive"

    assert asyncio.run(cells()) == "alive"


def test_without_alarm_signals_the_function_just_runs(monkeypatch):
    """In another thread, and on Windows, which has no `setitimer`."""
    done = []
    thread = threading.Thread(target=lambda: done.append(run_limited(lambda: work_for(2 * SECONDS), SECONDS)))
    thread.start()
    thread.join()
    monkeypatch.delattr(signal, "setitimer")
    assert [*done, run_limited(lambda: work_for(2 * SECONDS), SECONDS)] == ["done", "done"]


# Global state --------------------------------------------------------------------------------------------------------


def snapshot():
    generators = random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()
    modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.are_deterministic_algorithms_enabled()
    return generators, modes, torch.get_default_dtype(), torch.empty(0).device, torch.get_num_threads(), sys.stdout


def spoil():
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_grad_enabled(False)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(3)
    sys.stdout = sys.stderr


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_as_before(own, fails):
    """Also when the code inside raises, and when the reader has settings of his own."""
    threads = torch.get_num_threads()
    if own:
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        torch.set_grad_enabled(False)
        torch.set_num_threads(2)
    try:
        before = snapshot()
        with contextlib.suppress(SystemExit), global_state_kept():
            x = torch.zeros(1)
            inside = x.device.type, x.dtype, torch.is_grad_enabled(), torch.get_num_threads()
            spoil()
            if fails:
                raise SystemExit
        assert inside == ("cpu", torch.float32, True, 1)
        assert snapshot() == before
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
        torch.set_grad_enabled(True)
        torch.set_num_threads(threads)


def test_gradients_work_inside_even_when_the_caller_is_in_inference_mode():
    with torch.inference_mode():
        with global_state_kept():
            x = torch.ones(1, requires_grad=True)
            (3 * x).sum().backward()
            assert x.grad.item() == 3
        assert torch.is_inference_mode_enabled()


def test_every_call_starts_the_same():
    """The second call draws what the first drew, whatever the first has changed."""
    draws = []
    with global_state_kept():
        for _ in range(2):
            start_call()
            draws.append((random.random(), np.random.rand(), torch.rand(1).item(), torch.rand(1).dtype))
            spoil()
    assert draws[0] == draws[1]


def test_the_default_device_can_be_told_where_pytorch_cannot(monkeypatch):
    """PyTorch 2.6 raises when asked after the default was set and reset, and then no exercise could be checked."""
    monkeypatch.delattr(torch, "get_default_device")
    with global_state_kept():
        torch.set_default_device("meta")
    assert torch.empty(0).device.type == "cpu"
