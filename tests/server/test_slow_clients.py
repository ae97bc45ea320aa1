"""Clients that keep the server waiting: with a head, with a body, with reading their answer; and what they may hold."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers import wait_until
from tests.server.raw_http import read_error, read_to_end, read_until, request_bytes

if TYPE_CHECKING:
    from tests.server.harness import Edge, Servers

MODEL = """
import gates
from starlette.requests import Request


def endless():
    try:
        while True:
            yield "x" * 60_000
    finally:
        gates.mark("closed")


class Model:
    def predict(self, x):
        if x == "endless":
            return endless()
        if x == "large":
            return "x" * 30_000_000
        if x == "hold":
            gates.mark("holding")
            gates.wait("go")
        return len(x)

    async def completions(self, request: Request):
        return len(await request.body())
"""
HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\n"


@pytest.fixture(scope="module")
def edge(module_servers: Servers) -> Edge:
    """Serve MODEL; a client may keep the server waiting for a second."""
    return module_servers.start(MODEL, options=["--client-timeout", "1"])


@pytest.mark.parametrize(
    ("sent", "more", "status"),
    [
        (b"", b"", b""),
        (b"\r\n", b"\r\n", b""),
        (b"POST /pre", b"", b"408"),
        (HEAD + b"x-a: ", b"a", b"408"),
        (HEAD + b"content-length: 900000\r\n\r\n", b"", b"408"),
        (HEAD + b"content-length: 900000\r\n\r\n{", b"x", b"408"),
        (HEAD.replace(b"predict", b"v1/completions") + b"content-length: 90\r\n\r\n{", b"", b"408"),
    ],
    ids=[
        "nothing",
        "empty lines",
        "half a line",
        "trickled head",
        "no body",
        "trickled body",
        "a paused upload",
    ],
)
@pytest.mark.parametrize("before", [b"", request_bytes("/predict", "abc")], ids=["first", "second"])
def test_who_does_not_come_to_the_point(
    edge: Edge, before: bytes, sent: bytes, more: bytes, status: bytes
) -> None:
    """A connection whose client does not complete its request is told so, and closed."""
    with edge.connect() as sock:
        if before:
            sock.sendall(before)
            read_until(sock, b"\r\n\r\n3")
        sock.sendall(sent)
        answer = trickle(sock, more)

    assert answer.split(b" ")[1:2] == ([status] if status else [])
    assert (b'"the request' in answer) == bool(status)


def test_a_head_has_its_time(servers: Servers) -> None:
    """The time for a head is counted from its first bytes, however long the connection was idle, or busy, before."""
    request = request_bytes("/predict", "abc")
    edge = servers.start(MODEL, options=["--client-timeout", "3"])
    with edge.connect() as late, edge.connect() as busy:
        quiet(late, 1.0)
        busy.sendall(request)
        read_until(busy, b"\r\n\r\n3")
        busy.sendall(b"POST /pre")
        begun = time.monotonic()
        quiet(late, 1.0)
        late.sendall(request[:20])
        assert read_to_end(busy).startswith(b"HTTP/1.1 408")
        assert time.monotonic() - begun < 3.8
        late.sendall(request[20:])
        assert read_until(late, b"\r\n\r\n3").startswith(b"HTTP/1.1 200")


def quiet(sock: socket.socket, seconds: float) -> None:
    """See that nothing comes for so long."""
    sock.settimeout(seconds)
    with pytest.raises(TimeoutError):
        sock.recv(1)
    sock.settimeout(30)


def trickle(sock: socket.socket, more: bytes) -> bytes:
    """Send some bytes every tenth of a second until an answer, or the end, comes; return it."""
    sock.settimeout(0.1)
    end = time.monotonic() + 8
    while time.monotonic() < end:
        with contextlib.suppress(TimeoutError):
            return sock.recv(65536)
        sock.sendall(more)
    raise AssertionError("the connection is still open")


def test_an_upload_that_is_only_slow(edge: Edge) -> None:
    """A body that the model reads as it comes may come slowly."""
    with edge.connect() as sock:
        sock.sendall(HEAD.replace(b"predict", b"v1/completions") + b"content-length: 30\r\n\r\n")
        assert trickle(sock, b"x").startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("line", [b"x-a: ", b"x-", b""], ids=["value", "name", "request line"])
def test_a_head_that_never_ends(edge: Edge, line: bytes) -> None:
    """A head is cut off at its limit, and not kept in memory until it ends."""
    before = memory(edge)
    with edge.connect() as sock:
        sock.sendall(HEAD + line if line else b"POST /")
        sent = 0
        try:
            while sent < 50_000_000:
                sent += sock.send(b"x" * 100_000)
        except ConnectionError:
            pass

    assert sent < 20_000_000  # what sockets hold
    assert memory(edge) - before < 10_000_000


def test_a_head_over_the_limit_is_431(edge: Edge) -> None:
    """Before its end has come, and on every route."""
    with edge.connect() as sock:
        sock.sendall(HEAD + b"x-a: " + b"x" * 60_000)
        edge.readiness()
        sock.sendall(b"x" * 10_000)
        edge.readiness()
        sock.sendall(b"x" * 60_000)
        answer = read_to_end(sock)
    health = edge.http.get("/health/live", headers={"x-large": "x" * 70_000})

    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b'{"error":"the request\'s head is larger than 65536 bytes","request_id":' in answer
    assert health.status_code == 431


def memory(edge: Edge) -> int:
    """Return the bytes the edge holds."""
    status = Path(f"/proc/{edge.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


LENGTHS = b"x-request-id: mine\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"nonsense\r\n\r\n", b'{"error":"this is no HTTP request: Invalid method encountered"'),
        (
            HEAD + LENGTHS,
            b'{"error":"this is no HTTP request: Duplicate Content-Length","request_id":"mine"}',
        ),
        (
            HEAD.replace(b"predict", b"v1/messages") + LENGTHS,
            b'{"type":"error","error":{"type":"invalid_request',
        ),
    ],
    ids=["nonsense", "a plain route", "Anthropic's"],
)
def test_what_is_no_http(edge: Edge, sent: bytes, error: bytes) -> None:
    """What cannot be parsed is refused with why, in the shape of all errors on its route, and with its id."""
    with edge.connect() as sock:
        sock.sendall(sent)
        head, _, body = read_to_end(sock).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"content-type: application/json" in head
    assert b"x-request-id: " in head
    assert body.startswith(error)
    assert b'"request_id":"' in body


@pytest.mark.parametrize("cut", [0, 20, 150], ids=["one packet", "in the head", "in the body"])
def test_an_offer_of_http_2_is_declined(edge: Edge, cut: int) -> None:
    """A request that offers to go on in HTTP/2, as Java's client makes, is answered in HTTP/1.1."""
    offer = (
        "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAABAAMAAAB\r\n"
    )
    request = request_bytes("/predict", "x" * 100, headers=offer)
    with edge.connect() as sock:
        for part in (request[:cut], request[cut:], request_bytes("/predict", "four")):
            sock.sendall(part)
            edge.readiness()
        assert read_until(sock, b"\r\n\r\n4").count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize("value", ["endless", "large"])
