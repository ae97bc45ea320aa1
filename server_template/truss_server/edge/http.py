"""uvicorn's HTTP with limits: to the bytes of a head, and to the time a connection may keep the server waiting."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from truss_server.edge.asks import HEAD_LIMIT, Ask
from truss_server.edge.direct import PATHS
from truss_server.edge.errors import AnswerError
from truss_server.edge.failures import render_error
from truss_server.edge.flow import Flow
from truss_server.edge.joining import Joining
from truss_server.edge.routes import find_dialect

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from truss_server.edge.direct import Call

_BODY = frozenset([b"content-length", b"transfer-encoding"])
_HEAD_END = b"\r\n\r\n"
_OFFERS = (b"connection", b"upgrade", b"http2-settings")


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol over a `Joining` transport; a request finds it as `connection` in its scope's state.

    Attributes:
        on_lost: Called when the client is gone, by the request that cannot wait for the message that says so.
    """

    on_lost: Callable[[], None] | None = None
    cycle: Any  # of the newest request; None before the first, which uvicorn's types deny
    running: Any = None  # cycle of the request that is answered now, or was last
    scope: Any
    url = b""
    _head: Any = None  # scope of the head that is incomplete
    _head_bytes = 0
    _begun: Any = None  # scope of the newest request whose head is complete
    _waiting: asyncio.TimerHandle | None = None
    _head_at = 0.0  # the first bytes of the head that was incomplete last
    _answered_at = 0.0  # the newest answer; where there is none, the connection was made
    _call: Call | None = None  # that is answered directly
    _at_once = True  # what is being parsed came in one piece, a head within the limit among it
    _body: list[bytes] | None = None  # of a request that may become such a call

    def connection_made(self, transport: Any) -> None:
        """Take the connection; part of asyncio.Protocol."""
        super().connection_made(Joining(transport, self))  # type: ignore[arg-type]  # as much of one as is used
        self.flow = Flow(self)
        self._trailers = Trailers()
        self.app_state = {**self.app_state, "connection": self}
        self._answered_at = self.loop.time()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the client is gone; part of asyncio.Protocol."""
        for cycle in [self.running, *(cycle for cycle, _ in self.pipeline)]:
            if cycle is not None:
                cycle.disconnected = not cycle.response_complete
                cycle.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)
        if self._waiting is not None:
            self._waiting.cancel()
        if self.on_lost is not None:
            self.on_lost()
        if self._call is not None:
            self._call.lost()

    def data_received(self, data: bytes) -> None:
        """Take bytes; part of asyncio.Protocol."""
        self._unset_keepalive_if_required()
        if self._call is not None:
            self._call.begin()  # what follows has to wait for its answer
        self._at_once = not self._in_head() and (
            len(data) <= HEAD_LIMIT or (data[0] not in _HEAD_END and data.find(_HEAD_END, 0, HEAD_LIMIT) >= 0)
        )
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            self._upgrade(data[exc.args[0] :])
        except httptools.HttpParserError as exc:
            if self._trailers.size > HEAD_LIMIT:
                self.refuse(431, f"the request's trailers are larger than {HEAD_LIMIT} bytes")
            else:
                self.refuse(400, f"this is no HTTP request: {exc}")
        else:
            if self._body is not None:  # more of it is to come
                self._to_asgi(complete=False)
            elif self._call is None and (self._in_head() or self._is_idle()):
                self._incomplete(len(data))

    # ---- the parser's callbacks

    def on_message_begin(self) -> None:
        """Take the beginning of a head."""
        if self._call is not None:
            self._call.begin()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin a request, unless it may be a direct call, which is begun when its body has come."""
        self._begun = self.scope
        upgrade = self.parser.should_upgrade()
        if not upgrade:  # what says to which protocol is still asked for
            self.headers = self._trailers
            self._trailers.size = 0
        path = PATHS.get(self.url)
        if (
            path is not None
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and not upgrade
            and not self.expect_100_continue
            and self._at_once
            and self._is_idle()
            and not self.flow.write_paused
        ):
            self.scope.update(method="POST", path=path, raw_path=self.url, query_string=b"")
            self._body = []
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        if self._body is None:
            super().on_body(body)
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Take the end of a request."""
        if self._body is None:
            super().on_message_complete()
            return
        self._call = self.app.direct.begin(self, b"".join(self._body))
        if self._call is None:
            self._to_asgi()
        else:
            self._body = None

    def _to_asgi(self, *, complete: bool = True) -> None:
        """Begin the request that might have been a direct call."""
        body, self._body = self._body, None
        super().on_headers_complete()
        for piece in body or ():
            super().on_body(piece)
        if complete:
            super().on_message_complete()

    # ---- direct calls

    def answer(self, rest: bytes, *body: bytes) -> None:
        """Send the answer of the direct call: the rest of its head, and its body."""
        self._call = None
        self._answered_at = self.loop.time()
        self.server_state.total_requests += 1
        self.start(rest, *body)
        if self._waiting is None:
            self._wait()

    def start(self, rest: bytes, *body: bytes) -> None:
        """Send the beginning of the direct call's answer: the rest of its head, and what there is of its body."""
        head = self.app.direct.opening(self.server_state.default_headers) + rest
        self.transport.write_joined(head, *body)  # type: ignore[attr-defined]  # a Joining

    def hand_over(self, call: Call) -> None:
        """Go on with a call as a request of ASGI."""
        self._call = None
        self.scope["state"]["begun"] = call
        self._to_asgi()
        if call.sent:  # its head and the first chunk of its body
            self.cycle.response_started = self.cycle.chunked_encoding = True
            self.transport.head_is_sent(self.cycle)  # type: ignore[attr-defined]  # a Joining

    def shutdown(self) -> None:
        """Answer what was begun, and close; part of uvicorn's protocols."""
        if self._call is not None:
            self._call.begin()
        super().shutdown()

    # ---- time and size

    def _incomplete(self, size: int) -> None:
        """Look after a connection without a request; perhaps the head of one has begun."""
        if self._head is not self.scope:
            self._head = self.scope
            self._head_at = self.loop.time()
            self._head_bytes = 0  # the first bytes may be of the request before as well
        else:
            self._head_bytes += size
        if self._waiting is None:
            self._wait()
        if self._head_bytes > HEAD_LIMIT and self._in_head():
            self.refuse(431, f"the request's head is larger than {HEAD_LIMIT} bytes")

    def _in_head(self) -> bool:
        return self.scope is not self._begun

    def _is_idle(self) -> bool:
        return self._call is None and (self.cycle is None or self.cycle.response_complete)

    def _wait(self) -> None:
        """Give the client its time: for a request since the newest answer, for the rest of a head since its begin."""
        end = max(self._head_at, self._answered_at) + self.timeout_keep_alive
        self._waiting = self.loop.call_at(end, self._look, end)

    def _look(self, end: float) -> None:
        """End a connection that has kept the server waiting so long."""
        self._waiting = None
        if self.transport.is_closing() or self.transport.get_protocol() is not self or not self._is_idle():
            return
        if max(self._head_at, self._answered_at) + self.timeout_keep_alive > end:
            self._wait()
        elif self._in_head():
            self.refuse(408, f"the request's head did not come within {self.timeout_keep_alive:g} s")
        else:
            self.transport.close()

    def refuse(self, status: int, message: str) -> None:
        """Answer what never became a request, and close; after the answers to those before it."""
        if self._call is not None:
            self._call.begin()
        if not self._is_idle() and not self.cycle.more_body:
            self.cycle.keep_alive = False
            return
        if self._is_idle():  # else nothing can be said in the middle of an answer
            dialect = find_dialect(self.url.decode("latin-1"))
            ask = Ask(self.scope or {"headers": []}, dialect)
            headers, body = render_error(AnswerError(status, message), dialect, ask)
            lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()]
            lines += [b"%b: %b" % header for header in [*headers, (b"connection", b"close")]]
            self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self.transport.close()

    def wake(self) -> None:
        """Have the request that waits for more of its body look around."""
        self.cycle.message_event.set()

    def _should_upgrade(self) -> bool:
        """Have the parser's callbacks begin no request from a head that asks for another protocol."""
        return True

    def _upgrade(self, rest: bytes) -> None:
        """Hand a websocket over; where a client offers another protocol, begin the request as if it had not."""
        method = self.parser.get_method()
        if method == b"CONNECT" or not self._is_idle():
            self.refuse(405 if method == b"CONNECT" else 400, "this connection cannot become another one")
            return
        if (
            self._get_upgrade() == b"websocket"
            and method == b"GET"
            and not _BODY.intersection(dict(self.headers))
        ):
            self.handle_websocket_upgrade()
            return
        lines = [b"%s %s HTTP/1.1" % (self.scope["method"].encode(), self.url)]
        lines += [b"%s: %s" % header for header in self.headers if header[0] not in _OFFERS]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Begin a request whose turn has come."""
        self.running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Send the head of an answer without a body, as to HEAD."""
        self._answered_at = self.loop.time()
        self.transport.flush()  # type: ignore[attr-defined]  # a Joining
        super().on_response_complete()


class Trailers(list[tuple[bytes, bytes]]):
    """Takes the place of the headers behind a body, where there are none (RFC 9110, 6.5): keeps nothing.

    Attributes:
        size: Bytes of those that came.
    """

    size = 0

    def append(self, header: tuple[bytes, bytes]) -> None:
        """Count one.

        Raises:
            ValueError: They are too large.
        """
        self.size += len(header[0]) + len(header[1])
        if self.size > HEAD_LIMIT:
            raise ValueError("too many trailers")
