"""How what a method returned becomes its answer: a value, a stream, or a response the author made."""

from __future__ import annotations

import asyncio
import inspect
from functools import partial
from typing import TYPE_CHECKING, Any

from truss_server import wire
from truss_server.worker import json_library
from truss_server.worker.calls import ClientLeftError
from truss_server.worker.encode import binary, plain
from truss_server.worker.framing import Framer
from truss_server.worker.heads import Head

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from truss_server.worker.calls import Call


def is_response(value: Any) -> bool:
    """Tell whether a value is a starlette response, without importing starlette."""
    return any(
        c.__module__ == "starlette.responses" and c.__name__ == "Response" for c in type(value).__mro__
    )


def encode_value(call: Call, value: Any) -> bytes:
    """Return a value as it crosses the wire: JSON, or marshalled for the edge to write; bytes may be a stream.

    Raises:
        UnserializableError: It has no such form.
    """
    if isinstance(value, (bytes, bytearray)) and call.framing == "binary":
        call.begin("stream", content_type="application/octet-stream")
        return bytes(value)
    if call.framing == "binary":
        return wire.pack(binary(value))
    if call.framing == wire.OWN or not json_library.is_here():
        return wire.pack(plain(value))
    data = json_library.dump(value)
    call.begin_json()
    return data


def send_value(call: Call, data: bytes) -> None:
    """Send a whole answer of any size, waiting for room. Runs on a thread.

    Raises:
        ClientLeftError: Nobody wants it any more.
    """
    if not call.has_room(len(data)):
        call.write(data)
        data = b""
    call.finish(data, join=True)


def stream(call: Call, generator: Generator[Any, Any, Any]) -> None:
    """Send what a generator yields, as it yields it. Runs on a thread, which is the generator's to the end.

    Raises:
        ClientLeftError: The client left; the generator is closed.
    """
    framer = Framer(call.framing)
    begun = False
    try:
        for item in generator:
            data = framer.frame(item)
            if not begun:
                begun = True
                call.begin("stream", content_type=framer.content_type)
            call.write(data)
    finally:
        generator.close()
    if not begun:
        call.begin("stream", content_type=framer.content_type)
    call.write(framer.end())
    call.finish()


async def stream_async(call: Call, generator: AsyncGenerator[Any, Any]) -> None:
    """Send what an async generator yields, as it yields it.

    Raises:
        ClientLeftError: The client left; the generator is closed.
    """
    framer = Framer(call.framing)
    begun = False
    try:
        async for item in generator:
            data = framer.frame(item)
            if not begun:
                begun = True
                call.begin("stream", content_type=framer.content_type)
            if not (len(data) <= wire.PIECE and call.offer(data)):
                await write_async(call, data)
            if call.cancelled and not call.watched:
                raise ClientLeftError
    finally:
        await generator.aclose()
    if not begun:
        call.begin("stream", content_type=framer.content_type)
    await write_async(call, framer.end())
    call.finish()


async def respond(call: Call, response: Any, scope: dict[str, Any]) -> None:
    """Run a response the author made as the ASGI application it is.

    Raises:
        UnsendableError: HTTP has no such response.
    """
    head: Head | None = None

    async def receive() -> dict[str, Any]:
        if call.body is not None:
            return await call.body.receive()
        await asyncio.get_running_loop().create_future()  # cancelled with the call when the client leaves
        raise ClientLeftError

    async def send(message: dict[str, Any]) -> None:
        nonlocal head
        if message["type"] == "http.response.start":
            head = Head(message["status"], message.get("headers", []))
            later = {"background": True} if getattr(response, "background", None) is not None else {}
            call.begin("response", status=head.status, headers=head.headers, **later)
        elif message["type"] == "http.response.body" and head is not None:
            more = message.get("more_body", False)
            body = head.body(message.get("body", b""), last=not more)
            if more:
                await write_async(call, body)
            else:
                await _finish(call, body)

    await response(scope, receive, send)
    if not call.ended:
        raise RuntimeError(f"{type(response).__name__} ended before its body was complete")


async def write_async(call: Call, data: bytes) -> None:
    """Send bytes of any size, waiting for room without holding the loop."""
    for at in range(0, len(data), wire.PIECE):
        piece = bytes(data[at : at + wire.PIECE])
        while not call.offer(piece):
            await room(call, len(piece))


async def _finish(call: Call, data: bytes) -> None:
    """Send the last bytes as such: a client that knows the length may leave as soon as it has them."""
    tail = (len(data) - 1) // wire.PIECE * wire.PIECE if data else 0
    await write_async(call, data[:tail])
    while not call.has_room(len(data) - tail) and not call.cancelled:
        await room(call, len(data) - tail)
    call.check()
    call.finish(bytes(data[tail:]))


async def room(call: Call, size: int) -> None:
    """Wait until a piece may be sent, or nobody wants it any more."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    call.on_credit = partial(loop.call_soon_threadsafe, _settle, future)
    if not call.has_room(size) and not call.cancelled:
        await future


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def is_async(function: Any) -> bool:
    """Tell whether a function's calls belong on the event loop."""
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
