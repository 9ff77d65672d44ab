"""The sentences of `check`: kind, exact, short, and the same on every machine."""

import inspect
import linecache
import re
import traceback
from collections.abc import Callable

from vitedu.exercises.compare import kind, short
from vitedu.exercises.exercise import Case


def not_yet(problem: str, case: Case, hint: str | None = None) -> str:
    """The whole text for a wrong answer: what is wrong, on which input, and the hint."""
    return f"not yet: {problem} (input: {case.label})" + (f"; {hint}" if hint else "")


def raised(error: BaseException, answer: Callable) -> str:
    """The error in one line, with the line of the answer where it happened."""
    if isinstance(error, SystemExit):
        return "called `exit`; end the function with `return` instead"
    question = "; does the function call itself without an end?" if isinstance(error, RecursionError) else ""
    return f"raised {name_error(error)}{_place(error, answer)}{question}"


def name_error(error: BaseException) -> str:
    """Type and text; addresses, which change from run to run, are left out."""
    try:
        text = short(error, 160)
    except Exception:  # the reader's own error class, and its __str__ fails
        text = ""
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", text)
    return f"{kind(error)}: {text}" if text else kind(error)


def _place(error: BaseException, answer: Callable) -> str:
    """The last line of the traceback that is in the answer's own file or cell, or nothing if there is none."""
    code = getattr(inspect.unwrap(answer), "__code__", None)
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if code and frame.f_code.co_filename == code.co_filename]
    if not lines:
        return ""
    source = short(linecache.getline(code.co_filename, lines[-1]), 70)
    return f", at line {lines[-1]}" + (f": `{source}`" if source else "")
