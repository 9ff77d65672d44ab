"""Clocks for tests of what depends on time."""

import itertools


class Ticks:
    """A clock that moves on by one second whenever it is read: every step takes a second."""

    def __init__(self):
        self.count = itertools.count()

    def __call__(self) -> float:
        return float(next(self.count))
