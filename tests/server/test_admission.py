"""Who is let in, who waits, who is told to come back, and how large and how slow a request may be."""

from __future__ import annotations

import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.helpers import wait_until
from tests.server.raw_http import read_broken, read_error, read_until, request_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server.harness import Edge, Servers

MODEL = """
import asyncio, time
import gates
from starlette.requests import Request

ORDER = []


class Model:
    def predict(self, inputs):
        if inputs == "order":
            return ORDER
        if isinstance(inputs, dict) and "sleep" in inputs:
            time.sleep(inputs["sleep"])
            return "slept"
        if isinstance(inputs, dict) and "gate" in inputs:
            ORDER.append(inputs.get("name"))
            gates.mark("in-" + inputs["gate"])
            gates.wait(inputs["gate"])
        return inputs

    async def completions(self, request: Request):
        size = 0
        async for piece in request.stream():
            size += len(piece)
            gates.mark("uploaded", size)
        return size

    async def embeddings(self, request: Request):
        gates.mark("not-reading")
        await gates.wait_async("read-now")
        return len(await request.body())
"""


def metric(edge: Edge, name: str) -> float:
    """Return the value of a metric without labels."""
    for line in edge.http.get("/metrics").text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise AssertionError(f"no metric {name}")


@pytest.fixture(scope="module")
def one(module_servers: Servers) -> Edge:
    """Serve a model one call at a time, two may wait, bodies are small."""
    runtime = {"predict_concurrency": 1, "max_queue": 2, "max_body_bytes": 1_000_000}
    return module_servers.start(MODEL, runtime=runtime)


@pytest.fixture
def held(one: Edge, request: pytest.FixtureRequest) -> Iterator[str]:
    """Hold the only slot until the test, or its end, opens the gate of this name."""
    gate = request.node.name.replace("[", "-").replace("]", "")
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(one.call, {"gate": gate, "name": gate})
        one.gates.wait(f"in-{gate}")
        yield gate
        one.gates.open(gate)
        future.result()
    wait_until(lambda: metric(one, "truss_running") == 0, what="a free slot")


def test_waits_in_order(one: Edge, held: str) -> None:
    """Calls that wait get their turn in the order they came; the gauges count them."""
    with ThreadPoolExecutor(2) as pool:
        waiting = []
        for at in range(2):
            waiting.append(pool.submit(one.call, {"gate": held, "name": at}))
            wait_until(lambda at=at: metric(one, "truss_queued") == at + 1, what="the queue")  # type: ignore[misc]
        running = metric(one, "truss_running")
        one.gates.open(held)
        for future in waiting:
            future.result()

    assert running == 1
    assert one.call("order")[-3:] == [held, 0, 1]


