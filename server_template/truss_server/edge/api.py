"""FastAPI: the list of models, OpenAPI and documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from truss_server import __version__
from truss_server.edge.errors import AnswerError
from truss_server.edge.failures import render_error
from truss_server.edge.openapi import add_model
from truss_server.edge.routes import find_dialect
from truss_server.protocol import LIVE, READY

if TYPE_CHECKING:
    from starlette.requests import Request

    from truss_server.edge.probes import Probes
    from truss_server.edge.settings import Settings
    from truss_server.edge.supervisor import Supervisor


def create_api(settings: Settings, supervisor: Supervisor, probes: Probes) -> FastAPI:
    """Make the FastAPI application for models, OpenAPI and documentation; the latter two know the probes too."""
    api = FastAPI(
        title=settings.manifest.model,
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    document = api.openapi
    api.openapi = lambda: add_model(document(), supervisor.methods)  # type: ignore[method-assign]
    _add_health(api, probes)
    _add_models(api, settings, supervisor)

    # Addresses are relative: the page is also below /environments/{env}/sync, and its parts come from here alone.
    @api.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=settings.manifest.model,
            swagger_js_url="docs/swagger-ui-bundle.js",
            swagger_css_url="docs/swagger-ui.css",
            swagger_favicon_url="docs/favicon.png",
        )

    api.mount("/docs", StaticFiles(packages=[("fastapi_offline", "static")]))

    @api.exception_handler(HTTPException)
    async def same_shape(request: Request, exc: Any) -> Response:
        given = tuple((name.lower().encode(), value.encode()) for name, value in (exc.headers or {}).items())
        error = AnswerError(exc.status_code, exc.detail, given)
        headers, body = render_error(error, find_dialect(request.scope["path"]), request.scope["ask"])
        response = Response(body, exc.status_code)
        response.raw_headers = headers
        return response

    return api


def _add_health(api: FastAPI, probes: Probes) -> None:
    api.get("/", summary="The server lives")(probes.root)
    api.get(LIVE, summary="The server lives")(probes.live)
    api.get(READY, summary="The model is loaded and healthy", responses={503: {"description": "It is not"}})(
        probes.ready
    )
    api.get(
        "/health/startup", summary="The model was loaded once", responses={503: {"description": "Not yet"}}
    )(probes.startup)


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
