"""In front of a server of the author's own: its routes as they are, and few that the edge answers itself."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from truss_server.edge.app import refuse
from truss_server.edge.errors import AnswerError
from truss_server.edge.forward import ForwardRoutes, find_target
from truss_server.edge.routes import WrongPlaceError, find_dialect
from truss_server.edge.tunnel import Tunnel, Tunnels
from truss_server.protocol import LIVE, READY

if TYPE_CHECKING:
    from collections.abc import Callable

    from truss_server.edge.admission import Slots
    from truss_server.edge.app import Application
    from truss_server.edge.asgi import Receive, Scope, Send
    from truss_server.edge.logs import Log
    from truss_server.edge.metrics import Metrics
    from truss_server.edge.settings import Settings
    from truss_server.edge.supervisor import Supervisor

EDGE_ROUTES = frozenset((LIVE, READY, "/health/startup", "/metrics"))
"""Routes that the edge answers itself, to GET and HEAD."""

_READING = ("GET", "HEAD")


class CustomApplication:
    """Routes everything to the server but what the edge answers itself.

    Args:
        environment: Of the deployment.
        predict_endpoint: What `/predict` means.
        calls: Answers what is for the server.
        edge: Answers the rest.
    """

    def __init__(
        self, environment: str, predict_endpoint: str, calls: ForwardRoutes, edge: Application
    ) -> None:
        self.direct = calls.direct  # asked by the protocol; nothing here is a direct call
        self._environment = environment
        self._predict_endpoint = predict_endpoint
        self._calls = calls
        self._edge = edge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; part of ASGI."""
        path = scope["raw_path"].decode("ascii")
        try:
            name, target = find_target(path, self._environment, self._predict_endpoint)
        except WrongPlaceError as exc:
            await refuse(scope, send, AnswerError(404, str(exc)))
            return
        if target in EDGE_ROUTES and scope["method"] in _READING:
            await self._edge({**scope, "path": target}, receive, send)
        else:
            asked = {**scope, "raw_path": target.encode("ascii")}
            await self._calls(name, find_dialect(path), asked, receive, send)


def put_in_front(
    edge: Application, *, settings: Settings, supervisor: Supervisor, slots: Slots, metrics: Metrics, log: Log
) -> tuple[CustomApplication, Callable[..., Tunnel]]:
    """Return the application for requests, and what takes websockets, in front of a server of the author's own.

    Args:
        edge: Answers what is the edge's.
        settings: Of the edge.
        supervisor: Knows the server.
        slots: Admit calls.
        metrics: Count and time them.
        log: Where failures and accesses go.
    """
    routes = ForwardRoutes(settings, supervisor, slots, metrics, log)
    predict_endpoint = settings.manifest.config["docker_server"]["predict_endpoint"]
    app = CustomApplication(settings.environment, predict_endpoint, routes, edge)
    return app, partial(Tunnel, Tunnels(settings, supervisor, slots, metrics, log))
