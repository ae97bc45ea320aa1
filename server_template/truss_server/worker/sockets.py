"""Websockets in the worker: ASGI events to and from the edge, and the object the author's method is given."""

from __future__ import annotations

import json
import sys
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from truss_server import wire
from truss_server.worker.answers import room
from truss_server.worker.request import PlainConnection

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator

    from truss_server.worker.calls import Call
    from truss_server.worker.methods import Stage

NORMAL = 1000

_CODES = frozenset([1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)])
"""What a websocket can be closed with (RFC 6455, section 7.4, and its registry)."""

_REASON = 123
"""Bytes of a reason that a close has room for."""


class Socket:
    """The events of one websocket. Fed by the thread that reads the socket, awaited from the event loop.

    Args:
        call: Whose stream carries the events.
        loop: The model's.

    Attributes:
        closed: Whether either side has closed it.
        left: Whether the model was told that the client left.
    """

    def __init__(self, call: Call, loop: asyncio.AbstractEventLoop) -> None:
        self.closed = False
        self.left = False
        self._call = call
        self._loop = loop
        self._partial = bytearray()
        # Events, and the bytes each still takes of the window; this and the next belong to the loop's thread.
        self._events: deque[tuple[dict[str, Any], int]] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def feed(self, piece: bytes, *, last: bool) -> None:
        """Take a piece of an event."""
        self._partial += piece
        if last:
            event = wire.unpack(self._partial)
            self._partial = bytearray()
            self._loop.call_soon_threadsafe(self._put, event, len(piece))
        else:  # the rest cannot come without credit; a whole event waits for the model
            self._loop.call_soon_threadsafe(self._call.consumed, len(piece))

    def disconnect(self) -> None:
        """Note that the client left."""
        event = {"type": "websocket.disconnect", "code": 1006, "reason": ""}
        self._loop.call_soon_threadsafe(self._put, event, 0)

    def _put(self, event: dict[str, Any], size: int) -> None:
        self._events.append((event, size))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def receive(self) -> dict[str, Any]:
        """Return the next event from the client; part of ASGI."""
        while not self._events:
            self._waiter = self._loop.create_future()
            await self._waiter
        event, size = self._events.popleft()
        self._call.consumed(size)
        if event["type"] == "websocket.disconnect":
            self.closed = self.left = True
        return event

    async def send(self, event: dict[str, Any]) -> None:
        """Send an event to the client; part of ASGI.

        Raises:
            OSError: The client left.
            ValueError: It is no event that a client could be sent.
            TypeError: Likewise.
        """
        if event["type"] != "websocket.send":
            event = _close(event)
            self.closed = True
        elif not isinstance(event.get("text"), str) and not isinstance(event.get("bytes"), bytes):
            event = _bytes(event)
        await self.pass_on(event)

    async def pass_on(self, event: dict[str, Any]) -> None:
        """Send an event that is right.

        Raises:
            OSError: The client left.
        """
        data = wire.pack(event)
        for at in range(0, len(data), wire.PIECE):
            piece = data[at : at + wire.PIECE]
            while not self._call.cancelled and not self._call.has_room(len(piece)):
                await room(self._call, len(piece))
            if self._call.cancelled:
                self.closed = self.left = True
                raise OSError("the client left")
            self._call.send_message(piece, last=at + wire.PIECE >= len(data))


async def run_socket(call: Call, socket: Socket, stage: Stage) -> None:
    """Accept a websocket, hand it to the author's method, close it when that ends."""
    await socket.pass_on({"type": "websocket.accept", "subprotocol": None, "headers": []})
    websocket = _make(call, socket, stage.arguments.annotation)
    try:
        await stage.function(websocket)
    except Exception as exc:
        if _is_close(exc) and not socket.closed:
            await socket.send({"type": "websocket.close", "code": exc.code, "reason": exc.reason})  # type: ignore[attr-defined]  # starlette's WebSocketException
        elif not socket.left:
            raise
    if not socket.closed:
        await socket.send({"type": "websocket.close", "code": NORMAL, "reason": ""})
    call.begin("websocket")
    call.finish()


