"""The edge's end of the socket to a worker: exchanges of frames, one for each call."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from truss_server import wire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from truss_server.edge.asks import Ask


BACKGROUND = 1024
"""Requests with tasks in the background whose lines in the log are known to be theirs."""


class Exchange:
    """One call as the edge sees it: what is sent to the worker, and the answer as it comes in.

    Args:
        link: The connection.
        stream: Number of the stream.
        on_end: Called when the worker is done with the call, which may be after the client has left, with `measure`:
            whether it came to its own end.

        ask: The request it belongs to, for the log; None for the edge's own.

    Attributes:
        head: How the answer begins, once it does: `kind` and what belongs to it; None where it is one value.
        error: How the answer ended, where it ended with an error: payload of ERROR.
        over: Whether nothing more comes: the answer has ended, or nobody waits for it.
        loop: The edge's event loop.
        generation: Of the model that answers.
    """

    def __init__(
        self, link: Link, stream: int, on_end: Callable[..., None], ask: Ask | None, generation: int
    ) -> None:
        self.ask = ask
        self.head: dict[str, Any] | None = None
        self.error: dict[str, Any] | None = None
        self.over = False
        self.loop = link.loop
        self._link = link
        self._stream = stream
        self._on_end = on_end
        self._abandoned = False
        self.generation = generation
        self._chunks: list[bytes] = []
        self._events: deque[tuple[dict[str, Any], int]] = deque()  # of a websocket, with bytes of the window
        self._event = bytearray()
        self._news: asyncio.Future[None] | None = None  # awaited by who reads the answer
        self._room: asyncio.Future[None] | None = None  # awaited by who sends the body
        self._inbox = wire.Inbox()
        self._sent = 0
        self._granted = wire.WINDOW

    def offer(self, kind: int, message: bytes) -> bool:
        """Send a whole message if it is small and there is room; else it is to be sent with `send`."""
        if self.over:
            return True
        if len(message) > wire.PIECE or self._granted - self._sent < wire.PIECE:
            return False
        self._sent += len(message)
        self._link.write(wire.encode(kind | wire.LAST, self._stream, message))
        return True

    async def send(self, kind: int, message: bytes | memoryview, last: int = wire.LAST) -> None:
        """Send INPUT or BODY bytes of any size, waiting for credit; stops when the call is over."""
        for at in range(0, max(len(message), 1), wire.PIECE):
            piece = message[at : at + wire.PIECE]
            while self._granted - self._sent < len(piece) and not self.over:
                self._room = self.loop.create_future()
                await self._room
            if self.over:
                return
            self._sent += len(piece)
            final = last if at + wire.PIECE >= len(message) else 0
            self._link.write(wire.encode(kind | final, self._stream, piece))

    def abandon(self) -> None:
        """Tell the worker that nobody waits any more; what it still says is thrown away."""
        if not self.over:
            self._abandoned = True
            self._link.write(wire.encode(wire.CANCEL, self._stream))
            self._end()

    async def begun(self) -> None:
        """Wait for the beginning of the answer, or its end."""
        while self.head is None and not self._chunks and not self.over:
            await self._changed()

    async def more(self) -> bytes:
        """Wait for bytes of the answer and return all there are; empty when it has ended."""
        while not self._chunks and not self.over:
            await self._changed()
        return self.taken()

    def taken(self) -> bytes:
        """Return the bytes of the answer that have come."""
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        return data

    async def rest(self) -> bytes:
        """Return all bytes of the answer up to its end, in memory."""
        parts = []
        while part := await self.more():
            parts.append(part)
            self.consumed(len(part))
        return b"".join(parts)

    async def event(self) -> tuple[dict[str, Any], int] | None:
        """Wait for a websocket's next event; return it and what is `consumed` with it, None when the call is over."""
        while not self._events and not self.over:
            await self._changed()
        return self._events.popleft() if self._events else None

    def consumed(self, size: int) -> None:
        """Note that bytes of the answer went to the client; gives the worker credit for more."""
        credit = self._inbox.consumed(size)
        if credit and not self.over:
            self._link.write(wire.encode_credit(self._stream, credit))

    async def _changed(self) -> None:
        self._news = self.loop.create_future()
        await self._news

    def _end(self) -> None:
        self.over = True
        _resolve(self._news)
        _resolve(self._room)

    def frame(self, kind: int, payload: bytes) -> bool:
        """Take a frame from the worker; return whether it was the last.

        Raises:
            WireError: It does not belong here.
        """
        piece = kind & ~wire.LAST
        if piece == wire.CREDIT:
            self._granted += wire.decode_credit(payload)
            _resolve(self._room)
        elif piece == wire.HEAD:
            self.head = wire.unpack(payload)  # news with the bytes that follow
            if "background" in self.head:
                self._link.remember(self._stream, self.ask)
        elif piece == wire.DATA:
            self._inbox.received(len(payload))
            if payload and not self.over:
                self._chunks.append(payload)
            _resolve(self._news)
        elif piece == wire.MESSAGE:
            self._inbox.received(len(payload))
            self._take_message(payload, last=bool(kind & wire.LAST))
        elif piece == wire.ERROR:
            self.error = wire.unpack(payload)
        else:
            raise wire.WireError(f"a frame of kind {kind} on stream {self._stream}")
        done = piece == wire.ERROR or kind == wire.DATA | wire.LAST
        if done:
            self._end()
            self._on_end(measure=not self._abandoned)
        return done

    def _take_message(self, payload: bytes, *, last: bool) -> None:
        self._event += payload
        if last:
            self._events.append((wire.unpack(self._event), len(payload)))
            self._event = bytearray()
            _resolve(self._news)
        else:  # the rest cannot come without credit; a whole event waits for its client
            self.consumed(len(payload))

    def fail(self, status: int, reason: str) -> None:
        """End the answer because nothing more will come of it."""
        self.error = {"status": status, "detail": reason, "headers": []}
        self._end()
        self._on_end(measure=False)


