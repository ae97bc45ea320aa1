"""One call as the edge sees it: what is sent to the worker, and the answer as it comes in."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from truss_server import wire

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from truss_server.edge.asks import Ask
    from truss_server.edge.link import Link


_PIECES = (wire.DATA, wire.JSON)
_ENDS = (wire.DATA | wire.LAST, wire.JSON | wire.LAST)


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
        json: Whether its bytes are one value as JSON; else, without a head, they are one that is marshalled.
        over: Whether nothing more comes: the answer has ended, or nobody waits for it.
        loop: The edge's event loop.
        generation: Of the model that answers.
        listener: Called at the first news of the answer, where nobody awaits it.
    """

    def __init__(
        self, link: Link, stream: int, on_end: Callable[..., None], ask: Ask | None, generation: int
    ) -> None:
        self.ask = ask
        self.head: dict[str, Any] | None = None
        self.error: dict[str, Any] | None = None
        self.over = False
        self.json = False
        self.loop = link.loop
        self._link = link
        self._stream = stream
        self._on_end = on_end
        self._abandoned = False
        self.generation = generation
        self._chunks: list[bytes] = []
        self._events: deque[tuple[dict[str, Any], int]] = deque()  # of a websocket, with bytes of the window
        self._event = bytearray()
        self.listener: Callable[[], None] | None = None
        self._news: asyncio.Future[None] | None = None  # awaited by who reads the answer
        self._room: asyncio.Future[None] | None = None  # awaited by who sends the body
        self._inbox = wire.Inbox()
        self._sent = 0
        self._granted = wire.WINDOW

    def offer(self, kind: int, message: bytes) -> bool:
        """Send a whole message if there is room for it; else it is to be sent with `send`."""
        if self.over:
            return True
        size = len(message)
        if self._granted - self._sent < size:
            return False
        self._sent += size
        if size <= wire.PIECE:
            self._link.write(wire.encode(kind | wire.LAST, self._stream, message))
            return True
        for header, piece in wire.pieces(kind, self._stream, message):
            self._link.write(header)
            self._link.write(piece)
        return True

    async def send(self, kind: int, message: bytes | memoryview, last: int = wire.LAST) -> None:
        """Send INPUT or BODY bytes of any size, waiting for credit; stops when the call is over."""
        view: memoryview = memoryview(message)
        for at in range(0, max(len(view), 1), wire.PIECE):
            piece = view[at : at + wire.PIECE]
            while self._granted - self._sent < len(piece) and not self.over:
                self._room = self.loop.create_future()
                await self._room
            if self.over:
                return
            self._sent += len(piece)
            final = last if at + wire.PIECE >= len(view) else 0
            self._link.write(wire.header(kind | final, self._stream, len(piece)))
            self._link.write(piece)

    def abandon(self) -> None:
        """Tell the worker that nobody waits any more; what it still says is thrown away."""
        if not self.over:
            self._abandoned = True
            self._link.write(wire.encode(wire.CANCEL, self._stream))
            self._end()

    async def begun(self) -> None:
        """Wait for the beginning of the answer, or its end; where it is one value, for as much as fits the window."""
        while self.head is None and not self._inbox.is_crowded and not self.over:
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

    @property
    def whole(self) -> list[bytes] | None:
        """The pieces of the answer, where it is one value that fits the window; None where it is not, or not yet."""
        if not self.over or self.error is not None or self.head is not None:
            return None
        return self._chunks or None

    @property
    def is_stream(self) -> bool:
        """Whether the first bytes of a stream have come, and it goes on."""
        return (
            self.head is not None and self.head["kind"] == "stream" and bool(self._chunks) and not self.over
        )

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
        self._tell()
        _resolve(self._room)

    def _tell(self) -> None:
        """Tell who waits for it that there is news."""
        if self.listener is None:
            _resolve(self._news)
        else:
            listener, self.listener = self.listener, None
            listener()

    def frame(self, kind: int, payload: bytes) -> bool:
        """Take a frame from the worker; return whether it was the last.

        Raises:
            WireError: It does not belong here.
        """
        piece = kind & ~wire.LAST
        done = piece == wire.ERROR or kind in _ENDS
        if piece in _PIECES:
            self.json = piece == wire.JSON
            self._inbox.received(len(payload))
            if payload and not self.over:
                self._chunks.append(payload)
            if not done and (self.head is not None or self._inbox.is_crowded):
                self._tell()
        elif piece == wire.CREDIT:
            self._granted += wire.decode_credit(payload)
            _resolve(self._room)
        elif piece == wire.HEAD:
            self.head = wire.unpack(payload)  # news with the bytes that follow
            if "background" in self.head:
                self._link.remember(self._stream, self.ask)
        elif piece == wire.MESSAGE:
            self._inbox.received(len(payload))
            self._take_message(payload, last=bool(kind & wire.LAST))
        elif piece == wire.ERROR:
            self.error = wire.unpack(payload)
        else:
            raise wire.WireError(f"a frame of kind {kind} on stream {self._stream}")
        if done:
            self._on_end(measure=not self._abandoned)
            self._end()
        return done

    def _take_message(self, payload: bytes, *, last: bool) -> None:
        self._event += payload
        if last:
            self._events.append((wire.unpack(self._event), len(payload)))
            self._event = bytearray()
            self._tell()
        else:  # the rest cannot come without credit; a whole event waits for its client
            self.consumed(len(payload))

    def fail(self, status: int, reason: str) -> None:
        """End the answer because nothing more will come of it."""
        self.error = {"status": status, "detail": reason, "headers": []}
        self._on_end(measure=False)
        self._end()


def _resolve(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
