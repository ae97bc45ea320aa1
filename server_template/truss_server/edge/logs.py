"""JSON log lines on stdout, written by a thread so that no request waits for whoever reads them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import sys
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from truss_server.edge.json_body import dump_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from truss_server.edge.client import Client
    from truss_server.edge.direct import Call
    from truss_server.edge.metrics import Stopwatch
    from truss_server.edge.spans import Spans
    from truss_server.edge.tunnel import Tunnel
    from truss_server.edge.websockets import Session

LINE = 64 * 1024
"""Characters of one message that are kept."""

BACKLOG = 16 * 1024 * 1024
"""Bytes that may wait for whoever reads the log; what comes on top is counted and dropped."""

_LOOK_SECONDS = 0.02  # between two looks whether the log is being read
_LOOKS = 250  # in vain, until nobody seems to read it: a busy machine keeps readers waiting, too

_GATHER_SECONDS = 0.02  # after a line, for others to come: the interpreter is asked for once, not for each


class Stream(Protocol):
    """Where log lines go: what a binary file has of it."""

    def write(self, line: bytes, /) -> object:
        """Append a whole line; raises OSError where that is not possible."""

    def flush(self) -> object:
        """Write what is buffered; raises OSError likewise."""


class Log:
    """Writes one JSON object a line: asctime, levelname, message, source, and what else is given.

    Args:
        stream: Where lines go.
        clock: Seconds since the epoch.

    Attributes:
        spans: Are made of answered requests, too, where this is set.
    """

    def __init__(self, stream: Stream | None = None, clock: Callable[[], float] = time.time) -> None:
        self.spans: Spans | None = None
        self._stream: Stream = stream or sys.stdout.buffer
        self._clock = clock
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        self._taken = 0  # bytes; each of the two counters is written by one thread only
        self._written = 0
        self._dropped = 0
        self._stalled_at = -1
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def write(self, level: str, message: str, *, source: str = "edge", **fields: Any) -> None:
        """Log one event.

        Args:
            level: DEBUG, INFO, WARNING or ERROR.
            message: What happened.
            source: edge, worker or model.
            fields: request_id, exc_info (a traceback as text) and the like; values JSON has a form for.
        """
        if len(message) > LINE:
            message = f"{message[:LINE]}... [{len(message) - LINE} characters cut]"
        record = {"levelname": level, "message": message, "source": source, **fields}
        limit = BACKLOG
        if level == "ERROR" and source != "model":
            limit = 2 * BACKLOG  # why the server ends must not be lost in what the model prints
        elif self._dropped:
            limit = BACKLOG // 2  # then all of a while is dropped, and told once
        self._put(dump_json({"asctime": self._now(), **record}) + b"\n", limit)

    def access(self, client: Client | Session | Call | Tunnel, watch: Stopwatch) -> None:
        """Log a request that has just been answered, with how long it took."""
        seconds = watch.end(client.status)
        scope, ask = client.scope, client.ask
        line = {
            "asctime": self._now(),
            "levelname": "INFO",
            "message": f"{scope['method']} {scope['path']} {client.status}",
            "source": "edge",
            "status": client.status,
            "duration_ms": round(seconds * 1000, 3),
            "request_id": ask.request_id,
        }
        if ask.traceparent:
            line["traceparent"] = ask.traceparent
        self._put(dump_json(line) + b"\n", BACKLOG // 2 if self._dropped else BACKLOG)
        if self.spans is not None:
            self.spans.add(client, watch, seconds)

    def _now(self) -> str:
        """Return the local time with milliseconds."""
        seconds = self._clock()
        return f"{_stamp(int(seconds))},{int(seconds % 1 * 1000):03d}"

    def _put(self, line: bytes, limit: int) -> None:
        waiting = self._taken - self._written
        if waiting > limit:
            self._dropped += 1
            return
        if self._dropped and waiting <= BACKLOG // 2:
            dropped, self._dropped = self._dropped, 0
            self.write("WARNING", f"{dropped} records were dropped: nobody read the log fast enough")
        self._taken += len(line)
        self._lines.put(line)

    async def keep_up(self) -> None:
        """Wait while much is unwritten and somebody reads it."""
        looks = 0 if self._stalled_at == self._written else _LOOKS
        while self._taken - self._written > BACKLOG // 2:
            written = self._written
            if looks == 0:
                self._stalled_at = written  # nobody reads: wait no more until somebody does
                return
            await asyncio.sleep(_LOOK_SECONDS)
            looks = looks - 1 if self._written == written else _LOOKS

    def close(self) -> None:
        """Write what is left, waiting at most two seconds for a reader that does not read."""
        if self.spans is not None:
            self.spans.close()
        self._lines.put(None)
        self._closing.set()
        self._thread.join(2.0)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            with contextlib.suppress(OSError, ValueError):  # nobody reads the log any more; serving goes on
                self._stream.write(line)
                if self._lines.empty():
                    self._stream.flush()
                    self._closing.wait(_GATHER_SECONDS)
            self._written += len(line)
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


@functools.lru_cache(maxsize=2)
def _stamp(second: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))


class LibraryHandler(logging.Handler):
    """Brings what libraries of the edge (uvicorn, asyncio) log into the same lines."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Log a library's record; a transfer that was aborted or cancelled is our doing and was logged as such."""
        if record.exc_info and isinstance(record.exc_info[1], (AbortedTransferError, asyncio.CancelledError)):
            return
        fields = {"exc_info": logging.Formatter().formatException(record.exc_info)} if record.exc_info else {}
        self._log.write(record.levelname, record.getMessage(), **fields)


class AbortedTransferError(Exception):
    """Raised out of the ASGI application to have the server cut a connection without a clean end of its body."""
