"""The raw body of a request on its way into the model, and the news that its client left."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from typing import Any, Callable


class Body:
    """What `receive()` of a request gives: pieces of the body, then, when it happens, the disconnect.

    Fed by the thread that reads the socket; awaited from any event loop.

    Args:
        consumed: Called with the size of each piece the model took, so that credit can be given for it.
        watched: Whether the model is known to ask for the disconnect.

    Attributes:
        watched: Whether the model asks for the disconnect: it wants to end its work by itself.
    """

    def __init__(self, consumed: Callable[[int], None], *, watched: bool = False) -> None:
        self.watched = watched
        self._consumed = consumed
        self._pieces: deque[tuple[bytes, bool]] = deque()
        self._ended = False
        self._disconnected = False
        self._listeners: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def feed(self, piece: bytes, *, last: bool) -> None:
        """Add a piece of the body."""
        with self._lock:
            self._pieces.append((piece, last))
        self._wake()

    def disconnect(self) -> None:
        """Note that the client left."""
        with self._lock:
            self._disconnected = True
            listeners = list(self._listeners)
        for listener in listeners:
            listener()
        self._wake()

    def end(self) -> None:
        """Note that the body was taken whole, by somebody else; only the disconnect is left to come."""
        with self._lock:
            self._ended = True

    def on_disconnect(self, listener: Callable[[], None]) -> None:
        """Have a function called when the client leaves, at once if it has left already."""
        with self._lock:
            self.watched = True
            self._listeners.append(listener)
            left = self._disconnected
        if left:
            listener()

    def is_disconnected(self) -> bool:
        """Tell whether the client left."""
        self.watched = True
        return self._disconnected

    def _wake(self) -> None:
        with self._lock:
            waiters, self._waiters = self._waiters, []
        for loop, future in waiters:
            with contextlib.suppress(RuntimeError):  # that loop was closed, and who waited in it is gone
                loop.call_soon_threadsafe(_resolve, future)

    async def receive(self) -> dict[str, Any]:
        """Return the next ASGI message: `http.request`, at last `http.disconnect`."""
        while True:
            with self._lock:
                if self._pieces:
                    piece, last = self._pieces.popleft()
                    self._ended = last
                    break
                if self._disconnected:
                    self.watched = True
                    return {"type": "http.disconnect"}
                if self._ended:
                    self.watched = True
                loop = asyncio.get_running_loop()
                waiter = loop, loop.create_future()
                self._waiters.append(waiter)
            try:
                await waiter[1]
            finally:
                with self._lock:
                    if waiter in self._waiters:  # one that polls gives up at once, again and again
                        self._waiters.remove(waiter)
        self._consumed(len(piece))
        return {"type": "http.request", "body": piece, "more_body": not last}


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
