"""Which path means which method of the model, also under the paths of the platform that Truss models run on."""

from __future__ import annotations

import re

from truss_server.edge.dialects import ANTHROPIC, OPENAI, PLAIN, RESPONSES, ROUTES, Dialect

WEBSOCKETS = frozenset({"/websocket", "/v1/websocket"})

_ALIAS = re.compile(r"/invocations|/v1/models/[^/]+:predict(_binary)?")
_ENVIRONMENT = re.compile(r"/(?:environments/(?P<name>[^/]+)|(?P<fixed>production|development))(?P<rest>/.*)")
_DIRECT = frozenset({"/predict", "/websocket"})


_FAMILIES = (
    ("/v1/messages", ANTHROPIC),
    ("/v1/responses", RESPONSES),
    ("/v1/models/", PLAIN),
    ("/v1/", OPENAI),
)


class WrongPlaceError(Exception):
    """The path names an environment that is not this deployment's, or nothing that is below one."""


def find_route(path: str) -> tuple[str, Dialect] | None:
    """Return the method and dialect of a path, None where it is none of the model's."""
    found = ROUTES.get(path)
    if found is None and _ALIAS.fullmatch(path):
        return ROUTES["/predict"]
    return found


def find_dialect(path: str) -> Dialect:
    """Return the shape in which errors are told on a path, whether or not it leads anywhere."""
    path = _ENVIRONMENT.sub(r"\g<rest>", path).removeprefix("/sync")
    return next((dialect for prefix, dialect in _FAMILIES if path.startswith(prefix)), PLAIN)


def strip_environment(path: str, environment: str) -> str:
    """Return a path without its environment: `/environments/{env}/predict` is `/predict`.

    `/environments/{env}/`, `/production/` and `/development/` lead to `predict`, `websocket`, and, behind `sync/`, to
    any route.

    Raises:
        WrongPlaceError: It is another environment's, or there is nothing of that name below one.
    """
    match = _ENVIRONMENT.fullmatch(path)
    if match is None:
        return path
    named, rest = match["name"] or match["fixed"], match["rest"]
    if named != environment:
        raise WrongPlaceError(f"this is the deployment in the environment {environment}, not {named}")
    if rest.startswith("/sync/"):
        return rest[len("/sync") :]
    if rest not in _DIRECT:
        text = (
            f"below the environment {environment} there are /predict, /websocket and /sync/..., and no {rest}"
        )
        raise WrongPlaceError(text)
    return rest
