"""What the commands of this room share: one line for what cannot be done, and exit status 2."""

import argparse
from collections.abc import Callable

from vitedu.data import DatasetUnavailable
from vitedu.files import CheckpointError
from vitedu.train.cli import OUTSIDE, outside_problem, stop


def carried_out(work: Callable[[argparse.Namespace], int | None], args: argparse.Namespace) -> int:
    """Do the work and return its exit status, 0 if it gives none; 2, after one line, if it cannot be done."""
    try:
        return work(args) or 0
    except (ValueError, TypeError, OverflowError, CheckpointError, DatasetUnavailable) as error:
        return stop(str(error), 2)
    except OUTSIDE as error:
        return stop(outside_problem(error, argparse.Namespace(out=args.source)), 2)
