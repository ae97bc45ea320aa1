"""A server of the author's own behind the edge: its routes, streams, websockets, ends, and its process's life."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.helpers import wait_until
from tests.server.raw_http import read_broken, read_error, read_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server.harness import Edge, Servers

SERVER = """
import asyncio, json, os, signal, sys
import gates
import uvicorn

REFUSED = []


async def answer(send, body, status=200, headers=(), more=False):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def read(receive):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def stream(receive, send, kind=b"text/plain"):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    gates.mark("head")

    async def gone():
        while (await receive())["type"] != "http.disconnect":
            pass
        gates.mark("gone")

    watching = asyncio.create_task(gone())
    for at in range(3):
        await gates.wait_async(f"go{at}")
        await send({"type": "http.response.body", "body": b"data: %d\\n\\n" % at, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        return await websocket(scope, receive, send)
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("the server ends in peace", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    path = scope["path"]
    if path == "/ready":
        ok = not gates.is_open("unready")
        await answer(send, b"{}", 200 if ok else 503)
    elif path == "/alive":
        await answer(send, b"{}", 500 if gates.is_open("dead") else 200)
    elif path == "/stream":
        await stream(receive, send, b"text/event-stream")
    elif path == "/wait":
        gates.mark("waiting")
        await gates.wait_async("done")
        await answer(send, b"waited")
    elif path == "/die":
        gates.mark("dying")
        await gates.wait_async("death")
        os.kill(os.getpid(), signal.SIGKILL)
    elif path == "/upload":
        size = 0
        while True:
            message = await receive()
            size += len(message.get("body", b""))
            gates.mark("uploaded", size)
            if not message.get("more_body"):
                break
        await answer(send, str(size).encode())
    elif path == "/large":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for at in range(400):
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
            gates.mark("sent", at)
        await send({"type": "http.response.body", "body": b""})
    elif path == "/teapot":
        await answer(send, b"short and stout", 418, [(b"x-kind", b"tea"), (b"x-kind", b"pot")])
    elif path == "/nothing":
        await answer(send, b"", 204)
    elif path == "/metrics":
        await answer(send, b"# TYPE tokens counter\\ntokens 7.0\\n", 200, [(b"content-type", b"text/plain")])
    else:
        told = {"path": path, "raw": scope["raw_path"].decode(), "query": scope["query_string"].decode()}
        told["method"] = scope["method"]
        told["headers"] = [[n.decode(), v.decode()] for n, v in scope["headers"]]
        told["body"] = (await read(receive)).decode()
        told["variables"] = {k: os.environ.get(k) for k in ("PORT", "TRUSS_ENVIRONMENT", "GREETING")}
        await answer(send, json.dumps(told).encode(), 200, [(b"content-type", b"application/json")])


async def websocket(scope, receive, send):
    await receive()
    if scope["path"] == "/refuse":
        await send({"type": "websocket.http.response.start", "status": 403, "headers": [(b"content-length", b"2")]})
        await send({"type": "websocket.http.response.body", "body": b"no"})
        return
    await send({"type": "websocket.accept", "subprotocol": (scope["subprotocols"] or [None])[0]})
    await send({"type": "websocket.send", "text": scope["path"] + ("?x=1" if scope["query_string"] == b"x=1" else "")})
    while (event := await receive())["type"] != "websocket.disconnect":
        if event.get("text") == "close":
            await send({"type": "websocket.close", "code": 4001, "reason": "enough"})
            return
        if event.get("text") == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        await send({"type": "websocket.send", "text": event.get("text"), "bytes": event.get("bytes")})
    gates.mark("websocket gone", event["code"])


print("hello from the server", flush=True)
if gates.is_open("broken"):
    sys.exit(7)
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
"""

CUSTOM = {
    "start_command": f"{sys.executable} model/server.py $PORT",
    "server_port": 18_000,
    "predict_endpoint": "/generate",
    "readiness_endpoint": "/ready",
    "liveness_endpoint": "/alive",
}


def start(servers: Servers, **options: Any) -> Edge:
    """Start the server above behind an edge."""
    config = {
        "docker_server": {**CUSTOM, **options.pop("custom", {})},
        "environment_variables": {"GREETING": "hi"},
    }
    return servers.start(
        "", config=config, files={"model/server.py": SERVER, **options.pop("files", {})}, **options
    )


@pytest.fixture(scope="module")
def edge(module_servers: Servers) -> Edge:
    """Return a server for tests that leave it as it is."""
    return start(module_servers)


@pytest.fixture
def own(servers: Servers) -> Edge:
    """Return a server for a test alone."""
    return start(servers)


@contextlib.contextmanager
def websocket(edge: Edge, path: str, **options: Any) -> Iterator[Any]:
    """Open a websocket."""
    with connect(f"ws://127.0.0.1:{edge.port}{path}", open_timeout=20, **options) as ws:
        yield ws


# ---- routes


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/predict", "/generate"),
        ("/environments/production/predict", "/generate"),
        ("/production/predict", "/generate"),
        ("/v1/models/tested:predict", "/generate"),
        ("/", "/"),
        ("/health", "/health"),
        ("/v1/models", "/v1/models"),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/environments/production/sync/v1/any/thing", "/v1/any/thing"),
        ("/openapi.json", "/openapi.json"),
    ],
)
def test_routes(edge: Edge, path: str, route: str) -> None:
    """`/predict` leads to `predict_endpoint`, below each name it has; every other route is the server's own."""
    told = edge.post(path, {"a": 1}).json()

    assert told["path"] == route
    assert told["method"] == "POST"
    assert json.loads(told["body"]) == {"a": 1}


def test_requests_are_passed_on_as_they_are(edge: Edge) -> None:
    """Method, escapes in the path, query and headers reach the server; what is about the connection does not."""
    told = edge.http.request(
        "PATCH",
        "/a%2Fb/%C3%BC?x=1&y=%20",
        headers={
            "authorization": "Bearer t",
            "x-request-id": "mine",
            "connection": "close, x-hop",
            "x-hop": "1",
        },
    ).json()

    headers = dict(told["headers"])
    assert (told["method"], told["raw"], told["query"]) == ("PATCH", "/a%2Fb/%C3%BC", "x=1&y=%20")
    assert headers["authorization"] == "Bearer t"
    assert headers["x-request-id"] == "mine"
    assert headers["host"] == f"127.0.0.1:{edge.port}"
    assert not {"connection", "x-hop"} & headers.keys()


def test_answers_are_passed_on_as_they_are(edge: Edge) -> None:
    """Status, repeated headers and body of an answer are the server's; the request's id is added."""
    response = edge.http.get("/teapot", headers={"x-request-id": "mine"})

    assert (response.status_code, response.text) == (418, "short and stout")
    assert response.headers.get_list("x-kind") == ["tea", "pot"]
    assert response.headers.get_list("x-request-id") == ["mine"]
    assert len(response.headers.get_list("date")) == 1
    assert edge.http.get("/nothing").status_code == 204
    head = edge.http.head("/teapot")
    assert (head.status_code, head.content) == (418, b"")


def test_the_server_gets_its_variables(edge: Edge) -> None:
    """PORT, the environment's name and `environment_variables` are set."""
    variables = edge.post("/predict").json()["variables"]

    assert variables["PORT"].isdecimal()
    assert (variables["TRUSS_ENVIRONMENT"], variables["GREETING"]) == ("production", "hi")


def test_another_environment_is_refused(edge: Edge) -> None:
    """A path of another environment is 404 in our shape, and does not reach the server."""
    response = edge.post("/environments/staging/predict")

    assert response.status_code == 404
    assert "production" in read_error(response)["error"]


def test_metrics_of_both(edge: Edge) -> None:
    """`/metrics` has the edge's and the server's."""
    edge.post("/predict", {})
    text = edge.http.get("/metrics").text

    assert "tokens 7.0" in text
    assert 'truss_requests_total{method="predict",status="200"}' in text


def test_metrics_that_are_none(servers: Servers) -> None:
    """A page that the server shows for any path is none of its metrics."""
    page = "connection.sendall(b'HTTP/1.0 200 OK\\r\\ncontent-type: text/html\\r\\n\\r\\n<html>')"
    edge = start(servers, files={"model/server.py": raw_server(page)})

    assert "<html>" not in edge.http.get("/metrics").text


def test_keep_alive_connections_are_reused_and_kept_apart(edge: Edge) -> None:
    """Many requests at once, each with a body of its own, get each its own answer."""

    def ask(number: int) -> bool:
        return bool(
            edge.post("/echo", {"n": number}).json()["body"]
            == json.dumps({"n": number}, separators=(",", ":"))
        )

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(200)))


# ---- streams


def test_a_stream_comes_as_it_is_made(own: Edge) -> None:
    """The head comes before the first chunk is made, each chunk before the next."""
    with own.http.stream("GET", "/stream") as response:
        chunks = response.iter_raw()
        assert response.headers["content-type"] == "text/event-stream"
        for at in range(3):
            own.gates.open(f"go{at}")
            assert next(chunks) == b"data: %d\n\n" % at
        assert list(chunks) == []


def test_an_upload_is_passed_on_as_it_comes(own: Edge) -> None:
    """The server reads the first part of a body before the client has sent the second."""
    with own.connect() as sock:
        sock.sendall(b"POST /upload HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        wait_until(lambda: own.gates.read("uploaded") == "5", what="the first part")
        sock.sendall(b"6\r\n world\r\n0\r\n\r\n")

        assert read_until(sock, b"11").startswith(b"HTTP/1.1 200")


def test_a_large_upload(edge: Edge) -> None:
    """Megabytes go up and are counted."""
    assert edge.http.post("/upload", content=b"x" * 5_000_000).text == "5000000"


def test_a_client_that_does_not_read_stops_the_server(own: Edge) -> None:
    """Of forty megabytes the server can send but a few while nobody takes them."""
    with own.connect(receive_buffer=65536) as sock:
        sock.sendall(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
        wait_until(lambda: own.gates.read("sent"), what="the first chunk")
        before = ""
        while before != (before := own.gates.read("sent")):
            for _ in range(50):  # the time of so many others is enough to go on
                own.http.get("/ready")

        assert int(before) < 300


def test_a_client_that_leaves_is_told_to_the_server(own: Edge) -> None:
    """When a client hangs up in the middle of a stream, the server sees its own connection close."""
    with own.http.stream("GET", "/stream"):
        own.gates.wait("head")
    own.gates.wait("gone")
    own.wait_log("GET /stream")

    assert "truss_cancelled_total 1.0" in own.http.get("/metrics").text


def test_a_body_over_the_limit(servers: Servers) -> None:
    """A body larger than `max_body_bytes` is 413, announced or not."""
    edge = start(servers, runtime={"max_body_bytes": 1000})

    assert edge.http.post("/upload", content=b"x" * 2000).status_code == 413
    assert edge.http.post("/upload", content=iter([b"x" * 600, b"x" * 600])).status_code == 413


# ---- turns


def test_concurrency_and_queue(servers: Servers) -> None:
    """`predict_concurrency` and `max_queue` hold for the server's routes as for a model."""
    edge = start(servers, runtime={"predict_concurrency": 1, "max_queue": 0})
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(edge.http.get, "/wait")
        edge.gates.wait("waiting")
        refused = edge.post("/predict", {})
        edge.gates.open("done")

        assert first.result().text == "waited"
    assert refused.status_code == 429
    assert "retry-after" in refused.headers
    assert edge.http.get("/health/ready").status_code == 200


def test_a_silent_stream_is_given_up(servers: Servers) -> None:
    """A stream that is silent for `streaming_read_timeout` is cut, with an event that says why."""
    edge = start(servers, runtime={"streaming_read_timeout": 0.5})
    with edge.http.stream("GET", "/stream") as response:
        assert b"silent" in read_broken(response)
    edge.gates.wait("gone")


# ---- ends


def test_a_crash_before_the_answer(own: Edge) -> None:
    """A request whose server is killed gets 502 with the reason; the server is started again."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(own.post, "/die")
        own.gates.wait("dying")
        own.gates.open("death")
        response = asked.result()

    assert response.status_code == 502
    assert "SIGKILL" in read_error(response)["error"]
    assert own.http.get("/health/live").status_code == 200
    own.gates.close("death")
    wait_until(lambda: own.post("/predict", {}).status_code == 200, 20, what="the server to come back")
    assert "truss_worker_restarts_total 1.0" in own.http.get("/metrics").text


def test_a_crash_in_a_stream(own: Edge) -> None:
    """A stream whose server is killed ends in an error event and a cut transfer, never cleanly."""
    own.gates.open("go0")
    with own.http.stream("GET", "/stream") as response:
        chunks = response.iter_raw()
        next(chunks)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(own.post, "/die")
            own.gates.open("death")
            received = _rest(chunks)
            asked.result()

    assert b"SIGKILL" in received


def _rest(chunks: Iterator[bytes]) -> bytes:
    received = b""
    with pytest.raises(httpx.RemoteProtocolError):  # noqa: PT012 - it breaks anywhere
        for chunk in chunks:
            received += chunk
    return received


def raw_server(answer: str) -> str:
    """Return the source of a server that answers with bytes and closes."""
    return f"""
import os, signal, socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    connection, _ = server.accept()
    if os.path.exists("gates/close"):
        connection.close()
        continue
    data = b""
    while b"\\r\\n\\r\\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            break
        data += chunk
    if data.startswith(b"GET /ready"):
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nconnection: close\\r\\ncontent-length: 0\\r\\n\\r\\n")
    elif data:
        {answer}
    try:  # a body that was not read would have the system throw away what was sent
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
    except OSError:
        pass
    connection.close()
"""


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("connection.sendall(b'no HTTP at all')", "no HTTP"),
        ("pass", "closed the connection before"),
        ("connection.sendall(b'HTTP/1.1 200 OK\\r\\nx: ' + b'y' * 300_000)", "head"),
    ],
)
def test_an_answer_that_is_none(servers: Servers, answer: str, text: str) -> None:
    """What is no answer of HTTP is 502 in our shape."""
    edge = start(servers, files={"model/server.py": raw_server(answer)})
    response = edge.post("/predict", {})

    assert response.status_code == 502
    assert text in read_error(response)["error"]


def test_a_server_that_hangs_up(servers: Servers) -> None:
    """A server that closes each connection at once is 502, every time and without a wait."""
    edge = start(servers, files={"model/server.py": raw_server("pass")})
    edge.gates.open("close")

    assert {edge.post("/predict", {}).status_code for _ in range(50)} == {502}
    wait_until(lambda: edge.readiness() == 503, what="that it is told")


def test_an_answer_without_a_length(servers: Servers) -> None:
    """An answer that ends with its connection, as of HTTP/1.0, is complete while the server lives."""
    body = "connection.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\nall of it')"
    edge = start(servers, files={"model/server.py": raw_server(body)})

    assert edge.post("/predict", {}).text == "all of it"


@pytest.mark.parametrize("length", ["", "content-length: 100\\r\\n"])
def test_an_answer_that_breaks_off(servers: Servers, length: str) -> None:
    """An answer whose server dies in it is cut, also where the end of the connection would be its end."""
    body = f"connection.sendall(b'HTTP/1.1 200 OK\\r\\n{length}\\r\\npart'); os.kill(os.getpid(), signal.SIGKILL)"
    edge = start(servers, files={"model/server.py": raw_server(body)})
    with edge.stream({}) as response:
        assert read_broken(response) == b"part"


# ---- websockets


def test_websockets(edge: Edge) -> None:
    """A websocket is passed through: path, subprotocol, text, bytes, and the server's close."""
    with websocket(edge, "/ch%20at?x=1", subprotocols=["one"]) as ws:
        assert ws.subprotocol == "one"
        assert ws.recv() == "/ch at?x=1"
        ws.send("ü" * 70_000)
        assert ws.recv() == "ü" * 70_000
        ws.send(b"\x00\x01")
        assert ws.recv() == b"\x00\x01"
        ws.send("close")
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "enough")


@pytest.mark.parametrize("path", ["/v1/websocket", "/environments/production/websocket"])
def test_the_websocket_of_predict(edge: Edge, path: str) -> None:
    """The platform's paths of a websocket lead to `predict_endpoint`."""
    with websocket(edge, path) as ws:
        assert ws.recv() == "/generate"


def test_a_refused_handshake(edge: Edge) -> None:
    """A handshake that the server refuses is refused with its own answer; another environment's with ours."""
    with pytest.raises(InvalidStatus) as refused, websocket(edge, "/refuse"):
        pass
    assert (refused.value.response.status_code, refused.value.response.body) == (403, b"no")
    with pytest.raises(InvalidStatus) as refused, websocket(edge, "/environments/staging/websocket"):
        pass
    assert refused.value.response.status_code == 404


def test_a_websocket_whose_client_leaves(own: Edge) -> None:
    """The server learns that the client of a websocket left."""
    with websocket(own, "/chat") as ws:
        assert ws.recv() == "/chat"

    assert own.gates.wait("websocket gone") in {"1000", "1005", "1006"}


def test_a_websocket_whose_server_dies(own: Edge) -> None:
    """A websocket whose server is killed is closed with 1011 and the reason."""
    with websocket(own, "/chat") as ws:
        ws.recv()
        ws.send("die")
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1011


def test_a_websocket_takes_a_slot(servers: Servers) -> None:
    """A websocket counts as a call as long as it is open."""
    edge = start(servers, runtime={"predict_concurrency": 1, "max_queue": 0})
    with websocket(edge, "/chat") as ws:
        ws.recv()
        assert edge.post("/predict", {}).status_code == 429
        with pytest.raises(InvalidStatus) as refused, websocket(edge, "/chat"):
            pass
        assert refused.value.response.status_code == 429
    wait_until(lambda: edge.post("/predict", {}).status_code == 200, what="the slot to be free")


# ---- life


def test_its_lines_are_in_the_log(own: Edge) -> None:
    """What the server prints is logged line by line."""
    own.wait_log("hello from the server", source="model")


def test_readiness_is_its_own(own: Edge) -> None:
    """`/health/ready` says what `readiness_endpoint` says, `/health/live` what `liveness_endpoint` does."""
    own.gates.open("unready")
    wait_until(lambda: own.readiness() == 503, what="the server to be unready")
    own.gates.close("unready")
    wait_until(lambda: own.readiness() == 200, what="the server to be ready again")
    own.gates.open("dead")
    assert own.http.get("/health/live").status_code == 503


def test_calls_before_it_is_ready(servers: Servers) -> None:
    """Until the server says that it is ready, calls are 503 with a time to come back."""
    edge = start(servers, files={"gates/unready": ""}, ready=False)
    edge.wait_log("hello from the server")
    response = edge.post("/predict", {})

    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert "loading" in read_error(response)["error"]
    with pytest.raises(InvalidStatus) as refused, websocket(edge, "/chat"):
        pass
    assert refused.value.response.status_code == 503
    edge.gates.close("unready")
    edge.wait_ready()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"files": {"gates/broken": ""}},
            "the model could not be loaded: the custom server ended with exit code 7",
        ),
        ({"custom": {"start_command": "no-such-command --port $PORT"}}, "`no-such-command`"),
    ],
)
def test_a_server_that_does_not_start(servers: Servers, options: dict[str, Any], text: str) -> None:
    """A server that ends before it was ready ends the edge with the exit code of a model that cannot be loaded."""
    edge = start(servers, ready=False, **options)

    assert edge.wait_exit() == 3
    assert text in edge.log_text()


