"""What runs on which CPU, how much of it other people use meanwhile, and what machine this is."""

from __future__ import annotations

import os
import platform
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TICKS = os.sysconf("SC_CLK_TCK")


class Cpus(NamedTuple):
    """The CPU that servers are pinned to, and the one for this process and its clients."""

    servers: int
    clients: int


def choose_cpus() -> Cpus:
    """Return two CPUs this process may use, and move it to the second.

    Raises:
        SystemExit: There is only one, and client and server would measure each other.
    """
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise SystemExit("the server benchmark needs two CPUs: one for the server, one for its clients")
    cpus = Cpus(*usable[:2])
    os.sched_setaffinity(0, {cpus.clients})
    return cpus


@contextmanager
def pinned(cpu: int) -> Iterator[None]:
    """Have the processes started meanwhile, and all that they start, run on one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def descendants(pid: int) -> list[int]:
    """Return a process and everything below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def cpu_seconds(pids: list[int]) -> float:
    """Return the CPU time that processes have used."""
    stats = [_stat(pid) for pid in pids]
    return sum(int(fields[11]) + int(fields[12]) for fields in stats if fields) / TICKS


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; none where it is gone."""
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        )
    except OSError:
        return []


def memory(pids: list[int]) -> tuple[float, float]:
    """Return the resident memory of processes in MB, with shared pages counted for each and once."""
    totals = {"Rss": 0, "Pss": 0}
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name in totals:
                totals[name] += int(value.split()[0])
    return totals["Rss"] / 1024, totals["Pss"] / 1024


class Others:
    """Measures what processes that are not ours use of the CPUs; steal counts, it is not ours either.

    Args:
        ours: Returns the CPU seconds of the servers; this process and the clients it waited for are added.
    """

    def __init__(self, ours: Callable[[], float]) -> None:
        self._ours = ours
        self._began = self._now()

    def share(self) -> float:
        """Return how many CPUs others have used since the start, on average."""
        wall, busy, mine = (now - began for now, began in zip(self._now(), self._began, strict=True))
        return max(0.0, busy - mine) / wall

    def _now(self) -> tuple[float, float, float]:
        user, nice, system, _, _, irq, softirq, steal = map(
            int, Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]
        )
        times = os.times()
        mine = times.user + times.system + times.children_user + times.children_system
        return time.monotonic(), (user + nice + system + irq + softirq + steal) / TICKS, mine + self._ours()


def describe() -> str:
    """Return the machine in one line."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return (
        f"{len(models)} x {models[0] if models else platform.machine()}, {memory_gb:.0f} GB, "
        f"Linux {platform.release()}, Python {platform.python_version()}"
    )
