"""Calling an answer, whatever it does, and noting what it did."""

import dis
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from vitedu.exercises.compare import agree
from vitedu.exercises.exercise import Answer, Case, Exercise
from vitedu.exercises.limits import TimeLimit
from vitedu.exercises.state import start_call

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


def call(exercise: Exercise, answer: Answer, case: Case) -> Outcome:
    """Call the answer on a copy of the arguments, from a fixed random state."""
    args = tuple(arg.clone() if isinstance(arg, Tensor) else arg for arg in case.args)
    before = [_contents(arg) for arg in args]
    start_call()
    try:
        value = exercise.simplify(answer(*args), args)
    except STOP:
        raise
    except BaseException as error:  # sys.exit() too
        return Outcome(error=error, deliberate=_deliberate(error, answer))
    triples = zip(exercise.parameters, before, args, strict=True)
    return Outcome(value, changed=tuple(name for name, old, arg in triples if not agree(old, _contents(arg))))


def same_outcome(case: Case, mine: Outcome, theirs: Outcome, strict: bool) -> bool:
    """Whether two answers did the same. Where an error is due, all that counts is whether one of its type came."""
    if case.raises is not None:
        return type(mine.error) is type(theirs.error)
    if mine.error is not None or theirs.error is not None:
        return _same_error(mine, theirs)
    return agree(mine.value, theirs.value, strict)


def _same_error(mine: Outcome, theirs: Outcome) -> bool:
    """Type and, between errors of libraries, first word: `stack expects …` is another mistake than `shape …`."""
    if type(mine.error) is not type(theirs.error):
        return False
    first_words = [str(outcome.error).split()[:1] for outcome in (mine, theirs)]
    return mine.deliberate or theirs.deliberate or first_words[0] == first_words[1]


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
