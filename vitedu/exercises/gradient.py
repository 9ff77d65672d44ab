"""Whether the gradient flows through an answer as it flows through the reference."""

from typing import Any

import torch
from torch import Tensor

from vitedu.exercises.compare import tensors
from vitedu.exercises.exercise import Answer, Case, Exercise
from vitedu.exercises.outcome import STOP
from vitedu.exercises.state import start_call
from vitedu.exercises.wording import raised


def gradient_problem(exercise: Exercise, answer: Answer, case: Case) -> str | None:
    """What is wrong with the gradient for any floating-point argument, in words, or None."""
    names = [name for name, arg in zip(exercise.parameters, case.args, strict=True) if _differentiable(arg)]
    try:
        got = gradients(answer, case)
    except STOP:
        raise
    except BaseException as error:
        return f"when `{names[0]}` requires a gradient, it {raised(error, answer)}"
    for name, mine, theirs in zip(names, got, gradients(exercise.reference, case), strict=True):
        if mine is None:
            return (
                f"no gradient flows back to `{name}`: `.detach()`, `.data`, `.item()`, "
                "`.numpy()`, `torch.tensor(…)` and `torch.no_grad()` cut it off"
            )
        problem = tensors(mine, theirs)
        if problem:
            return f"the gradient with respect to `{name}` is not: {problem}"
    return None


def gradients(answer: Answer, case: Case) -> list[Tensor | None]:
    """The gradient of a weighted sum of the result with respect to each floating-point argument; None if it is cut."""
    start_call()
    args = [arg.clone().requires_grad_() if _differentiable(arg) else arg for arg in case.args]
    leaves = [arg for arg in args if _differentiable(arg)]
    result = answer(*args)
    if not result.requires_grad:
        return [None] * len(leaves)
    weights = torch.linspace(1, 2, result.numel(), dtype=result.dtype).reshape(result.shape)
    return list(torch.autograd.grad((result * weights).sum(), leaves, allow_unused=True))


def _differentiable(arg: Any) -> bool:
    return isinstance(arg, Tensor) and arg.is_floating_point()
