"""Streams on `/predict`: what arrives, when it arrives, and how a stream ends that fails."""

from __future__ import annotations

import json
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.helpers import wait_until
from tests.server.raw_http import read_broken, read_to_end, read_until, request_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.server.harness import Edge, Servers

MODEL = """
import math
import sys

import gates

ITEMS = {
    "text": ["räks", "", "mörgås \\U0001f980", "\\n"],
    "bytes": [b"\\x00\\xff", bytearray(b"ab"), memoryview(b"cd")],
    "objects": [{"a": "ß"}, [1, 2.5], None, True, {"nan": math.nan}, "half \\ud83d"][:5],
    "half": [{"text": "half \\ud83d"}],
    "mixed": ["text ", b"bytes ", {"an": "object"}],
    "half text": ["half \\ud83d of it"],
    "empty": [],
    "large": ["x" * 3_000_000, "y" * 70_000],
    "burst": [f"{n}\\n" for n in range(20_000)],
}
progress = {}


def make(what, name="", **rest):
    if what == "gated":
        for k in range(4):
            if k:
                gates.wait(f"{name}-go-{k}")
            gates.mark(f"{name}-made-{k}")
            yield f"chunk {k}"
    elif what == "endless":
        for progress[name] in range(1, 400):
            yield b"x" * 16_384
    elif what == "fail":
        for k in range(rest["after"]):
            yield {"k": k}
        if rest.get("exit"):
            sys.exit(3)
        raise ValueError("broken on purpose")
    elif what == "unserializable":
        yield {"k": 1}
        yield {"k": object()}
    else:
        yield from ITEMS[what]


async def make_async(what, name="", **rest):
    if what == "gated":
        for k in range(4):
            if k:
                await gates.wait_async(f"{name}-go-{k}")
            gates.mark(f"{name}-made-{k}")
            yield f"chunk {k}"
    else:
        for item in make(what, name, **rest):
            yield item


async def give(value):
    return value


class Model:
    def predict(self, x):
        how = x.pop("how", "sync generator")
        if how == "progress":
            return progress.get(x["name"], 0)
        if how == "sync generator":
            return make(**x)
        if how == "sync def, async generator":
            return make_async(**x)
        if how == "sync def, coroutine of a generator":
            return give(make(**x))
        return give(make_async(**x))


class Async(Model):
    async def predict(self, x):
        value = super().predict(x)
        return value if hasattr(value, "__aiter__") or hasattr(value, "__next__") else await value


class Direct(Model):
    async def predict(self, x):
        async for item in make_async(**x):
            yield item

    def completions(self, name):
        return progress.get(name, 0)
"""

PRODUCERS = [
    ("sync", "sync generator"),
    ("sync", "sync def, async generator"),
    ("sync", "sync def, coroutine of a generator"),
    ("async", "sync generator"),
    ("async", "coroutine"),
    ("direct", ""),
]


@pytest.fixture(scope="module")
def edges(module_servers: Servers) -> dict[str, Edge]:
    """Serve MODEL with a sync predict, an async one that returns generators, and one that is a generator."""
    started = {
        name: module_servers.start(
            MODEL, config={"model_class_name": class_name}, ready=False, send_buffer=16 * 1024
        )
        for name, class_name in (("sync", "Model"), ("async", "Async"), ("direct", "Direct"))
    }
    for edge in started.values():
        edge.wait_ready()
    return started


@pytest.fixture
def edge(edges: dict[str, Edge]) -> Edge:
    """The one with the sync predict."""
    return edges["sync"]


@pytest.fixture(params=PRODUCERS, ids=[" ".join(pair) for pair in PRODUCERS])
def produce(
    request: pytest.FixtureRequest, edges: dict[str, Edge]
) -> tuple[Edge, Callable[..., dict[str, Any]]]:
    """Give a server, and what to ask it for a stream that is produced in one of the possible ways."""
    name, how = request.param
    return edges[name], lambda **x: {**x, "how": how} if how else x


@pytest.mark.parametrize(
    ("what", "content_type", "body"),
    [
        ("text", "text/plain; charset=utf-8", "räksmörgås \U0001f980\n".encode()),
        ("bytes", "application/octet-stream", b"\x00\xffabcd"),
        ("objects", "application/x-ndjson", '{"a":"ß"}\n[1,2.5]\nnull\ntrue\n{"nan":null}\n'.encode()),
        ("half", "application/x-ndjson", b'{"text":"half \\ud83d"}\n'),
        ("half text", "text/plain; charset=utf-8", b"half ? of it"),
        ("mixed", "text/plain; charset=utf-8", b'text bytes {"an":"object"}\n'),
        ("empty", "application/octet-stream", b""),
        ("large", "text/plain; charset=utf-8", b"x" * 3_000_000 + b"y" * 70_000),
        ("burst", "text/plain; charset=utf-8", b"".join(b"%d\n" % n for n in range(20_000))),
    ],
)
@pytest.mark.parametrize("name", ["sync", "direct"])
def test_what_is_yielded_arrives(
    edges: dict[str, Edge], name: str, what: str, content_type: str, body: bytes
) -> None:
    """Text and bytes arrive as they are, objects as JSON lines; the content type follows the first chunk."""
    response = edges[name].post("/predict", {"what": what})

    assert (response.status_code, response.headers["content-type"]) == (200, content_type)
    assert response.content == body


