"""One call of the model as the worker sees it: its answer, its credit, its cancellation."""

from __future__ import annotations

import threading
import time
from itertools import chain
from typing import TYPE_CHECKING, Any, Callable

from truss_server import wire
from truss_server.worker.channel import ALONE

if TYPE_CHECKING:
    from truss_server.worker.body import Body
    from truss_server.worker.channel import Channel
    from truss_server.worker.sockets import Socket

GONE = {"status": 499, "detail": "the client left", "headers": []}
"""How a call ends that nobody waits for."""


class ClientLeftError(BaseException):
    """The client left; nobody waits for this answer. No `Exception`: a model that catches those must not catch it."""


def _nothing() -> None:
    """What happens on an event nobody waits for."""


def _consumed(size: int) -> None:
    """What happens where nobody counts."""


class Call:
    """One call: what the edge asked for, and the stream that answers it.

    `begin`, `offer`, `write`, `finish` and `fail` belong to whoever produces the answer, one thread at a time;
    `grant` and `cancel` to the thread that reads the socket.

    Args:
        channel: Where the answer goes.
        stream: Number of the stream.
        head: Payload of the CALL frame, unpacked.
        ended: Called with the number of the stream when its answer has ended.

    Attributes:
        method: Name of the model's method.
        generation: Of the model that is to answer.
        framing: How objects of a stream become bytes: lines, openai or anthropic.
        request: The HTTP request's scope, where the method asked for it.
        body: The raw request body and the disconnect, where the method asked for the request.
        whole_body: The raw body where it was needed for the inputs as well.
        socket: The events of a websocket.
        consumed: Called with the size of what the model took of body or messages, so that credit can be given.
        inputs: The parsed request body, where the method asked for it.
        text: The request body, JSON, where it is still to be parsed.
        cancelled: Whether the client left.
        ended: Whether the answer has ended.
        on_cancel: Called by the reader when the client leaves.
        on_credit: Called by the reader when there is room again, or no need of it.
    """

    def __init__(self, channel: Channel, stream: int, head: wire.Call, ended: Callable[[int], None]) -> None:
        self.stream = stream
        self.method, self.framing, request, self.generation = head
        self.request: dict[str, Any] | None = request
        self.body: Body | None = None
        self.whole_body: bytes | None = None
        self.socket: Socket | None = None
        self.consumed: Callable[[int], None] = _consumed
        self.inputs: Any = None
        self.text: bytes | bytearray | memoryview | None = None
        self.cancelled = False
        self.on_cancel: Callable[[], object] = _nothing
        self.on_credit: Callable[[], object] = _nothing
        self._channel = channel
        self._on_end = ended
        self.ended = False
        self._lock = threading.Lock()
        self._head = b""
        self._kind = wire.DATA
        self._pending: list[bytes] = []
        self._flush_asked = False
        self._written_at = 0.0
        # Two counters, each written by one thread only: no lock is needed to compare them.
        self._sent = 0
        self._granted = wire.WINDOW
        self._room: threading.Event | None = None  # of a thread that waits for credit or the disconnect

    def begin(self, kind: str, **fields: Any) -> None:
        """Decide how an answer begins that is not one value.

        It leaves with the first bytes, so that an error may still come instead.

        Args:
            kind: `stream` (bytes follow), `response` (the bytes of a response the author made) or `websocket`.
            fields: `content_type` of a stream; `status` and `headers` of a response, `background` where more
                is to be done after it.
        """
        self._head = wire.encode(wire.HEAD, self.stream, wire.pack({"kind": kind, **fields}))

    def begin_json(self) -> None:
        """Decide that the answer is one value, written as JSON."""
        self._kind = wire.JSON

    def offer(self, piece: bytes) -> bool:
        """Send a piece of at most PIECE bytes, now or joined with its neighbours.

        Returns:
            Whether there was room for it. What is offered after the client left is dropped.
        """
        if self.cancelled:
            return True
        size = len(piece)
        if self._granted - self._sent < size:
            return False
        self._sent += size
        with self._lock:
            self._pending.append(piece)
            if (
                time.monotonic() - self._written_at > ALONE
            ):  # whatever others do: who waits for them waits for the GIL
                self._write_pending()
            elif not self._flush_asked:
                self._flush_asked = True
                self._channel.flush_soon(self.flush)
        return True

    def write(self, data: bytes) -> None:
        """Send bytes of any size, waiting for room where there is none.

        Raises:
            ClientLeftError: Nobody wants them any more.
        """
        for at in range(0, len(data), wire.PIECE):
            piece = data[at : at + wire.PIECE] if len(data) > wire.PIECE else data
            while not self.offer(piece):
                room = self._room = threading.Event()
                if not self.has_room(len(piece)) and not self.cancelled:
                    room.wait()  # the edge owns the deadline
        self.check()

    @property
    def is_websocket(self) -> bool:
        """Whether this call is a websocket's."""
        return self.request is not None and self.request["type"] == "websocket"

    def check(self) -> None:
        """Go on only for a client that is there.

        Raises:
            ClientLeftError: It left.
        """
        if self.cancelled:
            raise ClientLeftError

    def has_room(self, size: int) -> bool:
        """Tell whether a piece of `size` bytes may be sent."""
        return self._granted - self._sent >= size

    def send_message(self, piece: bytes, *, last: bool) -> None:
        """Send a piece of a websocket's event, for which there is room."""
        self._sent += len(piece)
        self._channel.send(wire.encode(wire.MESSAGE | (wire.LAST if last else 0), self.stream, piece))

    def flush(self) -> None:
        """Send what waits to be joined."""
        with self._lock:
            self._flush_asked = False
            if self._pending:
                self._write_pending(0, self._channel.post)

    def finish(self, data: bytes = b"", *, join: bool = False) -> None:
        """End the answer, with last bytes for which there is room.

        Args:
            data: The last bytes.
            join: Whether they may leave together with other answers; for the threads of `Threads`, which flush.
        """
        with self._lock:
            if data:
                self._pending.append(data)
            self._write_pending(wire.LAST, self._channel.post if join else self._channel.send)
        self._end()

    def fail(self, error: dict[str, Any]) -> None:
        """End the answer with an error.

        Args:
            error: Payload of an ERROR frame, see `truss_server.worker.failures`.
        """
        with self._lock:
            if self._pending:
                self._write_pending()
            self._channel.send(wire.encode(wire.ERROR, self.stream, wire.pack(error)))
        self._end()

    def _end(self) -> None:
        self.ended = True
        self._on_end(self.stream)

    @property
    def watched(self) -> bool:
        """Whether the model asked for the disconnect: it wants to end its work by itself."""
        return self.socket is not None or (self.body is not None and self.body.watched)

    def _write_pending(self, last: int = 0, send: Callable[[bytes], None] | None = None) -> None:
        data = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
        self._pending.clear()
        head, self._head = self._head, b""
        if len(data) <= wire.PIECE:
            frames = wire.encode(self._kind | last, self.stream, data)
        else:
            frames = b"".join(chain.from_iterable(wire.pieces(self._kind, self.stream, data, last)))
        (send or self._channel.send)(head + frames if head else frames)
        self._written_at = time.monotonic()

    def grant(self, size: int) -> None:
        """Let the producer send `size` more bytes."""
        self._granted += size
        self._wake()
        self.on_credit()

    def _wake(self) -> None:
        room = self._room
        if room is not None:
            room.set()

    def cancel(self) -> None:
        """Tell the producer that the client left."""
        self.cancelled = True
        self._wake()
        if self.body is not None:
            self.body.disconnect()
        if self.socket is not None:
            self.socket.disconnect()
        self.on_credit()
        self.on_cancel()
