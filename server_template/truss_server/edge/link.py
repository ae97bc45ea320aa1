"""The edge's end of the socket to a worker, which many calls share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from truss_server import wire
from truss_server.edge.exchange import Exchange

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from truss_server.edge.asks import Ask


BACKGROUND = 1024
"""Requests with tasks in the background whose lines in the log are known to be theirs."""


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
        reads_json: Whether the worker can read large bodies itself.
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
        self._outbox: list[bytes | memoryview] = []
        self.closed: asyncio.Future[None] = loop.create_future()
        self.reads_json = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; part of asyncio.Protocol."""
        self._transport = transport  # type: ignore[assignment]  # a stream socket's transport is a Transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - however it went, it is gone
        """Note that everything the worker sent was read; part of asyncio.Protocol."""
        if not self.closed.done():
            self.closed.set_result(None)

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

    def write(self, frames: bytes | memoryview) -> None:
        """Send whole frames, or the parts of one in turn, with all others of this turn of the loop.

        Each write wakes the worker. What may wait, here and in the transport, is bounded by the windows of the streams.
        """
        if not self._outbox:
            self.loop.call_soon(self._flush)
        self._outbox.append(frames)

    def _flush(self) -> None:
        frames, self._outbox = self._outbox, []
        if self._transport is not None and not self._transport.is_closing():
            if sum(map(len, frames)) > wire.PIECE:
                self._transport.writelines(frames)  # no copy
            else:
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
