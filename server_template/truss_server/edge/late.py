"""What only slow calls need is begun a moment later: most calls have ended by then."""

from __future__ import annotations

import asyncio
from typing import Protocol

MOMENT = 0.005
"""Seconds; what is there at two rounds is slow."""


class Beginner(Protocol):
    """Something that can wait with its work."""

    def begin(self) -> None:
        """Begin with it."""


class Late:
    """Calls `begin` of what was added and not removed within two rounds. One timer for all.

    Args:
        moment: Seconds between two rounds.
    """

    def __init__(self, moment: float = MOMENT) -> None:
        self._moment = moment
        self._new: dict[Beginner, None] = {}
        self._old: dict[Beginner, None] = {}
        self._waiting = False

    def add(self, beginner: Beginner) -> None:
        """Have something begin in a moment."""
        self._new[beginner] = None
        if not self._waiting:
            self._wait()

    def remove(self, beginner: Beginner) -> None:
        """Have it not begin any more; of no effect when it has."""
        self._new.pop(beginner, None)
        self._old.pop(beginner, None)

    def _wait(self) -> None:
        self._waiting = True
        asyncio.get_running_loop().call_later(self._moment, self._round)

    def _round(self) -> None:
        slow, self._old, self._new = self._old, self._new, {}
        for beginner in slow:
            beginner.begin()
        self._waiting = False
        if self._old:
            self._wait()
