"""A call on its way in: gathers inputs and body, gives credit for them, and starts the call when they are complete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from truss_server import wire
from truss_server.worker.body import Body
from truss_server.worker.calls import GONE
from truss_server.worker.sockets import Socket

if TYPE_CHECKING:
    import asyncio

    from truss_server.worker.calls import Call
    from truss_server.worker.channel import Channel
    from truss_server.worker.methods import Method


class Incoming:
    """One call and the frames the edge sends about it.

    A method that takes inputs starts when they, and the raw body if it also takes the request, are complete. One
    that takes the request only, or nothing, starts at once, and its body follows as it reads it.

    Args:
        call: The call.
        method: What it calls.
        channel: Where credit is given.
        loop: The model's.
        submit: Starts the call.
    """

    def __init__(
        self,
        call: Call,
        method: Method,
        channel: Channel,
        loop: asyncio.AbstractEventLoop,
        submit: Callable[[Call, Method], None],
    ) -> None:
        self._call = call
        self._method = method
        self._channel = channel
        self._start = submit
        self._started = False
        self._inbox = wire.Inbox()
        self._inputs: list[bytes] = []
        self._body: bytes | bytearray = b""
        call.consumed = self._consumed
        if call.is_websocket:
            call.socket = Socket(call, loop)
        elif method.request:
            call.body = Body(self._consumed, watched=method.watches)

    def begin(self) -> None:
        """Start the call if there is nothing to wait for."""
        if not self._method.inputs:
            self._submit()

    def _submit(self) -> None:
        self._started = True
        self._start(self._call, self._method)

    def handle(self, kind: int, payload: bytes) -> None:
        """Take one frame of this call's stream.

        Raises:
            WireError: It does not belong here, or the edge ignores the window.
        """
        last = bool(kind & wire.LAST)
        piece = kind & ~wire.LAST
        if piece in (wire.INPUT, wire.JSON):
            self._take_input(payload, last, json=piece == wire.JSON)
        elif piece == wire.CREDIT:
            self._call.grant(wire.decode_credit(payload))
        elif piece == wire.CANCEL:
            self._call.cancel()
            if not self._started:  # and never will: the rest of its inputs is not sent any more
                self._call.fail(GONE)
        elif piece == wire.MESSAGE and self._call.socket is not None:
            self._inbox.received(len(payload))
            self._call.socket.feed(payload, last=last)
        elif piece == wire.BODY:
            self._inbox.received(len(payload))
            self._take_body(payload, last)
        else:
            raise wire.WireError(f"a frame of kind {kind} on stream {self._call.stream}")

    def _take_input(self, payload: bytes, last: bool, *, json: bool) -> None:
        inputs: bytes | bytearray = payload
        if not last or self._inputs:
            self._inbox.received(len(payload))
            self._inputs.append(payload)
            self._consumed(len(payload))
        if last and self._inputs:
            inputs = bytearray().join(self._inputs)
            self._inputs.clear()
        if last:
            if json:  # not read here: it may be long, and other calls wait for this thread
                self._call.text = inputs
            else:
                self._call.inputs = wire.unpack(inputs)
        if last and not self._method.request:
            self._submit()

    def _take_body(self, payload: bytes, last: bool) -> None:
        body = self._call.body
        if body is None:
            raise wire.WireError(f"a BODY nobody asked for on stream {self._call.stream}")
        if not self._method.inputs:
            body.feed(payload, last=last)
            return
        self._body = self._body or bytearray()
        self._body += payload
        self._consumed(len(payload))
        if last:
            self._call.whole_body = bytes(self._body)
            self._body = b""
            body.end()
            self._submit()

    def _consumed(self, size: int) -> None:
        credit = self._inbox.consumed(size)
        if credit:
            self._channel.send(wire.encode_credit(self._call.stream, credit))