@pytest.mark.parametrize("path", ["/predict", "/v1/chat/completions"])
def test_a_full_queue_is_429(servers: Servers, path: str) -> None:
    """Who finds the queue full is told at once, in the shape of the route, when to come back by measured times."""
    edge = servers.start(
        "import gates, time\nclass Model:\n    def predict(self, x):\n        if x == 'hold':\n"
        "            gates.mark('in')\n            gates.wait('go')\n        else:\n            time.sleep(x)\n"
        "    chat_completions = predict\n",
        runtime={"predict_concurrency": 1, "max_queue": 0},
    )
    for _ in range(3):
        edge.call(0.4)
    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(edge.call, "hold")
        edge.gates.wait("in")
        refused = edge.post(path, 0)
        edge.gates.open("go")
        holding.result()

    millis = int(refused.headers["retry-after-ms"])
    error = refused.json()["error"]
    assert refused.status_code == 429
    assert 200 < millis < 1500
    assert refused.headers["retry-after"] == str(-(-millis // 1000))
    assert "busy" in (error if path == "/predict" else error["message"])
    assert metric(edge, "truss_rejected_total") == 1


@pytest.mark.parametrize("header", ["x-request-timeout", "x-stainless-timeout", "x-stainless-read-timeout"])
def test_a_deadline_that_cannot_be_met_is_429(one: Edge, held: str, header: str) -> None:
    """A client that says how long it waits is refused at once where that will be too short; others wait."""
    refused = one.post("/predict", 1, headers={header: "0.0001"})
    with ThreadPoolExecutor(1) as pool:
        patient = pool.submit(one.post, "/predict", 1, headers={header: "3600"})
        wait_until(lambda: metric(one, "truss_queued") == 1, what="the queue")
        one.gates.open(held)

        assert patient.result().status_code == 200
    assert refused.status_code == 429
    assert "later than the 0.0001 s you wait" in refused.json()["error"]


@pytest.mark.parametrize("value", ["nonsense", "-1", "0", "inf", "nan", ""])
def test_a_deadline_that_makes_no_sense_is_none(one: Edge, held: str, value: str) -> None:
    """A deadline that is no positive number is ignored."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(one.post, "/predict", 1, headers={"x-request-timeout": value})
        wait_until(lambda: metric(one, "truss_queued") == 1, what="the queue")
        one.gates.open(held)

        assert future.result().status_code == 200


def test_who_leaves_the_queue_is_not_called(one: Edge, held: str) -> None:
    """A queued call whose client left never reaches the model, and its place is free."""
    with one.asking({"gate": held, "name": "left"}):
        wait_until(lambda: metric(one, "truss_queued") == 1, what="the queue")
    wait_until(lambda: metric(one, "truss_queued") == 0, what="the empty queue")
    one.gates.open(held)
    wait_until(lambda: metric(one, "truss_running") == 0, what="a free slot")

    assert "left" not in one.call("order")


def test_every_route_counts(one: Edge, held: str) -> None:
    """`/v1` calls wait for the same slots as predict."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(one.post, "/v1/completions", "abc")
        wait_until(lambda: metric(one, "truss_queued") == 1, what="the queue")
        one.gates.open(held)

        assert future.result().text == "5"


TIMEOUTS = """
import asyncio, time
import gates


class Model:
    def predict(self, how):
        if how == "sync":
            try:
                while True:
                    time.sleep(0.01)
            finally:
                gates.mark("ended-sync")
        if how == "hard":
            try:
                gates.wait("hard-gate")
                gates.mark("hard-finished")
            except Exception:
                gates.mark("hard-caught")
        if how == "before":
            return self.late()
        return how

    def late(self):
        time.sleep(3)
        yield "x"

    async def chat_completions(self, how):
        try:
            await asyncio.sleep(100)
        finally:
            gates.mark("ended-async")

    def completions(self, how):
        for _ in range(8):
            yield {"a": 1}
            time.sleep(0.2)
"""


def test_request_timeout(servers: Servers) -> None:
    """An answer that does not begin in time is 504, the call is ended, and its slot is free again."""
    edge = servers.start(TIMEOUTS, runtime={"request_timeout": 1, "predict_concurrency": 1})
    answers = [
        edge.post("/predict", "sync"),
        edge.post("/v1/chat/completions", "async"),
        edge.post("/predict", "before"),
    ]
    wait_until(lambda: metric(edge, "truss_running") == 0, what="the end of the last one's C code")
    lasting = edge.post("/v1/completions", "stream")

    assert [answer.status_code for answer in answers] == [504, 504, 504]
    assert read_error(answers[0]) == {"error": "the model was silent for 1 s"}
    assert edge.gates.has("ended-sync")
    assert edge.gates.has("ended-async")
    assert lasting.text.count('{"a":1}') == 8  # a stream that goes on may take longer than that
    assert edge.call("ok") == "ok"


def test_streaming_read_timeout(servers: Servers) -> None:
    """A stream that pauses too long is cut, with an event that says so where events are spoken."""
    edge = servers.start(
        "import time\nclass Model:\n    def predict(self, x):\n        yield 'one '\n        time.sleep(5)\n"
        "    def chat_completions(self, x):\n        yield {'one': 1}\n        time.sleep(5)\n",
        runtime={"streaming_read_timeout": 1},
    )
    with edge.stream("x") as response:
        received = read_broken(response)
    with edge.stream("x", "/v1/chat/completions") as response:
        events = read_broken(response)

    assert received == b"one "
    assert events.startswith(b'data: {"one":1}\n\ndata: {"error":')
    assert b"silent for 1 s" in events


def chunked(size: int, total: int) -> Iterator[bytes]:
    """Yield a body in chunks, so that httpx announces no length."""
    for _ in range(total // size):
        yield b"x" * size


def test_body_limits(one: Edge) -> None:
    """A body over the limit is 413, announced or chunked, parsed or streamed; one at the limit is taken."""
    too_large = [
        one.post("/predict", content=b'"' + b"x" * 1_000_000 + b'"'),
        one.post("/predict", content=chunked(10_000, 1_100_000)),
        one.post("/v1/completions", content=b"x" * 1_000_001),
        one.post("/v1/completions", content=chunked(10_000, 1_100_000)),
    ]

    assert [response.status_code for response in too_large] == [413] * 4
    assert "larger than 1000000 bytes" in too_large[0].json()["error"]
    assert len(one.post("/predict", content=b'"' + b"x" * 999_998 + b'"').json()) == 999_998
    assert one.post("/v1/completions", content=chunked(10_000, 1_000_000)).text == "1000000"
    wait_until(lambda: metric(one, "truss_running") == 0, what="a free slot")


def test_413_keeps_the_connection(one: Edge) -> None:
    """A client that sends its large body to the end can use the connection again."""
    with httpx.Client(base_url=f"http://127.0.0.1:{one.port}", trust_env=False) as http:
        answers = [http.post("/predict", content=b"x" * 3_000_000), http.post("/predict", json=1)]
        ports = {answer.extensions["network_stream"].get_extra_info("client_addr") for answer in answers}

    assert [answer.status_code for answer in answers] == [413, 200]
    assert len(ports) == 1


def test_head_limit(one: Edge) -> None:
    """Headers over the limit are 431."""
    response = one.post("/predict", 1, headers={"x-large": "x" * 70_000})

    assert response.status_code == 431
    assert one.call(1) == 1


def test_an_upload_reaches_the_model_as_it_comes(one: Edge) -> None:
    """A method that takes only the request reads the first bytes before the last are sent."""
    head = request_bytes("/v1/completions", body=b"x" * 30)
    with one.connect() as sock:
        sock.sendall(head[:-20])
        wait_until(lambda: one.gates.read("uploaded") == "10", what="the first bytes")
        sock.sendall(head[-20:])
        answer = read_until(sock, b"\r\n\r\n30")

    assert answer.startswith(b"HTTP/1.1 200")


def send_until_it_stalls(sock: socket.socket, size: int) -> int:
    """Return how much of a body a socket takes until nothing is taken for its timeout."""
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < size:
            sent += sock.send(b"x" * min(100_000, size - sent))
    return sent


def test_an_upload_waits_for_the_model(module_servers: Servers) -> None:
    """A model that does not read holds its client back; memory is bounded, and nothing is lost."""
    edge = module_servers.start(MODEL)
    size = 64_000_000
    with edge.connect() as sock:
        sock.sendall(
            request_bytes("/v1/embeddings", body=b"x", headers="").replace(b"length: 1", b"length: %d" % size)
        )
        edge.gates.wait("not-reading")
        sock.settimeout(1)
        stalled = sent = 1 + send_until_it_stalls(sock, size - 1)
        edge.gates.open("read-now")
        sock.settimeout(30)
        while sent < size:
            sent += sock.send(b"x" * min(1_000_000, size - sent))
        answer = read_until(sock, str(size).encode())

    assert stalled < 20_000_000
    assert answer.startswith(b"HTTP/1.1 200")


def test_an_upload_that_breaks_off(one: Edge) -> None:
    """A client that leaves amid its upload frees its slot."""
    with one.connect() as sock:
        sock.sendall(request_bytes("/v1/completions", body=b"x" * 30)[:-10])
        wait_until(lambda: metric(one, "truss_running") == 1, what="the call")
        sock.shutdown(socket.SHUT_RDWR)

    wait_until(lambda: metric(one, "truss_running") == 0, what="a free slot")
