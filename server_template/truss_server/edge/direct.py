"""Calls that come in one piece and are answered in one: straight from the client's socket to the worker's and back.

Most calls are such. They need no task and no ASGI, which cost as much as all the rest of the edge. What turns out to
be another kind of call (an error, a slow one, a stream after its first bytes) is handed over to ASGI as it stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from truss_server import wire
from truss_server.edge.asks import Ask
from truss_server.edge.bodies import parse_body, render_value
from truss_server.edge.dialects import ROUTES
from truss_server.edge.errors import GONE, AnswerError
from truss_server.edge.incoming import SMALL
from truss_server.edge.late import Late
from truss_server.edge.metrics import Stopwatch

if TYPE_CHECKING:
    from truss_server.edge.admission import Slots
    from truss_server.edge.exchange import Exchange
    from truss_server.edge.http import Protocol
    from truss_server.edge.logs import Log
    from truss_server.edge.metrics import Metrics
    from truss_server.edge.settings import Settings
    from truss_server.edge.supervisor import Supervisor

_WHOLE = b"content-type: application/json\r\ncontent-length: %d\r\n"
_STREAM = b"content-type: %b\r\ntransfer-encoding: chunked\r\n"

_MOMENT = 0.05
"""Seconds; a call that takes longer than this, or twice this, needs more: its client may leave or lose patience."""

PATHS = {path.encode(): path for path in ROUTES}
"""Paths of such calls, as they are in a request's first line."""


class Direct:
    """Begins such calls.

    Args:
        settings: Of the edge.
        supervisor: Knows the worker.
        slots: Admit calls.
        metrics: Count and time them.
        log: Where accesses go.
    """

    def __init__(
        self, settings: Settings, supervisor: Supervisor, slots: Slots, metrics: Metrics, log: Log
    ) -> None:
        self._supervisor = supervisor
        self._slots = slots
        self._metrics = metrics
        self._limit = min(wire.WINDOW, settings.body_limit)
        self._named = settings.control is not None
        self.log = log
        self.late = Late(_MOMENT)
        self.cancelled = metrics.cancelled.inc
        self._opening: tuple[list[tuple[bytes, bytes]], bytes] = [], b""

    def begin(self, connection: Protocol, body: bytes) -> Call | None:
        """Begin a call of the model; None where it needs more than this can do, an error answer for example.

        Args:
            connection: Of its client; its `scope` is the request's.
            body: All of the request's.
        """
        supervisor, (name, dialect) = self._supervisor, ROUTES[connection.scope["path"]]
        link, facts = supervisor.link, supervisor.methods.get(name)
        if link is None or facts is None or not supervisor.loaded or supervisor.held is not None:
            return None
        large = len(body) > SMALL
        if facts["request"] or not facts["inputs"] or (large and not link.reads_json):
            return None
        watch = Stopwatch(self._metrics, name)
        ask = Ask(connection.scope, dialect)
        if ask.binary:
            return None
        try:
            inputs = body if large else parse_body(body, binary=False)
        except AnswerError:
            return None
        if max(len(inputs), len(body)) > self._limit or (slot := self._slots.take()) is None:
            return None
        generation = supervisor.generation
        exchange = link.open((name, ask.framing, None, generation), slot, ask)
        exchange.offer(wire.JSON if large else wire.INPUT, inputs)
        call = Call(self, connection, exchange, ask, watch)
        if self._named:
            call.generation = generation
        exchange.listener = call.on_news
        self.late.add(call)
        return call

    def opening(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Return the first lines of a good answer.

        Args:
            headers: uvicorn's own, a new list once a second.
        """
        if self._opening[0] is not headers:
            lines = [b"HTTP/1.1 200 OK\r\n", *(b"%b: %b\r\n" % header for header in headers)]
            self._opening = headers, b"".join(lines)
        return self._opening[1]


class Call:
    """One such call.

    Args:
        direct: Began it.
        connection: Of its client.
        exchange: With the worker.
        ask: What its headers ask for.
        watch: Times it.

    Attributes:
        scope: ASGI scope.
        generation: To be named in the answer; None where it is not to be.
        status: Of its answer.
        sent: The first bytes of a stream, which its client has got.
    """

    __slots__ = (
        "_connection",
        "_direct",
        "ask",
        "exchange",
        "generation",
        "scope",
        "sent",
        "status",
        "watch",
    )

    def __init__(
        self,
        direct: Direct,
        connection: Protocol,
        exchange: Exchange,
        ask: Ask,
        watch: Stopwatch,
    ) -> None:
        self._direct = direct
        self._connection = connection
        self.scope = connection.scope
        self.exchange: Any = exchange
        self.ask = ask
        self.watch = watch
        self.generation: int | None = None
        self.status = GONE
        self.sent = b""

    def on_news(self) -> None:
        """Answer, if this is the whole of it; of a stream, send what has come of it first."""
        exchange = self.exchange
        pieces = exchange.whole
        if pieces is None:
            if exchange.is_stream and not (self.sent or self.ask.gather):
                self._start(exchange.taken())
                exchange.listener = self.on_news
            else:
                self.begin()
            return
        if not exchange.json:
            try:
                pieces = [render_value(wire.unpack(b"".join(pieces)), binary=False)[1]]
            except Exception:  # noqa: BLE001 - whatever it is, ASGI meets it again and tells it
                self.begin()
                return
        self._connection.answer(_WHOLE % sum(map(len, pieces)) + self._named(), *pieces)
        self.status = 200
        self._end()

    def _start(self, data: bytes) -> None:
        """Send the beginning of a stream: what else a stream needs can wait for its second piece."""
        self.watch.chunk()
        content_type = self.exchange.head["content_type"].encode("latin-1")
        head = _STREAM % content_type + self._named()
        self._connection.start(head, b"%x\r\n" % len(data), data, b"\r\n")
        self.exchange.consumed(len(data))
        self.status, self.sent = 200, data

    def _named(self) -> bytes:
        """Return the end of a head: whose answer it is."""
        end = b"x-request-id: %b\r\n" % self.ask.request_id.encode("latin-1", "replace")
        if self.generation is not None:
            end += b"x-truss-generation: %d\r\n" % self.generation
        return end + b"\r\n"

    def lost(self) -> None:
        """Cancel it, as its client has left."""
        self.exchange.listener = None
        self.exchange.abandon()
        self._direct.cancelled()
        self._end()

    def begin(self) -> None:
        """Hand it over to ASGI."""
        self._direct.late.remove(self)
        self.exchange.listener = None
        self._connection.hand_over(self)

    def _end(self) -> None:
        self._direct.late.remove(self)
        self._direct.log.access(self, self.watch)
