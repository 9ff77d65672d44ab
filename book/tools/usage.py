"""What a kernel uses while it runs: recorded by `make notebooks`, held against the budget by `make test`.

Processor time hardly depends on what else the machine does, and memory that a file backs can be taken back any time.
"""

import threading
import time
from pathlib import Path

import psutil

INTERVAL = 0.05  # seconds between two looks at the memory


def anonymous_mib(pid: int) -> float:
    """The memory of a process that no file backs, in MiB; without /proc all of it. 0 if the process has ended."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024  # the kernel counts in KiB
        return 0.0  # a process that has ended has no such line
    except (FileNotFoundError, ProcessLookupError):
        return psutil.Process(pid).memory_info().rss / 2**20 if psutil.pid_exists(pid) else 0.0


def processor_seconds(pid: int) -> float:
    """The processor time of a process and its children, those that have ended too. 0 if the process itself has."""
    try:
        process = psutil.Process(pid)
        times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    except psutil.NoSuchProcess:
        return 0.0
    return sum(t.user + t.system + t.children_user + t.children_system for t in times)


class Meter:
    """Follows a process until it ends: `mib` is the most memory seen, `seconds` what was used at the last `read`."""

    def __init__(self, pid: int):
        self.pid, self.seconds, self.mib = pid, 0.0, 0.0
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        while held := anonymous_mib(self.pid):
            self.mib = max(self.mib, held)
            time.sleep(INTERVAL)

    def read(self) -> None:
        """Note the processor time, and the memory at this moment; once the process has ended the last reading stays."""
        self.seconds = max(self.seconds, processor_seconds(self.pid))
        self.mib = max(self.mib, anonymous_mib(self.pid))
