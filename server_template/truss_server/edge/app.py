"""The ASGI application: the model's routes in front, FastAPI for everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from truss_server import __version__
from truss_server.edge.dialects import ROUTES
from truss_server.edge.openapi import add_model
from truss_server.edge.routes import WEBSOCKETS, WrongEnvironmentError, find_route, strip_environment
from truss_server.edge.websockets import WRONG_PLACE, close_websocket
from truss_server.protocol import LIVE, READY

if TYPE_CHECKING:
    from starlette.requests import Request

    from truss_server.edge.asgi import Receive, Scope, Send
    from truss_server.edge.calls import ModelRoutes
    from truss_server.edge.metrics import Metrics
    from truss_server.edge.settings import Settings
    from truss_server.edge.supervisor import Supervisor
    from truss_server.edge.websockets import WebsocketRoute

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Application:
    """Routes a request by its path: a dictionary lookup for the model's routes, FastAPI for the rest.

    Args:
        environment: Of the deployment.
        calls: Answers the model's paths.
        websocket: Answers websockets.
        rest: Answers everything else.
    """

    def __init__(
        self, environment: str, calls: ModelRoutes, websocket: WebsocketRoute, rest: FastAPI
    ) -> None:
        self._environment = environment
        self._calls = calls
        self._websocket = websocket
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; part of ASGI."""
        route = ROUTES.get(scope["path"]) if scope["type"] == "http" else None
        if route is not None:
            await self._calls(*route, scope, receive, send)
        else:
            await self._seldom(scope, receive, send)

    async def _seldom(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a path that has to be looked at more closely."""
        try:
            path = strip_environment(scope["path"], self._environment)
        except WrongEnvironmentError as exc:
            if scope["type"] == "http":
                await JSONResponse({"error": str(exc)}, status_code=404)(scope, receive, send)
            else:
                await receive()
                await close_websocket(send, WRONG_PLACE, str(exc))
            return
        route = find_route(path) if scope["type"] == "http" else None
        if route is not None:
            await self._calls(*route, scope, receive, send)
        elif scope["type"] == "websocket" and path in WEBSOCKETS:
            await self._websocket(scope, receive, send)
        else:
            rest = {**scope, "path": path, "raw_path": path.encode()}
            if rest.get("method") == "HEAD":
                rest["method"] = "GET"  # uvicorn, which knows better, leaves out the body
            await self._rest(rest, receive, send)


def create_api(settings: Settings, supervisor: Supervisor, metrics: Metrics) -> FastAPI:
    """Make the FastAPI application for health, models, metrics, OpenAPI and documentation."""
    api = FastAPI(title=settings.manifest.model, version=__version__)
    document = api.openapi
    api.openapi = lambda: add_model(document(), supervisor.methods)  # type: ignore[method-assign]
    _add_health(api, settings, supervisor)
    _add_models(api, settings, supervisor)

    @api.get("/metrics", include_in_schema=False)
    @api.get("/metrics/", include_in_schema=False)
    async def prometheus() -> Response:
        return Response(metrics.render() + await supervisor.ask_metrics(), media_type=PROMETHEUS)

    @api.exception_handler(HTTPException)
    async def same_shape(_: Request, exc: Any) -> JSONResponse:
        return JSONResponse({"error": exc.detail}, status_code=exc.status_code, headers=exc.headers)

    return api


def _add_health(api: FastAPI, settings: Settings, supervisor: Supervisor) -> None:
    async def live() -> bool:
        return True

    api.get("/", summary="The server lives")(live)

    @api.get(LIVE, summary="The server lives")
    async def live_status() -> dict[str, str]:
        return {"status": "live"}

    @api.get(READY, summary="The model is loaded and healthy", responses={503: {"description": "It is not"}})
    @api.get("/health", include_in_schema=False)
    async def ready() -> JSONResponse:
        healthy = await supervisor.healthy()
        facts = {
            "status": supervisor.status,
            "model": settings.manifest.model,
            "environment": settings.environment,
            "digest": supervisor.version.manifest.digest,
            "generation": supervisor.generation,
        }
        if healthy:
            return JSONResponse(facts)
        return JSONResponse({"error": "the model is not ready", **facts}, status_code=503)

    @api.get(
        "/health/startup", summary="The model was loaded once", responses={503: {"description": "Not yet"}}
    )
    async def startup() -> JSONResponse:
        done = supervisor.was_ready
        return JSONResponse({"status": supervisor.status}, status_code=200 if done else 503)


def _add_models(api: FastAPI, settings: Settings, supervisor: Supervisor) -> None:
    def not_ready(name: str) -> JSONResponse:
        return JSONResponse({"error": f"Model with name {name} is not ready."}, status_code=503)

    @api.get("/v1/models", summary="The model, as OpenAI's clients list it")
    async def models() -> dict[str, Any]:
        model = {"id": settings.manifest.model, "object": "model", "created": 0, "owned_by": "truss"}
        return {"object": "list", "data": [model]}

    @api.get("/v1/models/{name}/loaded", summary="The model is loaded")
    async def loaded(name: str) -> JSONResponse:
        return JSONResponse({}) if supervisor.loaded else not_ready(name)

    @api.get("/ping", summary="The model is loaded, as SageMaker asks")
    async def ping() -> JSONResponse:
        return await loaded("model")

    @api.get("/v1/models/{name}/schema", summary="Types of the model's input and output")
    async def schema(name: str) -> JSONResponse:  # noqa: ARG001 - part of the path
        if not supervisor.loaded:
            return JSONResponse({"error": "Schema not available, please try again later."}, status_code=503)
        facts = supervisor.methods.get("predict", {})
        if not (facts.get("input_schema") or facts.get("output_schema")):
            return JSONResponse({"error": "No schema found"}, status_code=404)
        keys = ("input_schema", "output_schema", "supports_streaming")
        return JSONResponse({key: facts[key] for key in keys})

    @api.get("/v1/models/{name}", summary="The model is loaded and healthy")
    async def model(name: str) -> JSONResponse:
        return JSONResponse({}) if await supervisor.healthy() else not_ready(name)