@pytest.mark.parametrize("headers", ["", "connection: close\r\n"], ids=["keep-alive", "close"])
def test_who_does_not_read(edge: Edge, value: str, headers: str) -> None:
    """A client that takes nothing of its answer is cut off: neither generator nor connection nor memory is held."""
    before = descriptors(edge)
    with edge.connect(receive_buffer=4096) as sock:
        sock.sendall(request_bytes("/predict", value, headers=headers))
        wait_until(lambda: descriptors(edge) - before, what="the connection")
        wait_until(lambda: not descriptors(edge) - before, 15, what="the end of the connection")
        if value == "endless":
            edge.gates.wait("closed")


@pytest.mark.parametrize("path", ["/predict", "/invocations"])
def test_who_goes_on_asking_and_does_not_read(edge: Edge, path: str) -> None:
    """A client that takes nothing of its answers is cut off, whatever it asks meanwhile."""
    before = descriptors(edge)
    with edge.connect(receive_buffer=4096) as sock:
        for _ in range(2):
            sock.sendall(request_bytes(path, "large"))
        wait_until(lambda: descriptors(edge) - before, what="the connection")
        wait_until(lambda: not descriptors(edge) - before, 15, what="the end of the connection")


def descriptors(edge: Edge) -> set[str]:
    """Return what the open descriptors of the edge lead to; each socket has a name of its own."""
    found = set()
    for path in Path(f"/proc/{edge.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.add(str(path.readlink()))
    return found


def test_a_large_body_holds_up_nobody(edge: Edge) -> None:
    """While a large body is parsed, the edge goes on; it reaches the model whole, and what is no JSON is refused."""
    body = b"[" + b"1.5," * 3_000_000 + b"18446744073709551616]"
    stop = threading.Event()
    gaps = []

    def watch() -> None:
        while not stop.is_set():
            begun = time.monotonic()
            assert edge.http.get("/health/live").status_code == 200
            gaps.append(time.monotonic() - begun)

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        answers = [edge.post("/predict", content=body), edge.post("/predict", content=body[:-1])]
        stop.set()
        watching.result()

    assert (answers[0].status_code, answers[0].json()) == (200, 3_000_001)
    assert answers[1].status_code == 400
    assert "Invalid JSON payload: " in read_error(answers[1])["error"]
    assert max(gaps) < 1.0, sorted(gaps)[-3:]


def test_bodies_that_wait(servers: Servers) -> None:
    """Large bodies of calls that wait for their turn have a limit in all; who is over it is told to come again."""
    edge = servers.start(
        MODEL, runtime={"predict_concurrency": 1, "max_queue": 100, "max_body_bytes": 30_000_000}
    )
    before = memory(edge)
    body = b'"' + b"x" * 20_000_000 + b'"'
    socks = []
    with edge.asking("hold") as holding:
        edge.gates.wait("holding")
        for _ in range(6):
            sock = socket.create_connection(("127.0.0.1", edge.port), 30)
            sock.sendall(request_bytes("/predict", body=body))
            socks.append(sock)
        for sock in socks[3:]:
            answer = read_until(sock, b"}")
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1" in answer
        held = memory(edge) - before
        wait_until(lambda: "truss_queued 3.0" in edge.http.get("/metrics").text, what="the queue")
        edge.gates.open("go")
        read_until(holding, b"\r\n\r\n4")
    for sock in socks[:3]:
        read_until(sock, b"\r\n\r\n20000000")
    for sock in socks:
        sock.close()

    assert held < 200_000_000
    assert len(edge.post("/predict", content=body).text) == len("20000000")  # all of it was given back
