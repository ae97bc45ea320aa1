"""The ASGI application: the model's routes in front, FastAPI for everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from truss_server import __version__
from truss_server.protocol import LIVE, READY

if TYPE_CHECKING:
    from starlette.requests import Request

    from truss_server.edge.asgi import Receive, Scope, Send
    from truss_server.edge.calls import ModelRoutes
    from truss_server.edge.settings import Settings
    from truss_server.edge.supervisor import Supervisor


class Application:
    """Routes a request by its path: a dictionary lookup for the model's routes, FastAPI for the rest.

    Args:
        settings: Of the edge.
        supervisor: Knows whether the model is ready.
        routes: Answers the model's paths.
    """

    def __init__(self, settings: Settings, supervisor: Supervisor, routes: ModelRoutes) -> None:
        self._routes = routes
        self._rest = create_api(settings, supervisor)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; part of ASGI."""
        if scope["type"] == "http" and self._routes.handles(scope["path"]):
            await self._routes(scope, receive, send)
        else:
            await self._rest(scope, receive, send)


def create_api(settings: Settings, supervisor: Supervisor) -> FastAPI:
    """Make the FastAPI application for health, OpenAPI and documentation."""
    api = FastAPI(title=settings.manifest.model, version=__version__)

    @api.get(LIVE, summary="The server lives")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @api.get(
        READY, summary="The model is loaded", responses={503: {"description": "It is not, or not any more"}}
    )
    async def ready() -> JSONResponse:
        facts = {
            "status": supervisor.status,
            "model": settings.manifest.model,
            "environment": settings.environment,
            "digest": settings.manifest.digest,
        }
        if supervisor.link is None or supervisor.status != "ready":
            return JSONResponse({"error": "the model is not ready", **facts}, status_code=503)
        return JSONResponse(facts)

    @api.exception_handler(HTTPException)
    async def same_shape(_: Request, exc: Any) -> JSONResponse:
        return JSONResponse({"error": exc.detail}, status_code=exc.status_code, headers=exc.headers)

    return api
