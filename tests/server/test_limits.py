"""Limits hold exactly: concurrency, queue, body, head, silence of a stream."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.helpers import wait_until
from tests.server.raw_http import read_broken, read_error, read_until, request_bytes

if TYPE_CHECKING:
    from tests.server.harness import Edge, Servers

MODEL = """
import asyncio
import threading

import gates

lock = threading.Lock()
running = 0
most = 0


class Model:
    def predict(self, x):
        global running, most
        with lock:
            running += 1
            most = max(most, running)
        gates.mark(f"{x}-started")
        gates.wait(f"{x}-go")
        with lock:
            running -= 1
        return most

    async def messages(self, request: "fastapi.Request"):
        return len(await request.body())

    def embeddings(self, x):
        return len(x)
"""

SILENT = """
import asyncio
import time
import gates


def silent(name):
    yield "first"
    gates.mark(f"{name}-silent")
    gates.wait(f"{name}-end")
    gates.mark(f"{name}-ended")
    yield "last"


async def silent_async(name):
    yield {"n": 1}
    try:
        await asyncio.sleep(600)
    finally:
        gates.mark(f"{name}-ended")


def slow():
    for n in range(8):
        time.sleep(0.15)
        yield f"{n} "


def large():
    for n in range(200):
        yield b"x" * 16384


class Model:
    def predict(self, x):
        return {"sync": silent, "slow": lambda _: slow(), "large": lambda _: large()}[x](x)

    def chat_completions(self, x):
        return silent_async(x)

    def completions(self, x):
        return silent(x)
"""


@pytest.fixture(scope="module")
def edge(module_servers: Servers) -> Edge:
    """Serve MODEL: two at a time, three may wait, bodies of up to a million bytes."""
    runtime = {"predict_concurrency": 2, "max_queue": 3, "max_body_bytes": 1_000_000}
    return module_servers.start(MODEL, runtime=runtime)


@pytest.fixture(scope="module")
def impatient(module_servers: Servers) -> Edge:
    """Serve SILENT, giving a stream half a second of silence."""
    return module_servers.start(SILENT, runtime={"streaming_read_timeout": 0.5}, send_buffer=16 * 1024)


def test_concurrency_and_queue(edge: Edge) -> None:
    """Two run, three wait in order, the next is told to come again; then all are answered."""
    with ExitStack() as stack:
        socks = [stack.enter_context(edge.asking(n)) for n in (0, 1)]
        edge.gates.wait("0-started")
        edge.gates.wait("1-started")
        for n in (2, 3, 4):
            socks.append(stack.enter_context(edge.asking(n)))
            answer_to_another(edge)
        refused = edge.post("/predict", 5)
        health = edge.readiness()
        assert [edge.gates.has(f"{n}-started") for n in (2, 3, 4, 5)] == [False] * 4
        for n in range(5):
            edge.gates.open(f"{n}-go")
            body = read_until(socks[n], b"\r\n\r\n")
            body = body.partition(b"\r\n\r\n")[2] or socks[n].recv(10)
            if n < 3:
                edge.gates.wait(f"{n + 2}-started")
            assert body == b"2"

    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert read_error(refused) == {"error": "the model is busy: 3 calls are waiting already"}
    assert health == 200


def answer_to_another(edge: Edge) -> None:
    """Have the server answer something on a later connection: what was sent before has been read then."""
    assert edge.http.get("/health/live").status_code == 200


@pytest.mark.parametrize(
    "request_",
    [
        request_bytes("/v1/embeddings", body=b'"' + b"x" * 999_998 + b'"'),
        request_bytes("/v1/messages", body=b"x" * 1_000_000),
    ],
    ids=["inputs", "request"],
)
def test_the_largest_body(edge: Edge, request_: bytes) -> None:
    """A body as large as the limit is taken."""
    with edge.connect() as sock:
        sock.sendall(request_)
        assert read_until(sock, b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/messages"])
def test_a_body_that_says_it_is_too_large(edge: Edge, path: str) -> None:
    """A body whose announced length is over the limit is refused before a byte of it is read."""
    with edge.connect() as sock:
        sock.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000001\r\n\r\n".encode())
        answer = read_until(sock, b"}")

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"the request body is larger than 1000000 bytes" in answer


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/messages"])
def test_a_body_that_turns_out_too_large(edge: Edge, path: str) -> None:
    """A chunked body is refused when it grows over the limit; a client that sends on still reads the answer."""
    with edge.connect() as sock:
        sock.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        for _ in range(100):
            sock.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        sock.sendall(b"0\r\n\r\n")
        answer = read_until(sock, b"}")
        assert answer.startswith(b"HTTP/1.1 413 ")
        sock.sendall(request_bytes("/v1/embeddings", "four"))
        assert read_until(sock, b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_a_head_that_is_too_large(edge: Edge) -> None:
    """A request whose headers exceed what a frame can hold is refused as what it is."""
    with edge.connect() as sock:
        sock.sendall(request_bytes("/v1/messages", body=b"", headers=f"x-large: {'x' * 70_000}\r\n"))
        assert read_until(sock, b"}").startswith(b"HTTP/1.1 431 ")


def test_a_silent_stream_is_given_up(impatient: Edge) -> None:
    """A stream whose model is silent breaks; a sync one does not hold its client until it yields again."""
    with impatient.stream("sync") as response:
        assert read_broken(response) == b"first"
    assert not impatient.gates.has("sync-ended")
    impatient.gates.open("sync-end")
    impatient.gates.wait("sync-ended")
    impatient.wait_log("the model was silent for 0.5 s", request_id=response.headers["x-request-id"])


def test_a_silent_coroutine_is_cancelled(impatient: Edge) -> None:
    """Where events can say so the client is told why, and an async generator is ended."""
    with impatient.stream("async", "/v1/chat/completions") as response:
        body = read_broken(response).decode()

    assert body.startswith('data: {"n":1}\n\ndata: {"error":{"message":"the model was silent for 0.5 s"')
    impatient.gates.wait("async-ended")


def test_a_stream_that_is_only_slow(impatient: Edge) -> None:
    """Chunks that keep coming may take longer in all than the limit of silence."""
    assert impatient.post("/predict", "slow").text == "0 1 2 3 4 5 6 7 "


def test_a_slow_reader_is_no_silent_model(impatient: Edge) -> None:
    """While a client does not read, the model is not blamed for silence."""
    with impatient.connect(receive_buffer=4096) as sock:
        sock.sendall(request_bytes("/predict", "large", headers="connection: close\r\n"))
        read_until(sock, b"xxx")
        end = time.monotonic() + 1.2
        wait_until(lambda: time.monotonic() > end, what="more than twice the limit")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_000_000)
        rest = b""
        while chunk := sock.recv(65536):
            rest = rest[-10:] + chunk
    assert rest.endswith(b"\r\n0\r\n\r\n")