def _resolve(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)


def _nothing(*, measure: bool) -> None:
    """What happens at the end of a call nobody counts."""


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
        self._remembered: dict[int, Ask | None] = {}
        self._streams = 0
        self._transport: asyncio.Transport | None = None
        self._lost = ""
        self._outbox: list[bytes] = []
        self.closed: asyncio.Future[None] = loop.create_future()

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
                    ask = exchange.ask if exchange is not None else self._remembered.get(stream)
                    self._on_log(wire.unpack(payload), ask)
                elif stream == 0:
                    self._on_state(wire.unpack(payload))
                elif exchange is not None and exchange.frame(kind, payload):
                    del self._exchanges[stream]
        except wire.WireError as exc:
            self._on_broken(str(exc))

    def open(
        self, head: wire.Call, on_end: Callable[..., None] = _nothing, ask: Ask | None = None
    ) -> Exchange:
        """Begin a call.

        Args:
            head: Payload of its CALL frame.
            on_end: Called when the worker is done with it.
            ask: The request it belongs to.
        """
        # u32 numbers: a stream's number comes again after four billion calls, long after its call has ended.
        self._streams = self._streams % 0xFFFFFFFF + 1
        exchange = Exchange(self, self._streams, on_end, ask, head[3])
        if self._lost:
            exchange.fail(500, self._lost)
            return exchange
        self.write(wire.encode(wire.CALL, self._streams, wire.pack(head)))
        self._exchanges[self._streams] = exchange
        return exchange

    def remember(self, stream: int, ask: Ask | None) -> None:
        """Know what a request logs after its answer has ended, unless many others have come since."""
        self._remembered[stream] = ask
        if len(self._remembered) > BACKGROUND:
            del self._remembered[next(iter(self._remembered))]

    def write(self, frames: bytes) -> None:
        """Send whole frames, with all others of this turn of the loop: each write wakes the worker.

        What may wait, here and in the transport, is bounded by the windows of the streams.
        """
        if not self._outbox:
            self.loop.call_soon(self._flush)
        self._outbox.append(frames)

    def _flush(self) -> None:
        frames, self._outbox = self._outbox, []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(frames))

    def give_up(self, reason: str) -> None:
        """End every call because the server cannot wait for it any longer."""
        exchanges, self._exchanges = self._exchanges, {}
        for stream, exchange in exchanges.items():
            self.write(wire.encode(wire.CANCEL, stream))
            exchange.fail(503, reason)

    def calls(self, generation: int | None = None) -> int:
        """Return how many calls run, of a generation or of all."""
        exchanges = self._exchanges.values()
        return sum(generation is None or exchange.generation == generation for exchange in exchanges)

    def stop(self) -> None:
        """Ask the worker to finish and exit."""
        self.write(wire.encode(wire.STOP, 0))

    def lost(self, reason: str) -> None:
        """End every call, and each that is opened later, because the worker is gone."""
        self._lost = reason
        exchanges, self._exchanges = self._exchanges, {}
        for exchange in exchanges.values():
            exchange.fail(500, reason)
        if self._transport is not None:
            self._transport.close()
