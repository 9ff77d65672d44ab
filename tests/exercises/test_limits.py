"""`vitedu.exercises.limits`: every Python loop ends, and nothing of the limit is left behind."""

# ruff: noqa: B012, E722, SIM105 - the loops below are what a reader may write

import contextlib
import signal
import sys
import threading
import time

import pytest

from vitedu.exercises.limits import TimeLimit, run_limited

SECONDS = 0.05


def in_main_thread(function, seconds=SECONDS):
    return run_limited(function, seconds)


def in_other_thread(function, seconds=SECONDS):
    """What the limit does where signals do not work."""
    outcome = {}

    def work():
        try:
            outcome["result"] = run_limited(function, seconds)
        except BaseException as error:
            outcome["error"] = error

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if "error" in outcome:
        raise outcome["error"]
    return outcome["result"]


@pytest.fixture(params=[in_main_thread, in_other_thread])
def limited(request):
    """The limit in the main thread and in another one."""
    return request.param


def endless():
    while True:
        pass


def endless_work():
    total = 0
    while True:
        total = total + 1


def swallowing():
    while True:
        try:
            endless_work()
        except:
            pass


def swallowing_inside_one_function():
    while True:
        try:
            total = 0
            while True:
                total = total + 1
        except:
            pass


def swallowing_twice():
    while True:
        try:
            while True:
                try:
                    endless_work()
                except BaseException:
                    total = 0
                    total = total + 1
        except BaseException as error:
            print(end=str(error))


def swallowing_in_a_caller():
    while True:
        try:
            swallowing_twice()
        except:
            pass


def swallowing_with_suppress():
    while True:
        with contextlib.suppress(BaseException):
            endless_work()


def swallowing_with_finally():
    while True:
        try:
            endless_work()
        finally:
            continue


def swallowing_generator():
    def numbers():
        while True:
            try:
                yield 1
            except GeneratorExit:
                return
            except BaseException:
                continue

    while True:
        try:
            for _ in numbers():
                pass
        except BaseException:
            continue


LOOPS = [
    endless,
    endless_work,
    swallowing,
    swallowing_inside_one_function,
    swallowing_twice,
    swallowing_in_a_caller,
    swallowing_with_suppress,
    swallowing_with_finally,
    swallowing_generator,
]


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
def test_every_python_loop_ends(limited, loop):
    """Also those that catch whatever is raised in them, at several levels."""
    start = time.monotonic()
    with pytest.raises(TimeLimit):
        limited(loop)
    assert time.monotonic() - start < 4


def test_a_loop_in_a_thread_does_not_go_on_in_the_background():
    """The thread that ran a swallowing loop is gone soon after."""
    before = set(threading.enumerate())
    with pytest.raises(TimeLimit):
        in_other_thread(swallowing_in_a_caller)
    for thread in set(threading.enumerate()) - before:
        thread.join(1)
    assert set(threading.enumerate()) <= before


def test_a_wait_inside_a_c_function_ends(limited):
    start = time.monotonic()
    with pytest.raises(TimeLimit):
        limited(lambda: time.sleep(10))
    assert time.monotonic() - start < 4


def test_a_function_that_catches_the_limit_and_returns_is_too_late_all_the_same(limited):
    def late():
        try:
            endless_work()
        except BaseException:
            return "late"

    with pytest.raises(TimeLimit):
        limited(late)


def test_except_exception_does_not_catch_the_limit():
    assert not issubclass(TimeLimit, Exception)


def test_results_and_errors_pass_through(limited):
    assert limited(lambda: 3, seconds=5) == 3
    with pytest.raises(ZeroDivisionError):
        limited(lambda: 1 / 0, seconds=5)
    with pytest.raises(SystemExit):
        limited(sys.exit, seconds=5)


@pytest.mark.parametrize("function", [lambda: None, endless_work, swallowing_twice, sys.exit])
def test_handler_timer_and_trace_are_as_before(function):
    """Whether the function returned, ran out of time or raised."""

    def handler(signum, frame):
        raise AssertionError("the outer timer should not have run out")

    def trace(frame, event, arg):
        return None

    old_handler, old_trace = signal.signal(signal.SIGALRM, handler), sys.gettrace()
    signal.setitimer(signal.ITIMER_REAL, 100)
    sys.settrace(trace)
    try:
        with contextlib.suppress(TimeLimit, SystemExit):
            run_limited(function, SECONDS)
        left = signal.setitimer(signal.ITIMER_REAL, 0)[0]
        assert sys.gettrace() is trace
        assert signal.getsignal(signal.SIGALRM) is handler
        assert 90 < left <= 100
    finally:
        sys.settrace(old_trace)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old_handler)


def test_without_alarm_signals_the_main_thread_uses_a_thread(monkeypatch):
    """Windows has no `setitimer`."""
    monkeypatch.delattr(signal, "setitimer")
    names = []
    run_limited(lambda: names.append(threading.current_thread()), 5)
    assert names[0] is not threading.main_thread()
    with pytest.raises(TimeLimit):
        run_limited(swallowing_twice, SECONDS)


def test_code_that_has_to_wait_for_the_processor_gets_longer():
    """A machine that is busy with other things is as if the code slept."""
    assert in_main_thread(lambda: time.sleep(2 * SECONDS) or "done") == "done"


def test_code_that_waits_for_ever_is_ended():
    began = time.monotonic()
    with pytest.raises(TimeLimit):
        in_main_thread(lambda: time.sleep(30))
    assert time.monotonic() - began < 10
