"""What an exercise is made of: inputs, a reference, known mistakes, and a way to say what differs."""

import copy
import functools
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitedu.exercises import compare

Answer = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """One input for the answer.

    Args:
        args: the positional arguments.
        label: how messages name the input; empty means: written from the arguments.
        traits: what is special about it, keys of `TRAITS`, so that "right for square images only" can be said.
        raises: the error the answer has to raise here, or None if it has to return something.
        gradient: whether the gradient of the result is compared too.
    """

    args: tuple
    label: str = ""
    traits: tuple[str, ...] = ()
    raises: type[Exception] | None = None
    gradient: bool = False


# For each trait: what to say to an answer that is right only with it, and to one that is wrong only with it.
TRAITS = {
    "square": (
        "it is right for square images only: height and width are two different numbers",
        "it is wrong for square images only",
    ),
    "B = 1": (
        "it is right for a batch of one (B = 1) only: every member of a batch needs the same treatment",
        "it is wrong for a batch of one (B = 1) only: `squeeze()` without an axis drops the batch axis as well",
    ),
    "C = 3": (
        "it is right for C = 3 only: work the number of channels out from the shape",
        "it is wrong for C = 3 only",
    ),
}


DEMANDS = ("double", "gradient")  # float64 in, float64 out; gradients that flow to the inputs


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that readers give, as code, and the hint for it: a phrase that says what happened."""

    hint: str
    answer: Answer


@dataclass(frozen=True)
class Exercise:
    """A task with everything needed to check an answer to it.

    Args:
        id: "5.2" is the second exercise of chapter 5.
        reference: the right answer; its parameter names are those in the messages.
        cases: builds the inputs, the same ones at every call.
        mistakes: at least three known wrong answers.
        difference: (got, expected) -> what differs, in words, or None.
        simplify: (returned, args) -> what is compared instead of the returned value itself.
        demands: what the task asks for beyond the right values, of `DEMANDS`; the rest is tried, and remarked upon.
    """

    id: str
    reference: Answer
    cases: Callable[[], list[Case]]
    mistakes: tuple[Mistake, ...]
    difference: Callable[[Any, Any], str | None] = compare.tensors
    simplify: Callable[[Any, tuple], Any] = lambda returned, args: returned
    demands: tuple[str, ...] = ()

    @property
    def parameters(self) -> list[str]:
        """The names of the answer's parameters, in order."""
        return list(inspect.signature(self.reference).parameters)

    def labelled_cases(self) -> tuple[list[Case], list[Case]]:
        """The cases that an answer has to pass, and those in float64 that are only tried.

        The second list is empty if the exercise demands double precision or has no cases in float32. Otherwise each of
        its cases stands in the first list too, in float32. Labels are such as `images (2, 3, 8, 12), patch = 4`.
        """
        cases = self.cases()
        found = [set().union(*map(dtypes, case.args)) for case in cases]
        if "double" in self.demands or {torch.float32} not in found:
            return self._labelled(cases), []
        single = [replace(case, args=tuple(map(_single, case.args))) for case in cases]
        double = [case for case, kinds in zip(cases, found, strict=True) if torch.float64 in kinds]
        return self._labelled(single), self._labelled(double)

    def _labelled(self, cases: list[Case]) -> list[Case]:
        names = self.parameters
        return [replace(case, label=case.label or ", ".join(map(_name_value, names, case.args))) for case in cases]


def dtypes(arg: Any) -> set[torch.dtype]:
    """The floating-point types in an argument: that of a tensor, or those of a module's parameters."""
    tensors = arg.parameters() if isinstance(arg, nn.Module) else [arg]
    return {one.dtype for one in tensors if isinstance(one, Tensor) and one.is_floating_point()}


def _single(arg: Any) -> Any:
    return copy.deepcopy(arg).float() if torch.float64 in dtypes(arg) else arg


