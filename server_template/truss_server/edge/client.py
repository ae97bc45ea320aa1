"""The client of one request: its body, its disconnect, and what it is sent."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from truss_server import wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

    from truss_server.edge.asgi import Receive, Scope, Send
    from truss_server.edge.asks import Ask
    from truss_server.edge.dialects import Dialect
    from truss_server.edge.late import Late
    from truss_server.edge.link import Exchange
    from truss_server.edge.patience import Patience

T = TypeVar("T")

GONE = 499
"""Status, in logs and metrics, of a request whose client left before its answer began."""

_UPLOAD_MESSAGES = 4  # of at most some 256 KiB each, held for a model that has not begun to read them

_BODILESS = (204, 304)

_SCOPE_KEYS = (
    "http_version",
    "method",
    "scheme",
    "path",
    "raw_path",
    "query_string",
    "root_path",
    "client",
    "server",
)


class AnswerError(Exception):
    """Ends a request with an error status.

    Args:
        status: HTTP status.
        message: Text, or any JSON value.
        headers: More response headers.
        extra: More members of the error body.
    """

    def __init__(
        self,
        status: int,
        message: Any,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers
        self.extra = extra or {}


class Client:
    """One HTTP request's client: its body, its disconnect, and what it is sent.

    Args:
        scope: ASGI scope.
        receive: ASGI receive channel.
        send: ASGI send channel.
        dialect: Shape of errors.
        ask: What its headers ask for.

    Attributes:
        gone: Whether the client left.
        status: Of its answer, as far as one was sent.
        generation: Of the code that answers, to be named in the answer; None where it is not to be.
        refusal: Why the call was ended although the client is there.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, dialect: Dialect, ask: Ask) -> None:
        self.scope = scope
        self.send = send
        self.dialect = dialect
        self.ask = ask
        self.status = GONE
        self.gone = False
        self.generation: int | None = None
        self.refusal: AnswerError | None = None
        self._receive = receive
        self._late: Late | None = None
        self._limit = 0
        self._patience: Patience | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._upload: asyncio.Queue[tuple[bytes, int]] | None = None
        self._exchange: Exchange | None = None
        self._waiting: asyncio.Task[Any] | None = None

    def request_scope(self) -> dict[str, Any]:
        """Return the part of the ASGI scope that crosses the wire."""
        scope = {key: self.scope.get(key) for key in _SCOPE_KEYS}
        scope["headers"] = [(bytes(name), bytes(value)) for name, value in self.scope["headers"]]
        scope["type"] = "http"
        return scope

    async def read_body(self, limit: int) -> bytes:
        """Read the whole body.

        Raises:
            AnswerError: It is larger than `limit`, or the client left.
        """
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            body: bytes = message.get("body", b"")
            if len(body) > limit:
                raise too_large(limit)
            return body
        parts, size = [], 0
        while True:
            if message["type"] == "http.disconnect":
                self.gone = True
                raise _gone()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limit:
                raise too_large(limit)
            if not message.get("more_body"):
                return b"".join(parts)
            message = await self._receive()

    def watch(self, late: Late, *, upload: bool, limit: int) -> None:
        """Wait for the disconnect, late, and pass an upload on, at once, as the model reads it."""
        self._limit = limit
        self._late = late
        if upload:
            self._upload = asyncio.Queue(_UPLOAD_MESSAGES)
            self.begin()
        else:
            late.add(self)

    def begin(self) -> None:
        """Begin to wait, unless that is done, and have others begin to lose patience."""
        if self._tasks:
            return
        if self._late is not None:
            self._late.remove(self)
        self._start(self._watch(self._limit))
        if self._patience is not None:
            self._patience.begin()

    def attach(self, exchange: Exchange, patience: Patience) -> None:
        """Name the call that takes the upload, and that the disconnect or the end of patience ends."""
        self._exchange = exchange
        self._patience = patience
        if self._tasks:
            patience.begin()
        if self.gone or self.refusal is not None:
            exchange.abandon()
        elif self._upload is not None:
            self._start(_pass_on(self._upload, exchange))

    async def unless_gone(self, waiting: Awaitable[T]) -> T:
        """Wait for something that a disconnect ends.

        Raises:
            AnswerError: The client left, or sent too much.
        """
        self._waiting = asyncio.current_task()
        try:
            return await waiting
        except asyncio.CancelledError:
            if self.refusal is not None:
                raise self.refusal from None
            if self.gone:
                raise _gone() from None
            raise
        finally:
            self._waiting = None

    async def _watch(self, limit: int) -> None:
        upload, size = self._upload, 0
        while (message := await self._receive())["type"] != "http.disconnect":
            if upload is None:
                continue
            body = message.get("body", b"")
            size += len(body)
            if size > limit:
                self.refusal = too_large(limit)
                self._stop()
                return
            more = message.get("more_body", False)
            connection = self.scope["state"]["connection"]
            connection.on_lost = self._left  # nobody receives while this waits for who takes the body
            try:
                await upload.put((body, 0 if more else wire.LAST))
            finally:
                connection.on_lost = None
            if not more:
                upload = None
        self._left()

    def _left(self) -> None:
        self.gone = True
        self._stop()

    def _stop(self) -> None:
        """End what goes on for this client."""
        if self._waiting is not None:
            self._waiting.cancel()
        if self._exchange is not None:
            self._exchange.abandon()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    def close(self) -> None:
        """Stop waiting for the disconnect."""
        if self._late is not None:
            self._late.remove(self)
        for task in self._tasks:
            task.cancel()

    async def refuse(self, error: AnswerError) -> None:
        """Send an error answer."""
        self.close()
        if not self.gone:
            await self.respond(
                error.status, self.dialect.error(error.status, error.message, error.extra), error.headers
            )

    async def respond(
        self,
        status: int,
        body: bytes,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        content_type: bytes = b"application/json",
    ) -> None:
        """Send a whole answer."""
        if status in _BODILESS:
            body, content = b"", []
        else:
            content = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
        await self.start(status, [*content, *headers])
        await self.send({"type": "http.response.body", "body": body})

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the head of an answer."""
        self.status = status
        headers.append((b"x-request-id", self.ask.request_id.encode("latin-1", "replace")))
        if self.generation is not None:
            headers.append((b"x-truss-generation", b"%d" % self.generation))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})


async def _pass_on(upload: asyncio.Queue[tuple[bytes, int]], exchange: Exchange) -> None:
    last = 0
    while not last:
        body, last = await upload.get()
        await exchange.send(wire.BODY, body, last)


def too_large(limit: int) -> AnswerError:
    """Return the error for a body over the limit.

    The connection stays open: the rest of the body is read and thrown away, or else a client that is still sending
    would meet a reset connection before it sees this answer.
    """
    return AnswerError(413, f"the request body is larger than {limit} bytes")


def _gone() -> AnswerError:
    return AnswerError(GONE, "the client left before its request was answered")
