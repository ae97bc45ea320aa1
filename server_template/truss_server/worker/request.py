"""The request object a method asked for: starlette's where the model's code uses starlette, else a small one."""

from __future__ import annotations

import json
import sys
import threading
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from truss_server.worker.body import Body
    from truss_server.worker.calls import Call


def make_request(call: Call, annotation: type | None) -> Any:
    """Build the request of a call.

    Args:
        call: With the scope, the body and, where it was read for the inputs already, the whole body.
        annotation: The class the method's signature names; None where the parameter is just called `request`.

    Returns:
        An instance of `annotation`; else `starlette.requests.Request` where the model's code imported starlette;
        else a `PlainRequest`. Nothing is imported for it.
    """
    scope, body = call.request, call.body
    if scope is None or body is None:
        return None
    starlette = sys.modules.get("starlette.requests")
    if annotation is not None:
        request = annotation(scope, body.receive)
    elif starlette is not None:
        request = starlette.Request(scope, body.receive)
    else:
        request = PlainRequest(scope, body)
    if call.whole_body is not None:
        request._body = call.whole_body  # noqa: SLF001 - where starlette, too, keeps a body that was read
    request.state.watch_disconnect = partial(watch_disconnect, body)
    return request


@contextmanager
def watch_disconnect(body: Body) -> Iterator[threading.Event]:
    """Give an event that is set when the client leaves, for code that cannot await: `request.state.watch_disconnect()`.

    Within the block the model ends its work itself; it is not interrupted.
    """
    left = threading.Event()
    body.on_disconnect(left.set)
    yield left


class Headers:
    """Request headers: a read-only mapping whose keys ignore case; the first of several values counts."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self.raw = raw

    def __getitem__(self, key: str) -> str:
        wanted = key.lower().encode("latin-1")
        for name, value in self.raw:
            if name == wanted:
                return value.decode("latin-1")
        raise KeyError(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the header's value, or `default`."""
        try:
            return self[key]
        except KeyError:
            return default

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def keys(self) -> list[str]:
        """Return the names, lower case."""
        return [name.decode("latin-1") for name, _ in self.raw]

    def items(self) -> list[tuple[str, str]]:
        """Return names and values, all of them, in the client's order."""
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.raw]


class PlainConnection:
    """What a request and a websocket have in common, in an environment without starlette.

    Args:
        scope: ASGI scope.
    """

    def __init__(self, scope: dict[str, Any]) -> None:
        self.scope = scope
        self.headers = Headers(scope["headers"])
        self.query_params: dict[str, str] = dict(parse_qsl(scope["query_string"].decode("latin-1"), True))
        self.state = SimpleNamespace()

    @property
    def url(self) -> str:
        """The path and query the client asked for."""
        query = self.scope["query_string"].decode("latin-1")
        path: str = self.scope["path"]
        return f"{path}?{query}" if query else path


class PlainRequest(PlainConnection):
    """What models use of `starlette.requests.Request`, in an environment without starlette.

    Args:
        scope: ASGI scope.
        body: Where the body and the disconnect come from.
    """

    _body: bytes

    def __init__(self, scope: dict[str, Any], body: Body) -> None:
        super().__init__(scope)
        self.method: str = scope["method"]
        self._source = body

    async def stream(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes in.

        Raises:
            ConnectionError: The client left before its end.
        """
        if hasattr(self, "_body"):
            yield self._body
            return
        more = True
        while more:
            message = await self._source.receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError("the client left before its request was complete")
            more = message["more_body"]
            yield message["body"]

    async def body(self) -> bytes:
        """Return the whole body."""
        if not hasattr(self, "_body"):
            self._body = b"".join([piece async for piece in self.stream()])
        return self._body

    async def json(self) -> Any:
        """Return the parsed body."""
        return json.loads(await self.body())

    async def is_disconnected(self) -> bool:
        """Tell whether the client left, without waiting."""
        return self._source.is_disconnected()
