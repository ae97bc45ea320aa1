"""What a benchmark says: figures with what is to be reached, and the table they are printed as."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Figure:
    """One measured quantity.

    Attributes:
        name: What was measured.
        value: Median, in `unit`.
        low: Smallest of the runs.
        high: Largest of the runs.
        limit: What is to be reached; smaller is better.
        unit: ms or s.
        runs: How often it was measured.
    """

    name: str
    value: float
    low: float
    high: float
    limit: float
    unit: str
    runs: int

    @property
    def reached(self) -> bool:
        """Whether the median is within the limit."""
        return self.value <= self.limit

    def row(self) -> dict[str, object]:
        """Return the figure as plain values."""
        return {**asdict(self), "reached": self.reached}


def figure(name: str, values: Sequence[float], *, limit: float, unit: str) -> Figure:
    """Make a figure of the values of several runs."""
    return Figure(name, statistics.median(values), min(values), max(values), limit, unit, len(values))


def timed(action: Callable[[], object]) -> float:
    """Return the seconds an action takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def format_table(figures: Sequence[Figure]) -> str:
    """Return figures as a Markdown table."""
    lines = ["| | median | lowest - highest | to reach | |", "|---|---|---|---|---|"]
    for one in figures:
        numbers = f"{one.value:.4g} {one.unit} | {one.low:.4g} - {one.high:.4g} | {one.limit:g} {one.unit}"
        lines.append(f"| {one.name} | {numbers} | {'reached' if one.reached else 'MISSED'} |")
    return "\n".join(lines)
