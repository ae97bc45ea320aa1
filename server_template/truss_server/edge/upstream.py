"""What is asked of one process of the author's server, and the connections to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from truss_server.edge.forwarded import BAD_GATEWAY, Connection, Forwarded
from truss_server.edge.link import Link

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from truss_server import wire
    from truss_server.edge.asks import Ask
    from truss_server.edge.exchange import Exchange

HOST = "127.0.0.1"

IDLE_SECONDS = 1.0
"""How long a connection is kept for the next request: less than any server keeps it, so that none is lost on it."""


class Upstream(Link):
    """What is asked of one process of the author's server: a link that speaks HTTP.

    Args:
        loop: The edge's event loop.
        port: Where the server listens.
        generation: Of the release it runs.

    Attributes:
        tunnels: Called with a reason to end a connection that became something else than HTTP.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, port: int, generation: int) -> None:
        super().__init__(loop, _unused, _unused, _unused)
        self.port = port
        self.generation = generation
        self.tunnels: set[Callable[[str], None]] = set()
        self._forwarded: set[Forwarded] = set()
        self._idle: dict[Connection, float] = {}

    def open(
        self, head: wire.Call, on_end: Callable[..., None] | None = None, ask: Ask | None = None
    ) -> Exchange:
        """Begin a request.

        Args:
            head: The third of its members is the request's scope; `raw_path` is the route.
            on_end: Called when it is over.
            ask: The request it belongs to.
        """
        exchange = Forwarded(self, on_end or _nothing, ask, head[2])
        self._forwarded.add(exchange)
        if self._lost:
            exchange.fail(BAD_GATEWAY, self._lost)
        return exchange

    async def connect(self) -> Connection:
        """Return a connection to the server.

        Raises:
            OSError: It takes none.
        """
        while self._idle:
            connection, since = self._idle.popitem()
            if connection.usable and self.loop.time() - since < IDLE_SECONDS:
                return connection
            connection.close()
        _, connection = await self.loop.create_connection(lambda: Connection(self), HOST, self.port)
        return connection

    def keep(self, connection: Connection) -> None:
        """Keep a connection for the next request."""
        connection.resume_reading()
        self._idle[connection] = self.loop.time()
        self.loop.call_later(IDLE_SECONDS, self._tidy)

    def lose(self, connection: Connection) -> None:
        """Note that a connection is gone."""
        self._idle.pop(connection, None)

    def forget(self, exchange: Forwarded) -> None:
        """Note that a request is over."""
        self._forwarded.discard(exchange)

    def calls(self, generation: int | None = None) -> int:  # noqa: ARG002 - of Link; there is one
        """Return how many requests run."""
        return len(self._forwarded) + len(self.tunnels)

    def write(self, frames: bytes | memoryview) -> None:
        """Send nothing: this one knows no frames."""

    def give_up(self, reason: str) -> None:
        """End every request because the server cannot wait for it any longer."""
        self._end_all(503, reason)

    def lost(self, reason: str) -> None:
        """End every request, and each that comes later, because the process is gone."""
        self._lost = reason
        self._end_all(BAD_GATEWAY, reason)
        for connection in list(self._idle):
            connection.close()

    def _end_all(self, status: int, reason: str) -> None:
        for exchange in list(self._forwarded):
            exchange.fail(status, reason)
        for end in list(self.tunnels):
            end(reason)

    def _tidy(self) -> None:
        for connection, since in list(self._idle.items()):
            if self.loop.time() - since >= IDLE_SECONDS:
                connection.close()


def _unused(*_: object) -> None:
    """What a link calls when frames come."""


def _nothing(*, measure: bool) -> None:
    """What happens at the end of a request nobody counts."""
