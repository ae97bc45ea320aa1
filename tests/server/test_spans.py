"""`runtime.enable_tracing_data`: answered requests become spans at a collector that speaks OTLP."""

from __future__ import annotations

import json
import signal
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.server.harness import Edge, Servers

MODEL = """
class Model:
    def predict(self, inputs):
        if inputs == "raise":
            raise ValueError("broken")
        return inputs

    def chat_completions(self, inputs):
        yield "a"
        yield "b"

    def completions(self, inputs):
        yield from range(3)
"""

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
TRACED = {"enable_tracing_data": True}


class Collector:
    """What a collector was sent.

    Args:
        url: Where it listens.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.posts: Queue[tuple[str, dict[str, str], bytes]] = Queue()

    def spans(self, count: int) -> list[dict[str, Any]]:
        """Wait for spans; return them, each with the attributes of what made it."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            _, _, body = self.posts.get(timeout=20)
            found += spans_of(body)
        return found


def spans_of(body: bytes) -> list[dict[str, Any]]:
    """Return the spans of a message, whose form OpenTelemetry's own definition has to know."""
    json_format.Parse(body, ExportTraceServiceRequest())
    (resource,) = json.loads(body)["resourceSpans"]
    (scope,) = resource["scopeSpans"]
    made_by = plain(resource["resource"]["attributes"])
    return [{**span, **plain(span["attributes"]), **made_by} for span in scope["spans"]]


def plain(attributes: list[dict[str, Any]]) -> dict[str, str]:
    """Return attributes as names and values."""
    return {one["key"]: next(iter(one["value"].values())) for one in attributes}


def stop(edge: Edge) -> None:
    """Stop a server, which sends what waits."""
    edge.signal(signal.SIGTERM)
    edge.wait_exit()


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.posts.put((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join(5)


def test_spans_of_requests(servers: Servers) -> None:
    """Each answered request is a span: of its caller's trace, timed, with its status, and when a stream began."""
    with collecting() as collector:
        edge = servers.start(
            MODEL,
            environ={
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"{collector.url}/",
                "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Basic%20abc,x-team=ours",
            },
            runtime=TRACED,
        )
        edge.post("/predict", 1, headers={"traceparent": f"00-{TRACE}-{CALLER}-01", "x-request-id": "one"})
        edge.post("/predict", "raise")
        edge.post("/v1/chat/completions", {})
        spans = collector.spans(3)
    good, bad, stream = spans

    assert (good["traceId"], good["parentSpanId"], len(good["spanId"])) == (TRACE, CALLER, 16)
    assert (good["name"], good["http.response.status_code"], good["status"]) == ("predict", "200", {})
    assert (good["url.path"], good["truss.request_id"]) == ("/predict", "one")
    assert (good["service.name"], good["deployment.environment.name"]) == ("tested", "production")
    assert (bad["http.response.status_code"], bad["status"], bad["parentSpanId"]) == ("500", {"code": 2}, "")
    assert stream["name"] == "chat_completions"
    (first,) = stream["events"]
    assert first["name"] == "first chunk"
    begin, moment, end = (
        int(x) for x in (stream["startTimeUnixNano"], first["timeUnixNano"], stream["endTimeUnixNano"])
    )
    assert begin < moment <= end
    assert len({span["traceId"] for span in spans}) == 3


def test_where_spans_go(servers: Servers, tmp_path: Path) -> None:
    """Variables in config.yaml count as much as the server's own: a URL, headers, a name, and a file."""
    with collecting() as collector:
        variables = {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/own/path",
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Basic%20abc, x-team = ours",
            "OTEL_SERVICE_NAME": "falcon",
            "OTEL_TRACING_NDJSON_FILE": str(tmp_path / "spans"),
        }
        edge = servers.start(MODEL, config={"environment_variables": variables}, runtime=TRACED)
        edge.post("/predict", 1)
        path, headers, body = collector.posts.get(timeout=20)
        stop(edge)

    assert path == "/own/path"
    assert (headers["authorization"], headers["x-team"]) == ("Basic abc", "ours")
    assert spans_of(body)[0]["service.name"] == "falcon"
    assert spans_of((tmp_path / "spans").read_bytes().splitlines()[0]) == spans_of(body)


def test_requests_that_are_no_spans(servers: Servers) -> None:
    """A caller that does not sample gets none; a header that is none makes a trace of its own."""
    with collecting() as collector:
        edge = servers.start(MODEL, environ={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}, runtime=TRACED)
        edge.post("/predict", 1, headers={"traceparent": f"00-{TRACE}-{CALLER}-00"})
        edge.post("/predict", 1, headers={"traceparent": f"ff-{TRACE}-{CALLER}-01"})
        edge.post("/predict", 1, headers={"traceparent": f"00-{'0' * 32}-{CALLER}-01"})
        stop(edge)
        spans = collector.spans(2)

    assert collector.posts.empty()
    assert all(span["traceId"] not in (TRACE, "0" * 32) for span in spans)


def test_a_collector_that_is_not_there(servers: Servers) -> None:
    """Serving goes on; the log says once that spans are lost, and at the start where none could go."""
    nowhere = servers.start(MODEL, runtime=TRACED)
    edge = servers.start(
        MODEL, environ={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://me:s3cret@127.0.0.1:9"}, runtime=TRACED
    )
    for _ in range(3):
        assert edge.post("/predict", 1).status_code == 200
    edge.wait_log("spans could not be sent and are lost")
    edge.post("/predict", 1)
    stop(edge)

    nowhere.wait_log("spans go nowhere: name a collector in OTEL_EXPORTER_OTLP_ENDPOINT")
    assert len([r for r in edge.records if "are lost" in r["message"]]) == 1
    assert "s3cret" not in edge.log_text()


def test_a_websocket(servers: Servers) -> None:
    """Its span ends with it and has the code of its close."""
    model = """
    class Model:
        async def websocket(self, ws):
            await ws.accept()
            await ws.close(4001)
    """
    with collecting() as collector:
        edge = servers.start(model, environ={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}, runtime=TRACED)
        url = f"ws://127.0.0.1:{edge.port}/websocket"
        with connect(url, proxy=None) as ws, pytest.raises(ConnectionClosed):
            ws.recv(timeout=20)
        (span,) = collector.spans(1)

    assert (span["name"], span["truss.websocket.close_code"]) == ("websocket", "4001")
