"""The ASGI application: the model's routes in front, then what probes ask, and FastAPI for everything else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from truss_server.edge.asks import Ask
from truss_server.edge.dialects import PLAIN, ROUTES
from truss_server.edge.errors import AnswerError
from truss_server.edge.failures import render_error
from truss_server.edge.routes import WEBSOCKETS, WrongPlaceError, find_dialect, find_route, strip_environment
from truss_server.edge.websockets import WRONG_PLACE, close_websocket

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI

    from truss_server.edge.asgi import Message, Receive, Scope, Send
    from truss_server.edge.calls import ModelRoutes
    from truss_server.edge.probes import Probes
    from truss_server.edge.websockets import WebsocketRoute


class Application:
    """Routes a request by its path: a dictionary lookup for the model's routes and for probes, FastAPI for the rest.

    FastAPI, which takes half a second and 20 MB, is imported on a thread when it is first asked for.

    Args:
        environment: Of the deployment.
        calls: Answers the model's paths.
        websocket: Answers websockets.
        probes: Answer health and metrics.
        create_rest: Makes what answers everything else.

    Attributes:
        direct: Begins calls that may need no ASGI; the protocol asks it first.
    """

    def __init__(
        self,
        environment: str,
        calls: ModelRoutes,
        websocket: WebsocketRoute,
        probes: Probes,
        create_rest: Callable[[], FastAPI],
    ) -> None:
        self.direct = calls.direct
        self._environment = environment
        self._calls = calls
        self._websocket = websocket
        self._probes = probes
        self._create_rest = create_rest
        self._rest: asyncio.Task[FastAPI] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; part of ASGI."""
        route = ROUTES.get(scope["path"]) if scope["type"] == "http" else None
        if route is not None:
            await self._calls(*route, scope, receive, send)
        else:
            await self._seldom(scope, receive, send)

    async def _seldom(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a path that has to be looked at more closely."""
        http = scope["type"] == "http"
        try:
            path = strip_environment(scope["path"], self._environment)
        except WrongPlaceError as exc:
            if http:
                await refuse(scope, send, AnswerError(404, str(exc)))
            else:
                await receive()
                await close_websocket(send, WRONG_PLACE, str(exc))
            return
        route = find_route(path) if http else None
        if route is not None:
            await self._calls(*route, scope, receive, send)
        elif not http and path in WEBSOCKETS:
            await self._websocket(scope, receive, send)
        else:
            await self._answer({**scope, "path": path, "raw_path": path.encode()}, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is no call of the model."""
        ask = scope["ask"] = Ask(scope, PLAIN)
        named = (b"x-request-id", ask.request_id.encode("latin-1"))

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start" and named not in message["headers"]:
                message["headers"] = [*message["headers"], named]
            await send(message)

        path, method = scope["path"], scope.get("method")
        try:
            if method is not None:
                ask.check_head()
            if path in self._probes.routes and method in ("GET", "HEAD"):
                response = await self._probes.routes[path]()
                await response(scope, receive, send_named)
            else:
                await self._ask_rest(scope, receive, send_named)
        except AnswerError as exc:
            await refuse(scope, send, exc)

    async def _ask_rest(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("method") == "HEAD":
            scope["method"] = "GET"  # uvicorn, which knows better, leaves out the body
        if self._rest is None:
            self._rest = asyncio.create_task(asyncio.to_thread(self._create_rest))
        api = await asyncio.shield(self._rest)  # who leaves meanwhile takes it from nobody else
        await api(scope, receive, send)


async def refuse(scope: Scope, send: Send, error: AnswerError) -> None:
    """Send an error answer in the shape of its path."""
    dialect = find_dialect(scope["path"])
    headers, body = render_error(error, dialect, Ask(scope, dialect))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
