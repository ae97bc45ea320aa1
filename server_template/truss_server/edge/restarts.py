"""How often, and after what time, a worker that dies is started again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

BACKOFF = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Seconds before the first, second, ... start after a death; with one death more in a row it is given up."""

STEADY = 60.0
"""Seconds a worker must have been ready for its death not to count as one more in a row."""


class Restarts:
    """Counts deaths.

    Args:
        backoff: Seconds before the first, second, ... start after a death.

    Attributes:
        deaths: In a row.
    """

    def __init__(self, backoff: Sequence[float]) -> None:
        self.deaths = 0
        self._backoff = backoff

    def delay(self, ready_at: float) -> float | None:
        """Count a death and return the seconds before the next start, None where there is to be none.

        Args:
            ready_at: Since when it was ready, on the monotonic clock; infinity where it never was.
        """
        self.deaths = 1 if time.monotonic() - ready_at > STEADY else self.deaths + 1
        return self._backoff[self.deaths - 1] if self.deaths <= len(self._backoff) else None
