"""uvicorn's HTTP with limits: to the bytes of a head, and to the time a connection may keep the server waiting."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from truss_server.edge.asks import HEAD_LIMIT
from truss_server.edge.dialects import PLAIN
from truss_server.edge.joining import Joining

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_OFFERS = (b"connection", b"upgrade", b"http2-settings")


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol over a `Joining` transport; a request finds it as `connection` in its scope's state.

    Attributes:
        on_lost: Called when the client is gone, by the request that cannot wait for the message that says so.
    """

    on_lost: Callable[[], None] | None = None
    cycle: Any  # None before the first request, which uvicorn's types deny
    scope: Any
    _head: Any = None  # scope of the head that is incomplete
    _head_bytes = 0
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Take the connection; part of asyncio.Protocol."""
        super().connection_made(Joining(transport, self))  # type: ignore[arg-type]  # as much of one as is used
        self.app_state = {**self.app_state, "connection": self}
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the client is gone; part of asyncio.Protocol."""
        super().connection_lost(exc)
        if self._waiting is not None:
            self._waiting.cancel()
        if self.on_lost is not None:
            self.on_lost()

    def data_received(self, data: bytes) -> None:
        """Take bytes; part of asyncio.Protocol."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            self._upgrade(data[exc.args[0] :])
        except httptools.HttpParserError:
            self.refuse(400, "this is no HTTP request")
        else:
            cycle = self.cycle
            if cycle is None or cycle.scope is not self.scope or cycle.response_complete:
                self._incomplete(len(data))

    def _incomplete(self, size: int) -> None:
        """Look after a connection without a request; perhaps the head of one has begun."""
        if self._waiting is None:
            self._wait()
        if self._head is not self.scope:
            self._head, self._head_bytes = (
                self.scope,
                0,
            )  # the first bytes may be of the request before as well
            return
        self._head_bytes += size
        if self._head_bytes > HEAD_LIMIT and self._in_head():
            self.refuse(431, f"the request's head is larger than {HEAD_LIMIT} bytes")

    def _in_head(self) -> bool:
        return self.scope is not None and (self.cycle is None or self.cycle.scope is not self.scope)

    def _wait(self) -> None:
        """Give the client its time to send a head."""
        self._waiting = self.loop.call_later(self.timeout_keep_alive, self._look, self.cycle)

    def _look(self, before: Any) -> None:
        """End a connection on which no request has come since the timer was set."""
        self._waiting = None
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return
        if self.cycle is not None and not self.cycle.response_complete:
            return
        if self.cycle is not before:
            if self.timeout_keep_alive_task is None:
                self._wait()
        elif self._in_head():
            self.refuse(408, f"the request's head did not come within {self.timeout_keep_alive:g} s")
        else:
            self.transport.close()

    def refuse(self, status: int, message: str) -> None:
        """Answer what never became a request, and close."""
        if (
            self.cycle is None or self.cycle.response_complete
        ):  # else nothing can be said in the middle of an answer
            body = PLAIN.error(status, message)
            head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            self.transport.write(
                f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body
            )
        self.transport.close()

    def wake(self) -> None:
        """Have the request that waits for more of its body look around."""
        self.cycle.message_event.set()

    def _should_upgrade(self) -> bool:
        """Have the parser's callbacks begin no request from a head that asks for another protocol."""
        return True

    def _upgrade(self, rest: bytes) -> None:
        """Hand a websocket over; where a client offers another protocol, begin the request as if it had not."""
        if self._get_upgrade() == b"websocket":
            self.handle_websocket_upgrade()
            return
        lines = [b"%s %s HTTP/1.1" % (self.scope["method"].encode(), self.url)]
        lines += [b"%s: %s" % header for header in self.headers if header[0] not in _OFFERS]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def on_response_complete(self) -> None:
        """Send the head of an answer without a body, as to HEAD."""
        self.transport.flush()  # type: ignore[attr-defined]  # a Joining
        super().on_response_complete()
