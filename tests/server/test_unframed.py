"""Clients that speak HTTP/1.0: they know no chunks, and an answer without a length ends with its connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.server.raw_http import request_bytes

if TYPE_CHECKING:
    import socket

    from tests.server.harness import Edge, Servers

MODEL = """
from starlette.responses import Response, StreamingResponse


class Model:
    def predict(self, x):
        if x == "value":
            return {"a": 1}
        if x == "response":
            return StreamingResponse(iter(["one", "two"]))
        if x == "empty":
            return Response(status_code=204)
        return self.stream(x)

    def chat_completions(self, x):
        return self.stream(x)

    def stream(self, x):
        yield "one"
        if x == "fail":
            raise ValueError("no two")
        yield "two"
"""


@pytest.fixture(scope="module")
def edge(module_servers: Servers) -> Edge:
    """Serve MODEL."""
    return module_servers.start(MODEL)


def ask(sock: socket.socket, path: str, value: str, headers: str = "") -> None:
    """Send a request in HTTP/1.0."""
    sock.sendall(request_bytes(path, value, headers=headers).replace(b"HTTP/1.1", b"HTTP/1.0"))


def read(sock: socket.socket) -> tuple[bytes, bytes, bool]:
    """Return head and body of an answer, and whether its connection ended well."""
    data, well = b"", True
    try:
        while chunk := sock.recv(65536):
            data += chunk
    except ConnectionResetError:
        well = False
    head, _, body = data.partition(b"\r\n\r\n")
    return head, body, well


@pytest.mark.parametrize(
    ("value", "headers", "expected"),
    [
        ("stream", "", b"onetwo"),
        ("stream", "connection: keep-alive\r\n", b"onetwo"),
        ("stream", "accept: text/event-stream\r\n", b"data: one\n\ndata: two\n\n"),
        ("response", "", b"onetwo"),
        ("value", "", b'{"a":1}'),
        ("empty", "", b""),
    ],
)
def test_answers_in_http_1_0(edge: Edge, value: str, headers: str, expected: bytes) -> None:
    """An answer is what it is, without chunks, and its end is that of the connection."""
    with edge.connect() as sock:
        ask(sock, "/predict", value, headers)
        head, body, well = read(sock)

    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert (body, well) == (expected, True)


@pytest.mark.parametrize(
    ("path", "beginning"), [("/predict", b"one"), ("/v1/chat/completions", b'one\n\ndata: {"error":')]
)
def test_a_stream_that_fails_in_http_1_0(edge: Edge, path: str, beginning: bytes) -> None:
    """A stream that breaks is not taken for complete: its connection is reset."""
    with edge.connect() as sock:
        ask(sock, path, "fail")
        head, body, well = read(sock)

    assert head.startswith(b"HTTP/1.1 200")
    assert body.startswith(beginning)
    assert not well
