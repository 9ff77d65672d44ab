"""Calling an answer, whatever it does, and noting what it did."""

import dis
import inspect
import linecache
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vitedu.exercises.compare import agree, kind, short
from vitedu.exercises.exercise import Answer, Case, Exercise
from vitedu.exercises.guard import TimeLimit, start_call

STOP = (TimeLimit, KeyboardInterrupt)  # these end the check; every other error is the answer's own


@dataclass(frozen=True)
class Outcome:
    """What one call did: the value returned or the error raised, and the names of the arguments it changed.

    `deliberate` tells a `raise` in the answer's own code from an error of torch, einops or Python's own operations.
    """

    value: Any = None
    error: BaseException | None = None
    deliberate: bool = False
    changed: tuple[str, ...] = ()


def attempt(function: Callable[..., Any], *args: Any) -> tuple[Any, BaseException | None]:
    """(what the function returns, None), or (None, the error that it raises, `SystemExit` too)."""
    try:
        return function(*args), None
    except STOP:
        raise
    except BaseException as error:
        return None, error


def call(exercise: Exercise, answer: Answer, case: Case) -> Outcome:
    """Call the answer on a copy of the arguments, from a fixed random state."""
    args = tuple(arg.clone() if isinstance(arg, Tensor) else arg for arg in case.args)
    before = [_contents(arg) for arg in args]
    start_call()
    value, error = attempt(lambda: exercise.simplify(answer(*args), args))
    if error is not None:
        return Outcome(error=error, deliberate=_deliberate(error, answer))
    triples = zip(exercise.parameters, before, args, strict=True)
    return Outcome(value, changed=tuple(name for name, old, arg in triples if not agree(old, _contents(arg))))


def gradients(answer: Answer, case: Case) -> list[Tensor | None]:
    """The gradient of a weighted sum of the result with respect to each floating-point tensor; None if it is cut."""
    start_call()
    args = [arg.clone() if isinstance(arg, Tensor) else arg for arg in case.args]
    leaves = [arg.requires_grad_() for arg in args if differentiable(arg)]
    result = answer(*args)
    if not result.requires_grad:
        return [None] * len(leaves)
    weights = torch.linspace(1, 2, result.numel(), dtype=result.dtype).reshape(result.shape)
    return list(torch.autograd.grad((result * weights).sum(), leaves, allow_unused=True))


def differentiable(arg: Any) -> bool:
    """Whether an argument is a tensor of floating-point numbers."""
    return isinstance(arg, Tensor) and arg.is_floating_point()


def same_outcome(case: Case, mine: Outcome, theirs: Outcome, strict: bool) -> bool:
    """Whether two answers did the same. Where an error is due, all that counts is whether one of its type came.

    Of other errors the first word counts too, `stack expects …` is another mistake than `shape …`, unless the text is
    the reader's own.
    """
    if mine.error is None and theirs.error is None:
        return case.raises is not None or agree(mine.value, theirs.value, strict)
    if type(mine.error) is not type(theirs.error):
        return False
    words = [str(outcome.error).split()[:1] for outcome in (mine, theirs)]
    return case.raises is not None or mine.deliberate or theirs.deliberate or words[0] == words[1]


def raised(error: BaseException, answer: Answer) -> str:
    """The error in one line, with the line of the answer where it happened."""
    if isinstance(error, SystemExit):
        return "called `exit`; end the function with `return` instead"
    question = "; does the function call itself without an end?" if isinstance(error, RecursionError) else ""
    return f"raised {name_error(error)}{_place(error, answer)}{question}"


def name_error(error: BaseException) -> str:
    """Type and text; addresses, which change from run to run, are left out."""
    text, _ = attempt(short, error, 160)  # of the reader's own error class, `__str__` may fail
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", text or "")
    return f"{kind(error)}: {text}" if text else kind(error)


def _place(error: BaseException, answer: Answer) -> str:
    """The last line of the traceback that is in the answer's own file or cell, or nothing if there is none."""
    code = getattr(inspect.unwrap(answer), "__code__", None)
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if code and frame.f_code.co_filename == code.co_filename]
    if not lines:
        return ""
    source = short(linecache.getline(code.co_filename, lines[-1]), 70)
    return f", at line {lines[-1]}" + (f": `{source}`" if source else "")


def _deliberate(error: BaseException, answer: Answer) -> bool:
    """Whether the innermost frame is the reader's, or a stored mistake's, and stands at a `raise`."""
    innermost = error.__traceback__
    while innermost.tb_next:
        innermost = innermost.tb_next
    frame = innermost.tb_frame
    module = str(frame.f_globals.get("__name__"))
    own = module in ("__main__", getattr(answer, "__module__", "")) or module.startswith("vitedu.exercises.")
    return own and frame.f_code.co_code[innermost.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def _contents(arg: Any) -> list:
    """What an answer may not change: a tensor's numbers and its flag; a model's parameters, and the mode of its layers.

    The flag says whether a gradient is asked for; of a parameter it says whether it is frozen.
    """
    if isinstance(arg, nn.Module):
        modes = [str(layer.training) for layer in arg.modules()]
        return [modes, *([name, *_contents(p)] for name, p in arg.named_parameters())]
    return [arg.detach().clone(), str(arg.requires_grad)] if isinstance(arg, Tensor) else []
