"""One answer on trial: call it on every case, and say what is wrong first."""

import inspect

from torch import nn

from vitedu.exercises.compare import kind, shown
from vitedu.exercises.exercise import TRAITS, Answer, Case, Exercise, is_double
from vitedu.exercises.gradient import gradient_problem
from vitedu.exercises.outcome import STOP, Outcome, call, same_outcome
from vitedu.exercises.wording import name_error, not_yet, raised

Stage = list[tuple[Case, Outcome]]


class Trial:
    """An exercise and an answer to it.

    `case` is the one that runs now, for the message when the time is up; `checks` counts those passed, once nothing
    that is due can go wrong any more.
    """

    def __init__(self, exercise: Exercise, answer: Answer):
        self.exercise, self.answer = exercise, answer
        self.cases, self.double = exercise.labelled_cases()
        self.case, self.checks = self.cases[0], 0

    def verdict(self) -> str:
        """`not attempted yet`, `passed (n checks)`, or `not yet: …` with the first thing that is wrong.

        What the exercise does not demand is tried last, and only remarked upon.
        """
        complaint = self.wrong_signature()
        if complaint:
            return f"not yet: {complaint}"
        stage = []
        for case in self.cases:
            self.case = case
            stage.append((case, call(self.exercise, self.answer, case)))
            if is_stub(stage[0][1]):
                return "not attempted yet"
        wrong = self.wrong_result(stage) or changed_input(stage, self.exercise.parameters) or self.wrong_gradient()
        if wrong:
            return wrong
        self.checks = len(self.cases) - len(self.double)  # those stand among the cases too, in float32
        remarks = [*self.remarks_on_double(), *self.remarks_on_gradients()]
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
        try:
            signature = inspect.signature(self.answer)
        except (TypeError, ValueError):  # some built-in functions have none
            return None
        try:
            signature.bind(*self.case.args)
        except TypeError:
            takes = ", ".join(signature.parameters) or "nothing"
            return f"your function takes ({takes}), it is called with ({', '.join(self.exercise.parameters)})"
        return None

    def wrong_result(self, outcomes: Stage) -> str | None:
        """The first wrong value or, once all values are right, the first missing error; with a hint if there is one."""
        values = [(case, outcome) for case, outcome in outcomes if case.raises is None]
        for stage in (values, outcomes):
            problems = [self.problem(case, outcome) for case, outcome in stage]
            for (case, _), problem in zip(stage, problems, strict=True):
                if problem:
                    return not_yet(problem, case, self.known_mistake(stage) or common_trait(stage, problems))
        return None

    def problem(self, case: Case, outcome: Outcome) -> str | None:
        """What is wrong with one outcome, in words, or None."""
        if case.raises is not None:
            return missing_error(case.raises, outcome)
        if outcome.error is not None:
            return raised(outcome.error, self.answer)
        if outcome.value is None:
            return "returned None; did you forget `return`?"
        expected = call(self.exercise, self.exercise.reference, case).value
        try:
            return self.exercise.difference(outcome.value, expected)
        except STOP:
            raise
        except BaseException as error:  # a class of the reader's may do anything when it is compared
            return f"returned a value of type {kind(outcome.value)} that cannot be compared ({name_error(error)})"

    def known_mistake(self, stage: Stage) -> str | None:
        """The hint of the mistake with the same outcomes as the answer; if there is none, types may differ."""
        right = self.outcomes_of(self.exercise.reference, stage)
        mine = [outcome for _, outcome in stage]
        for strict in (True, False):
            for mistake in self.exercise.mistakes:
                theirs = self.outcomes_of(mistake.answer, stage)
                if same_outcomes(stage, mine, theirs, strict) and not same_outcomes(stage, right, theirs, strict):
                    return f"likely slip: {mistake.hint}"
        return None

    def outcomes_of(self, answer: Answer, stage: Stage) -> list[Outcome]:
        """What another answer does on the same cases."""
        return [call(self.exercise, answer, case) for case, _ in stage]

    def wrong_gradient(self) -> str | None:
        """The first case in which a gradient that is due is wrong, or None."""
        if "gradient" in self.exercise.demands:
            for case in self.cases:
                self.case = case
                problem = gradient_problem(self.exercise, self.answer, case) if case.gradient else None
                if problem:
                    return not_yet(f"the values are right, but {problem}", case)
        return None

    def remarks_on_double(self) -> list[str]:
        """What to say, at most one thing, about an answer that is right in single precision alone."""
        remarks = []
        for case in self.double:
            problem = self.problem(case, call(self.exercise, self.answer, case))
            self.checks += not problem
            if problem:
                name = self.exercise.parameters[[is_double(arg) for arg in case.args].index(True)]
                it = "it " if problem.startswith(("raised", "returned")) else ""
                fix = f"make new tensors with `{name}.new_zeros(…)` or `dtype={name}.dtype`"
                remarks.append(f"in double precision {it}{problem}; {fix}")
        return remarks[:1]

    def remarks_on_gradients(self) -> list[str]:
        """What to say, at most one thing, about gradients that are not due; counts those that are right."""
        problems = [gradient_problem(self.exercise, self.answer, case) for case in self.cases if case.gradient]
        self.checks += problems.count(None)
        return [problem for problem in problems if problem][:1]


def is_stub(outcome: Outcome) -> bool:
    """A bare `raise NotImplementedError`; torch's own errors of this type come with a text."""
    return isinstance(outcome.error, NotImplementedError) and not outcome.error.args


def same_outcomes(stage: Stage, mine: list[Outcome], theirs: list[Outcome], strict: bool) -> bool:
    """Whether two answers did the same on every case; an answer whose comparison fails did not."""
    try:
        triples = zip(stage, mine, theirs, strict=True)
        return all(same_outcome(case, one, other, strict) for (case, _), one, other in triples)
    except STOP:
        raise
    except BaseException:
        return False


def common_trait(stage: Stage, problems: list[str | None]) -> str | None:
    """What to say if the answer is right on exactly the inputs with some trait, or on exactly those without it."""
    right = [problem is None for problem in problems]
    for trait, (right_only, wrong_only) in TRAITS.items():
        has = [trait in case.traits for case, _ in stage]
        if len(set(has)) == 2 and right in (has, [not yes for yes in has]):
            return right_only if right == has else wrong_only
    return None


def missing_error(due: type[Exception], outcome: Outcome) -> str | None:
    """What to say about an input for which the answer has to raise."""
    if isinstance(outcome.error, due):
        return None
    did = f"returned {shown(outcome.value)}" if outcome.error is None else f"raised {name_error(outcome.error)}"
    return f"{did}, but here a {due.__name__} should be raised"


def changed_input(stage: Stage, parameters: list[str]) -> str | None:
    """The first case in which the answer changed its input, or None."""
    for case, outcome in stage:
        for name in outcome.changed:
            model = isinstance(case.args[parameters.index(name)], nn.Module)
            text = f"the values are right, but your function changes its input `{name}` in place"
            advice = f"work on a new tensor, or on `{name}.clone()`"
            return not_yet(text, case, "leave its mode and its parameters as they are" if model else advice)
    return None
