"""One request to a server of the author's own, and the connection that its answer comes on."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import httptools

from truss_server import wire
from truss_server.edge.exchange import Exchange
from truss_server.edge.failures import BODILESS
from truss_server.edge.hops import answer_headers, is_framed_plainly, request_head

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from truss_server.edge.asks import Ask
    from truss_server.edge.upstream import Upstream

HEAD = 256 * 1024
"""Bytes of the head of an answer."""

LAST_WORDS = 0.05
"""Seconds in which the end of the server's process may explain the end of a connection."""

BAD_GATEWAY = 502

_CLOSED = "the custom server closed the connection before its answer was complete"

_INTERIM = range(100, 200)
_SWITCHED = 101
_FINAL = range(200, 600)


class Forwarded(Exchange):
    """One request to the server, and its answer, which comes as HTTP instead of frames.

    Args:
        upstream: Where it goes.
        on_end: Called when the answer has ended, or nobody waits for it.
        ask: The request it belongs to, None for the edge's own.
        scope: ASGI scope of the request.
    """

    def __init__(
        self, upstream: Upstream, on_end: Callable[..., None], ask: Ask | None, scope: Mapping[str, Any]
    ) -> None:
        super().__init__(upstream, 0, on_end, ask, upstream.generation)
        self.bare = scope["method"] == "HEAD"  # has an answer without a body, whatever its head says
        names = {name for name, _ in scope["headers"]}
        self._chunked = b"transfer-encoding" in names
        self._sent_all = not (self._chunked or b"content-length" in names)
        self._upstream = upstream
        self._connection: Connection | None = None
        self._unread = 0
        self._beginning = self.loop.create_task(self._begin(request_head(scope, ask, chunked=self._chunked)))

    @property
    def silent(self) -> bool:
        """Whether nothing of the answer is there to be passed on."""
        return not self._chunks and not self.over

    async def _begin(self, head: bytes) -> None:
        try:
            connection = await self._upstream.connect()
        except OSError as exc:
            self.fail(BAD_GATEWAY, f"the custom server takes no connections: {exc.strerror or exc}")
            return
        if self.over:
            connection.close()
            return
        self._connection = connection
        connection.ask(self, head)
        if not connection.usable:  # by now, and nobody will tell again
            self.fail(BAD_GATEWAY, _CLOSED)

    async def send(self, kind: int, message: bytes | memoryview, last: int = wire.LAST) -> None:  # noqa: ARG002 - of Exchange
        """Send a piece of the request's body, as fast as the server reads it; stops when the answer is over."""
        await asyncio.wait({self._beginning})
        connection = self._connection
        if connection is None or not connection.usable or self.over or self._sent_all:
            return
        self._sent_all = bool(last)
        piece = bytes(message)
        if self._chunked:
            piece = (b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b"") + (
                b"0\r\n\r\n" if last else b""
            )
        await connection.send(piece)

    def abandon(self) -> None:
        """End the request because nobody waits any more: the server sees its connection closed."""
        if not self.over:
            self._abandoned = True
            self._close(measure=False)

    def begins(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Take the head of the answer."""
        self.head = {"kind": "response", "status": status, "headers": headers}
        self._tell()

    def comes(self, data: bytes) -> bool:
        """Take bytes of the answer; return whether more are to be held back until some are consumed."""
        self._chunks.append(data)
        self._unread += len(data)
        self._tell()
        return self._unread > wire.WINDOW

    def consumed(self, size: int) -> None:
        """Note that bytes of the answer went to the client."""
        self._unread -= size
        if self._unread <= wire.WINDOW // 4 and self._connection is not None:
            self._connection.resume_reading()

    def ends(self) -> bool:
        """Take the end of the answer; return whether the request had been sent to its end, too."""
        self._connection = None
        self._close(measure=True)
        return self._sent_all

    def fail(self, status: int, reason: str) -> None:
        """End the answer because nothing more will come of it."""
        if not self.over:
            self.error = {"status": status, "detail": reason, "headers": []}
            self._close(measure=False)

    def _close(self, *, measure: bool) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._upstream.forget(self)
        self._end()
        self._on_end(measure=measure)

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


class Connection(asyncio.Protocol):
    """One connection to the server, on which requests follow each other.

    Args:
        upstream: Keeps it between two of them.
    """

    transport: asyncio.Transport

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._exchange: Forwarded | None = None
        self._parser: Any = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._to_the_end = False  # the answer ends with the connection
        self._room: asyncio.Future[None] | None = None  # awaited by who sends

    def ask(self, exchange: Forwarded, head: bytes) -> None:
        """Send the head of a request, whose answer is for an exchange."""
        self._exchange = exchange
        self._parser = httptools.HttpResponseParser(self)
        self._head_bytes = 0
        self.transport.write(head)

    async def send(self, data: bytes) -> None:
        """Send bytes of the request's body, and wait while too many are under way."""
        self.transport.write(data)
        if self._room is not None:
            await self._room

    def close(self) -> None:
        """Close the connection at once."""
        self._exchange = None
        self.transport.abort()

    def resume_reading(self) -> None:
        """Read on after a pause."""
        self.transport.resume_reading()

    @property
    def usable(self) -> bool:
        """Whether a request can be sent on it."""
        return not self.transport.is_closing()

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport  # type: ignore[assignment]  # a stream socket's transport is a Transport

    def connection_lost(self, exc: Exception | None) -> None:
        """End an answer that goes on to the end of the connection; any other is not complete."""
        self.resume_writing()
        self._upstream.lose(self)
        if self._exchange is not None:
            # A server that dies closes its connections, too: its end, which the system tells a moment later, decides.
            self._exchange.loop.call_later(LAST_WORDS, self._lost, self._exchange, exc)

    def _lost(self, exchange: Forwarded, exc: Exception | None) -> None:
        if self._to_the_end and exc is None and not exchange.over:
            exchange.ends()
        exchange.fail(BAD_GATEWAY, _CLOSED)

    def data_received(self, data: bytes) -> None:
        """Take bytes of the answer."""
        exchange = self._exchange
        if exchange is None:
            self.transport.abort()  # nobody has asked
            return
        if exchange.head is None:
            self._head_bytes += len(data)
        with contextlib.suppress(httptools.HttpParserUpgrade):
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserError as exc:
                exchange.fail(BAD_GATEWAY, f"the custom server's answer is no HTTP: {exc}")
        if exchange.head is None and self._head_bytes > HEAD:
            exchange.fail(BAD_GATEWAY, f"the head of the custom server's answer is larger than {HEAD} bytes")

    def pause_writing(self) -> None:
        """Have who sends wait."""
        self._room = self._room or asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Have who sends go on."""
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    # ---- callbacks of the parser

    def on_message_begin(self) -> None:
        """Begin a head."""
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Pass the head on, unless another one follows it."""
        status, exchange = self._parser.get_status_code(), self._exchange
        if exchange is None or (status in _INTERIM and status != _SWITCHED):
            return
        if status not in _FINAL:
            exchange.fail(BAD_GATEWAY, f"the custom server answered with {status}, which answers no request")
            return
        if not is_framed_plainly(self._headers):
            exchange.fail(BAD_GATEWAY, "the custom server's answer has a transfer coding other than chunked")
            return
        names = {name for name, _ in self._headers}
        framed = names & {b"content-length", b"transfer-encoding"} or status in BODILESS
        self._to_the_end = not framed and not exchange.bare
        exchange.begins(status, answer_headers(self._headers, status))
        if exchange.bare:
            self.on_message_complete()

    def on_body(self, data: bytes) -> None:
        """Pass a part of the body on."""
        if self._exchange is not None and self._exchange.comes(data):
            self.transport.pause_reading()

    def on_message_complete(self) -> None:
        """End the answer, and keep the connection for the next one if both sides want that."""
        exchange = self._exchange
        if exchange is None or exchange.head is None:
            return
        self._exchange = None
        kept = not exchange.bare and self._parser.should_keep_alive()
        if exchange.ends() and kept:
            self._upstream.keep(self)
        else:
            self.transport.abort()
