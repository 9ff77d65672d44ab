"""Which chapters have exercises."""

from vitedu.exercises.exercise import Exercise, chapter_exercises

CHAPTERS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15)


def all_exercises() -> dict[str, Exercise]:
    """All exercises by id, in reading order."""
    return {key: exercise for chapter in CHAPTERS for key, exercise in chapter_exercises(chapter).items()}
