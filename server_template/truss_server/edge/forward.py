"""Requests to a server of the author's own: any route it has, as it is, and `/predict` as `predict_endpoint`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from truss_server.edge.answers import Passing
from truss_server.edge.calls import ModelRoutes
from truss_server.edge.custom import FORWARD
from truss_server.edge.errors import AnswerError
from truss_server.edge.forwarded import Forwarded
from truss_server.edge.hops import is_framed_plainly
from truss_server.edge.patience import Patience
from truss_server.edge.routes import find_route, strip_environment

if TYPE_CHECKING:
    from truss_server.edge.client import Client
    from truss_server.edge.metrics import Stopwatch

_WEBSOCKETS = frozenset(("/websocket", "/v1/websocket"))


def find_target(path: str, environment: str, predict_endpoint: str) -> tuple[str, str]:
    """Return the name that metrics have for a path, and the route of the server that it means.

    Args:
        path: As the client wrote it, escapes and all.
        environment: Of the deployment.
        predict_endpoint: What `/predict` means.

    Raises:
        WrongPlaceError: It is another environment's.
    """
    inner = strip_environment(path, environment)
    found = find_route(inner)
    plain = found is not None and found[0] == "predict"
    if plain or inner == "/v1/websocket" or (inner != path and inner in _WEBSOCKETS):
        return "predict", predict_endpoint
    return FORWARD, inner


class ForwardRoutes(ModelRoutes):
    """Passes requests on, under the rules for calls of a model: turns, limits, times, ends."""

    async def _answer(self, client: Client, name: str, watch: Stopwatch) -> None:
        if (held := self._supervisor.held) is not None:
            await client.unless_gone(asyncio.shield(held))
        _, facts = self._method(name)
        client.ask.check_size(self._settings.body_limit)
        if not is_framed_plainly(client.scope["headers"]):
            raise AnswerError(400, "a request's body can have no transfer coding but chunked")
        names = {header for header, _ in client.scope["headers"]}
        if names & {b"content-length", b"transfer-encoding"}:
            client.take_upload()
        client.begin()
        patience = Patience(client, self._settings.request_timeout)
        client.count(patience)
        try:
            exchange = await self._open(client, name, facts)
            try:
                client.attach(exchange)
                await exchange.begun()
                if exchange.head is None:
                    if not client.gone:
                        raise self._refusal(client, exchange.error)
                    return
                patience.between_chunks(self._settings.read_timeout)
                passing = _AtOnce(client, exchange, patience, watch)
                await passing.run(self._log, development=self._settings.development)
            finally:
                exchange.abandon()
        finally:
            patience.close()

    def _refusal(self, client: Client, error: dict[str, object] | None) -> AnswerError:
        """Log why there is no answer; return what the client is told."""
        if client.refusal is not None:
            return client.refusal
        error = error or {"status": 502, "detail": "the custom server gave no answer"}
        self._log.write("ERROR", str(error["detail"]), **client.ask.log_fields)
        return AnswerError(int(str(error["status"])), error["detail"], of_model=True)


class _AtOnce(Passing):
    """A stream whose head is not kept for its first bytes: the server may have sent it long before them."""

    async def _body(self, *, bare: bool) -> None:
        if isinstance(self._exchange, Forwarded) and self._exchange.silent:
            self._client.connection.transport.flush()  # type: ignore[attr-defined]  # a Joining
        await super()._body(bare=bare)
