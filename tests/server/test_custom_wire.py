"""What a server of the author's own and its clients may say on the wire, and for how long they may say nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import InvalidStatus

from tests.helpers import wait_until
from tests.server.raw_http import read_error, read_until
from tests.server.test_custom import raw_server, start, websocket

if TYPE_CHECKING:
    from tests.server.harness import Edge, Servers

SILENT = """connection.sendall(
            b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nhi"
        ) if data.startswith(b"POST") else connection.recv(65536)"""

HANDSHAKE = (
    "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: eA==\r\n"
)


@pytest.fixture(scope="module")
def edge(module_servers: Servers) -> Edge:
    """Return a server for tests that leave it as it is."""
    return start(module_servers)


# ---- handshakes


def test_a_handshake_without_an_answer(servers: Servers) -> None:
    """A handshake that is not answered within `request_timeout` is 504, and gives its slot back."""
    runtime = {"predict_concurrency": 1, "max_queue": 0, "request_timeout": 0.5}
    edge = start(servers, runtime=runtime, files={"model/server.py": raw_server(SILENT)})
    with pytest.raises(InvalidStatus) as refused, websocket(edge, "/chat"):
        pass

    assert refused.value.response.status_code == 504
    assert b"the model was silent for 0.5 s" in refused.value.response.body
    assert edge.post("/predict", {}).text == "hi"
    edge.wait_log("the model was silent")


def test_a_handshake_whose_turn_does_not_come(servers: Servers) -> None:
    """The time in the queue counts; a websocket that is open has no such limit."""
    edge = start(servers, runtime={"predict_concurrency": 1, "max_queue": 1, "request_timeout": 0.5})
    with websocket(edge, "/chat") as ws:
        ws.recv()
        with pytest.raises(InvalidStatus) as refused, websocket(edge, "/chat"):
            pass
        ws.send("still here")

        assert ws.recv() == "still here"
    assert refused.value.response.status_code == 504
    assert b"it waited for its turn" in refused.value.response.body


def test_a_refusal_without_an_end(servers: Servers) -> None:
    """A refusal that does not come to its end within `request_timeout` is cut."""
    part = (
        "connection.sendall(b'HTTP/1.1 403 No\\r\\ncontent-length: 9\\r\\n\\r\\nno'), connection.recv(65536)"
    )
    edge = start(servers, runtime={"request_timeout": 0.5}, files={"model/server.py": raw_server(part)})
    with edge.connect() as sock:
        sock.sendall(f"GET /chat HTTP/1.1\r\nhost: x\r\n{HANDSHAKE}\r\n".encode())

        assert read_until(sock, b"\r\n\r\nno").startswith(b"HTTP/1.1 403")
        with pytest.raises((ConnectionResetError, AssertionError)):
            read_until(sock, b"more")


@pytest.mark.skipif(sys.platform != "linux", reason="shows the timers of TCP")
def test_peers_that_vanish_are_noticed(edge: Edge) -> None:
    """While a websocket is silent the system asks both of its peers, once a minute, whether they are there."""
    port = int(edge.post("/predict", {}).json()["variables"]["PORT"])
    with websocket(edge, "/chat") as ws:
        ws.recv()
        client = int(ws.local_address[1])

        wait_until(lambda: 0 < _probe(edge.port, client) <= 60, what="a probe of the client")
        wait_until(lambda: 0 < _probe(None, port) <= 60, what="a probe of the server")


def _probe(local: int | None, remote: int) -> float:
    """Return in how many seconds the last of the connections between two ports is probed; 0: never."""
    found = 0.0
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        _, here, there, state, _, timer, *_ = line.split()
        kind, _, ticks = timer.partition(":")
        ports = [int(end.rpartition(":")[2], 16) for end in (here, there)]
        if ports[1] == remote and local in {None, ports[0]} and (state, kind) == ("01", "02"):
            found = int(ticks, 16) / 100
    return found


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_an_upgrade_with_a_body(edge: Edge, method: str) -> None:
    """Only a GET is a handshake: any other request keeps its method and its body."""
    with edge.connect() as sock:
        sock.sendall(
            f"{method} /echo HTTP/1.1\r\nhost: x\r\n{HANDSHAKE}content-length: 5\r\n\r\nhello".encode()
        )
        told = read_until(sock, b"GREETING")

    assert told.startswith(b"HTTP/1.1 200")
    assert f'"method": "{method}"'.encode() in told
    assert b'"body": "hello"' in told


# ---- answers


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_answers_without_a_body(servers: Servers, status: str) -> None:
    """A length in the head of an answer that has no body is no error, and the client's connection goes on."""
    answer = f"connection.sendall(b'HTTP/1.1 {status}\\r\\netag: \"x\"\\r\\ncontent-length: 5\\r\\n\\r\\n')"
    edge = start(servers, files={"model/server.py": raw_server(answer)})
    with edge.connect() as sock:
        for _ in range(2):
            sock.sendall(b"GET /page HTTP/1.1\r\nhost: x\r\n\r\n")
            head = read_until(sock, b"\r\n\r\n").lower()

            assert head.startswith(b"http/1.1 " + status.lower().encode())
            assert b'etag: "x"' in head
            assert b"content-length" not in head
            assert head.endswith(b"\r\n\r\n")
    assert "shorter than" not in edge.log_text()


@pytest.mark.parametrize(
    ("head", "text"),
    [
        ("101 Switching Protocols\\r\\nupgrade: x\\r\\nconnection: upgrade", "answered with 101"),
        ("600 Odd\\r\\ncontent-length: 0", "answered with 600"),
        ("200 OK\\r\\ntransfer-encoding: gzip, chunked", "transfer coding"),
    ],
)
def test_answers_that_cannot_be_passed_on(servers: Servers, head: str, text: str) -> None:
    """A change of protocols nobody asked for, a status HTTP has not, or a lost coding is 502, at once."""
    answer = f"connection.sendall(b'HTTP/1.1 {head}\\r\\n\\r\\n'), connection.recv(65536)"
    edge = start(servers, files={"model/server.py": raw_server(answer)})
    response = edge.post("/predict", {})

    assert response.status_code == 502
    assert text in read_error(response)["error"]


def test_a_request_with_another_coding(edge: Edge) -> None:
    """A request's body that is more than chunked is 400: the server would take it for plain."""
    with edge.connect() as sock:
        sock.sendall(
            b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
        )

        assert read_until(sock, b"}").startswith(b"HTTP/1.1 400")
