"""Which path means which method of the model, also under the paths of the platform that Truss models run on."""

from __future__ import annotations

import re

from truss_server.edge.dialects import ROUTES, Dialect

WEBSOCKETS = frozenset({"/websocket", "/v1/websocket"})

_ALIAS = re.compile(r"/invocations|/v1/models/[^/]+:predict(_binary)?")
_ENVIRONMENT = re.compile(r"/(?:environments/(?P<name>[^/]+)|(?P<fixed>production|development))(?P<rest>/.*)")
_DIRECT = frozenset({"/predict", "/websocket"})


class WrongEnvironmentError(Exception):
    """The path names an environment that is not this deployment's."""


def find_route(path: str) -> tuple[str, Dialect] | None:
    """Return the method and dialect of a path, None where it is none of the model's."""
    found = ROUTES.get(path)
    if found is None and _ALIAS.fullmatch(path):
        return ROUTES["/predict"]
    return found


def strip_environment(path: str, environment: str) -> str:
    """Return a path without its environment: `/environments/{env}/predict` is `/predict`.

    `/environments/{env}/`, `/production/` and `/development/` lead to `predict`, `websocket`, and, behind `sync/`, to
    any route.

    Raises:
        WrongEnvironmentError: It is another environment's.
    """
    match = _ENVIRONMENT.fullmatch(path)
    if match is None:
        return path
    rest = match["rest"]
    if rest.startswith("/sync/"):
        rest = rest[len("/sync") :]
    elif rest not in _DIRECT:
        return path
    named = match["name"] or match["fixed"]
    if named != environment:
        raise WrongEnvironmentError(f"this is the deployment in the environment {environment}, not {named}")
    return rest
