"""Where the exercises are: one module per chapter, imported when it is first asked for."""

from importlib import import_module

from vitedu.exercises.exercise import Exercise

CHAPTERS = {
    1: "vitedu.exercises.chapter01",
    2: "vitedu.exercises.chapter02",
    3: "vitedu.exercises.chapter03",
    4: "vitedu.exercises.chapter04",
    5: "vitedu.exercises.chapter05",
    6: "vitedu.exercises.chapter06",
    7: "vitedu.exercises.chapter07",
    8: "vitedu.exercises.chapter08",
    9: "vitedu.exercises.chapter09",
    10: "vitedu.exercises.chapter10",
    15: "vitedu.exercises.chapter15",
}


def chapter_exercises(chapter: int) -> dict[str, Exercise]:
    """The exercises of a chapter by id, in order."""
    return import_module(CHAPTERS[chapter]).EXERCISES


def all_exercises() -> dict[str, Exercise]:
    """All exercises by id, in reading order."""
    return {key: exercise for chapter in CHAPTERS for key, exercise in chapter_exercises(chapter).items()}
