"""The edge's end of the socket to a worker: exchanges of frames, one for each call."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from truss_server import wire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from truss_server.edge.asks import Ask


class Exchange:
    """One call as the edge sees it: what is sent to the worker, and the answer as it comes in.

    Args:
        link: The connection.
        stream: Number of the stream.

        ask: The request it belongs to, for the log; None for the edge's own.

    Attributes:
        head: How the answer begins, once it does: `kind` and what belongs to it.
        error: How the answer ended, where it ended with an error: payload of ERROR.
        done: Whether the answer has ended. Until then it occupies the worker, client or not.
        cancelled: Whether the worker was told that nobody waits any more.
    """

    def __init__(self, link: Link, stream: int, ask: Ask | None) -> None:
        self.ask = ask
        self.head: dict[str, Any] | None = None
        self.error: dict[str, Any] | None = None
        self.done = False
        self.cancelled = False
        self._link = link
        self._stream = stream
        self.events: deque[dict[str, Any]] = deque()
        self._event = bytearray()
        self._chunks: list[bytes] = []
        self._news: asyncio.Future[None] | None = None  # awaited by who reads the answer
        self._room: asyncio.Future[None] | None = None  # awaited by who sends the body
        self._inbox = wire.Inbox()
        self._sent = 0
        self._granted = wire.WINDOW

    async def send(self, kind: int, message: bytes | memoryview, last: int = wire.LAST) -> None:
        """Send INPUT or BODY bytes of any size, waiting for credit; stops when the answer has ended."""
        for at in range(0, max(len(message), 1), wire.PIECE):
            piece = message[at : at + wire.PIECE]
            while self._granted - self._sent < len(piece):
                if self.done:
                    return
                self._room = self._link.loop.create_future()
                await self._room
            self._sent += len(piece)
            final = last if at + wire.PIECE >= len(message) else 0
            self._link.write(wire.encode(kind | final, self._stream, piece))

    def cancel(self) -> None:
        """Tell the worker that the client left. The answer still comes to its end."""
        if not self.done and not self.cancelled:
            self.cancelled = True
            self._link.write(wire.encode(wire.CANCEL, self._stream))

    async def begun(self) -> None:
        """Wait for the head of the answer, or its end."""
        while self.head is None and not self.done:
            await self._changed()

    async def more(self) -> bytes:
        """Wait for bytes of the answer and return all there are; empty when it has ended."""
        while not self._chunks and not self.done:
            await self._changed()
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        return data

    async def rest(self) -> bytes:
        """Return all bytes of the answer up to its end, in memory."""
        if self.done:
            return await self.more()
        parts = []
        while part := await self.more():
            parts.append(part)
            self.consumed(len(part))
        return b"".join(parts)

    async def event(self) -> dict[str, Any] | None:
        """Wait for a websocket's next event and return it; None when the call has ended."""
        while not self.events and not self.done:
            await self._changed()
        return self.events.popleft() if self.events else None

    def consumed(self, size: int) -> None:
        """Note that bytes of the answer went to the client; gives the worker credit for more."""
        credit = self._inbox.consumed(size)
        if credit and not self.done:
            self._link.write(wire.encode_credit(self._stream, credit))

    async def ended(self) -> None:
        """Wait until the worker is done with the call, throwing away what it still says."""
        while not self.done:
            await self._changed()
            self._chunks.clear()

    async def _changed(self) -> None:
        self._news = self._link.loop.create_future()
        await self._news

    def frame(self, kind: int, payload: bytes) -> bool:
        """Take a frame from the worker; return whether it was the last.

        Raises:
            WireError: It does not belong here.
        """
        piece = kind & ~wire.LAST
        if piece == wire.DATA:
            self._inbox.received(len(payload))
            if payload:
                self._chunks.append(payload)
            self.done = bool(kind & wire.LAST)
        elif piece == wire.MESSAGE:
            self._inbox.received(len(payload))
            self._event += payload
            if (
                not kind & wire.LAST
            ):  # the rest cannot come without credit; a whole event waits for its client
                self.consumed(len(payload))
                return False
            self.events.append(wire.unpack(self._event))
            self._event = bytearray()
        elif piece == wire.HEAD:
            self.head = wire.unpack(payload)
            return False
        elif piece == wire.CREDIT:
            self._granted += wire.decode_credit(payload)
            _resolve(self._room)
            return False
        elif piece == wire.ERROR:
            self.error = wire.unpack(payload)
            self.done = True
        else:
            raise wire.WireError(f"a frame of kind {kind} on stream {self._stream}")
        _resolve(self._news)
        if self.done:
            _resolve(self._room)
        return self.done

    def lost(self, reason: str) -> None:
        """End the answer because the worker is gone."""
        self.error = {"status": 500, "detail": reason, "headers": [], "lost": True}
        self.done = True
        _resolve(self._news)
        _resolve(self._room)


