"""Methods that take the request: with and without inputs, with starlette's class and without starlette."""

from __future__ import annotations

import select
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from tests.server.raw_http import read_until, request_bytes
from tests.server.raw_worker import RawWorker
from tests.server.releases import write_release
from truss_server import wire

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.harness import Edge, Servers

FASTAPI = """
import asyncio
import fastapi
import gates


class Model:
    async def predict(self, request: fastapi.Request):
        if request.headers.get("x-do") == "early":
            return "not read"
        if request.headers.get("x-do") == "stream":
            sizes, total = [], 0
            async for piece in request.stream():
                sizes.append(len(piece))
                total += len(piece)
                if len(sizes) == 1:
                    gates.mark("reading")
            return {"total": total, "largest": max(sizes)}
        if request.headers.get("x-do") == "late":
            gates.mark("late")
            await gates.wait_async("read")
            return len(await request.body())
        return {
            "class": f"{type(request).__module__}.{type(request).__name__}",
            "body": (await request.body()).hex(),
            "again": (await request.body()).hex(),
            "method": request.method,
            "url": str(request.url),
            "query": dict(request.query_params),
            "header": request.headers["X-Thing"],
            "cookie": request.cookies.get("a"),
            "client": request.client.host,
        }

    def chat_completions(self, inputs, request: fastapi.Request):
        return {"inputs": inputs, "header": request.headers["x-thing"], "path": request.url.path}

    async def completions(self, inputs, request):
        return {"inputs": inputs, "json": await request.json(), "gone": await request.is_disconnected()}

    def embeddings(self, inputs, *, request):
        return type(request).__name__

    def messages(self, inputs, request=None, temperature=0.5):
        return [inputs, type(request).__name__, temperature]
"""

PLAIN = """
class Model:
    async def predict(self, inputs, request):
        return {
            "class": type(request).__name__,
            "inputs": inputs,
            "header": request.headers["X-Thing"],
            "missing": request.headers.get("x-nothing", "default"),
            "has": ["x-thing" in request.headers, "x-nothing" in request.headers],
            "names": sorted(set(request.headers.keys())),
            "items": ("x-thing", "1") in request.headers.items(),
            "method": request.method,
            "url": request.url,
            "query": request.query_params,
            "json": await request.json(),
            "body": len(await request.body()),
            "streamed": [len(piece) async for piece in request.stream()],
            "gone": await request.is_disconnected(),
            "state": sorted(vars(request.state)),
        }

    async def completions(self, inputs, *, request: "fastapi.Request"):
        return [type(request).__name__, inputs]

    async def embeddings(self, request: "fastapi.Request"):
        return [type(request).__name__, len(await request.body()), request.url]
"""


@pytest.fixture(scope="module")
def edge(module_servers: Servers) -> Edge:
    """Serve FASTAPI."""
    return module_servers.start(FASTAPI)


@pytest.fixture(scope="module")
def plain(module_servers: Servers, bare_python: str) -> Edge:
    """Serve PLAIN in an environment without starlette."""
    return module_servers.start(PLAIN, python=bare_python)


def test_a_method_with_only_the_request_gets_the_raw_body(edge: Edge) -> None:
    """The body is not parsed, so a binary one is as good as any, and the request is starlette's, complete."""
    response = edge.post(
        "/predict?q=1&r=a%20b", content=b"\xff\x00 no JSON", headers={"X-Thing": "1", "Cookie": "a=b"}
    )

    assert response.json() == {
        "class": "starlette.requests.Request",
        "body": b"\xff\x00 no JSON".hex(),
        "again": b"\xff\x00 no JSON".hex(),
        "method": "POST",
        "url": f"http://127.0.0.1:{edge.port}/predict?q=1&r=a%20b",
        "query": {"q": "1", "r": "a b"},
        "header": "1",
        "cookie": "b",
        "client": "127.0.0.1",
    }


def test_a_body_streams_into_the_model(edge: Edge) -> None:
    """A large upload reaches the model while the client is still sending it, in pieces of bounded size."""
    with edge.connect() as sock:
        sock.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\nx-do: stream\r\ncontent-length: 8000000\r\n\r\n")
        sock.sendall(b"x" * 100_000)
        edge.gates.wait("reading")
        sock.sendall(b"x" * 7_900_000)
        answer = read_until(sock, b"}")

    body = answer.partition(b"\r\n\r\n")[2]
    assert body.startswith(b'{"total":8000000,"largest":')
    assert int(body[27:-1]) <= 65536


