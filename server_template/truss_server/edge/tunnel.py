"""Websockets of a server of the author's own: the handshake under the edge's rules, then bytes as they are."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from traceback import format_exc
from typing import TYPE_CHECKING, Any

from truss_server.edge.admission import ClosedError, OverloadedError, Slot, Slots
from truss_server.edge.asks import Ask
from truss_server.edge.dialects import PLAIN
from truss_server.edge.ends import BROKEN, SWITCHED, Pipe, ServerEnd
from truss_server.edge.errors import GONE, AnswerError
from truss_server.edge.failures import render_error
from truss_server.edge.forward import find_target
from truss_server.edge.forwarded import BAD_GATEWAY
from truss_server.edge.frames import Frames, close_frame
from truss_server.edge.hops import request_headers
from truss_server.edge.metrics import Metrics, Stopwatch
from truss_server.edge.routes import WrongPlaceError
from truss_server.edge.upstream import HOST, Upstream

if TYPE_CHECKING:
    from truss_server.edge.logs import Log
    from truss_server.edge.settings import Settings
    from truss_server.edge.supervisor import Supervisor

RESTART = 1012

_TIMEOUT = 504


@dataclass(frozen=True)
class Tunnels:
    """What all tunnels share.

    Attributes:
        settings: Of the edge.
        supervisor: Knows the server.
        slots: Admit calls; a websocket holds one as long as it is open.
        metrics: Count and time them.
        log: Where failures and accesses go.
    """

    settings: Settings
    supervisor: Supervisor
    slots: Slots
    metrics: Metrics
    log: Log

    def upstream(self) -> Upstream:
        """Return the server.

        Raises:
            AnswerError: 503, it is not ready.
        """
        link = self.supervisor.link
        if not isinstance(link, Upstream) or not self.supervisor.loaded:
            text = f"the model is not ready: {self.supervisor.status}"
            raise AnswerError(503, text, ((b"retry-after", b"1"),))
        return link

    async def admit(self, ask: Ask) -> Slot:
        """Take a slot, in turn.

        Raises:
            AnswerError: 429 or 503.
        """
        try:
            return await self.slots.acquire(ask.deadline)
        except ClosedError:
            raise AnswerError(503, "the server is stopping", ((b"retry-after", b"1"),)) from None
        except OverloadedError as exc:
            self.metrics.rejected.inc()
            seconds = b"%d" % max(1, round(exc.seconds))
            raise AnswerError(429, f"the model is busy: {exc}", ((b"retry-after", seconds),)) from None


class Tunnel(Pipe):
    """The client's end; uvicorn makes one for each handshake and hands the connection over.

    Args:
        tunnels: What all share.
        server_state: uvicorn's; it waits for its connections when it ends.
        _others: What uvicorn gives besides.

    Attributes:
        scope: For the log.
        ask: What the headers of the handshake ask for.
        status: Of the handshake.
    """

    def __init__(self, tunnels: Tunnels, *, server_state: Any, **_others: Any) -> None:
        self.scope: dict[str, Any] = {}
        self.status = GONE
        self.ask: Ask
        self._shared = tunnels
        self._connections = server_state.connections
        self._server: ServerEnd | None = None
        self._work: asyncio.Task[None] | None = None
        self._frames = Frames()
        self._late = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection over."""
        super().connection_made(transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - however it went, it is gone
        """End the server's side: the client is gone."""
        self._connections.discard(self)
        if self._work is not None:
            self._work.cancel()

    def data_received(self, data: bytes) -> None:
        """Take the handshake first, then what is for the server."""
        if self._work is None:
            self._work = asyncio.get_running_loop().create_task(self._serve(data))
        elif self._server is not None and self.status == SWITCHED:
            self._server.transport.write(data)

    def shutdown(self) -> None:
        """Say that the edge is about to end, as soon as that can be said; part of uvicorn's protocols."""
        if self._server is not None:
            self.say_close(RESTART, "the server is stopping")

    def say_close(self, code: int, reason: str) -> None:
        """Close between two frames; in the middle of one, cut the connection where it would never end."""
        if self.transport.is_closing():
            return
        if self.status == SWITCHED and self._frames.between:
            self.transport.write(close_frame(code, reason))
            self.transport.close()
        elif self.status == SWITCHED and self._frames.closed:
            self.transport.close()
        elif code == BROKEN:
            self.transport.abort()

    def pass_on(self, data: bytes) -> None:
        """Send the client what came from the server after the handshake."""
        self._frames.feed(data)
        self.transport.write(data)

    async def _serve(self, head: bytes) -> None:
        """Serve one websocket from its handshake to its end."""
        line, *fields = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        target, _, query = line.split(b" ")[1].partition(b"?")
        headers = [(name, value) for name, _, value in (field.partition(b": ") for field in fields)]
        path = target.decode("latin-1")
        self.scope = {"method": "WEBSOCKET", "path": path, "query_string": query, "headers": headers}
        self.ask = Ask(self.scope, PLAIN)
        watch = Stopwatch(self._shared.metrics, "websocket")
        seconds = self._shared.settings.request_timeout
        patience = asyncio.get_running_loop().call_later(seconds, self._lose_patience)
        try:
            await self._open()
        except AnswerError as exc:
            self._refuse(exc)
        except asyncio.CancelledError:
            if not self._late:
                raise
            what = "it waited for its turn" if self._server is None else "the model was silent"
            self._refuse(AnswerError(_TIMEOUT, f"{what} for {seconds:g} s"))
        except Exception as exc:  # noqa: BLE001 - whatever it is, the connection ends
            text = f"{type(exc).__name__}: {exc}"
            self._shared.log.write("ERROR", text, exc_info=format_exc(), **self.ask.log_fields)
            self.transport.abort()
        finally:
            patience.cancel()
            if self._server is not None:
                self._server.transport.abort()
            if self.status == GONE:
                self._shared.metrics.cancelled.inc()
            self._shared.log.access(self, watch)

    def _lose_patience(self) -> None:
        """End a handshake that was not answered to the end, wherever it stands: in the queue, too."""
        if self.status == SWITCHED or self.transport.is_closing() or self._work is None:
            return
        if self.status == GONE:
            self._late = True
            self._work.cancel()
        else:  # in the middle of a refusal
            self.transport.abort()

    async def _open(self) -> None:
        """Begin the conversation when its turn has come, and have it go on to its end.

        Raises:
            AnswerError: It cannot be begun.
        """
        settings = self._shared.settings
        self.ask.check_head()
        custom = settings.manifest.config["docker_server"]
        try:
            _, target = find_target(self.scope["path"], settings.environment, custom["predict_endpoint"])
        except WrongPlaceError as exc:
            raise AnswerError(404, str(exc)) from None
        self._shared.upstream()
        slot = await self._shared.admit(self.ask)
        try:
            await self._connect(self._shared.upstream(), target)
        finally:
            slot()

    async def _connect(self, upstream: Upstream, target: str) -> None:
        loop = asyncio.get_running_loop()
        server = ServerEnd(self)
        try:
            await loop.create_connection(lambda: server, HOST, upstream.port)
        except OSError as exc:
            text = f"the custom server takes no connections: {exc.strerror or exc}"
            raise AnswerError(BAD_GATEWAY, text, of_model=True) from None
        self._server = self.other = server
        upstream.tunnels.add(server.lose)
        try:
            query = self.scope["query_string"]
            lines = [b"GET %b HTTP/1.1" % (target.encode("latin-1") + (b"?" + query if query else b""))]
            lines += [b"%b: %b" % header for header in request_headers(self.scope["headers"], self.ask)]
            lines += [b"connection: Upgrade", b"upgrade: websocket"]
            server.transport.write(b"\r\n".join(lines) + b"\r\n\r\n")
            await asyncio.wait({server.over})
        finally:
            upstream.tunnels.discard(server.lose)
        if self.status == GONE:
            text = server.reason or "the custom server gave no answer to the handshake"
            raise AnswerError(BAD_GATEWAY, text, of_model=True)

    def _refuse(self, error: AnswerError) -> None:
        self.status = error.status
        if error.of_model or error.status == _TIMEOUT:
            self._shared.log.write("ERROR", str(error), **self.ask.log_fields)
        headers, body = render_error(error, PLAIN, self.ask)
        lines = [b"HTTP/1.1 %d Refused" % error.status, *(b"%b: %b" % header for header in headers)]
        self.transport.write(b"\r\n".join([*lines, b"connection: close\r\n\r\n"]) + body)
        self.transport.close()
