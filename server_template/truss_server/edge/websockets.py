"""Websockets: events between the client and the model's `websocket` method."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from truss_server import wire
from truss_server.edge.admission import OverloadedError, Slots
from truss_server.edge.asks import Ask
from truss_server.edge.dialects import PLAIN
from truss_server.edge.failures import answer_for

if TYPE_CHECKING:
    from truss_server.edge.asgi import Receive, Scope, Send
    from truss_server.edge.link import Exchange
    from truss_server.edge.logs import Log
    from truss_server.edge.settings import Settings
    from truss_server.edge.supervisor import Supervisor

NOT_IMPLEMENTED = 1003
WRONG_PLACE = 1008
BROKEN = 1011
TRY_LATER = 1013

_KEYS = ("type", "asgi", "http_version", "scheme", "path", "query_string", "client", "server", "subprotocols")


class WebsocketRoute:
    """Answers `/websocket` and `/v1/websocket`.

    Args:
        settings: Of the edge.
        supervisor: Knows the worker.
        slots: Admit calls; a websocket holds one as long as it is open.
        log: Where failures of the model go.
    """

    def __init__(self, settings: Settings, supervisor: Supervisor, slots: Slots, log: Log) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._slots = slots
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one websocket; part of ASGI."""
        await receive()  # websocket.connect
        link = self._supervisor.link
        if link is None or not self._supervisor.loaded:
            await close_websocket(send, TRY_LATER, "the model is not ready")
            return
        if "websocket" not in self._supervisor.methods:
            await close_websocket(send, NOT_IMPLEMENTED, "WebSocket is not implemented on this deployment.")
            return
        ask = Ask(scope, PLAIN)
        try:
            slot = await self._slots.acquire(ask.deadline)
        except OverloadedError as exc:
            await close_websocket(send, TRY_LATER, f"the model is busy: {exc}"[:120])
            return
        link = self._supervisor.link
        if link is None:  # it died while this call waited for its turn
            slot()
            await close_websocket(send, TRY_LATER, "the model is not ready")
            return
        request: dict[str, Any] = {key: scope.get(key) for key in _KEYS}
        request["headers"] = [(bytes(name), bytes(value)) for name, value in scope["headers"]]
        exchange = link.open(("websocket", "lines", request, self._supervisor.generation), slot, ask)
        incoming = asyncio.create_task(_to_model(exchange, receive))
        try:
            closed = await _to_client(exchange, send)
            if exchange.error is not None and not closed:
                lost = exchange.error.get("lost", False)
                reason = "the model's process ended" if lost else "Internal Server Error (in model)."
                await send({"type": "websocket.close", "code": BROKEN, "reason": reason})
        finally:
            incoming.cancel()
            exchange.abandon()
            if exchange.error is not None and exchange.error["status"] >= 500:  # noqa: PLR2004
                answer_for(exchange.error, ask, self._log, development=False)


async def _to_model(exchange: Exchange, receive: Receive) -> None:
    """Pass events on until the client leaves."""
    event: dict[str, Any] = {"type": ""}
    while event["type"] != "websocket.disconnect":
        event = dict(await receive())
        await exchange.send(wire.MESSAGE, wire.pack(event))
    exchange.abandon()


async def _to_client(exchange: Exchange, send: Send) -> bool:
    """Pass events on until the call is over; return whether the model's side closed the websocket."""
    closed = False
    while (news := await exchange.event()) is not None:
        event, size = news
        if not closed:
            await send(event)
        closed = closed or event["type"] == "websocket.close"
        exchange.consumed(size)
    return closed


async def close_websocket(send: Send, code: int, reason: str) -> None:
    """Accept and close: only then does a client learn the reason."""
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": code, "reason": reason})
