"""Websockets: both directions, both ends, every way to end, and what they take of the server meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.helpers import wait_until
from tests.server.raw_http import read_to_end, read_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from websockets.sync.client import ClientConnection

    from tests.server.harness import Edge, Servers

BODY = """
        import asyncio, gates
        await ws.accept()
        command = await ws.receive_text()
        if command == "echo":
            while True:
                event = await ws.receive()
                if event["type"] == "websocket.disconnect":
                    return
                if event.get("text") is not None:
                    await ws.send_text(event["text"])
                else:
                    await ws.send_bytes(event["bytes"])
        elif command == "json":
            await ws.send_json([await ws.receive_json(), "ü"])
        elif command == "bytes":
            await ws.send_bytes((await ws.receive_bytes()) + b"\\x00")
        elif command == "iterate":
            gates.mark("iterated", ",".join([text async for text in ws.iter_text()]))
        elif command == "close":
            await ws.close(4001, "enough")
        elif command == "raise":
            raise ValueError("broken websocket")
        elif command == "return":
            return
        elif command == "count":
            at = 0
            while True:
                at += 1
                await ws.send_bytes(b"x" * 100_000)
                gates.mark("sent", at)
        elif command == "receive":
            try:
                await ws.receive_text()
            except Exception as exc:
                gates.mark("received", type(exc).__name__)
                raise
        elif command == "unread":
            gates.mark("unread")
            await gates.wait_async("read")
            await ws.send_text(str(sum([len(await ws.receive_text()) for _ in range(40)])))
        elif command == "sleep":
            try:
                gates.mark("sleeping")
                await asyncio.sleep(100)
            finally:
                gates.mark("woken")
        elif command == "die":
            import os
            os._exit(1)
"""
STARLETTE = (
    f"from fastapi import WebSocket\n\n\nclass Model:\n    async def websocket(self, ws: WebSocket):{BODY}"
)
PLAIN = f"class Model:\n    async def websocket(self, ws):{BODY}"

MB = 1024 * 1024

UPGRADE = (
    b"GET /websocket HTTP/1.1\r\nhost: tested\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@pytest.fixture(scope="module", params=["starlette", "plain"])
def edge(module_servers: Servers, bare_python: str, request: pytest.FixtureRequest) -> Edge:
    """Serve the model with fastapi's websocket and, in an interpreter without packages, with the server's own."""
    if request.param == "starlette":
        return module_servers.start(STARLETTE, runtime={"predict_concurrency": 2})
    return module_servers.start(PLAIN, python=bare_python, runtime={"predict_concurrency": 2})


@contextlib.contextmanager
def talk(
    edge: Edge, command: str | None = None, path: str = "/websocket", **options: Any
) -> Iterator[ClientConnection]:
    """Open a websocket and say what the model shall do."""
    url = f"ws://127.0.0.1:{edge.port}{path}"
    with connect(url, max_size=None, proxy=None, open_timeout=20, close_timeout=5, **options) as ws:
        if command is not None:
            ws.send(command)
        yield ws


def ended(ws: ClientConnection) -> tuple[int, str]:
    """Return code and reason of the server's close."""
    with pytest.raises(ConnectionClosed) as caught:
        ws.recv(timeout=20)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


def running(edge: Edge) -> int:
    """Return how many calls hold a slot."""
    for line in edge.http.get("/metrics").text.splitlines():
        if line.startswith("truss_running "):
            return int(float(line.split()[1]))
    raise AssertionError("no metric truss_running")


@pytest.mark.parametrize(
    "path",
    ["/websocket", "/v1/websocket", "/environments/production/websocket", "/production/sync/v1/websocket"],
)
def test_paths(edge: Edge, path: str) -> None:
    """The websocket is at both paths and at the platform's."""
    with talk(edge, "echo", path) as ws:
        ws.send("hello")

        assert ws.recv(timeout=20) == "hello"


def test_kinds_of_messages(edge: Edge) -> None:
    """Text, bytes and JSON pass both ways, empty ones too."""
    messages: list[str | bytes] = ["text", "", "ü", b"\x00\xff", b""]
    with talk(edge, "echo") as ws:
        for message in messages:
            ws.send(message)
        echoes = [ws.recv(timeout=20) for _ in messages]
    with talk(edge, "json") as ws:
        ws.send('{"a": [1, null]}')
        answer = json.loads(ws.recv(timeout=20))
        end = ended(ws)
    with talk(edge, "bytes") as ws:
        ws.send(b"a")
        data = ws.recv(timeout=20)

    assert messages == echoes
    assert answer == [{"a": [1, None]}, "ü"]
    assert data == b"a\x00"
    assert end == (1000, "")