def _resolve(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)


class Link(asyncio.Protocol):
    """The connection to one worker.

    Args:
        loop: The edge's event loop.
        on_state: Called with the payload of each HELLO and STATE.
        on_log: Called with the payload of each LOG and the request it belongs to.
        on_broken: Called with the reason when the worker breaks the protocol.

    Attributes:
        closed: Resolved when the worker has closed its end and all it sent was read.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_state: Callable[[Mapping[str, Any]], None],
        on_log: Callable[[Mapping[str, Any], Ask | None], None],
        on_broken: Callable[[str], None],
    ) -> None:
        self.loop = loop
        self._on_state = on_state
        self._on_log = on_log
        self._on_broken = on_broken
        self._decoder = wire.Decoder()
        self._exchanges: dict[int, Exchange] = {}
        self._streams = 0
        self._transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[None] = loop.create_future()

    @property
    def calls(self) -> int:
        """Calls the worker has not finished."""
        return len(self._exchanges)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; part of asyncio.Protocol."""
        self._transport = transport  # type: ignore[assignment]  # a stream socket's transport is a Transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - however it went, it is gone
        """Note that everything the worker sent was read; part of asyncio.Protocol."""
        _resolve(self.closed)

    def data_received(self, data: bytes) -> None:
        """Hand frames to their exchanges; part of asyncio.Protocol."""
        try:
            for kind, stream, payload in self._decoder.feed(data):
                exchange = self._exchanges.get(stream)
                if kind == wire.LOG:
                    self._on_log(wire.unpack(payload), exchange.ask if exchange is not None else None)
                elif stream == 0:
                    self._on_state(wire.unpack(payload))
                elif exchange is not None and exchange.frame(kind, payload):
                    del self._exchanges[stream]
        except wire.WireError as exc:
            self._on_broken(str(exc))

    def open(self, head: Mapping[str, Any], ask: Ask | None = None) -> Exchange:
        """Begin a call.

        Args:
            head: Payload of its CALL frame.
            ask: The request it belongs to.
        """
        # u32 numbers: a stream's number comes again after four billion calls, long after its call has ended.
        self._streams = self._streams % 0xFFFFFFFF + 1
        exchange = self._exchanges[self._streams] = Exchange(self, self._streams, ask)
        self.write(wire.encode(wire.CALL, self._streams, wire.pack(head)))
        return exchange

    def write(self, frames: bytes) -> None:
        """Send whole frames. What may wait in the transport is bounded by the windows of the streams."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frames)

    def stop(self) -> None:
        """Ask the worker to finish and exit."""
        self.write(wire.encode(wire.STOP, 0))

    def lost(self, reason: str) -> None:
        """End every call because the worker is gone."""
        exchanges, self._exchanges = self._exchanges, {}
        for exchange in exchanges.values():
            exchange.lost(reason)
        if self._transport is not None:
            self._transport.close()
