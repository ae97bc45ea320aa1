"""The ends of a tunnel: what comes at one goes to the other, and the server's begins with its answer to a handshake."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import httptools

from truss_server.edge.errors import GONE
from truss_server.edge.forwarded import HEAD

if TYPE_CHECKING:
    from truss_server.edge.tunnel import Tunnel

BROKEN = 1011

SWITCHED = 101

_IDLE = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)
_PROBES = (
    (_IDLE, 60),
    (getattr(socket, "TCP_KEEPINTVL", None), 15),
    (getattr(socket, "TCP_KEEPCNT", None), 4),
)
"""Options of TCP that have a peer asked, after a minute of silence, whether it is there; it has one more to say so."""


class Pipe(asyncio.Protocol):
    """One end of a tunnel: what comes goes to the other end, as fast as that takes it."""

    transport: asyncio.Transport
    other: Pipe | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, and have the system notice when the peer has vanished: nothing else would."""
        self.transport = transport  # type: ignore[assignment]  # a stream socket's transport is a Transport
        given = transport.get_extra_info("socket")
        with socket.fromfd(given.fileno(), given.family, given.type) as sock:  # uvloop's own takes no options
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _PROBES:
                if option is not None:
                    sock.setsockopt(socket.IPPROTO_TCP, option, value)

    def pause_writing(self) -> None:
        """Read no more of the other end."""
        if self.other is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read on at the other end."""
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()


class ServerEnd(Pipe):
    """The server's end.

    Args:
        client: The other one.

    Attributes:
        over: Resolved when the server says no more.
        reason: Why, where the edge knows.
    """

    def __init__(self, client: Tunnel) -> None:
        self.other = self._client = client
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.reason = ""
        self._head = b""
        self._parser: Any = None

    def data_received(self, data: bytes) -> None:
        """Take the answer to the handshake first, then what is for the client."""
        if self._client.status == SWITCHED:
            self._client.pass_on(data)
        elif self._parser is not None:
            self._pass_refusal(data)
        else:
            self._head += data
            head, found, rest = self._head.partition(b"\r\n\r\n")
            if found:
                self._on_head(head + found, rest)
            elif len(self._head) > HEAD:
                self.lose(f"the head of the custom server's answer is larger than {HEAD} bytes")

    def _on_head(self, head: bytes, rest: bytes) -> None:
        if head.startswith(b"HTTP/1.1 101"):
            self._client.status = SWITCHED
            self._client.transport.write(head)
            if rest:
                self._client.pass_on(rest)
            return
        self._parser = httptools.HttpResponseParser(self)
        self._pass_refusal(head + rest)

    def _pass_refusal(self, data: bytes) -> None:
        """Pass on an answer that is no change to websockets; the connection ends with it."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as exc:
            self.lose(f"the custom server's answer is no HTTP: {exc}")
            return
        self._client.transport.write(data)

    def on_headers_complete(self) -> None:
        """Note the status of a refusal."""
        self._client.status = self._parser.get_status_code()

    def on_message_complete(self) -> None:
        """Close when a refusal has been passed on."""
        asyncio.get_running_loop().call_soon(self.lose, "")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - however it went, it is gone
        """End the client's side."""
        self.lose("the custom server closed the connection")

    def lose(self, reason: str) -> None:
        """End both sides."""
        if self.over.done():
            return
        self.over.set_result(None)
        self.reason = reason
        if self._client.status == SWITCHED:
            self._client.say_close(BROKEN, reason)
        elif self._client.status != GONE:
            self._client.transport.close()
