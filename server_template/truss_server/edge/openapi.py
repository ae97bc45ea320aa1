"""The OpenAPI document: the edge's own routes, and the model's with the types its author annotated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from truss_server.edge.dialects import ROUTES

if TYPE_CHECKING:
    from collections.abc import Mapping

_ANY: dict[str, Any] = {}
_ERRORS = {
    "400": "The body is no JSON, or does not fit the model's input type",
    "413": "The body is too large",
    "429": "The model is busy; `Retry-After` says when to try again",
    "500": "The model raised an exception",
    "503": "The model is not ready",
}


def add_model(document: dict[str, Any], methods: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return an OpenAPI document with the routes of a model added.

    Args:
        document: Of the edge's own routes.
        methods: What the worker says of the model's methods: `inputs`, `input_schema`, ...
    """
    components = dict(document.get("components", {}).get("schemas", {}))
    paths = dict(document["paths"])
    for path, (name, _) in ROUTES.items():
        if name in methods:
            paths[path] = {"post": _operation(name, methods[name], components)}
    return {
        **document,
        "paths": paths,
        "components": {**document.get("components", {}), "schemas": components},
    }


def _operation(name: str, facts: Mapping[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if not facts["supports_streaming"] or facts["output_schema"]:
        content["application/json"] = {"schema": _schema(facts["output_schema"], components)}
    if facts["supports_streaming"]:
        content["text/plain"] = {"schema": {"type": "string"}}
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": f"The model's `{name}`",
        "responses": {"200": {"description": "What the model returned", "content": content}},
    }
    operation["responses"] |= {status: {"description": text} for status, text in _ERRORS.items()}
    if facts["inputs"]:
        schema = _schema(facts["input_schema"], components)
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _schema(schema: Any, components: dict[str, Any]) -> dict[str, Any]:
    """Move the definitions of a JSON schema to the document's components."""
    if schema is None:
        return _ANY
    moved: dict[str, Any] = orjson.loads(
        orjson.dumps(schema).replace(b'"#/$defs/', b'"#/components/schemas/')
    )
    components.update(moved.pop("$defs", {}))
    return moved
