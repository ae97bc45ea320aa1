"""How long the edge waits for the model: for an answer to begin, and between the chunks of a stream."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from truss_server.edge.link import Exchange


CLIENT_SECONDS = 120.0
"""How long a client may take nothing of its stream, which holds a slot of the model meanwhile."""


class Patience:
    """Ends a call whose model is silent too long, or whose client takes nothing for CLIENT_SECONDS.

    One timer a call, looked at once per timeout at most.

    Args:
        exchange: The call.
        seconds: Until its answer must have begun.

    Attributes:
        expired: After how many seconds it was given up; 0 while it was not.
        stalled: Whether that was because of the client: the task is cancelled, as it waits for it.
    """

    def __init__(self, exchange: Exchange, seconds: float) -> None:
        self.expired = 0.0
        self.stalled = False
        self._sending = False
        self._task: asyncio.Task[Any] | None = None
        self._exchange = exchange
        self._seconds = seconds
        self._loop = exchange.loop
        self._last = self._loop.time()
        self._handle: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Set the timer: in a call that takes its time."""
        self._handle = self._loop.call_later(self._seconds, self._look)

    def between_chunks(self, seconds: float) -> None:
        """From now on, wait this long for each chunk. Called by the task that sends them."""
        self._task = asyncio.current_task()
        self._seconds = seconds
        self._last = self._loop.time()
        if self._handle is not None:
            self._handle.cancel()
            self.begin()

    def sending(self) -> None:
        """Count from now how long the client takes nothing; a slow client is not a silent model."""
        self._sending = True
        self._last = self._loop.time()

    def touch(self) -> None:
        """Count from now how long the model is silent."""
        self._sending = False
        self._last = self._loop.time()

    def close(self) -> None:
        """Stop counting."""
        if self._handle is not None:
            self._handle.cancel()

    def _look(self) -> None:
        limit = CLIENT_SECONDS if self._sending else self._seconds
        left = self._last + limit - self._loop.time()
        if left > 0:
            self._handle = self._loop.call_later(left, self._look)
            return
        self.expired = self._seconds
        self._exchange.abandon()
        if self._sending and self._task is not None:
            self.stalled = True
            self._task.cancel()
