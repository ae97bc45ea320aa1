"""The ASGI application: the model's routes in front, FastAPI for everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from truss_server import __version__
from truss_server.edge.asks import Ask
from truss_server.edge.dialects import PLAIN, ROUTES
from truss_server.edge.errors import AnswerError
from truss_server.edge.failures import render_error
from truss_server.edge.openapi import add_model
from truss_server.edge.routes import WEBSOCKETS, WrongPlaceError, find_dialect, find_route, strip_environment
from truss_server.edge.websockets import WRONG_PLACE, close_websocket
from truss_server.protocol import LIVE, READY

if TYPE_CHECKING:
    from starlette.requests import Request

    from truss_server.edge.asgi import Message, Receive, Scope, Send
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
        if scope.get("method") == "HEAD":
            scope["method"] = "GET"  # uvicorn, which knows better, leaves out the body
        ask = scope["ask"] = Ask(scope, PLAIN)
        named = (b"x-request-id", ask.request_id.encode("latin-1"))

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start" and named not in message["headers"]:
                message["headers"] = [*message["headers"], named]
            await send(message)

        try:
            if scope["type"] == "http":
                ask.check_head()
            await self._rest(scope, receive, send_named)
        except AnswerError as exc:
            await refuse(scope, send, exc)


async def refuse(scope: Scope, send: Send, error: AnswerError) -> None:
    """Send an error answer in the shape of its path."""
    dialect = find_dialect(scope["path"])
    headers, body = render_error(error, dialect, Ask(scope, dialect))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def create_api(settings: Settings, supervisor: Supervisor, metrics: Metrics) -> FastAPI:
    """Make the FastAPI application for health, models, metrics, OpenAPI and documentation."""
    api = FastAPI(
        title=settings.manifest.model,
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    document = api.openapi
    api.openapi = lambda: add_model(document(), supervisor.methods)  # type: ignore[method-assign]
    _add_health(api, settings, supervisor)
    _add_models(api, settings, supervisor)

    @api.get("/metrics", include_in_schema=False)
    @api.get("/metrics/", include_in_schema=False)
    async def prometheus() -> Response:
        return Response(metrics.join(await supervisor.ask_metrics()), media_type=PROMETHEUS)

    @api.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:  # also below /environments/{env}/sync
        return get_swagger_ui_html(openapi_url="openapi.json", title=settings.manifest.model)

    @api.exception_handler(HTTPException)
    async def same_shape(request: Request, exc: Any) -> Response:
        given = tuple((name.lower().encode(), value.encode()) for name, value in (exc.headers or {}).items())
        error = AnswerError(exc.status_code, exc.detail, given)
        headers, body = render_error(error, find_dialect(request.scope["path"]), request.scope["ask"])
        response = Response(body, exc.status_code)
        response.raw_headers = headers
        return response

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
