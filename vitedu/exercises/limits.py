"""Ending code that does not end: a time limit for a function, also one that catches every exception.

In the main thread of Linux and macOS an alarm signal raises `TimeLimit` wherever the code is. Code such as
`while True: try: … except: pass` swallows that. The second alarm therefore starts a trace that raises at every further
line, in the `except:` block too. Elsewhere (Windows, other threads) the code runs in a thread of its own under that
trace from the start, and is left behind if it waits inside a C function.

The limit is for work: on a machine that is busy with other things, code that has had little of the processor gets up to
`PATIENCE` times as long in the first of the two cases.

A loop inside one C call, such as `sum(itertools.count())`, cannot be ended by either.
"""

import ctypes
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

AGAIN = 0.1  # seconds between alarms after the first
PATIENCE = 4


class TimeLimit(BaseException):
    """The time is up. Not an `Exception`, so that `except Exception:` does not catch it."""


def run_limited(function: Callable[[], Any], seconds: float) -> Any:
    """`function()`, or `TimeLimit` if it takes longer; signal handler, timer and trace are afterwards as before."""
    if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
        return _run_with_alarm(function, seconds)
    return _run_in_thread(function, seconds)


def _run_with_alarm(function: Callable[[], Any], seconds: float) -> Any:
    alarms, finished = 0, False

    def on_alarm(signum: int, frame: object) -> None:
        nonlocal alarms
        if finished:  # it came while we were tidying up
            return
        waited, worked = time.monotonic() - start, time.process_time() - work_before
        if not alarms and worked < 0.9 * seconds and waited < PATIENCE * seconds:
            return  # the next alarm looks again
        alarms += 1
        if alarms > 1:
            _trace(_RaiseAtEveryLine(after=0))
        raise TimeLimit

    start, work_before = time.monotonic(), time.process_time()
    trace, handler = sys.gettrace(), signal.signal(signal.SIGALRM, on_alarm)
    delay, interval = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        try:
            result = function()
        finally:
            finished = True
    finally:
        finished = True  # again, in case an alarm came just before the line above
        sys.settrace(trace)  # before any call of Python code, which the trace would end
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if delay:  # somebody else's timer: it goes on where it would be now
            signal.setitimer(signal.ITIMER_REAL, max(delay - (time.monotonic() - start), 1e-3), interval)
    if alarms:  # the function caught TimeLimit and returned: too late all the same
        raise TimeLimit
    return result


def _run_in_thread(function: Callable[[], Any], seconds: float) -> Any:
    outcome: dict[str, Any] = {}
    limit = _RaiseAtEveryLine(after=time.monotonic() + seconds)

    def work():
        _trace(limit)
        try:
            outcome["result"] = function()
        except BaseException as error:
            outcome["error"] = error
        finally:
            sys.settrace(None)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        thread.join(seconds + 5 * AGAIN)
    finally:
        limit.after = 0  # whatever still runs, after Ctrl-C too, ends at its next line
    if time.monotonic() > limit.deadline or not outcome:
        raise TimeLimit
    if "error" in outcome:
        raise outcome["error"]
    return outcome["result"]


class _RaiseAtEveryLine:
    """Asked at every line of the traced thread whether it is true: raises once the time is up."""

    def __init__(self, after: float):
        self.after = self.deadline = after

    def __bool__(self) -> bool:
        ours = sys._getframe(1).f_code.co_filename == __file__  # the lines that tidy up have to run
        if not ours and time.monotonic() >= self.after:
            raise TimeLimit
        return False


def _trace(limit: _RaiseAtEveryLine) -> None:
    """Ask `limit` at every line from now on, in this thread.

    `sys.settrace` is not enough: it drops a trace function as soon as that has raised once, and two nested
    `except: pass` need two exceptions. So the interpreter itself is told to ask `bool(limit)` at every line; an
    exception is then passed on, and the trace stays.
    """
    set_trace = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.py_object)(("PyEval_SetTrace", ctypes.pythonapi))
    set_trace(ctypes.cast(ctypes.pythonapi.PyObject_IsTrue, ctypes.c_void_p), limit)
