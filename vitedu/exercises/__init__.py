"""Exercises that check themselves: `check(id, answer)` says how an answer does, `progress()` what is solved so far."""

from vitedu.exercises.engine import check, progress

__all__ = ["check", "progress"]
