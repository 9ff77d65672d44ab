"""One line per epoch that reads the same in a terminal, in a log and in a saved notebook, and a bar while it runs."""

import sys
from collections.abc import Iterable, Iterator

from tqdm import tqdm

from vitedu.files import say


class Progress:
    """A bar within an epoch where it can be erased again (a terminal), and a line after it everywhere.

    In a notebook the lines are ordinary text output, so nothing is lost when the notebook is saved and no widget is
    needed to show it.
    """

    def __init__(self, epochs: int, shown: bool = True):
        self.epochs = epochs
        self.shown = shown

    def batches(self, batches: Iterable, total: int, epoch: int) -> Iterator:
        """The batches, counted by a bar on a terminal; the bar disappears with the last."""
        bar = self.shown and sys.stderr.isatty()
        return iter(tqdm(batches, total=total, desc=f"epoch {epoch}/{self.epochs}", leave=False, disable=not bar))

    def epoch(self, record: dict) -> None:
        """Print one epoch's record: losses, accuracies in per cent, the wait for data, the seconds since the start."""
        if not self.shown:
            return
        width = len(str(self.epochs))
        found = [in_words(name, value) for name, value in record.items() if name not in ("epoch", "lr", "seconds")]
        parts = [f"epoch {record['epoch']:{width}}/{self.epochs}", *found, f"{record['seconds']:.0f} s"]
        say("  ".join(parts))

    def say(self, text: str) -> None:
        """Print a line of another kind."""
        if self.shown:
            say(text)


def in_words(name: str, value: float) -> str:
    """A number of a record; a `loss` without another name is that of the validation split."""
    if name.endswith("accuracy"):
        return f"{name} {100 * value:5.2f} %"
    if name == "waiting":
        return f"waiting for data {100 * value:.0f} %"
    names = {"train_loss": "training loss", "loss": "validation loss"}
    return f"{names.get(name, name.replace('_', ' '))} {value:.3f}"