def _close(event: dict[str, Any]) -> dict[str, Any]:
    """Return a close with a reason that fits.

    Raises:
        ValueError: It is none.
    """
    if event["type"] != "websocket.close":
        raise ValueError(f"`{event['type']}` cannot be sent on a websocket that was accepted")
    code = int(event.get("code") or NORMAL)
    if code not in _CODES:
        raise ValueError(f"a websocket cannot be closed with {code}; codes of your own are 3000 to 4999")
    reason = str(event.get("reason") or "").encode("utf-8", "replace")[:_REASON].decode("utf-8", "ignore")
    return {"type": "websocket.close", "code": code, "reason": reason}


def _bytes(event: dict[str, Any]) -> dict[str, Any]:
    """Return a message whose content is not simply `bytes`.

    Raises:
        TypeError: It is neither bytes nor text.
    """
    content = event.get("text") if event.get("bytes") is None else event["bytes"]
    if not isinstance(content, (bytearray, memoryview)):
        raise TypeError(f"a websocket sends text or bytes, not {type(content).__name__}")
    return {"type": "websocket.send", "bytes": bytes(content)}


def _is_close(exc: BaseException) -> bool:
    return any(
        c.__module__ == "starlette.exceptions" and c.__name__ == "WebSocketException"
        for c in type(exc).__mro__
    )


def _make(call: Call, socket: Socket, annotation: Any) -> Any:
    """Build starlette's websocket where the model's code uses starlette, else a small one."""
    starlette = sys.modules.get("starlette.websockets")
    if starlette is None:
        return PlainWebSocket(call.request or {}, socket)
    named = isinstance(annotation, type) and issubclass(annotation, starlette.WebSocket)
    websocket = (annotation if named else starlette.WebSocket)(call.request, socket.receive, socket.send)
    websocket.client_state = websocket.application_state = starlette.WebSocketState.CONNECTED
    websocket.accept = partial(_accepted)
    return websocket


async def _accepted(*_: object, **__: object) -> None:
    """Do nothing: the server accepted before it called the method."""


class DisconnectedError(Exception):
    """The client closed the websocket, or is gone."""


class PlainWebSocket(PlainConnection):
    """What models use of `starlette.websockets.WebSocket`, in an environment without starlette.

    Args:
        scope: ASGI scope.
        socket: The events.
    """

    def __init__(self, scope: dict[str, Any], socket: Socket) -> None:
        super().__init__(scope)
        self._socket = socket

    async def accept(self) -> None:
        """Do nothing: the server accepted before it called the method."""

    async def receive(self) -> dict[str, Any]:
        """Return the next ASGI event.

        Raises:
            DisconnectedError: There will be none.
        """
        event = await self._socket.receive()
        if event["type"] == "websocket.disconnect":
            raise DisconnectedError(event.get("reason") or "the client left")
        return event

    async def receive_text(self) -> str:
        """Return the next message as text."""
        event = await self.receive()
        text = event.get("text")
        return str(event["bytes"].decode()) if text is None else str(text)

    async def receive_bytes(self) -> bytes:
        """Return the next message as bytes."""
        event = await self.receive()
        data = event.get("bytes")
        return str(event["text"]).encode() if data is None else bytes(data)

    async def receive_json(self) -> Any:
        """Return the next message, parsed."""
        return json.loads(await self.receive_text())

    async def iter_text(self) -> AsyncIterator[str]:
        """Yield messages as text until the client closes."""
        try:
            while True:
                yield await self.receive_text()
        except DisconnectedError:
            return

    async def send_text(self, data: str) -> None:
        """Send text."""
        await self._socket.send({"type": "websocket.send", "text": data})

    async def send_bytes(self, data: bytes) -> None:
        """Send bytes."""
        await self._socket.send({"type": "websocket.send", "bytes": data})

    async def send_json(self, data: Any) -> None:
        """Send a value as JSON text."""
        await self.send_text(json.dumps(data, separators=(",", ":"), ensure_ascii=False))

    async def close(self, code: int = NORMAL, reason: str | None = None) -> None:
        """Close."""
        await self._socket.send({"type": "websocket.close", "code": code, "reason": reason or ""})
