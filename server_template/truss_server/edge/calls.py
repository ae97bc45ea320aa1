"""The hot routes: one HTTP request to one call of the model, and its answer back. Raw ASGI."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import os
from typing import TYPE_CHECKING, Any

import orjson

from truss_server import wire
from truss_server.edge.admission import OverloadedError, Slots
from truss_server.edge.dialects import ROUTES, Dialect
from truss_server.edge.logs import AbortedTransferError, Log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from truss_server.edge.link import Exchange, Link
    from truss_server.edge.settings import Settings
    from truss_server.edge.supervisor import Supervisor

    Message = MutableMapping[str, Any]
    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

_JSON = (b"content-type", b"application/json")


class AnswerError(Exception):
    """Ends a request with an error status.

    Args:
        status: HTTP status.
        message: Text, or any JSON value.
        headers: More response headers.
        extra: More members of the error body.
    """

    def __init__(
        self,
        status: int,
        message: Any,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers
        self.extra = extra or {}


class ModelRoutes:
    """Answers the paths of `dialects.ROUTES`.

    Args:
        settings: Of the edge.
        supervisor: Knows the worker.
        log: Where failures of the model go.
    """

    def __init__(self, settings: Settings, supervisor: Supervisor, log: Log) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._log = log
        self._slots = Slots(settings.concurrency, settings.queue)
        self._numbers = itertools.count(1)
        self._prefix = os.urandom(6).hex()

    def handles(self, path: str) -> bool:
        """Tell whether a path is one of the model's."""
        return path in ROUTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request; part of ASGI."""
        name, dialect = ROUTES[scope["path"]]
        request_id = self._request_id(scope)
        client = Client(scope, receive, send, dialect, request_id)
        try:
            await self._answer(client, name)
        except AnswerError as exc:
            await client.refuse(exc)

    def _request_id(self, scope: Scope) -> str:
        for name, value in scope["headers"]:
            if name in (b"x-request-id", b"x-baseten-request-id"):
                return str(value.decode("latin-1"))[:128]
        return f"{self._prefix}{next(self._numbers):08x}"

    async def _answer(self, client: Client, name: str) -> None:
        if client.scope["method"] != "POST":
            raise AnswerError(405, "this route takes POST", ((b"allow", b"POST"),))
        link, method = self._method(name)
        limit = self._settings.body_limit
        body = b"" if method["request"] and not method["inputs"] else await client.read_body(limit)
        inputs = wire.pack(parse_json(body)) if method["inputs"] else None
        client.watch(upload=method["request"] and not method["inputs"], limit=limit)
        try:
            await client.unless_gone(self._slots.acquire())
        except OverloadedError:
            raise AnswerError(
                429,
                f"{self._slots.waiting} requests are waiting for the model; try again later",
                ((b"retry-after", b"1"),),
            ) from None
        try:
            link, _ = self._method(name)  # it may have died while this request waited
            await self._call(client, link, name, method, inputs, body)
        finally:
            self._slots.release()

    def _method(self, name: str) -> tuple[Link, dict[str, Any]]:
        """Return the worker's link and what it says of a method."""
        link = self._supervisor.link
        if link is None:
            raise AnswerError(503, f"the model is not ready: {self._supervisor.status}", ((b"retry-after", b"1"),))
        method = self._supervisor.methods.get(name)
        if method is None:
            raise AnswerError(404, f"the model has no method `{name}`")
        return link, method

    async def _call(
        self, client: Client, link: Link, name: str, method: dict[str, Any], inputs: bytes | None, body: bytes
    ) -> None:
        request = client.request_scope() if method["request"] else None
        head = {"method": name, "framing": client.dialect.framing, "request": request}
        exchange = link.open(head)
        client.attach(exchange)
        timer = StreamTimer(exchange, self._settings.read_timeout)
        try:
            if inputs is not None:
                await exchange.send(wire.INPUT, inputs)
                if method["request"]:
                    await exchange.send(wire.BODY, body)
            await exchange.begun()
            if exchange.head is not None and exchange.head["kind"] == "stream":
                await self._stream(client, exchange, exchange.head, timer)
            else:
                await self._value(client, exchange)
        finally:
            timer.close()
            client.close()
            exchange.cancel()
            await exchange.ended()  # the slot is free when the model is, not when the client is

    async def _value(self, client: Client, exchange: Exchange) -> None:
        data = await exchange.rest()
        if client.refusal is not None:
            raise client.refusal
        if exchange.error is not None:
            if not client.gone:
                raise self._failure(client, exchange.error)
            return
        await client.respond(200, dump_json(wire.unpack(data)))

    async def _stream(
        self, client: Client, exchange: Exchange, head: dict[str, Any], timer: StreamTimer
    ) -> None:
        content_type = head["content_type"] or "application/octet-stream"
        await client.start(200, [(b"content-type", content_type.encode("latin-1"))])
        timer.start()
        while data := await exchange.more():
            timer.pause()  # a client that reads slowly is not a model that is silent
            await client.send({"type": "http.response.body", "body": data, "more_body": True})
            timer.touch()
            exchange.consumed(len(data))
        if client.gone:
            return
        if client.refusal is not None:
            raise AbortedTransferError
        if timer.expired:
            seconds = self._settings.read_timeout
            exchange.error = {"status": 504, "detail": f"the model was silent for {seconds:g} s", "headers": []}
        if exchange.error is None:
            await client.send({"type": "http.response.body", "body": b""})
            return
        failure = self._failure(client, exchange.error)
        if content_type.startswith("text/event-stream"):
            event = client.dialect.stream_error(str(failure.message), failure.extra)
            await client.send({"type": "http.response.body", "body": event, "more_body": True})
        raise AbortedTransferError

    def _failure(self, client: Client, error: dict[str, Any]) -> AnswerError:
        """Log an error of the model and say what of it the client is told."""
        if "traceback" not in error:
            headers = tuple((str(k).lower().encode("latin-1"), str(v).encode("latin-1")) for k, v in error["headers"])
            if error["status"] >= 500:  # noqa: PLR2004
                self._log.write("ERROR", str(error["detail"]), request_id=client.request_id)
            return AnswerError(error["status"], error["detail"], headers)
        text = f"{error['type']}: {error['message']}"
        self._log.write(
            "ERROR",
            f"the model raised {text}",
            source="worker",
            request_id=client.request_id,
            exc_info=error["traceback"],
        )
        if self._settings.development:
            extra = {"traceback": error["traceback"], "request_id": client.request_id}
            return AnswerError(500, text, extra=extra)
        extra = {"request_id": client.request_id}
        return AnswerError(500, f"the model raised {error['type']}; its log has the traceback", extra=extra)


