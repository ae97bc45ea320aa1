"""What a benchmark says: figures with what is to be reached, as rows of a table."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.peers import PUBLISHED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.table import Table

COLUMNS = ("workload", "ours", "bare", "result", "lowest - highest", "to reach", "", "best peer")


@dataclass(frozen=True)
class Figure:
    """One measured quantity.

    Attributes:
        name: What was measured.
        value: Median, or another share of the runs, in `unit`.
        low: Smallest of the runs.
        high: Largest of the runs.
        limit: What is to be reached, if anything is.
        unit: ms, s, MB, % or x (times).
        runs: How often it was measured.
        at_least: Whether more is better.
        ours: What a ratio's numerator is.
        bare: What the bare application beside it gave.
        note: What else there is to say.
    """

    name: str
    value: float
    low: float
    high: float
    limit: float | None
    unit: str
    runs: int
    at_least: bool = False
    ours: str = ""
    bare: str = ""
    note: str = ""

    @property
    def reached(self) -> bool:
        """Whether the value keeps the limit."""
        if self.limit is None:
            return True
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def row(self) -> dict[str, object]:
        """Return the figure as plain values."""
        return {**asdict(self), "reached": self.reached}

    def cells(self) -> tuple[str, ...]:
        """Return the figure as a row under COLUMNS."""
        goal, verdict = "", ""
        if self.limit is not None:
            goal, verdict = f"{self.limit:g} {self.unit}", "reached" if self.reached else "MISSED"
        published = PUBLISHED.get(self.name)
        peer = f"{published.best} {published.value:g} {self.unit}" if published is not None else ""
        result = f"{format_number(self.value)} {self.unit}"
        spread = f"{format_number(self.low)} - {format_number(self.high)}"
        return self.name, self.ours, self.bare, result, spread, goal, verdict, peer


def figure(
    name: str,
    values: Sequence[float],
    *,
    limit: float | None = None,
    unit: str,
    at_least: bool = False,
    share: float = 0.5,
    **texts: str,
) -> Figure:
    """Make a figure of the values of several runs: what a share of them does not exceed.

    `texts` are `ours`, `bare` and `note`.
    """
    ordered = sorted(values)
    value = statistics.median(ordered) if share == 0.5 else ordered[math.ceil(share * len(ordered)) - 1]
    return Figure(name, value, ordered[0], ordered[-1], limit, unit, len(ordered), at_least, **texts)


def timed(action: Callable[[], object]) -> float:
    """Return the seconds an action takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def format_markdown(figures: Sequence[Figure]) -> str:
    """Return figures as a Markdown table."""
    rows: list[tuple[str, ...]] = [COLUMNS, ("---",) * len(COLUMNS), *(one.cells() for one in figures)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def make_table(figures: Sequence[Figure]) -> Table:
    """Return figures as a table for the terminal."""
    from rich.table import Table

    styles: dict[str, Any] = {"justify": "right", "overflow": "fold"}
    table = Table(*COLUMNS[:1])
    for column in COLUMNS[1:]:
        table.add_column(column, **styles)
    for one in figures:
        table.add_row(*one.cells(), style=None if one.reached else "bold red")
    return table


def format_number(value: float) -> str:
    """Return three significant digits, and never an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