def test_chunks_arrive_before_the_next_is_made(
    produce: tuple[Edge, Callable[..., dict[str, Any]]],
) -> None:
    """Each chunk is with the client while the model still waits to make the next one."""
    edge, ask = produce
    name = uuid4().hex

    with edge.stream(ask(what="gated", name=name)) as response:
        chunks = response.iter_raw()
        for k in range(4):
            assert next(chunks) == f"chunk {k}".encode()
            assert not edge.gates.has(f"{name}-made-{k + 1}")
            edge.gates.open(f"{name}-go-{k + 1}")
        assert list(chunks) == []


def test_a_burst_is_joined(edge: Edge) -> None:
    """Chunks that are made without pause travel together: far fewer reads than chunks."""
    with edge.stream({"what": "burst"}) as response:
        reads = list(response.iter_raw())

    assert len(reads) < 5_000
    assert b"".join(reads).endswith(b"19999\n")


def test_many_streams_at_once_keep_apart(edge: Edge) -> None:
    """Thirty streams at a time each get their own chunks in order."""
    with ThreadPoolExecutor(30) as pool:
        bodies = list(pool.map(lambda _: edge.post("/predict", {"what": "burst"}).content, range(30)))

    assert set(bodies) == {b"".join(b"%d\n" % n for n in range(20_000))}


def test_an_error_before_the_first_chunk_is_a_status(
    produce: tuple[Edge, Callable[..., dict[str, Any]]],
) -> None:
    """A generator that fails before it yields answers 500 as any call does."""
    edge, ask = produce

    response = edge.post("/predict", ask(what="fail", after=0))

    assert response.status_code == 500
    assert response.json()["request_id"] == response.headers["x-request-id"]


@pytest.mark.parametrize("exit_", [False, True], ids=["raise", "sys.exit"])
def test_an_error_after_chunks_aborts_the_transfer(
    produce: tuple[Edge, Callable[..., dict[str, Any]]], exit_: bool
) -> None:
    """All chunks made before the error arrive, then the client's library raises: never a clean end."""
    edge, ask = produce

    with edge.stream(ask(what="fail", after=3, exit=exit_)) as response:
        assert response.status_code == 200
        received = read_broken(response)

    assert received == b'{"k":0}\n{"k":1}\n{"k":2}\n'
    record = edge.wait_log(
        "SystemExit" if exit_ else "broken on purpose", request_id=response.headers["x-request-id"]
    )
    assert "make" in record["exc_info"]


def test_an_unserializable_chunk_aborts_the_transfer(edge: Edge) -> None:
    """A chunk that JSON has no form for is an error of the stream, and the log names the path to it."""
    with edge.stream({"what": "unserializable"}) as response:
        assert read_broken(response) == b'{"k":1}\n'

    record = edge.wait_log("chunk.k is of type object", request_id=response.headers["x-request-id"])
    assert record["levelname"] == "ERROR"


def test_curl_sees_the_abort(edge: Edge) -> None:
    """Curl ends with code 18, partial file, and has written what came before."""
    url = f"http://127.0.0.1:{edge.port}/predict"
    data = json.dumps({"what": "fail", "after": 2})

    done = subprocess.run(
        ["curl", "--silent", "--no-buffer", "--max-time", "20", url, "--data", data],
        capture_output=True,
        check=False,
        timeout=30,
    )

    assert (done.returncode, done.stdout) == (18, b'{"k":0}\n{"k":1}\n')


@pytest.mark.parametrize("name", ["sync", "direct"])
def test_a_stalled_reader_stalls_only_its_own_generator(edges: dict[str, Edge], name: str) -> None:
    """A client that stops reading stops its generator near the window; other streams and calls run on."""
    edge = edges[name]
    ask = {"what": "endless", "name": f"stalled-{name}"}
    before = resident(edge)

    with edge.connect(receive_buffer=4096) as sock:
        sock.sendall(request_bytes("/predict", ask, headers="connection: close\r\n"))
        read_until(sock, b"xxx")
        made = settled(lambda: progress(edge, name, ask["name"]))

        assert made * 16_384 < 2_000_000
        assert edge.post("/predict", {"what": "large"}).content.endswith(b"y")
        assert progress(edge, name, ask["name"]) == made
        assert resident(edge) - before < 30_000_000

        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_000_000)
        rest = read_to_end(sock)
    assert rest.endswith(b"\r\n0\r\n\r\n")
    assert rest.count(b"x") > 399 * 16_384 - 100_000


def progress(edge: Edge, name: str, stream: str) -> int:
    """Ask how many chunks a stream's generator has made."""
    if name == "sync":
        return int(edge.call({"how": "progress", "name": stream}))
    return int(edge.post("/v1/completions", stream).json())


def settled(read: Callable[[], int]) -> int:
    """Return a number once it has stayed the same for ten looks."""
    seen: list[int] = []

    def same() -> bool:
        seen.append(read())
        return len(seen) > 10 and len(set(seen[-10:])) == 1

    wait_until(same, 20, what="a standstill")
    return seen[-1]


def resident(edge: Edge) -> int:
    """Return the bytes of memory the edge occupies."""
    with open(f"/proc/{edge.process.pid}/statm") as file:  # noqa: PTH123 - a file of the kernel's
        return int(file.read().split()[1]) * 4096
