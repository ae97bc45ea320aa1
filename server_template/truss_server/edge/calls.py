"""The hot routes: one HTTP request to one call of the model, and its answer back. Raw ASGI."""

from __future__ import annotations

import asyncio
from traceback import format_exc
from typing import TYPE_CHECKING, Any

from truss_server import wire
from truss_server.edge.admission import ClosedError, OverloadedError, Slot, Slots
from truss_server.edge.answers import Passing, check, gather
from truss_server.edge.asks import Ask
from truss_server.edge.bodies import parse_body, render_answer
from truss_server.edge.client import Client
from truss_server.edge.direct import Call, Direct
from truss_server.edge.errors import GONE, AnswerError
from truss_server.edge.incoming import SMALL, Intake
from truss_server.edge.large import LARGE, parse_large
from truss_server.edge.late import Late
from truss_server.edge.logs import AbortedTransferError, Log
from truss_server.edge.metrics import Metrics, Stopwatch
from truss_server.edge.patience import Patience

if TYPE_CHECKING:
    from truss_server.edge.asgi import Receive, Scope, Send
    from truss_server.edge.dialects import Dialect
    from truss_server.edge.exchange import Exchange
    from truss_server.edge.link import Link
    from truss_server.edge.settings import Settings
    from truss_server.edge.supervisor import Supervisor

_TIMEOUT = 504

_PARSERS = 2
"""Large bodies that are parsed at once."""


class ModelRoutes:
    """Answers calls of the model.

    Args:
        settings: Of the edge.
        supervisor: Knows the worker.
        slots: Admit calls.
        metrics: Count and time them.
        log: Where failures of the model, and accesses, go.

    Attributes:
        direct: Begins calls that may need nothing of this.
    """

    def __init__(
        self, settings: Settings, supervisor: Supervisor, slots: Slots, metrics: Metrics, log: Log
    ) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._slots = slots
        self._metrics = metrics
        self._log = log
        self.direct = Direct(settings, supervisor, slots, metrics, log)
        self._parsing = asyncio.Semaphore(_PARSERS)
        self._intake = Intake(settings.body_limit, settings.client_timeout, Late())

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
        begun: Call | None = scope["state"].pop("begun", None)
        client = Client(scope, receive, send, begun.ask if begun else Ask(scope, dialect), self._intake)
        watch = begun.watch if begun else Stopwatch(self._metrics, name)
        try:
            if begun is None:
                await self._answer(client, name, watch)
            else:
                await self._go_on(client, begun)
        except AnswerError as exc:
            await client.refuse(exc)
        except asyncio.CancelledError:  # by uvicorn: the time to drain is over
            await self._break(client, AnswerError(503, "the server is stopping"))
        except AbortedTransferError:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is told in the shape of all errors
            self._log.write(
                "ERROR", f"{type(exc).__name__}: {exc}", exc_info=format_exc(), **client.ask.log_fields
            )
            await self._break(client, AnswerError(500, "Internal Server Error"))
        finally:
            client.close()
            if client.gone:
                self._metrics.cancelled.inc()
            elif client.refusal is not None and client.refusal.status == _TIMEOUT:
                self._log.write("ERROR", str(client.refusal), **client.ask.log_fields)
            self._log.access(client, watch)

    async def _break(self, client: Client, error: AnswerError) -> None:
        """Refuse a request, or cut its answer where that has begun."""
        if client.status != GONE:
            client.status = error.status
            raise AbortedTransferError
        await client.refuse(error)

    async def _answer(self, client: Client, name: str, watch: Stopwatch) -> None:
        if client.scope["method"] != "POST":
            raise AnswerError(405, "this route takes POST", ((b"allow", b"POST"),))
        if (held := self._supervisor.held) is not None:
            await client.unless_gone(asyncio.shield(held))
        link, facts = self._method(name)
        client.ask.check_size(self._settings.body_limit)
        messages: list[tuple[int, bytes]] = []
        if facts["request"] and not facts["inputs"]:
            client.take_upload()
        else:
            body = await client.read_body()
            if facts["inputs"]:
                messages.append(await self._inputs(client, body, link))
            if facts["inputs"] and facts["request"]:
                messages.append((wire.BODY, body))
            del body  # a request that waits for its turn need not hold it twice
        patience = Patience(client, self._settings.request_timeout)
        client.count(patience)
        try:
            exchange = await self._open(client, name, facts)
            try:
                client.attach(exchange)
                for kind, message in messages:
                    if not exchange.offer(kind, message):
                        await exchange.send(kind, message)
                if messages:
                    client.sent()
                await self._relay(client, exchange, patience, watch)
            finally:
                exchange.abandon()
        finally:
            patience.close()

    async def _inputs(self, client: Client, body: bytes, link: Link) -> tuple[int, bytes]:
        """Return the inputs in a request's body as they are sent to the worker, with the kind of their frames."""
        if client.ask.binary or len(body) <= SMALL:
            return wire.INPUT, parse_body(body, binary=client.ask.binary)
        if link.reads_json:
            return wire.JSON, body
        if len(body) <= LARGE:
            return wire.INPUT, parse_body(body, binary=False)
        return wire.INPUT, await client.unless_gone(parse_large(body, self._parsing))

    async def _go_on(self, client: Client, begun: Call) -> None:
        """Bring the answer of a call that was begun before it was known to need all this."""
        client.generation = begun.generation
        patience = Patience(client, self._settings.request_timeout)
        client.count(patience)
        client.begin()
        try:
            client.attach(begun.exchange)
            client.status = begun.status
            await self._relay(client, begun.exchange, patience, begun.watch, begun.sent)
        finally:
            begun.exchange.abandon()
            patience.close()

    async def _open(self, client: Client, name: str, facts: dict[str, Any]) -> Exchange:
        """Begin a call when its turn has come."""
        request = client.request_scope() if facts["request"] else None
        slot = self._slots.take() or await self._admit(client)
        try:
            if (held := self._supervisor.held) is not None:
                await client.unless_gone(asyncio.shield(held))
            link = self._still(name, facts)  # it may have died while this request waited, or be another one
            if self._settings.control is not None:
                client.generation = self._supervisor.generation
            # The slot is free when the model is, not when the client is.
            return link.open(
                (name, client.ask.framing, request, self._supervisor.generation), slot, client.ask
            )
        except BaseException:
            slot(measure=False)
            raise

    async def _admit(self, client: Client) -> Slot:
        """Take a slot for a call, in turn; return what gives it back.

        Raises:
            AnswerError: 429, or the client left while it waited.
        """
        try:  # who leaves the queue must never start
            return await client.unless_gone(self._slots.acquire(client.ask.deadline))
        except ClosedError:
            raise AnswerError(503, "the model is not ready: stopping", ((b"retry-after", b"1"),)) from None
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

    async def _relay(
        self, client: Client, exchange: Exchange, patience: Patience, watch: Stopwatch, sent: bytes = b""
    ) -> None:
        """Bring the answer to the client, which has got `sent` of it."""
        await exchange.begun()
        head, development = exchange.head, self._settings.development
        if head is None:
            data = exchange.taken() if exchange.over else await exchange.rest()
            if not client.gone:
                check(client, exchange, self._log, development=development)
                content_type, body = render_answer(exchange, data, binary=client.ask.binary)
                await client.respond(body, content_type)
            return
        patience.between_chunks(self._settings.read_timeout)
        if client.ask.gather and head["kind"] == "stream":
            await gather(client, exchange, self._log, patience, development=development)
        else:
            await Passing(client, exchange, patience, watch, sent).run(self._log, development=development)
