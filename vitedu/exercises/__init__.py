"""Exercises that check themselves: `check(id, answer)` says how an answer does, `progress()` what is solved so far."""

from typing import Any

from vitedu.exercises.compare import short
from vitedu.exercises.exercise import CHAPTERS, all_exercises, chapter_exercises
from vitedu.exercises.guard import TimeLimit, global_state_kept, run_limited
from vitedu.exercises.outcome import name_error
from vitedu.exercises.trial import Trial

__all__ = ["check", "progress"]

_solved: set[str] = set()  # ids, in this session


def check(exercise_id: str, answer: Any, seconds: float = 5.0) -> None:
    """Try an answer on small inputs and print one line: not attempted yet, passed, or what differs and why.

    Never raises, and ends an answer that does not end by itself, as far as `guard` can.

    Args:
        exercise_id: such as "5.2".
        answer: the reader's function.
        seconds: processor time for the whole check.
    """
    try:
        line = _judge(str(exercise_id), answer, seconds)
    except KeyboardInterrupt:
        line = "interrupted; run the cell again to check it"
    except BaseException as error:  # a check never raises, whatever the answer is
        line = f"could not be checked: {name_error(error)}"
    print(f"Exercise {short(exercise_id)}: {line}")


def progress(chapter: int | None = None) -> None:
    """Print which exercises have passed in this session: of one chapter, or a line for each.

    ValueError if the chapter has no exercises.
    """
    if chapter is not None and chapter not in CHAPTERS:
        raise ValueError(f"chapter {chapter!r} has no exercises; those that have: {', '.join(map(str, CHAPTERS))}")
    for number in CHAPTERS if chapter is None else [chapter]:
        ids = list(chapter_exercises(number))
        marks = "  ".join(f"{'✓' if id in _solved else '·'} {id}" for id in ids)
        print(f"chapter {number:2}: {len(_solved & set(ids))} of {len(ids)} solved  {marks}")


def _judge(exercise_id: str, answer: Any, seconds: float) -> str:
    chapter = next((number for number in CHAPTERS if exercise_id.startswith(f"{number}.")), None)
    exercises = chapter_exercises(chapter) if chapter else all_exercises()
    if exercise_id not in exercises:
        return f"there is no such exercise; there are {', '.join(exercises)}"
    with global_state_kept():
        trial = Trial(exercises[exercise_id], answer)
        try:
            verdict = run_limited(trial.verdict, seconds)
        except TimeLimit:
            verdict = trial.out_of_time(seconds)
    if verdict.startswith("passed"):
        _solved.add(exercise_id)
    return verdict
