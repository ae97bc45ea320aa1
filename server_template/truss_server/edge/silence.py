"""Gives up on streams whose model is silent too long."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from truss_server.edge.link import Exchange


class StreamTimer:
    """Gives up on a stream that is silent too long. One timer a stream, looked at once per timeout at most.

    Args:
        exchange: The stream.
        seconds: Of silence that are too long.

    Attributes:
        expired: Whether it gave up.
    """

    def __init__(self, exchange: Exchange, seconds: float) -> None:
        self.expired = False
        self._exchange = exchange
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._handle = self._loop.call_later(seconds, self._look)

    def touch(self) -> None:
        """Count from now."""
        self._last = self._loop.time()

    def pause(self) -> None:
        """Do not count until the next `touch`."""
        self._last = math.inf

    def close(self) -> None:
        """Stop counting."""
        self._handle.cancel()

    def _look(self) -> None:
        left = self._last + self._seconds - self._loop.time()
        if left > 0:
            self._handle = self._loop.call_later(min(left, self._seconds), self._look)
            return
        self.expired = True
        self._exchange.abandon()
