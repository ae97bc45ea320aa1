"""Websockets: events between the client and the model's `websocket` method."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from truss_server import wire
from truss_server.edge.admission import ClosedError, OverloadedError, Slots
from truss_server.edge.asks import Ask
from truss_server.edge.dialects import PLAIN
from truss_server.edge.failures import answer_for
from truss_server.edge.metrics import Metrics, Stopwatch

if TYPE_CHECKING:
    from truss_server.edge.asgi import Message, Receive, Scope, Send
    from truss_server.edge.exchange import Exchange
    from truss_server.edge.link import Link
    from truss_server.edge.logs import Log
    from truss_server.edge.settings import Settings
    from truss_server.edge.supervisor import Supervisor

NORMAL = 1000
NOT_IMPLEMENTED = 1003
GONE = 1006
WRONG_PLACE = 1008
BROKEN = 1011
RESTART = 1012
TRY_LATER = 1013

REASON = 123
"""Bytes that a close frame has for its reason."""

_KEYS = ("type", "asgi", "http_version", "scheme", "path", "query_string", "client", "server", "subprotocols")


class Session:
    """One websocket, as the log and the metrics see it.

    Args:
        scope: ASGI scope.

    Attributes:
        ask: What the headers of its handshake ask for.
        status: Code of its close.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = {**scope, "method": "WEBSOCKET"}
        self.ask = Ask(scope, PLAIN)
        self.status = GONE


class RefusedError(Exception):
    """A websocket is closed before the model hears of it.

    Args:
        code: Of the close.
        reason: Of the close.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class WebsocketRoute:
    """Answers `/websocket` and `/v1/websocket`.

    Args:
        settings: Of the edge.
        supervisor: Knows the worker.
        slots: Admit calls; a websocket holds one as long as it is open.
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one websocket; part of ASGI."""
        await receive()  # websocket.connect
        session, watch = Session(scope), Stopwatch(self._metrics, "websocket")
        # Until it is accepted nothing can come but the news that the client left.
        news = asyncio.ensure_future(receive())
        try:
            exchange = await self._open(session, scope, news)
            if exchange is not None:
                await self._talk(session, exchange, news, receive, send)
        except RefusedError as exc:
            session.status = exc.code
            await close_websocket(send, exc.code, str(exc))
        finally:
            news.cancel()
            self._log.access(session, watch)

    async def _open(self, session: Session, scope: Scope, news: asyncio.Future[Message]) -> Exchange | None:
        """Begin the call when its turn has come; None where the client did not wait for it.

        Raises:
            RefusedError: It cannot be begun.
        """
        self._ready()
        admission = asyncio.ensure_future(self._slots.acquire(session.ask.deadline))
        either: set[asyncio.Future[Any]] = {admission, news}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not admission.done():
            admission.cancel()
            self._metrics.cancelled.inc()
            return None
        try:
            slot = admission.result()
        except ClosedError:
            raise RefusedError(RESTART, "the server is stopping") from None
        except OverloadedError as exc:
            self._metrics.rejected.inc()
            raise RefusedError(TRY_LATER, f"the model is busy: {exc}") from None
        try:
            link = self._ready()  # it may be another one by now
            request: dict[str, Any] = {key: scope.get(key) for key in _KEYS}
            request["headers"] = [(bytes(name), bytes(value)) for name, value in scope["headers"]]
            return link.open(("websocket", "lines", request, self._supervisor.generation), slot, session.ask)
        except BaseException:
            slot(measure=False)
            raise

    def _ready(self) -> Link:
        """Return the link to a model that takes websockets."""
        link = self._supervisor.link
        if link is None or not self._supervisor.loaded:
            raise RefusedError(TRY_LATER, "the model is not ready")
        if "websocket" not in self._supervisor.methods:
            raise RefusedError(NOT_IMPLEMENTED, "WebSocket is not implemented on this deployment.")
        return link

    async def _talk(
        self,
        session: Session,
        exchange: Exchange,
        news: asyncio.Future[Message],
        receive: Receive,
        send: Send,
    ) -> None:
        """Pass events both ways until either side ends it."""
        incoming = asyncio.create_task(_to_model(session, exchange, news, receive))
        try:
            closed = await _to_client(session, exchange, send)
            if exchange.error is not None and not closed:
                session.status = BROKEN
                lost = "traceback" not in exchange.error
                reason = "the model's process ended" if lost else "Internal Server Error (in model)."
                await send({"type": "websocket.close", "code": BROKEN, "reason": reason})
        finally:
            incoming.cancel()
            exchange.abandon()
            if exchange.error is not None and exchange.error["status"] >= 500:  # noqa: PLR2004
                answer_for(exchange.error, session.ask, self._log, development=False)


async def _to_model(
    session: Session, exchange: Exchange, news: asyncio.Future[Message], receive: Receive
) -> None:
    """Pass events on until the client leaves."""
    event = dict(await news)
    while event["type"] != "websocket.disconnect":
        await exchange.send(wire.MESSAGE, wire.pack(event))
        event = dict(await receive())
    if session.status == GONE:
        session.status = event["code"]
    await exchange.send(wire.MESSAGE, wire.pack(event))
    exchange.abandon()


async def _to_client(session: Session, exchange: Exchange, send: Send) -> bool:
    """Pass events on until the call is over; return whether the model's side closed the websocket."""
    closed = False
    while (news := await exchange.event()) is not None:
        event, size = news
        if event["type"] == "websocket.close" and not closed:
            session.status = event.get("code", NORMAL)
        if not closed:
            await send(event)
        closed = closed or event["type"] == "websocket.close"
        exchange.consumed(size)
    return closed


def _cut(reason: str) -> str:
    return reason.encode()[:REASON].decode("utf-8", "ignore")


async def close_websocket(send: Send, code: int, reason: str) -> None:
    """Accept and close: only then does a client learn the reason."""
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": code, "reason": _cut(reason)})