class Client:
    """One HTTP request's client: its body, its disconnect, and what it is sent.

    Args:
        scope: ASGI scope.
        receive: ASGI receive channel.
        send: ASGI send channel.
        dialect: Shape of errors.
        request_id: Given or made; sent back in `x-request-id`.

    Attributes:
        gone: Whether the client left.
        refusal: Why the call was ended although the client is there.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, dialect: Dialect, request_id: str) -> None:
        self.scope = scope
        self.send = send
        self.dialect = dialect
        self.request_id = request_id
        self.gone = False
        self.refusal: AnswerError | None = None
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None
        self._exchange: asyncio.Future[Exchange] | None = None
        self._waiting: asyncio.Task[Any] | None = None

    def request_scope(self) -> dict[str, Any]:
        """Return the part of the ASGI scope that crosses the wire."""
        scope = {key: self.scope.get(key) for key in _SCOPE_KEYS}
        scope["headers"] = [(bytes(name), bytes(value)) for name, value in self.scope["headers"]]
        scope["type"] = "http"
        return scope

    async def read_body(self, limit: int) -> bytes:
        """Read the whole body.

        Raises:
            AnswerError: It is larger than `limit`, or the client left.
        """
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            body: bytes = message.get("body", b"")
            if len(body) > limit:
                raise _too_large(limit)
            return body
        parts, size = [], 0
        while True:
            if message["type"] == "http.disconnect":
                self.gone = True
                raise AnswerError(499, "the client left before its request was complete")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limit:
                raise _too_large(limit)
            if not message.get("more_body"):
                return b"".join(parts)
            message = await self._receive()

    def watch(self, *, upload: bool, limit: int) -> None:
        """Begin to wait for the disconnect, and, for an upload, to pass the body on as the model reads it."""
        loop = asyncio.get_running_loop()
        self._exchange = loop.create_future()
        self._watcher = loop.create_task(self._watch(upload, limit, self._exchange))

    def attach(self, exchange: Exchange) -> None:
        """Name the call that the disconnect cancels."""
        if self._exchange is not None:
            self._exchange.set_result(exchange)
        if self.gone:
            exchange.cancel()

    async def unless_gone(self, waiting: Awaitable[None]) -> None:
        """Wait for something that a disconnect ends.

        Raises:
            AnswerError: The client left.
        """
        if self.gone:
            raise AnswerError(499, "the client left")
        self._waiting = asyncio.current_task()
        try:
            await waiting
        except asyncio.CancelledError:
            if not self.gone:
                raise
            raise AnswerError(499, "the client left while its request was waiting") from None
        finally:
            self._waiting = None

    async def _watch(self, upload: bool, limit: int, exchange: asyncio.Future[Exchange]) -> None:
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                break
            if upload:
                body = message.get("body", b"")
                size += len(body)
                if size > limit:
                    self.refusal = _too_large(limit)
                    (await asyncio.shield(exchange)).cancel()
                    return
                more = message.get("more_body", False)
                await (await asyncio.shield(exchange)).send(wire.BODY, body, 0 if more else wire.LAST)
                upload = more
        self.gone = True
        if self._waiting is not None:
            self._waiting.cancel()
        if exchange.done():
            exchange.result().cancel()

    def close(self) -> None:
        """Stop waiting for the disconnect."""
        if self._watcher is not None:
            self._watcher.cancel()

    async def refuse(self, error: AnswerError) -> None:
        """Send an error answer."""
        self.close()
        if not self.gone:
            await self.respond(
                error.status, self.dialect.error(error.status, error.message, error.extra), error.headers
            )

    async def respond(self, status: int, body: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        """Send a whole JSON answer."""
        await self.start(status, [_JSON, (b"content-length", b"%d" % len(body)), *headers])
        await self.send({"type": "http.response.body", "body": body})

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the head of an answer."""
        headers.append((b"x-request-id", self.request_id.encode("latin-1")))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})


