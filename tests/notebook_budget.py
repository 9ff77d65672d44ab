"""Pytest plugin: holds each notebook that nbval re-runs to its budget of time and memory.

    python -m pytest --nbval -p tests.notebook_budget chapters

The budget stands in the notebook's metadata: `"vitedu": {"budget": {"seconds": 120, "memory_mib": 2048}}`. Seconds are
processor time of the kernel and its children, which a busy machine hardly changes; memory is the most that the kernel
held and no file backs. After the cells of a notebook comes one more test, `budget`, which fails past twice the budget
or where there is none, and a table at the end of the run shows what each notebook used, wall-clock included.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from nbval.plugin import IPyNbCell

from book.tools.usage import Meter

TOLERANCE = 2.0  # an older machine may need up to this many times the budget
USED = pytest.StashKey[dict[str, "Use"]]()


@dataclass
class Use:
    """What one notebook may use and has used. A budget of None is missing from its metadata."""

    budget_seconds: float | None
    budget_mib: float | None
    seconds: float = 0.0
    mib: float = 0.0
    wall: float = 0.0
    meter: Meter | None = None

    def problems(self) -> list[str]:
        """One line for each budget that is missing or exceeded more than TOLERANCE times."""
        if self.budget_seconds is None or self.budget_mib is None:
            return ['no budget; add "vitedu": {"budget": {"seconds": …, "memory_mib": …}} to the notebook\'s metadata']
        found = []
        if self.seconds > TOLERANCE * self.budget_seconds:
            limit = f"{TOLERANCE:g} × its budget of {self.budget_seconds:g} s"
            found.append(f"took {self.seconds:.1f} s of the processor, more than {limit}")
        if self.mib > TOLERANCE * self.budget_mib:
            limit = f"{TOLERANCE:g} × its budget of {self.budget_mib:g} MiB"
            found.append(f"used {self.mib:.0f} MiB, more than {limit}")
        return found

    def row(self) -> str:
        limits = ["-" if value is None else f"{value:g}" for value in (self.budget_seconds, self.budget_mib)]
        processor = f"{self.seconds:8.1f} / {limits[0]:>5} s"
        return f"{processor} {self.mib:10.0f} / {limits[1]:>6} MiB {self.wall:10.1f} s"


class BudgetItem(pytest.Item):
    """The last test of a notebook: what its cells used lies within twice its budget."""

    def runtest(self) -> None:
        use = self.config.stash[USED].get(self.parent.nodeid)
        if use is None or not use.wall:
            pytest.skip("no cell of this notebook ran")
        problems = use.problems()
        if problems:
            pytest.fail("\n".join(f"{self.parent.path.name}: {problem}" for problem in problems), pytrace=False)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, f"{self.parent.name}: budget"


def pytest_configure(config: pytest.Config) -> None:
    config.stash[USED] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put a budget test after the last cell of each notebook."""
    with_budgets = []
    for item, following in zip(items, [*items[1:], None], strict=True):
        with_budgets.append(item)
        parent = item.parent
        if isinstance(item, IPyNbCell) and (following is None or following.parent is not parent):
            with_budgets.append(BudgetItem.from_parent(parent, name="budget"))
            budget = parent.nb.metadata.get("vitedu", {}).get("budget", {})
            config.stash[USED][parent.nodeid] = Use(budget.get("seconds"), budget.get("memory_mib"))
    items[:] = with_budgets


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    """Add up a cell's time, and read its kernel's meter, which runs from the set-up of the first cell on."""
    if isinstance(item, IPyNbCell):
        use = item.config.stash[USED][item.parent.nodeid]
        use.wall += call.duration
        if item.parent.kernel is not None and item.parent.kernel.is_alive():
            use.meter = use.meter or Meter(item.parent.kernel.km.provisioner.pid)
            use.meter.read()
            use.seconds, use.mib = use.meter.seconds, use.meter.mib
    return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    used = {nodeid: use for nodeid, use in config.stash[USED].items() if use.wall}
    if not used:
        return
    terminalreporter.section("notebooks: processor time / budget, memory / budget, wall-clock")
    width = max(len(nodeid) for nodeid in used)
    for nodeid, use in used.items():
        terminalreporter.write_line(f"{nodeid:<{width}} {use.row()}", red=bool(use.problems()))
