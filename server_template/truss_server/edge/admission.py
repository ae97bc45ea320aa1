"""Who may call the model now, who waits, and who is told to come back later."""

from __future__ import annotations

import asyncio
from collections import deque


class OverloadedError(Exception):
    """As many calls wait as may wait."""


class Slots:
    """As many calls at once as the model's concurrency allows, in the order they came; the queue is bounded.

    Args:
        limit: Calls at once.
        queue: Calls that may wait.
    """

    def __init__(self, limit: int, queue: int) -> None:
        self.free = limit
        self._queue = queue
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """Calls that wait for a slot."""
        return len(self._waiting)

    async def acquire(self) -> None:
        """Take a slot, waiting for one if need be.

        Raises:
            OverloadedError: The queue is full.
        """
        if self.free > 0:
            self.free -= 1
            return
        if len(self._waiting) >= self._queue:
            raise OverloadedError
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.release()  # the turn came at the moment the caller gave up
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def release(self) -> None:
        """Give a slot back, to whoever waits longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.free += 1
