"""The hot routes: one HTTP request to one call of the model, and its answer back. Raw ASGI."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from truss_server import wire
from truss_server.edge.admission import OverloadedError, Slots
from truss_server.edge.asks import Ask
from truss_server.edge.bodies import parse_body, render_value
from truss_server.edge.client import AnswerError, Client
from truss_server.edge.failures import answer_for
from truss_server.edge.late import Late
from truss_server.edge.logs import AbortedTransferError, Log
from truss_server.edge.metrics import Metrics, Stopwatch
from truss_server.edge.patience import Patience

if TYPE_CHECKING:
    from collections.abc import Callable

    from truss_server.edge.asgi import Receive, Scope, Send
    from truss_server.edge.dialects import Dialect
    from truss_server.edge.link import Exchange, Link
    from truss_server.edge.settings import Settings
    from truss_server.edge.supervisor import Supervisor


class ModelRoutes:
    """Answers calls of the model.

    Args:
        settings: Of the edge.
        supervisor: Knows the worker.
        slots: Admit calls.
        metrics: Count and time them.
        log: Where failures of the model, and accesses, go.
    """

    def __init__(
        self, settings: Settings, supervisor: Supervisor, slots: Slots, metrics: Metrics, log: Log
    ) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._slots = slots
        self._metrics = metrics
        self._log = log
        self._late = Late()

    async def __call__(self, name: str, dialect: Dialect, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request.

        Args:
            name: Of the method its path means.
            dialect: Of its path.
            scope: ASGI scope.
            receive: ASGI receive channel.
            send: ASGI send channel.

        Raises:
            AbortedTransferError: The answer broke after its head was sent; the connection is to be cut.
        """
        client = Client(scope, receive, send, dialect, Ask(scope, dialect))
        watch = Stopwatch(self._metrics, name)
        try:
            await self._answer(client, name, watch)
        except AnswerError as exc:
            await client.refuse(exc)
        finally:
            client.close()
            if client.gone:
                self._metrics.cancelled.inc()
            self._log.access(client, watch.end(client.status))

    async def _answer(self, client: Client, name: str, watch: Stopwatch) -> None:
        if client.scope["method"] != "POST":
            raise AnswerError(405, "this route takes POST", ((b"allow", b"POST"),))
        if (held := self._supervisor.held) is not None:
            await asyncio.shield(held)
        _, facts = self._method(name)
        limit = self._settings.body_limit
        client.ask.check_size(limit)
        upload = facts["request"] and not facts["inputs"]
        body = b"" if upload else await client.read_body(limit)
        inputs = parse_body(body, binary=client.ask.binary) if facts["inputs"] else None
        if not facts["request"]:
            body = b""  # a request that waits for its turn need not hold it twice
        client.watch(self._late, upload=upload, limit=limit)
        exchange = await self._open(client, name, facts)
        patience = Patience(exchange, self._settings.request_timeout)
        try:
            client.attach(exchange, patience)
            if inputs is not None:
                if not exchange.offer(wire.INPUT, inputs):
                    await exchange.send(wire.INPUT, inputs)
                if facts["request"]:
                    await exchange.send(wire.BODY, body)
            await self._relay(client, exchange, patience, watch)
        except asyncio.CancelledError:
            if not patience.stalled:
                raise
            client.gone = True
            raise AbortedTransferError from None
        finally:
            patience.close()
            exchange.abandon()

    async def _open(self, client: Client, name: str, facts: dict[str, Any]) -> Exchange:
        """Begin a call when its turn has come."""
        request = client.request_scope() if facts["request"] else None
        slot = self._slots.take() or await self._admit(client)
        try:
            if (held := self._supervisor.held) is not None:
                client.begin()
                await client.unless_gone(asyncio.shield(held))
            link = self._still(name, facts)  # it may have died while this request waited, or be another one
            if self._settings.control is not None:
                client.generation = self._supervisor.generation
            # The slot is free when the model is, not when the client is.
            return link.open(
                (name, client.ask.framing, request, self._supervisor.generation), slot, client.ask
            )
        except BaseException:
            slot()
            raise

    async def _admit(self, client: Client) -> Callable[[], None]:
        """Take a slot for a call, in turn; return what gives it back.

        Raises:
            AnswerError: 429, or the client left while it waited.
        """
        client.begin()  # who leaves the queue must never start
        try:
            return await client.unless_gone(self._slots.acquire(client.ask.deadline))
        except OverloadedError as exc:
            self._metrics.rejected.inc()
            millis = max(1, round(exc.seconds * 1000))
            headers = ((b"retry-after", b"%d" % -(-millis // 1000)), (b"retry-after-ms", b"%d" % millis))
            raise AnswerError(429, f"the model is busy: {exc}", headers) from None

    def _method(self, name: str) -> tuple[Link, dict[str, Any]]:
        """Return the worker's link and what it says of a method."""
        link = self._supervisor.link
        if link is None or not self._supervisor.loaded:
            status = self._supervisor.status
            raise AnswerError(503, f"the model is not ready: {status}", ((b"retry-after", b"1"),))
        facts = self._supervisor.methods.get(name)
        if facts is None:
            raise AnswerError(404, f"the model has no method `{name}`")
        return link, facts

    def _still(self, name: str, facts: dict[str, Any]) -> Link:
        """Return the link to a method whose inputs were prepared as `facts` had it."""
        link, now = self._method(name)
        if (now["inputs"], now["request"]) != (facts["inputs"], facts["request"]):
            raise AnswerError(503, f"`{name}` takes other arguments by now", ((b"retry-after", b"0"),))
        return link

    async def _relay(self, client: Client, exchange: Exchange, patience: Patience, watch: Stopwatch) -> None:
        """Bring the answer to the client."""
        await exchange.begun()
        head = exchange.head
        if head is None:
            await self._value(client, exchange, patience)
            return
        patience.between_chunks(self._settings.read_timeout)
        if client.ask.gather and head["kind"] == "stream":
            await self._gather(client, exchange, head, patience)
        else:
            await self._stream(client, exchange, head, patience, watch)

    async def _value(self, client: Client, exchange: Exchange, patience: Patience) -> None:
        data = exchange.taken() if exchange.over else await exchange.rest()
        if client.gone:
            return
        self._check(client, exchange, patience)
        content_type, body = render_value(wire.unpack(data), binary=client.ask.binary)
        await client.respond(200, body, content_type=content_type)

    async def _gather(
        self, client: Client, exchange: Exchange, head: dict[str, Any], patience: Patience
    ) -> None:
        parts = []
        while part := await exchange.more():
            patience.touch()
            parts.append(part)
            exchange.consumed(len(part))
        if client.gone:
            return
        self._check(client, exchange, patience)
        data = b"".join(parts)
        if head["content_type"] == "application/x-ndjson":
            body = b"[" + b",".join(data.splitlines()) + b"]"
        else:
            _, body = render_value(data.decode("utf-8", "replace"), binary=False)
        await client.respond(200, body)

    async def _stream(
        self,
        client: Client,
        exchange: Exchange,
        head: dict[str, Any],
        patience: Patience,
        watch: Stopwatch,
    ) -> None:
        if head["kind"] == "response":
            status, headers = head["status"], list(head["headers"])
        else:
            content_type = head["content_type"] or "application/octet-stream"
            status, headers = 200, [(b"content-type", content_type.encode("latin-1"))]
        events = dict(headers).get(b"content-type", b"").startswith(b"text/event-stream")
        await client.start(status, headers)
        while data := await exchange.more():
            watch.chunk()
            patience.sending()
            await client.send({"type": "http.response.body", "body": data, "more_body": True})
            patience.touch()
            exchange.consumed(len(data))
        if client.gone:
            return
        try:
            self._check(client, exchange, patience)
        except AnswerError as exc:
            client.status = exc.status
            if events:
                event = client.dialect.stream_error(exc.message, exc.extra)
                await client.send({"type": "http.response.body", "body": event, "more_body": True})
            raise AbortedTransferError from exc
        await client.send({"type": "http.response.body", "body": b""})

    def _check(self, client: Client, exchange: Exchange, patience: Patience) -> None:
        """Raise what the client is to be told where an answer did not come to a good end.

        Raises:
            AnswerError: The body was too large, the model was silent too long, or it failed.
        """
        if client.refusal is not None:
            raise client.refusal
        if patience.expired:
            text = f"the model was silent for {patience.expired:g} s"
            self._log.write("ERROR", text, request_id=client.ask.request_id)
            raise AnswerError(504, text)
        if exchange.error is not None:
            raise answer_for(exchange.error, client.ask, self._log, development=self._settings.development)
