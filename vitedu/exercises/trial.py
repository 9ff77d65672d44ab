"""One answer on trial: call it on every case, and say what is wrong first."""

import inspect

import torch

from vitedu.exercises.compare import kind, shown, tensors
from vitedu.exercises.exercise import TRAITS, Answer, Case, Exercise, dtypes
from vitedu.exercises.outcome import Outcome, attempt, call, differentiable, gradients, name_error, raised, same_outcome


class Trial:
    """An exercise and an answer to it.

    `case` is the one that runs now, for the message when the time is up; `checks` counts what has passed, as soon as
    only what is not demanded is left.
    """

    def __init__(self, exercise: Exercise, answer: Answer):
        self.exercise, self.answer = exercise, answer
        self.cases, self.double = exercise.labelled_cases()
        self.with_gradient = [case for case in self.cases if case.gradient]
        self.case, self.checks = self.cases[0], 0
        self._outcomes: dict[tuple[int, int], Outcome] = {}

    def outcome(self, answer: Answer, case: Case) -> Outcome:
        """What an answer, a known mistake or the reference does on a case; each is called once."""
        key = id(answer), id(case)
        if key not in self._outcomes:
            self._outcomes[key] = call(self.exercise, answer, case)
        return self._outcomes[key]

    def verdict(self) -> str:
        """`not attempted yet`, `passed (n checks)`, or `not yet: …` with the first thing that is wrong.

        What the exercise does not demand is tried last, and only remarked upon.
        """
        complaint = self.wrong_signature()
        if complaint:
            return f"not yet: {complaint}"
        for case in self.cases:
            self.case = case
            self.outcome(self.answer, case)
            if is_stub(self.outcome(self.answer, self.cases[0])):
                return "not attempted yet"
        wrong = self.wrong_result() or self.changed_input() or self.wrong_gradient()
        if wrong:
            return wrong
        self.checks, remarks = len(self.cases) - len(self.double), []  # those stand among the cases too, in float32
        for cases, problem_on in ((self.double, self.double_problem), (self.with_gradient, self.gradient_problem)):
            problems = [problem_on(case) for case in cases]
            self.checks += problems.count(None)
            remarks += [problem for problem in problems if problem][:1]
        return "; ".join([f"passed ({self.checks} checks)", *remarks])

    def out_of_time(self, seconds: float) -> str:
        """The verdict when the time is up."""
        if self.checks:
            return f"passed ({self.checks} checks); the rest was not finished after {seconds:g} s"
        return not_yet(f"not finished after {seconds:g} s", self.case, "is there a loop that never ends?")

    def wrong_signature(self) -> str | None:
        """What to say if the answer cannot be called with the arguments of the exercise."""
        if not callable(self.answer):
            return f"{kind(self.answer)} cannot be called; pass the function itself, without brackets after its name"
        signature, error = attempt(inspect.signature, self.answer)
        if error or attempt(signature.bind, *self.case.args)[1] is None:  # some built-in functions have none
            return None
        takes = ", ".join(signature.parameters) or "nothing"
        return f"your function takes ({takes}), it is called with ({', '.join(self.exercise.parameters)})"

    def wrong_result(self) -> str | None:
        """The first wrong value or, once all values are right, the first missing error; with a hint if there is one."""
        for cases in ([case for case in self.cases if case.raises is None], self.cases):
            problems = [self.problem(case) for case in cases]
            for case, problem in zip(cases, problems, strict=True):
                if problem:
                    return not_yet(problem, case, self.known_mistake(cases) or common_trait(cases, problems))
        return None

    def problem(self, case: Case) -> str | None:
        """What is wrong with the answer on one case, in words, or None."""
        outcome = self.outcome(self.answer, case)
        if case.raises is not None:
            return missing_error(case.raises, outcome)
        if outcome.error is not None:
            return raised(outcome.error, self.answer)
        if outcome.value is None:
            return "returned None; did you forget `return`?"
        expected = self.outcome(self.exercise.reference, case).value
        problem, error = attempt(self.exercise.difference, outcome.value, expected)
        if error is None:
            return problem
        return f"returned a value of type {kind(outcome.value)} that cannot be compared ({name_error(error)})"

    def known_mistake(self, cases: list[Case]) -> str | None:
        """The hint of the mistake with the same outcomes as the answer; if there is none, types may differ."""
        for strict in (True, False):
            for mistake in self.exercise.mistakes:
                wrong, right = mistake.answer, self.exercise.reference
                if self.same(self.answer, wrong, cases, strict) and not self.same(right, wrong, cases, strict):
                    return f"likely slip: {mistake.hint}"
        return None

    def same(self, one: Answer, other: Answer, cases: list[Case], strict: bool) -> bool:
        """Whether two answers do the same on every case; an answer whose comparison fails does not."""
        outcomes = ((case, self.outcome(one, case), self.outcome(other, case), strict) for case in cases)
        return bool(attempt(lambda: all(same_outcome(*four) for four in outcomes))[0])

    def changed_input(self) -> str | None:
        """The first case in which the answer changed its input, or None."""
        for case in self.cases:
            for name in self.outcome(self.answer, case).changed:
                model = isinstance(case.args[self.exercise.parameters.index(name)], torch.nn.Module)
                text = f"the values are right, but your function changes its input `{name}` in place"
                clone = f"work on a new tensor, or on `{name}.clone()`"
                return not_yet(text, case, "leave its mode and its parameters as they are" if model else clone)
        return None

    def wrong_gradient(self) -> str | None:
        """The first case in which a gradient is due and wrong, or None."""
        for case in self.with_gradient if "gradient" in self.exercise.demands else ():
            self.case, problem = case, self.gradient_problem(case)
            if problem:
                return not_yet(f"the values are right, but {problem}", case)
        return None

    def gradient_problem(self, case: Case) -> str | None:
        """What is wrong with the gradient for any floating-point argument, in words, or None."""
        names = [name for name, arg in zip(self.exercise.parameters, case.args, strict=True) if differentiable(arg)]
        got, error = attempt(gradients, self.answer, case)
        if error is not None:
            return f"when `{names[0]}` requires a gradient, it {raised(error, self.answer)}"
        for name, mine, theirs in zip(names, got, gradients(self.exercise.reference, case), strict=True):
            if mine is None:
                return (
                    f"no gradient flows back to `{name}`: `.detach()`, `.data`, `.item()`, `.numpy()`, "
                    "`torch.tensor(…)` and `torch.no_grad()` cut it off"
                )
            problem = tensors(mine, theirs)
            if problem:
                return f"the gradient with respect to `{name}` is not: {problem}"
        return None

    def double_problem(self, case: Case) -> str | None:
        """What is wrong with the answer on one case in double precision, and how to mend it, or None."""
        problem = self.problem(case)
        name = self.exercise.parameters[[torch.float64 in dtypes(arg) for arg in case.args].index(True)]
        it = "it " if str(problem).startswith(("raised", "returned")) else ""
        mend = f"make new tensors with `{name}.new_zeros(…)` or `dtype={name}.dtype`"
        return problem and f"in double precision {it}{problem}; {mend}"


def not_yet(problem: str, case: Case, hint: str | None = None) -> str:
    """The whole text for a wrong answer: what is wrong, on which input, and the hint."""
    return f"not yet: {problem} (input: {case.label})" + (f"; {hint}" if hint else "")


def is_stub(outcome: Outcome) -> bool:
    """A bare `raise NotImplementedError`; torch's own errors of this type come with a text."""
    return isinstance(outcome.error, NotImplementedError) and not outcome.error.args


def common_trait(cases: list[Case], problems: list[str | None]) -> str | None:
    """What to say if the answer is right on exactly the inputs with some trait, or on exactly those without it."""
    right = [problem is None for problem in problems]
    for trait, (right_only, wrong_only) in TRAITS.items():
        has = [trait in case.traits for case in cases]
        if len(set(has)) == 2 and right in (has, [not yes for yes in has]):
            return right_only if right == has else wrong_only
    return None


def missing_error(due: type[Exception], outcome: Outcome) -> str | None:
    """What to say about an input for which the answer has to raise."""
    if isinstance(outcome.error, due):
        return None
    did = f"returned {shown(outcome.value)}" if outcome.error is None else f"raised {name_error(outcome.error)}"
    return f"{did}, but here a {due.__name__} should be raised"
