"""HTTP however its bytes come: requests of all kinds, pipelined and cut anywhere, get their own answers, in order."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import wait_until
from tests.server.raw_http import read_to_end, read_until, request_bytes
from tests.server.test_admission import metric

if TYPE_CHECKING:
    import socket

    from tests.server.harness import Edge, Servers

MODEL = """
import time
import gates


class Model:
    def predict(self, inputs):
        if not isinstance(inputs, dict):
            return inputs
        if "hold" in inputs:
            gates.mark(f"{inputs['hold']}-held")
            gates.wait(inputs["hold"])
        if "slow" in inputs:
            time.sleep(0.03)
        if "stream" in inputs:
            return (f"<{n}>" for n in range(inputs["stream"]))
        if "raise" in inputs:
            raise ValueError("as asked")
        return {"echo": inputs, "fill": "x" * inputs.get("fill", 0)}

    def completions(self, inputs, request: "starlette.requests.Request"):
        return [inputs, request.headers["host"]]
"""


@pytest.fixture(scope="module")
def edge(module_servers: Servers) -> Edge:
    """Serve MODEL."""
    return module_servers.start(MODEL)


@dataclass
class Answer:
    """One answer as a parser saw it."""

    status: int = 0
    body: bytes = b""
    complete: bool = False
    headers: dict[bytes, bytes] = field(default_factory=dict)


class Answers:
    """Reads the answers to pipelined requests; part of httptools' protocol."""

    def __init__(self) -> None:
        self.all: list[Answer] = []
        self._parser = httptools.HttpResponseParser(self)

    def read(self, sock: socket.socket, count: int) -> None:
        """Read until so many answers are complete."""
        while len(self.all) < count or not self.all[-1].complete:
            data = sock.recv(65536)
            assert data, f"closed after {len(self.all)} of {count} answers"
            self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        """Begin an answer."""
        self.all.append(Answer())

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        assert name not in self.all[-1].headers, f"{name!r} twice"
        self.all[-1].headers[name] = value

    def on_headers_complete(self) -> None:
        """Take the status."""
        self.all[-1].status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self.all[-1].body += body

    def on_message_complete(self) -> None:
        """End an answer."""
        self.all[-1].complete = True


@dataclass(frozen=True)
class Exchange:
    """A request as bytes, and what its answer has to be.

    Attributes:
        sent: The request.
        status: Of the answer.
        body: Of the answer; None where it is not compared.
    """

    sent: bytes
    status: int
    body: bytes | None


def chunked(value: Any, size: int) -> bytes:
    """Return a request whose body comes in chunks."""
    data = json.dumps(value).encode()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return b"POST /predict HTTP/1.1\r\nhost: tested\r\ntransfer-encoding: chunked\r\n\r\n" + body


def echo(inputs: Any) -> bytes:
    """Return what the model gives."""
    value = {"echo": inputs, "fill": "x" * inputs.get("fill", 0)} if isinstance(inputs, dict) else inputs
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


plain = st.one_of(
    st.none(),
    st.text(max_size=5),
    st.integers(),
    st.builds(lambda n: {"n": n}, st.integers()),
    st.builds(lambda fill: {"fill": fill}, st.sampled_from([1, 60_000, 70_000, 300_000])),
    st.just({"slow": 1}),
)
exchanges = st.one_of(
    plain.map(lambda v: Exchange(request_bytes("/predict", v), 200, echo(v))),
    plain.map(lambda v: Exchange(request_bytes("/predict?a=b%20c", v), 200, echo(v))),
    plain.map(lambda v: Exchange(request_bytes("/v1/models/x:predict", v), 200, echo(v))),
    plain.map(lambda v: Exchange(request_bytes("/v1/completions", v), 200, echo([v, "tested"]))),
    st.builds(lambda v, size: Exchange(chunked(v, size), 200, echo(v)), plain, st.integers(1, 50)),
    st.integers(0, 30).map(
        lambda n: Exchange(
            request_bytes("/predict", {"stream": n}), 200, "".join(f"<{k}>" for k in range(n)).encode()
        )
    ),
    st.sampled_from(
        [
            Exchange(request_bytes("/predict", {"long": "y" * 100_000}), 200, echo({"long": "y" * 100_000})),
            Exchange(request_bytes("/predict", {"raise": 1}), 500, None),
            Exchange(request_bytes("/predict", body=b"{"), 400, None),
            Exchange(request_bytes("/predict", body=b""), 400, None),
            Exchange(request_bytes("/v1/messages", {}), 404, None),
            Exchange(request_bytes("/nowhere", {}), 404, None),
            Exchange(b"GET /health/live HTTP/1.1\r\nhost: tested\r\n\r\n", 200, None),
            Exchange(b"GET /predict HTTP/1.1\r\nhost: tested\r\n\r\n", 405, None),
        ]
    ),
)


