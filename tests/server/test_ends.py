"""How answers end that the model spoils: impossible responses, headers of its own, half events, endless documents."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.server.raw_http import read_broken, read_error, read_to_end, read_until, request_bytes

if TYPE_CHECKING:
    from tests.server.harness import Edge, Servers

MODEL = """
import time
import gates
from fastapi import HTTPException
from starlette.responses import Response, StreamingResponse

HEADERS = {
    "length": {"Content-Length": "2"},
    "framing": {"Transfer-Encoding": "chunked", "Connection": "upgrade"},
    "type": {"content-type": "application/problem+json", "x-own": "kept"},
}


def endless():
    try:
        while True:
            yield "x" * 1_000_000
    finally:
        gates.mark("closed")


def half():
    yield 'data: {"a": 1}\\n\\n'
    yield 'data: {"a": '
    raise ValueError("in the middle")


class Model:
    def predict(self, x):
        if x in HEADERS:
            raise HTTPException(418, "no coffee", headers=HEADERS[x])
        if x == "endless":
            return endless()
        if x == "half":
            return StreamingResponse(half(), media_type="text/event-stream")
        if x == "own id":
            return Response("x", headers={"x-request-id": "its own"})
        if x == "value error":
            raise ValueError("no")
        if x == "hold":
            gates.mark("holding")
            time.sleep(4)  # which nothing interrupts
        return Response("body", status_code=x)
"""


NUMBERS = [
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "-9223372036854775809",
    '{"a":[1,123456789012345678901234567890]}',
    '["18446744073709551616",1.2345678901234567890123,12345678901234567890123.5,1e3]',
    '{"12345678901234567890123":0.00012345678901234567}',
]


@pytest.fixture(scope="module")
def edge(module_servers: Servers) -> Edge:
    """Serve MODEL."""
    return module_servers.start(MODEL)


def test_numbers_are_kept(servers: Servers) -> None:
    """Integers of any size reach the model, and come back, as they are; other numbers as Python reads them."""
    edge = servers.start("class Model:\n    def predict(self, x):\n        return repr(x)\n")
    for number in NUMBERS:
        assert edge.post("/predict", content=number.encode()).json() == repr(json.loads(number))


@pytest.mark.parametrize(
    ("which", "content_type"),
    [
        ("length", "application/json"),
        ("framing", "application/json"),
        ("type", "application/problem+json"),
    ],
)
def test_headers_of_an_exception(edge: Edge, which: str, content_type: str) -> None:
    """What an HTTPException says of the framing is not believed, its content type is; each header comes once."""
    with edge.connect() as sock:
        sock.sendall(request_bytes("/predict", which, headers="connection: close\r\n"))
        head, _, body = read_to_end(sock).partition(b"\r\n\r\n")

    lines = head.decode().split("\r\n")
    names = [line.partition(":")[0] for line in lines[1:]]
    assert lines[0].startswith("HTTP/1.1 418 ")
    assert len(names) == len(set(names))
    assert "transfer-encoding" not in names
    assert f"content-length: {len(body)}" in lines
    assert f"content-type: {content_type}" in lines
    assert ("x-own: kept" in lines) == (which == "type")
    assert json.loads(body)["error"] == "no coffee"


@pytest.mark.parametrize("status", [204, 304])
def test_a_body_where_none_may_be(edge: Edge, status: int) -> None:
    """The body of a response that has none is left out, and the connection goes on."""
    with edge.connect() as sock:
        sock.sendall(request_bytes("/predict", status) + request_bytes("/predict", 200))
        answer = read_until(sock, b"body")

    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert answer.count(b"HTTP/1.1 200 OK") == 1


def test_a_request_id_of_the_models_own(edge: Edge) -> None:
    """There is one request id, which the log has too."""
    response = edge.post("/predict", "own id", headers={"x-request-id": "mine"})

    assert response.headers.get_list("x-request-id") == ["mine"]


def test_an_error_after_half_an_event(edge: Edge) -> None:
    """The event that tells of the error is one of its own."""
    with edge.stream("half") as response:
        events = read_broken(response).decode().split("\n\n")

    assert events[:2] == ['data: {"a": 1}', 'data: {"a": ']
    error = json.loads(events[2].removeprefix("data: "))
    assert error["error"].startswith("the model raised ValueError")
    assert error["request_id"] == response.headers["x-request-id"]


def test_a_document_without_end(edge: Edge) -> None:
    """A stream that is gathered into one document is given up when it is too large for one."""
    response = edge.post("/predict", "endless", headers={"accept": "application/json"})

    assert response.status_code == 500
    assert "more than 67108864 bytes" in read_error(response)["error"]
    edge.gates.wait("closed")


def test_the_trace_of_an_error(edge: Edge) -> None:
    """The log record of an exception names request and trace."""
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    response = edge.post("/predict", "value error", headers={"traceparent": trace})

    edge.wait_log(
        "the model raised ValueError", traceparent=trace, request_id=response.headers["x-request-id"]
    )


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/predict", b"{", "700"),
        ("/nowhere", b"{", "700"),
        ("/v1/completions", b"{}", "700"),
        ("/predict", b'"value error"', "600"),
        ("/predict", b'"length"', "600"),
    ],
)
def test_error_codes(edge: Edge, path: str, body: bytes, code: str) -> None:
    """Errors carry the headers by which clients of Truss tell them apart."""
    response = edge.post(path, content=body)

    assert response.headers["x-baseten-error-source"] == "04"
    assert response.headers["x-baseten-error-code"] == code


def test_the_request_timeout_counts_the_queue(servers: Servers) -> None:
    """A call that waits for its turn gets the time a running one has, and never starts afterwards."""
    edge = servers.start(MODEL, runtime={"predict_concurrency": 1, "request_timeout": 2})
    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(edge.post, "/predict", "hold")
        edge.gates.wait("holding")
        queued = edge.post("/predict", "own id", headers={"traceparent": "00-1-2-03"})
        holding.result()

    assert queued.status_code == 504
    assert read_error(queued)["error"] == "it waited for its turn for 2 s"
    edge.wait_log("it waited for its turn for 2 s", traceparent="00-1-2-03")
