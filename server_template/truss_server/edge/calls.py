"""The hot routes: one HTTP request to one call of the model, and its answer back. Raw ASGI."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from truss_server import wire
from truss_server.edge.admission import OverloadedError, Slots
from truss_server.edge.client import AnswerError, Client
from truss_server.edge.dialects import ROUTES
from truss_server.edge.json_body import dump_json, parse_json
from truss_server.edge.logs import AbortedTransferError, Log
from truss_server.edge.silence import StreamTimer

if TYPE_CHECKING:
    from truss_server.edge.asgi import Receive, Scope, Send
    from truss_server.edge.link import Exchange, Link
    from truss_server.edge.settings import Settings
    from truss_server.edge.supervisor import Supervisor


@dataclass(frozen=True)
class Ask:
    """What is asked of the model.

    Attributes:
        name: Of the method.
        method: What the worker says of it: whether it takes `inputs`, `request`.
        inputs: Marshalled, where it takes them.
        body: Raw, where it was read.
    """

    name: str
    method: dict[str, Any]
    inputs: bytes | None
    body: bytes


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
        inputs = _marshal_inputs(body) if method["inputs"] else None
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
            await self._call(client, link, Ask(name, method, inputs, body))
        finally:
            self._slots.release()

    def _method(self, name: str) -> tuple[Link, dict[str, Any]]:
        """Return the worker's link and what it says of a method."""
        link = self._supervisor.link
        if link is None:
            raise AnswerError(
                503, f"the model is not ready: {self._supervisor.status}", ((b"retry-after", b"1"),)
            )
        method = self._supervisor.methods.get(name)
        if method is None:
            raise AnswerError(404, f"the model has no method `{name}`")
        return link, method

    async def _call(self, client: Client, link: Link, ask: Ask) -> None:
        request = client.request_scope() if ask.method["request"] else None
        exchange = link.open({"method": ask.name, "framing": client.dialect.framing, "request": request})
        client.attach(exchange)
        timer = StreamTimer(exchange, self._settings.read_timeout)
        try:
            if ask.inputs is not None:
                await exchange.send(wire.INPUT, ask.inputs)
                if ask.method["request"]:
                    await exchange.send(wire.BODY, ask.body)
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
            exchange.error = {
                "status": 504,
                "detail": f"the model was silent for {seconds:g} s",
                "headers": [],
            }
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
            headers = tuple(
                (str(k).lower().encode("latin-1"), str(v).encode("latin-1")) for k, v in error["headers"]
            )
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


def _marshal_inputs(body: bytes) -> bytes:
    try:
        return wire.pack(parse_json(body))
    except ValueError as exc:
        raise AnswerError(400, f"Invalid JSON payload: {exc}") from exc
