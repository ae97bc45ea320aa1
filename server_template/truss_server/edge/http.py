"""uvicorn's HTTP with the head of an answer and the first bytes of its body in one packet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol over a `Joining` transport."""

    def connection_made(self, transport: Any) -> None:
        """Take the connection; part of asyncio.Protocol."""
        super().connection_made(Joining(transport, self))  # type: ignore[arg-type]  # as much of one as is used

    def on_response_complete(self) -> None:
        """Send the head of an answer without a body, as to HEAD."""
        self.transport.flush()  # type: ignore[attr-defined]  # a Joining
        super().on_response_complete()


class Joining:
    """A transport that holds the head of an answer until the next write, which uvicorn makes at once.

    Args:
        transport: Of the connection.
        protocol: Knows whether an answer has begun.
    """

    def __init__(self, transport: asyncio.Transport, protocol: HttpToolsProtocol) -> None:
        self._transport = transport
        self._protocol = protocol
        self._answer: object = None  # the newest whose head was written
        self._head = b""
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Write bytes; part of asyncio.Transport."""
        answer = self._protocol.cycle
        if answer is not self._answer and answer.response_started:
            self._answer = answer
            self._head = data
            return
        if self._head:
            data = self._head + data
            self._head = b""
        self._transport.write(data)

    def flush(self) -> None:
        """Write the head that is held."""
        if self._head:
            self._transport.write(self._head)
            self._head = b""

    def close(self) -> None:
        """Close the connection when all is written; part of asyncio.Transport."""
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
