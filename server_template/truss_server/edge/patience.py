"""How long the edge waits for the model."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from truss_server.edge.client import Client


class Patience:
    """Ends a call whose model is silent too long.

    One timer a call, looked at once per timeout at most.

    Args:
        client: Whose call it is.
        seconds: Until its answer must have begun.
    """

    def __init__(self, client: Client, seconds: float) -> None:
        self._client = client
        self._seconds = seconds
        self._sending = False
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._handle: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Set the timer: in a call that takes its time."""
        if self._handle is None:
            self._handle = self._loop.call_at(self._last + self._seconds, self._look)

    def between_chunks(self, seconds: float) -> None:
        """From now on, wait this long for each chunk."""
        self._seconds = seconds
        self._last = self._loop.time()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
            self.begin()

    def sending(self) -> None:
        """Stop counting: a slow client is not a silent model."""
        self._sending = True

    def touch(self) -> None:
        """Count from now how long the model is silent."""
        self._sending = False
        self._last = self._loop.time()

    def close(self) -> None:
        """Stop for good."""
        if self._handle is not None:
            self._handle.cancel()

    def _look(self) -> None:
        left = self._seconds if self._sending else self._last + self._seconds - self._loop.time()
        if left > 0:
            self._handle = self._loop.call_later(left, self._look)
        else:
            self._client.lose_patience(self._seconds)