@pytest.mark.parametrize("size", [65_535, 65_536, 262_144, 5 * MB])
def test_large_messages(edge: Edge, size: int) -> None:
    """Messages larger than every piece and window pass both ways, several in a row."""
    with talk(edge, "echo") as ws:
        for _ in range(3):
            ws.send("ü" * (size // 2))
            ws.send(os.urandom(8) * (size // 8))

            assert len(ws.recv(timeout=20)) == size // 2
            assert len(ws.recv(timeout=20)) == size // 8 * 8


def test_many_small_messages(edge: Edge) -> None:
    """Thousands of small messages do not use up the window: what one takes of it is given back."""
    with talk(edge, "echo") as ws:
        for _ in range(60):
            for _ in range(100):
                ws.send("x")
            assert [ws.recv(timeout=20) for _ in range(100)] == ["x"] * 100


def test_the_model_closes(edge: Edge) -> None:
    """Code and reason of the model's close reach the client; returning is a normal close."""
    with talk(edge, "close") as closing, talk(edge, "return") as returning:
        assert ended(closing) == (4001, "enough")
        assert ended(returning) == (1000, "")


def test_the_model_raises(edge: Edge) -> None:
    """An exception is 1011 for the client and a traceback in the log."""
    with talk(edge, "raise", additional_headers={"x-request-id": "ws-raise"}) as ws:
        code, _ = ended(ws)

    assert code == 1011
    assert "broken websocket" in edge.wait_log("ValueError", request_id="ws-raise")["exc_info"]


def test_the_client_closes(edge: Edge) -> None:
    """A model that receives, or iterates, hears of the client's close, and that is no error."""
    with talk(edge, "receive"):
        pass
    with talk(edge, "iterate") as ws:
        ws.send("a")
        ws.send("b")

    assert edge.gates.wait("received") in ("WebSocketDisconnect", "DisconnectedError")
    assert edge.gates.wait("iterated") == "a,b"
    wait_until(lambda: running(edge) == 0, what="free slots")
    assert not [r for r in edge.records if "Disconnect" in r["message"]]


def test_a_client_that_answers_no_ping(servers: Servers) -> None:
    """It is pinged as often as `runtime.transport` says, and closed when it does not answer in time."""
    edge = servers.start(
        PLAIN, runtime={"transport": {"ping_interval_seconds": 0.05, "ping_timeout_seconds": 0.05}}
    )
    with socket.create_connection(("127.0.0.1", edge.port), 20) as sock:
        sock.sendall(UPGRADE)
        frames = read_to_end(sock).partition(b"\r\n\r\n")[2]

    assert frames[:2] == b"\x89\x04"  # a ping of four bytes
    assert frames[6] == 0x88  # and then a close
    assert int.from_bytes(frames[8:10], "big") == 1011


def test_a_client_that_vanishes_midway(edge: Edge) -> None:
    """A client that leaves while 5 MB are on their way to it takes nothing with it."""
    before = edge.workers()
    for _ in range(5):
        with talk(edge, "echo") as ws:
            ws.send(b"x" * 5 * MB)
            ws.socket.shutdown(2)
    wait_until(lambda: running(edge) == 0, what="free slots")

    assert edge.workers() == before


def test_a_client_that_does_not_read_stalls_the_model(edge: Edge) -> None:
    """What a model sends waits in bounded buffers only."""
    (edge.root / "gates" / "sent").unlink(missing_ok=True)
    with edge.connect() as sock:  # a client library would read ahead
        sock.sendall(UPGRADE)
        read_until(sock, b"\r\n\r\n")
        sock.sendall(b"\x81\x85\x00\x00\x00\x00count")
        edge.gates.wait("sent")
        with talk(edge, "echo") as other:
            for _ in range(20):
                other.send("x" * MB)
                other.recv(timeout=20)
        sent = int(edge.gates.read("sent"))

    assert sent < 100  # 10 MB; the kernel's buffers hold most of it


def test_a_model_that_does_not_read_stalls_the_client(edge: Edge) -> None:
    """Messages wait for the model, and none is lost."""
    with talk(edge, "unread") as ws:
        edge.gates.wait("unread")
        for _ in range(4):
            ws.send("x" * 100_000)
        edge.gates.open("read")
        for _ in range(36):
            ws.send("x" * 100_000)

        assert ws.recv(timeout=20) == "4000000"


def test_holds_and_frees_its_slot(edge: Edge) -> None:
    """An open websocket counts as one running call; one that cannot be taken waits for its turn."""
    wait_until(lambda: running(edge) == 0, what="free slots")
    with talk(edge, "echo") as first, talk(edge, "echo") as second:
        first.send("a")
        second.send("b")
        assert [first.recv(timeout=20), second.recv(timeout=20)] == ["a", "b"]
        assert running(edge) == 2
    wait_until(lambda: running(edge) == 0, what="free slots")


def test_a_model_that_sleeps_is_cancelled(edge: Edge) -> None:
    """A websocket whose client left is cancelled, after the time it is given to hear of it itself."""
    (edge.root / "gates" / "woken").unlink(missing_ok=True)
    with talk(edge, "sleep"):
        edge.gates.wait("sleeping")

    edge.gates.wait("woken", 20)
    wait_until(lambda: running(edge) == 0, what="free slots")


def test_the_worker_dies(edge: Edge) -> None:
    """A websocket whose worker died ends with 1011, and the next one works."""
    with talk(edge, "die") as ws:
        assert ended(ws)[0] == 1011
    edge.wait_ready()
    with talk(edge, "echo") as ws:
        ws.send("again")

        assert ws.recv(timeout=20) == "again"


def test_another_environment(edge: Edge) -> None:
    """A websocket of another environment is told which one this is."""
    with talk(edge, path="/environments/other/websocket") as ws:
        assert ended(ws) == (1008, "this is the deployment in the environment production, not other")


def test_not_implemented(servers: Servers) -> None:
    """A model without websocket says so in the close, and its other routes are served."""
    edge = servers.start("class Model:\n    def predict(self, x):\n        return x\n")

    with talk(edge) as ws:
        assert ended(ws) == (1003, "WebSocket is not implemented on this deployment.")
    assert edge.call(1) == 1


def test_busy(servers: Servers) -> None:
    """A websocket that finds the queue full is told to try later."""
    edge = servers.start(PLAIN, runtime={"predict_concurrency": 1, "max_queue": 0})
    with talk(edge, "echo") as ws:
        ws.send("a")
        ws.recv(timeout=20)
        with talk(edge) as refused:
            code, reason = ended(refused)

    assert code == 1013
    assert "busy" in reason


def metric(edge: Edge, name: str) -> float:
    """Return the value of a metric, 0 where it has none yet."""
    lines = edge.http.get("/metrics").text.splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(f"{name} ")), 0.0)


def test_the_worker_dies_under_a_queue(servers: Servers) -> None:
    """Who waits when the worker dies is answered, and what comes after has its slot."""
    edge = servers.start(PLAIN, runtime={"predict_concurrency": 1})
    with talk(edge) as dying, edge.connect() as queued:
        queued.sendall(UPGRADE)
        wait_until(lambda: metric(edge, "truss_queued") == 1, what="the queue")
        dying.send("die")
        assert ended(dying)[0] == 1011
        assert read_until(queued, b"\r\n").startswith(b"HTTP/1.1 101 ")
    edge.wait_ready()
    wait_until(lambda: metric(edge, "truss_running") == 0, what="free slots")
    with talk(edge, "return") as ws:
        assert ended(ws) == (1000, "")


def test_who_leaves_the_queue_is_never_served(servers: Servers) -> None:
    """A websocket whose client left while it waited is not begun, and counts as waiting no more."""
    edge = servers.start(
        "import gates\n\n\nclass Model:\n    async def websocket(self, ws):\n"
        "        gates.mark('begun')\n        await ws.receive_text()\n",
        runtime={"predict_concurrency": 1},
    )
    with talk(edge) as first:
        edge.gates.wait("begun")
        (edge.root / "gates" / "begun").unlink()
        with edge.connect() as queued:
            queued.sendall(UPGRADE)
            wait_until(lambda: metric(edge, "truss_queued") == 1, what="the queue")
        wait_until(lambda: metric(edge, "truss_queued") == 0, what="the empty queue")
        first.send("x")
        ended(first)

    wait_until(lambda: metric(edge, "truss_running") == 0, what="free slots")
    assert not edge.gates.has("begun")
    assert metric(edge, "truss_cancelled_total") == 1
    edge.wait_log("WEBSOCKET /websocket 1006")


def test_log_and_metrics(servers: Servers) -> None:
    """Each websocket has its access line and its place in the metrics, by the code of its close."""
    edge = servers.start(PLAIN, runtime={"predict_concurrency": 1, "max_queue": 0})
    trace = {"x-request-id": "ws-1", "traceparent": "00-1-2-03"}
    with talk(edge, additional_headers=trace) as ws:
        with talk(edge) as refused:
            ended(refused)
        ws.send("close")
        ended(ws)

    line = edge.wait_log("WEBSOCKET /websocket 4001", request_id="ws-1", traceparent="00-1-2-03")
    edge.wait_log("WEBSOCKET /websocket 1013")
    assert line["duration_ms"] > 0
    assert metric(edge, 'truss_requests_total{method="websocket",status="4001"}') == 1
    assert metric(edge, 'truss_requests_total{method="websocket",status="1013"}') == 1
    assert metric(edge, 'truss_request_seconds_count{method="websocket"}') == 2
    assert metric(edge, "truss_rejected_total") == 1


def test_drain(servers: Servers) -> None:
    """SIGTERM ends open websockets and the server."""
    edge = servers.start(PLAIN)
    with talk(edge, "echo") as ws:
        ws.send("a")
        ws.recv(timeout=20)
        edge.signal(signal.SIGTERM)

        assert ended(ws)[0] == 1012
    assert edge.wait_exit() == 0