def test_an_upload_waits_for_a_model_that_does_not_read(edge: Edge) -> None:
    """A body nobody reads yet stays with the client, and is whole when it is read."""
    with edge.connect() as sock:
        sock.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\nx-do: late\r\ncontent-length: 50000000\r\n\r\n")
        edge.gates.wait("late")
        sent = send_what_fits(sock, 50_000_000)
        assert sent < 49_000_000, "all of it lies in the server's memory"
        edge.gates.open("read")
        sock.sendall(b"x" * (50_000_000 - sent))
        assert read_until(sock, b"50000000").startswith(b"HTTP/1.1 200 ")


def send_what_fits(sock: socket.socket, limit: int) -> int:
    """Send until the server takes no more for half a second; return how much it took."""
    sent = 0
    while sent < limit and select.select([], [sock], [], 0.5)[1]:
        sent += sock.send(b"x" * min(65536, limit - sent))
    return sent


def test_a_model_may_answer_without_reading(edge: Edge) -> None:
    """A body that nobody wants is thrown away, and the connection goes on."""
    with edge.connect() as sock:
        for _ in range(2):
            sock.sendall(request_bytes("/predict", body=b"x" * 2_000_000, headers="x-do: early\r\n"))
            assert read_until(sock, b'"not read"').startswith(b"HTTP/1.1 200 ")


def test_inputs_and_request_together(edge: Edge) -> None:
    """The parsed inputs come first, the annotated request second."""
    response = edge.post("/v1/chat/completions", {"a": 1}, headers={"x-thing": "2"})

    assert response.json() == {"inputs": {"a": 1}, "header": "2", "path": "/v1/chat/completions"}


def test_a_parameter_named_request_needs_no_annotation(edge: Edge) -> None:
    """Named `request` it is the request, also by keyword only, and its body can be read again."""
    assert edge.post("/v1/completions", [1]).json() == {"inputs": [1], "json": [1], "gone": False}
    assert edge.post("/v1/embeddings", [1]).json() == "Request"


def test_defaults_are_the_models_own(edge: Edge) -> None:
    """A `request` with a default is filled, other parameters with defaults keep them."""
    assert edge.post("/v1/messages", 1).json() == [1, "Request", 0.5]


def test_without_starlette_the_request_is_a_small_one(plain: Edge) -> None:
    """In an environment without starlette the request still has headers, body, query and disconnect."""
    response = plain.post(
        "/predict?a=1&b=", content=b'{"x": 1}', headers={"X-Thing": "1", "accept": "*/*", "user-agent": "me"}
    )

    assert response.json() == {
        "class": "PlainRequest",
        "inputs": {"x": 1},
        "header": "1",
        "missing": "default",
        "has": [True, False],
        "names": [
            "accept",
            "accept-encoding",
            "connection",
            "content-length",
            "host",
            "user-agent",
            "x-thing",
        ],
        "items": True,
        "method": "POST",
        "url": "/predict?a=1&b=",
        "query": {"a": "1", "b": ""},
        "json": {"x": 1},
        "body": 8,
        "streamed": [8],
        "gone": False,
        "state": ["watch_disconnect"],
    }


def test_an_annotation_that_exists_only_for_the_type_checker(plain: Edge) -> None:
    """`"fastapi.Request"` as text means the request although nothing of that name is imported."""
    assert plain.post("/v1/completions", 1).json() == ["PlainRequest", 1]
    assert plain.post("/v1/embeddings", content=b"\xff" * 300_000).json() == [
        "PlainRequest",
        300_000,
        "/v1/embeddings",
    ]


def test_every_stage_has_the_request(tmp_path: Path) -> None:
    """A preprocess that takes only the request gets the raw body; what it returns is predict's input."""
    model = """
        import fastapi

        class Model:
            async def preprocess(self, request: fastapi.Request):
                return len(await request.body())

            def predict(self, inputs, request: fastapi.Request):
                return [inputs, request.method]

            async def postprocess(self, inputs, request: fastapi.Request):
                return [*inputs, len(await request.body())]
        """

    with RawWorker(sys.executable, write_release(tmp_path / "release", model)) as worker:
        stream = worker.upload("predict", [wire.BODY], 300_000)
        assert worker.finish(stream).value == [300_000, "POST", 300_000]


def test_a_client_that_closes_its_end_early(edge: Edge) -> None:
    """A body that ends before its announced length ends the call without harm to the server."""
    with edge.connect() as sock:
        sock.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\nx-do: stream\r\ncontent-length: 800\r\n\r\nabc")
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1000) == b""

    assert edge.post("/v1/messages", 1).status_code == 200
