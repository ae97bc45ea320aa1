"""What machines ask again and again, answered without FastAPI: does it live, is it ready, what has it counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response

from truss_server.protocol import LIVE, READY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from truss_server.edge.metrics import Metrics
    from truss_server.edge.settings import Settings
    from truss_server.edge.supervisor import Supervisor

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Probes:
    """Health and metrics.

    Args:
        settings: Of the edge.
        supervisor: Knows the worker.
        metrics: Are shown.

    Attributes:
        routes: What answers GET, by path.
    """

    def __init__(self, settings: Settings, supervisor: Supervisor, metrics: Metrics) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._metrics = metrics
        self.routes: dict[str, Callable[[], Awaitable[Response]]] = {
            "/": self.root,
            LIVE: self.live,
            READY: self.ready,
            "/health": self.ready,
            "/health/startup": self.startup,
            "/metrics": self.metrics,
            "/metrics/": self.metrics,
        }

    async def root(self) -> JSONResponse:
        """Tell that the server lives."""
        return JSONResponse(True)

    async def live(self) -> JSONResponse:
        """Tell that the server lives, and a server of the author's own in it."""
        if await self._supervisor.alive():
            return JSONResponse({"status": "live"})
        return JSONResponse({"error": "the custom server does not say that it lives"}, status_code=503)

    async def ready(self) -> JSONResponse:
        """Tell whether the model is loaded and healthy."""
        healthy = await self._supervisor.healthy()
        facts = {
            "status": self._supervisor.status,
            "model": self._settings.manifest.model,
            "environment": self._settings.environment,
            "digest": self._supervisor.version.manifest.digest,
            "generation": self._supervisor.generation,
        }
        if healthy:
            return JSONResponse(facts)
        return JSONResponse({"error": "the model is not ready", **facts}, status_code=503)

    async def startup(self) -> JSONResponse:
        """Tell whether the model was loaded once."""
        status = 200 if self._supervisor.was_ready else 503
        return JSONResponse({"status": self._supervisor.status}, status_code=status)

    async def metrics(self) -> Response:
        """Show the edge's metrics and the model's own."""
        text = self._metrics.join(await self._supervisor.ask_metrics())
        return Response(text, media_type=PROMETHEUS)
