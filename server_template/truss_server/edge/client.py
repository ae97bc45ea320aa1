"""The client of one request: its body, its disconnect, and what it is sent."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from truss_server.edge.errors import GONE, AnswerError, gone
from truss_server.edge.failures import render_error
from truss_server.edge.incoming import Incoming, Intake, gathered
from truss_server.edge.unframed import VERSION, Unframed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

    from truss_server.edge.asgi import Receive, Scope, Send
    from truss_server.edge.asks import Ask
    from truss_server.edge.exchange import Exchange
    from truss_server.edge.http import Protocol
    from truss_server.edge.patience import Patience

T = TypeVar("T")


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


class Client:
    """One HTTP request's client: its body, its disconnect, and what it is sent.

    Args:
        scope: ASGI scope.
        receive: ASGI receive channel.
        send: ASGI send channel.
        ask: What its headers ask for.
        intake: Limits its body.

    Attributes:
        ask: What its headers ask for.
        gone: Whether the client left.
        status: Of its answer, as far as one was sent.
        generation: Of the code that answers, to be named in the answer; None where it is not to be.
        refusal: Why the call was ended although the client is there.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, ask: Ask, intake: Intake) -> None:
        self.scope = scope
        self.send = send if scope["http_version"] != VERSION else Unframed(scope, send)
        self.ask = ask
        self.status = GONE
        self.gone = False
        self.generation: int | None = None
        self.refusal: AnswerError | None = None
        self._receive = receive
        self._intake = intake
        self._patience: Patience | None = None
        self._exchange: Exchange | None = None
        self._waiting: asyncio.Task[Any] | None = None
        self._reading = self._listening = False
        self._incoming: Incoming | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def connection(self) -> Protocol:
        """The connection it came on."""
        connection: Protocol = self.scope["state"]["connection"]
        return connection

    def request_scope(self) -> dict[str, Any]:
        """Return the part of the ASGI scope that crosses the wire."""
        scope = {key: self.scope.get(key) for key in _SCOPE_KEYS}
        scope["headers"] = [(bytes(name), bytes(value)) for name, value in self.scope["headers"]]
        scope["type"] = "http"
        return scope

    async def read_body(self) -> bytes:
        """Read the whole body.

        Raises:
            AnswerError: It is too large or too slow, or the client left.
        """
        self._reading = True
        self._intake.late.add(self)
        message = await self._receive()
        self._reading = False
        if message["type"] == "http.request" and not message.get("more_body"):
            body: bytes = message.get("body", b"")
            if len(body) <= self._intake.small and self._incoming is None:
                return body
        if self._incoming is None:
            self._incoming = gathered(self, self._intake)
        body = await self._incoming.gather(message, self._receive)
        self.connection.flow.resume_reading()
        self._intake.late.add(self)
        return body

    def take_upload(self) -> None:
        """Have the model read the body as it comes."""
        self._incoming = Incoming(self, self._intake)
        self._start(self._incoming.take(self._receive))
        self.begin()

    def begin(self) -> None:
        """Look after a request that takes its time: its client may leave, or lose patience."""
        self._intake.late.remove(self)
        if self._reading:
            self._incoming = self._incoming or gathered(self, self._intake)
            return
        if self._patience is not None:
            self._patience.begin()
        if self._listening:
            return
        self._listening = True
        connection = self.connection
        connection.on_lost = self._left
        if connection.transport.is_closing():
            connection.running.disconnected = True  # as uvicorn is told in a moment
            self._left()

    def count(self, patience: Patience) -> None:
        """From now on, the model is given so long."""
        self._patience = patience
        if self._listening:
            patience.begin()

    def attach(self, exchange: Exchange) -> None:
        """Name the call that takes the upload, and that the disconnect or the end of patience ends."""
        self._exchange = exchange
        if self.gone or self.refusal is not None:
            exchange.abandon()
        elif self._tasks and self._incoming is not None:
            self._start(self._incoming.pass_on(exchange))

    def sent(self) -> None:
        """Note that the model has the body."""
        if self._incoming is not None:
            self._incoming.close()

    async def unless_gone(self, waiting: Awaitable[T]) -> T:
        """Wait for something that a disconnect ends.

        Raises:
            AnswerError: The client left, sent too much, or waited too long.
        """
        self._waiting = asyncio.current_task()
        self.begin()
        try:
            return await waiting
        except asyncio.CancelledError:
            if self.refusal is not None:
                raise self.refusal from None
            if self.gone:
                raise gone() from None
            raise
        finally:
            self._waiting = None

    def end(self, refusal: AnswerError) -> None:
        """End the request, although the client is there."""
        self.refusal = self.refusal or refusal
        self._stop()
        if self._incoming is not None and self._exchange is None and self._waiting is None:
            self.connection.wake()

    def lose_patience(self, seconds: float) -> None:
        """End the request, because nothing has come of it for so long."""
        what = "the model was silent" if self._exchange is not None else "it waited for its turn"
        self.end(AnswerError(504, f"{what} for {seconds:g} s"))

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
        """Stop looking after the request."""
        self._intake.late.remove(self)
        if self._incoming is not None:
            self._incoming.close()
        if self._listening:
            self.connection.on_lost = None
        for task in self._tasks:
            task.cancel()

    async def refuse(self, error: AnswerError) -> None:
        """Send an error answer."""
        self.close()
        if self.gone:
            return
        self.status = error.status
        headers, body = render_error(error, self.ask.dialect, self.ask)
        await self.send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def respond(self, body: bytes, content_type: bytes = b"application/json") -> None:
        """Send a whole answer."""
        await self.start(200, [(b"content-type", content_type), (b"content-length", b"%d" % len(body))])
        await self.send({"type": "http.response.body", "body": body})

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the head of an answer."""
        if not self.gone:
            self.status = status
        headers.append((b"x-request-id", self.ask.request_id.encode("latin-1", "replace")))
        if self.generation is not None:
            headers.append((b"x-truss-generation", b"%d" % self.generation))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
