"""A transport that sends the head of an answer with its body, and notices a client that leaves unread."""

from __future__ import annotations

import select
import socket
import struct
from typing import TYPE_CHECKING, Any

from truss_server.edge.unframed import breaks

if TYPE_CHECKING:
    import asyncio

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from truss_server.edge.http import Protocol

LOOK_SECONDS = 0.1
"""Between two looks whether the client of a connection that is not read is still there."""

_LARGE = 64 * 1024
"""Bytes that are not copied to be joined with a head."""

_AT_ONCE = struct.pack("ii", 1, 0)
"""Closing waits for nothing, and says so by a reset."""

_LEFT = getattr(select, "POLLRDHUP", 0)  # Linux; elsewhere an end is told in any case


class Joining:
    """Holds the head of an answer until the next write, which uvicorn makes at once.

    While reading is paused the loop does not look at the socket, so this does, from time to time.

    Args:
        transport: Of the connection.
        protocol: Knows whether an answer has begun.
    """

    def __init__(self, transport: asyncio.Transport, protocol: Protocol) -> None:
        self._transport = transport
        self._protocol = protocol
        self._answer: object = None  # the newest whose head was written
        self._asked: object = None  # the newest request whose body was asked for
        self._head = b""
        self._looking: asyncio.TimerHandle | None = None
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Write bytes; part of asyncio.Transport."""
        answer = self._protocol.running
        if answer is not self._answer:
            if answer.response_started:
                self._answer = answer
                self._head = self._last(answer, data) if answer.more_body else data
                return
            self._asked = answer  # for its body, by 100 Continue
        if not self._head:
            self._transport.write(data)
            return
        head, self._head = self._head, b""
        self.write_joined(head, data)

    def write_joined(self, *parts: bytes) -> None:
        """Write a head and what follows it, in one."""
        if sum(map(len, parts)) > _LARGE:
            self._transport.writelines(parts)
        else:
            self._transport.write(b"".join(parts))

    def head_is_sent(self, answer: RequestResponseCycle) -> None:
        """Hold nothing of an answer: its head was written before it began."""
        self._answer = answer

    def _last(self, answer: RequestResponseCycle, head: bytes) -> bytes:
        """Make an answer the last one where nobody knows whether the request's body is still to come."""
        expected = b"expect" in dict(answer.scope["headers"])
        if not expected or self._asked is answer or answer.body or not answer.keep_alive:
            return head
        answer.keep_alive = False
        return head.removesuffix(b"\r\n") + b"connection: close\r\n\r\n"

    def flush(self) -> None:
        """Write the head that is held."""
        if self._head:
            self._transport.write(self._head)
            self._head = b""

    def close(self) -> None:
        """Close the connection when all is written; part of asyncio.Transport."""
        self.flush()
        if breaks(self._protocol.running):
            self._reset()
            return
        self._transport.close()
        self._linger(None)

    def _reset(self) -> None:
        """End the connection so that its client takes nothing for a good end."""
        sock: socket.socket = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self._transport.abort()

    def _linger(self, before: int | None) -> None:
        """Cut a connection that is closed but whose client does not take what is left."""
        left = self._transport.get_write_buffer_size()
        if left and left == before:
            self._transport.abort()
        elif left:
            self._protocol.loop.call_later(self._protocol.timeout_keep_alive, self._linger, left)

    def pause_reading(self) -> None:
        """Read nothing for now; part of asyncio.Transport."""
        self._transport.pause_reading()
        self._look_later()

    def resume_reading(self) -> None:
        """Read again; part of asyncio.Transport."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        self._transport.resume_reading()

    def _look_later(self) -> None:
        self._looking = self._protocol.loop.call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._looking = None
        if self._transport.is_closing():
            return
        if has_left(self._transport.get_extra_info("socket").fileno()):
            self._transport.abort()
        else:
            self._look_later()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def has_left(descriptor: int) -> bool:
    """Tell whether the other side of a socket has closed it, whatever still waits there to be read."""
    poll = select.poll()
    poll.register(descriptor, _LEFT)
    return bool(poll.poll(0))