def _name_value(name: str, value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"{name} = {value}"
    usual = (torch.float32, torch.int64)
    return f"{name} {tuple(value.shape)}" + ("" if value.dtype in usual else f" {str(value.dtype)[6:]}")


CHAPTERS = tuple(sorted(int(path.stem[-2:]) for path in Path(__file__).parent.glob("chapter[0-9][0-9].py")))
_REGISTER: dict[str, Exercise] = {}


def exercise(
    id: str, reference: Answer, cases: Callable[[], list[Case]], mistakes: dict[str, Answer], **options: Any
) -> Exercise:
    """Make an exercise and enter it into the register; `mistakes` is a table {hint: wrong answer}.

    `options` are `difference`, `simplify` and `demands`, as in `Exercise`.
    """
    table = tuple(Mistake(hint, answer) for hint, answer in mistakes.items())
    _REGISTER[id] = Exercise(id, reference, cases, table, **options)
    return _REGISTER[id]


def chapter_exercises(chapter: int) -> dict[str, Exercise]:
    """The exercises of a chapter by id, in order; its module is imported when it is first asked for."""
    importlib.import_module(f"vitedu.exercises.chapter{chapter:02}")
    ids = [id for id in _REGISTER if id.startswith(f"{chapter}.")]
    return {id: _REGISTER[id] for id in sorted(ids, key=lambda id: int(id.split(".")[1]))}


def all_exercises() -> dict[str, Exercise]:
    """All exercises by id, in reading order."""
    return {id: made for chapter in CHAPTERS for id, made in chapter_exercises(chapter).items()}


def on(*inputs: tuple, raises: type[Exception] | None = None, gradient: bool = False) -> list[Case]:
    """A case for each tuple of arguments."""
    return [Case(args, raises=raises, gradient=gradient) for args in inputs]


def image_case(
    batch: int, channels: int, height: int, width: int, *args: Any, dtype: torch.dtype = torch.float32, **options
) -> Case:
    """A case whose first argument is images (B, C, H, W) of distinct numbers, with their traits."""
    images = distinct(batch, channels, height, width, dtype=dtype)
    return Case((images, *args), traits=image_traits(batch, channels, height, width), **options)


def refusing(when: Callable[..., Any], answer: Answer, error: type[Exception] = ValueError) -> Answer:
    """The answer, but with an error on the inputs for which `when` holds."""

    def refuses_some(*args: Any) -> Any:
        if when(*args):
            raise error("refused")
        return answer(*args)

    return refuses_some


def distinct(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """The numbers 1, 2, 3, … in a random order, the same at every call: a number in the wrong place always shows."""
    count = torch.Size(shape).numel()
    order = torch.randperm(count, generator=torch.Generator().manual_seed(count))
    return (order + 1).reshape(shape).to(dtype)


def batch_traits(batch: int) -> tuple[str, ...]:
    """Which `TRAITS` inputs without image axes have."""
    return ("B = 1",) if batch == 1 else ()


def image_traits(batch: int, channels: int, height: int, width: int) -> tuple[str, ...]:
    """Which `TRAITS` images (B, C, H, W) have."""
    flags = {"square": height == width, "B = 1": batch == 1, "C = 3": channels == 3}
    return tuple(trait for trait, holds in flags.items() if holds)


def formulas(*sample: Any) -> Callable[[Callable[..., dict[str, Any]]], dict[str, Answer]]:
    """Makes mistakes of a function that returns all their results side by side, {hint: what the slip gives}.

    `sample` are arguments for which none of them fails; from its result the hints are read. Results are kept for the
    next mistake, which is tried on the same inputs.

    >>> mistakes = formulas(1, 1)(lambda N, D: {"D is squared": N * D**2, "D is missing": N})
    >>> mistakes["D is squared"](4, 3)
    36
    """

    def mistakes(table: Callable[..., dict[str, Any]]) -> dict[str, Answer]:
        kept: dict[tuple, dict[str, Any]] = {}

        def row(hint: str, *args: Any) -> Any:
            key = tuple(map(_content, args))
            if key not in kept:
                if len(kept) == 16:
                    kept.clear()
                kept[key] = table(*args)
            return kept[key][hint]

        return {hint: functools.partial(row, hint) for hint in table(*sample)}

    return mistakes


def _content(arg: Any) -> Any:
    """A key for equal arguments; functions are their own."""
    if isinstance(arg, Tensor):
        return arg.dtype, arg.shape, arg.detach().numpy().tobytes()
    return tuple(arg) if isinstance(arg, list) else arg