def test_a_taken_port(servers: Servers) -> None:
    """Where `server_port` is taken, PORT is another one, and the server is served from there."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        edge = start(servers, custom={"server_port": port})

        assert edge.post("/predict", {}).json()["variables"]["PORT"] != str(port)


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("no-such-command --port {port}", "cannot be started: No such file or directory"),
        (f"{sys.executable} -c 'exit(3)' $PORT", "exit code 3 (PORT was "),
        (
            f"{sys.executable} -c 'exit(3)' {{port}}",
            "exit code 3; its command says {port}, which is taken on this machine: write $PORT there",
        ),
    ],
)
def test_what_is_said_of_a_taken_port(servers: Servers, command: str, text: str) -> None:
    """The port is mentioned where the server was started and may have met it, and advice is given where it fits."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        edge = start(
            servers,
            custom={"server_port": port, "start_command": command.format(port=port)},
            ready=False,
        )
        edge.wait_exit()

    assert text.format(port=port) in edge.log_text()
    assert ("taken on this machine" in edge.log_text()) == ("exit(3)" in command)


def test_a_readiness_endpoint_that_is_not_there(servers: Servers) -> None:
    """What the server answers instead of 2xx is warned of once; 503 is what servers say that are not ready yet."""
    edge = start(servers, custom={"readiness_endpoint": "/teapot"}, ready=False)
    edge.wait_log("`readiness_endpoint`, /teapot, answers 418; 2xx is waited for")
    unready = start(servers, files={"gates/unready": ""}, ready=False)
    unready.wait_log("answers 503")

    said = [one for one in (*edge.records, *unready.records) if "2xx is waited for" in one["message"]]
    assert [one["levelname"] for one in said] == ["WARNING", "INFO"]


def test_two_of_them_on_one_machine(servers: Servers) -> None:
    """Two deployments of one package run beside each other."""
    first, second = start(servers), start(servers)
    ports = [one.post("/predict", {}).json()["variables"]["PORT"] for one in (first, second)]

    assert len(set(ports)) == 2


def test_drain(own: Edge) -> None:
    """After SIGTERM a running request is finished; then the server gets its own SIGTERM and ends in peace."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(own.http.get, "/wait")
        own.gates.wait("waiting")
        own.signal(signal.SIGTERM)
        own.gates.open("done")

        assert asked.result().text == "waited"
    assert own.wait_exit() == 0
    assert "the server ends in peace" in own.log_text()


def test_drain_of_a_websocket(own: Edge) -> None:
    """An open websocket is closed with 1012 when the edge is about to end."""
    with websocket(own, "/chat") as ws:
        ws.recv()
        own.signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    assert own.wait_exit() == 0
