"""HTTP as nobody should speak it: floods, trailers, offers of other protocols and garbage, behind requests or alone."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest

from tests.helpers import wait_until
from tests.server.raw_http import read_to_end, read_until, request_bytes
from tests.server.test_admission import metric

if TYPE_CHECKING:
    from tests.server.harness import Edge, Servers

MODEL = """
import gates


class Model:
    def predict(self, inputs):
        if isinstance(inputs, dict) and "hold" in inputs:
            gates.mark(f"{inputs['hold']}-held")
            gates.wait(inputs["hold"])
        if inputs == "stream":
            return (str(number) for number in range(1000))
        if inputs == "count":
            return self.count()
        return inputs

    def count(self):
        print("counting")
        yield "first "
        sum(range(60_000_000))  # in C: no other thread runs meanwhile
        gates.mark("counted")
        yield "last"
"""

UPGRADE = (
    b"GET /websocket HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
)
FLOOD_BYTES = 64 * 1024 * 1024


@pytest.fixture(scope="module")
def edge(module_servers: Servers) -> Edge:
    """Serve MODEL."""
    return module_servers.start(MODEL)


def send(sock: socket.socket, data: bytes, times: int) -> None:
    """Send something again and again."""
    for _ in range(times):
        sock.sendall(data)


def test_who_pipelines_without_reading_is_read_no_further(edge: Edge) -> None:
    """What a client may have under way is bounded by what it reads, however small its requests are."""
    some = request_bytes("/predict", 1) * 1000
    with edge.connect() as sock:
        sock.settimeout(3)
        with pytest.raises(TimeoutError):
            send(sock, some, FLOOD_BYTES // len(some))

    assert edge.call("after") == "after"


@pytest.mark.parametrize("path", ["/predict", "/v1/models/x:predict", "/health/live"])
def test_trailers_are_no_headers(edge: Edge, path: str) -> None:
    """What stands behind a body decides nothing."""
    head = f"POST {path} HTTP/1.1\r\nhost: tested\r\ntransfer-encoding: chunked\r\n\r\n"
    with edge.connect() as sock:
        sock.sendall(f"{head}1\r\n7\r\n0\r\nx-request-id: behind\r\n\r\n".encode())
        answer = read_until(sock, b"\r\n\r\n")

    assert b"x-request-id" in answer
    assert b"behind" not in answer


def test_trailers_have_a_limit(edge: Edge) -> None:
    """Who sends them without end is refused."""
    with edge.connect() as sock:
        sock.sendall(
            b"POST /predict HTTP/1.1\r\nhost: tested\r\ntransfer-encoding: chunked\r\n\r\n1\r\n7\r\n0\r\n"
        )
        with pytest.raises(ConnectionError):
            send(sock, b"x-a: " + b"a" * 10_000 + b"\r\n", 1000)

    assert edge.call("after") == "after"


@pytest.mark.parametrize("offer", ["upgrade: websocket\r\n", "upgrade: h2c\r\n"])
def test_a_post_that_offers_another_protocol(edge: Edge, offer: str) -> None:
    """It is a request like any other: only a GET without a body becomes a websocket."""
    with edge.connect() as sock:
        sock.sendall(request_bytes("/predict", {"n": 1}, headers=f"connection: upgrade\r\n{offer}"))

        assert read_until(sock, b'{"n":1}').startswith(b"HTTP/1.1 200")


def test_a_websocket_behind_a_call(edge: Edge) -> None:
    """The call is answered, and the connection ends: one cannot become the other."""
    with edge.connect() as sock:
        sock.sendall(request_bytes("/predict", {"hold": "ws"}) + UPGRADE)
        edge.gates.wait("ws-held")
        edge.gates.open("ws")
        answer = read_to_end(sock)

    assert answer.startswith(b"HTTP/1.1 200")
    assert b" 101 " not in answer


def test_connect(edge: Edge) -> None:
    """The server is no proxy."""
    with edge.connect() as sock:
        sock.sendall(b"CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n")

        assert read_to_end(sock).startswith(b"HTTP/1.1 405")


@pytest.mark.parametrize("body", [{"n": 1}, {"hold": "garbage"}], ids=["quick", "slow"])
def test_garbage_behind_a_request(edge: Edge, body: dict[str, object]) -> None:
    """The request is answered, and the connection ends."""
    edge.gates.open("garbage")
    with edge.connect() as sock:
        sock.sendall(request_bytes("/predict", body) + b"\0garbage\r\n\r\n")
        head, _, answer = read_to_end(sock).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200")
    assert json.loads(answer) == body


def test_an_offered_body_behind_a_call_is_refused(edge: Edge) -> None:
    """The refusal ends the connection, as it does for the only request."""
    offer = b"POST /nowhere HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n"
    with edge.connect() as sock:
        sock.sendall(request_bytes("/predict", 1) + offer)
        answers = read_to_end(sock)

    assert answers.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 404" in answers
    assert b"connection: close" in answers


def test_clients_that_leave_pipelines_behind_are_no_errors(edge: Edge) -> None:
    """What nobody waits for is given up, and told as that."""
    before = len(edge.records)
    for number in range(40):
        with edge.connect() as sock:
            sock.sendall(request_bytes("/predict?x", {"n": number}) * (number % 5 + 1))
            if number % 2:
                sock.recv(1)
    wait_until(lambda: metric(edge, "truss_running") == 0, what="the end of the calls")
    assert edge.call("after") == "after"

    assert [record for record in edge.records[before:] if record["levelname"] == "ERROR"] == []


def test_clients_that_leave_before_their_stream_begins_are_no_errors(edge: Edge) -> None:
    """Who closes the connection right behind a request has left; no library complains that the answer is missing."""
    before = len(edge.records)
    for _ in range(200):
        with edge.connect() as sock:
            sock.sendall(request_bytes("/predict", "stream"))
            sock.shutdown(socket.SHUT_WR)
    wait_until(lambda: metric(edge, "truss_running") == 0, what="the end of the calls")
    assert edge.call("after") == "after"

    assert [record for record in edge.records[before:] if record["levelname"] == "ERROR"] == []


def test_a_chunk_leaves_although_the_model_holds_the_interpreter(edge: Edge) -> None:
    """What is yielded is sent by who yields it, also right after something was printed."""
    with edge.asking("count") as sock:
        read_until(sock, b"first ")

        assert not (edge.root / "gates" / "counted").exists()
        read_until(sock, b"last")