_SCOPE_KEYS = ("http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path", "client", "server")


class StreamTimer:
    """Gives up on a stream that is silent too long. One timer a stream, looked at once per timeout at most.

    Args:
        exchange: The stream.
        seconds: Of silence that are too long.

    Attributes:
        expired: Whether it gave up.
    """

    def __init__(self, exchange: Exchange, seconds: float) -> None:
        self.expired = False
        self._exchange = exchange
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._last = 0.0
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to count."""
        self.touch()
        self._handle = self._loop.call_later(self._seconds, self._look)

    def touch(self) -> None:
        """Count from now."""
        self._last = self._loop.time()

    def pause(self) -> None:
        """Do not count until the next `touch`."""
        self._last = math.inf

    def close(self) -> None:
        """Stop counting."""
        if self._handle is not None:
            self._handle.cancel()

    def _look(self) -> None:
        left = self._last + self._seconds - self._loop.time()
        if left > 0:
            self._handle = self._loop.call_later(min(left, self._seconds), self._look)
            return
        self.expired = True
        self._exchange.cancel()


def parse_json(body: bytes) -> Any:
    """Parse a request body.

    Raises:
        AnswerError: 400, it is no JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise AnswerError(400, f"Invalid JSON payload: {exc}") from exc


def dump_json(value: Any) -> bytes:
    """Return a plain value as JSON; what orjson has no form for (integers over 64 bits) by the standard library."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _too_large(limit: int) -> AnswerError:
    return AnswerError(413, f"the request body is larger than {limit} bytes", ((b"connection", b"close"),))
