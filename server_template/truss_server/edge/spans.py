"""Spans of answered requests, which a thread sends to a collector or appends to a file.

Their form is OTLP as JSON (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding), the variables that say
where they go are OpenTelemetry's (https://opentelemetry.io/docs/specs/otel/protocol/exporter/) and one of Truss's.
"""

from __future__ import annotations

import os
import re
import threading
import time
import urllib.request
from collections import deque
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from truss_server.edge.json_body import dump_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from truss_server.edge.client import Client
    from truss_server.edge.direct import Call
    from truss_server.edge.logs import Log
    from truss_server.edge.metrics import Stopwatch
    from truss_server.edge.tunnel import Tunnel
    from truss_server.edge.websockets import Session

FILE_VARIABLE = "OTEL_TRACING_NDJSON_FILE"
"""Names a file that a line is appended to for each batch, as Truss has it."""

WAITING = 4096
"""Spans that may wait to be sent; of more the oldest are dropped."""

BATCH = 512
EVERY_SECONDS = 1.0
SEND_SECONDS = 10.0
CLOSE_SECONDS = 2.0
COMPLAINT_SECONDS = 60.0
"""How often it is said at most that spans cannot be sent."""

_PARENT = re.compile(
    r"(?!ff|00-.{52}.)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_SERVER, _ERROR = 2, 2
_CLOSES = 1000
"""The first code of a websocket's close: lower ones are of HTTP."""

_FAILURES = {*range(500, 600), 1011}


class Spans:
    """Makes a span of each answered request, and sends them by a thread of its own.

    Args:
        resource: Attributes of what serves: names and values.
        variables: Of the environment: where spans go.
        log: Is told when they cannot get there.
    """

    def __init__(self, resource: Mapping[str, str], variables: Mapping[str, str], log: Log) -> None:
        self._resource = {"attributes": _attributes(resource)}
        self._log = log
        self._url, self._headers = _endpoint(variables)
        self._file = variables.get(FILE_VARIABLE, "")
        self._waiting: deque[dict[str, Any]] = deque(maxlen=WAITING)
        self._closing = threading.Event()
        self._complained = -COMPLAINT_SECONDS
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)

    @classmethod
    def open(cls, resource: Mapping[str, str], variables: Mapping[str, str], log: Log) -> Spans | None:
        """Return what makes spans, None where they could go nowhere."""
        spans = cls(resource, variables, log)
        if spans._url or spans._file:
            spans._thread.start()
            return spans
        log.write(
            "WARNING",
            "runtime.enable_tracing_data is set, and spans go nowhere: "
            "name a collector in OTEL_EXPORTER_OTLP_ENDPOINT, in environment_variables of config.yaml",
        )
        return None

    def add(self, request: Client | Session | Call | Tunnel, watch: Stopwatch, seconds: float) -> None:
        """Make a span of a request that has just been answered, unless its client asks for none.

        Args:
            request: Which one.
            watch: Timed it.
            seconds: What it took.
        """
        given = _PARENT.fullmatch(request.ask.traceparent)
        if given is not None and not int(given[3], 16) & 1:  # the caller does not sample
            return
        end = time.time_ns()
        start = end - int(seconds * 1e9)
        status = "http.response.status_code" if request.status < _CLOSES else "truss.websocket.close_code"
        facts = {
            "http.request.method": request.scope.get("method", "GET"),
            "url.path": request.scope["path"],
            status: request.status,
            "truss.request_id": request.ask.request_id,
        }
        span = {
            "traceId": given[1] if given else os.urandom(16).hex(),
            "spanId": os.urandom(8).hex(),
            "parentSpanId": given[2] if given else "",
            "name": watch.method,
            "kind": _SERVER,
            "startTimeUnixNano": str(start),
            "endTimeUnixNano": str(end),
            "attributes": _attributes(facts),
            "events": [],
            "status": {"code": _ERROR} if request.status in _FAILURES else {},
        }
        if watch.first:
            moment = str(start + int(watch.first * 1e9))
            span["events"] = [{"timeUnixNano": moment, "name": "first chunk"}]
        self._waiting.append(span)

    def close(self) -> None:
        """Send what waits, in two seconds at most."""
        self._closing.set()
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while True:
            closing = self._closing.wait(EVERY_SECONDS)
            while self._waiting:
                self._send([self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))])
            if closing:
                return

    def _send(self, spans: Sequence[Mapping[str, Any]]) -> None:
        scope = {"scope": {"name": "truss"}, "spans": spans}
        body = dump_json({"resourceSpans": [{"resource": self._resource, "scopeSpans": [scope]}]})
        if self._file:
            self._try(self._append, body, len(spans))
        if self._url:
            self._try(self._post, body, len(spans))

    def _try(self, way: Callable[[bytes], None], body: bytes, count: int) -> None:
        try:
            way(body)
        except (OSError, ValueError, HTTPException) as exc:
            self._complain(count, exc)

    def _append(self, body: bytes) -> None:
        with Path(self._file).open("ab") as file:
            file.write(body + b"\n")

    def _post(self, body: bytes) -> None:
        request = urllib.request.Request(self._url, body, self._headers)  # noqa: S310 the author's URL
        with urllib.request.urlopen(request, timeout=SEND_SECONDS):  # noqa: S310 likewise
            pass

    def _complain(self, count: int, exc: Exception) -> None:
        if time.monotonic() - self._complained >= COMPLAINT_SECONDS:
            self._complained = time.monotonic()
            why = type(exc).__name__ if "@" in self._url else exc  # a password, perhaps
            self._log.write("WARNING", f"{count} spans could not be sent and are lost: {why}")


def _endpoint(variables: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the URL that spans are posted to, empty where there is none, and the headers that go with them."""
    beginning = "OTEL_EXPORTER_OTLP_"
    url = variables.get(f"{beginning}TRACES_ENDPOINT", "")
    if not url and (base := variables.get(f"{beginning}ENDPOINT", "")):
        url = base.rstrip("/") + "/v1/traces"
    headers = {"Content-Type": "application/json"}
    written = variables.get(f"{beginning}TRACES_HEADERS") or variables.get(f"{beginning}HEADERS", "")
    for pair in written.split(","):
        name, equals, value = pair.partition("=")
        if equals:
            headers[name.strip()] = unquote(value.strip())
    return url, headers


def _attributes(values: Mapping[str, str | int]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for key, value in values.items()
    ]
