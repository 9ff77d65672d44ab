"""How much memory a kernel has held: recorded by `make notebooks`, held against the budget by `make test`."""

from pathlib import Path

import psutil


def peak_mib(pid: int) -> float:
    """The most memory a process has held, in MiB: its high-water mark on Linux, else what it holds at this moment."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024  # the kernel counts in KiB
        return 0.0  # a process that has ended has no such line
    except FileNotFoundError:
        return psutil.Process(pid).memory_info().rss / 2**20 if psutil.pid_exists(pid) else 0.0