@settings(max_examples=120, deadline=None)
@given(asked=st.lists(exchanges, min_size=1, max_size=6), cuts=st.lists(st.integers(0, 3000), max_size=6))
def test_answers_do_not_depend_on_how_requests_are_cut(
    edge: Edge, asked: list[Exchange], cuts: list[int]
) -> None:
    """Whatever is pipelined, and wherever the packets end, each request is answered as if it were alone."""
    data = b"".join(exchange.sent for exchange in asked)
    ends = [0, *sorted({cut % len(data) for cut in cuts}), len(data)]
    answers = Answers()
    with edge.connect() as sock:
        for begin, end in pairwise(ends):
            sock.sendall(data[begin:end])
        answers.read(sock, len(asked))

    assert [answer.status for answer in answers.all] == [exchange.status for exchange in asked]
    for answer, exchange in zip(answers.all, asked, strict=True):
        assert exchange.body is None or answer.body == exchange.body
        assert b"x-request-id" in answer.headers
    assert metric(edge, "truss_running") == 0


def test_a_client_that_leaves_a_call_without_asgi(edge: Edge) -> None:
    """It is counted and logged as cancelled, at once, and its slot is free when the model is."""
    before = metric(edge, "truss_cancelled_total")
    with edge.asking({"hold": "left"}):
        edge.gates.wait("left-held")
    wait_until(lambda: metric(edge, "truss_cancelled_total") == before + 1, what="the cancellation")
    edge.gates.open("left")
    wait_until(lambda: metric(edge, "truss_running") == 0, what="the end of the call")

    edge.wait_log("POST /predict 499", status=499)


def test_a_request_behind_one_that_runs(edge: Edge) -> None:
    """The second waits for the first's answer, also when it comes in pieces meanwhile."""
    second = request_bytes("/predict", {"n": 2})
    with edge.connect() as sock:
        sock.sendall(request_bytes("/predict", {"hold": "first"}) + second[:30])
        edge.gates.wait("first-held")
        sock.sendall(second[30:])
        edge.gates.open("first")
        answers = Answers()
        answers.read(sock, 2)

    assert [json.loads(answer.body)["echo"] for answer in answers.all] == [{"hold": "first"}, {"n": 2}]


def test_who_offers_a_body_and_is_refused(edge: Edge) -> None:
    """Nobody knows whether a client that waits for leave sends its body after a refusal: the connection ends."""
    head = b"POST %b HTTP/1.1\r\nhost: tested\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n"
    for path, size, status in ((b"/predict", 10**12, b"413"), (b"/nowhere", 5, b"404")):
        with edge.connect() as sock:
            sock.sendall(head % (path, size))
            answer = read_to_end(sock)

        assert answer.startswith(b"HTTP/1.1 " + status)
        assert b"connection: close" in answer


def test_who_offers_a_body_and_is_told_to_go_on(edge: Edge) -> None:
    """The body is asked for, and the connection goes on."""
    body = b'{"n": 1}'
    head = b"POST /predict HTTP/1.1\r\nhost: tested\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n"
    with edge.connect() as sock:
        for _ in range(2):
            sock.sendall(head % len(body))
            assert read_until(sock, b"\r\n\r\n").startswith(b"HTTP/1.1 100")
            sock.sendall(body)
            assert b'{"echo":{"n":1}' in read_until(sock, b'"fill":""}')
