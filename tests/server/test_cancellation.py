"""Clients that leave: what was queued never starts, what runs is ended, and the slot is free when the model is."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.helpers import wait_until
from tests.server.raw_http import read_until, request_bytes

if TYPE_CHECKING:
    from tests.server.harness import Edge, Servers

MODEL = """
import asyncio
import time

import fastapi
import gates


class Model:
    async def predict(self, x, request: fastapi.Request):
        name = x["name"]
        if x["do"] == "quick":
            return "quick"
        if x["do"] == "async generator":
            return self.agen(name)
        if x["do"] == "polling generator":
            return self.polling(name, request)
        if x["do"] == "watching":
            return await self.watching(name, request)
        if x["do"] == "stubborn":
            return await self.stubborn(name)
        if x["do"] == "generator":
            return self.gen(name)
        gates.mark(f"{name}-started")
        try:
            await gates.wait_async("never")
        except asyncio.CancelledError:
            gates.mark(f"{name}-ended", "cancelled")
            raise

    async def agen(self, name):
        try:
            yield "first"
            gates.mark(f"{name}-started")
            await gates.wait_async("never")
            yield "second"
        finally:
            gates.mark(f"{name}-ended", "finally")

    async def polling(self, name, request):
        yield "first"
        gates.mark(f"{name}-started")
        while not await request.is_disconnected():
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        gates.mark(f"{name}-ended", "by itself")

    async def watching(self, name, request):
        async def watch():
            while (await request.receive())["type"] != "http.disconnect":
                pass
            gone.set()

        gone = asyncio.Event()
        watcher = asyncio.create_task(watch())
        assert not await request.is_disconnected()
        gates.mark(f"{name}-started")
        await gone.wait()
        await watcher
        await asyncio.sleep(0.05)
        gates.mark(f"{name}-ended", "told")

    async def stubborn(self, name):
        gates.mark(f"{name}-started")
        try:
            await gates.wait_async("never")
        except asyncio.CancelledError:
            gates.mark(f"{name}-cancelled")
            await gates.wait_async(f"{name}-let go")
        gates.mark(f"{name}-ended", "at last")

    def gen(self, name):
        try:
            yield "first"
            gates.mark(f"{name}-started")
            while True:
                time.sleep(0.002)
                yield "more"
        finally:
            gates.mark(f"{name}-ended", "closed")

    def completions(self, x):
        return self.gen(x["name"])

    def embeddings(self, x):
        return self.wait(x["name"])

    async def wait(self, name):
        gates.mark(f"{name}-started")
        try:
            await gates.wait_async("never")
        finally:
            gates.mark(f"{name}-ended", "coroutine")

    async def messages(self, request: fastapi.Request):
        name = request.headers["x-name"]
        gates.mark(f"{name}-started")
        try:
            return len(await request.body())
        except BaseException as exc:
            gates.mark(f"{name}-ended", type(exc).__name__)
            raise

    async def chat_completions(self, request: fastapi.Request):
        name = request.headers["x-name"]
        gates.mark(f"{name}-started")
        try:
            await gates.wait_async("never")
        finally:
            gates.mark(f"{name}-ended", "unread")

    def responses(self, x):
        gates.mark(f"{x['name']}-started")
        gates.wait(f"{x['name']}-let go")
        gates.mark(f"{x['name']}-ended", "sync")
        return x
"""

MIXED = """
import gates


class Model:
    def predict(self, x):
        if x == "quick":
            return x
        gates.mark("started")
        gates.wait("let go")
        gates.mark("ended")

    async def postprocess(self, x):
        return x
"""


@pytest.fixture(scope="module")
def edge(module_servers: Servers) -> Edge:
    """Serve MODEL, one call at a time."""
    return module_servers.start(MODEL, runtime={"predict_concurrency": 1})


def test_the_one_slot_is_free(edge: Edge) -> None:
    """The server that these tests share answers."""
    assert is_free(edge)


def is_free(edge: Edge) -> bool:
    """Tell whether the only slot is free: a call comes through."""
    return bool(edge.post("/predict", {"do": "quick", "name": "-"}).json() == "quick")


@pytest.mark.parametrize(
    ("path", "do", "ended"),
    [
        ("/predict", "wait", "cancelled"),
        ("/predict", "async generator", "finally"),
        ("/predict", "generator", "closed"),
        ("/predict", "polling generator", "by itself"),
        ("/predict", "watching", "told"),
        ("/v1/completions", "generator", "closed"),
        ("/v1/embeddings", "coroutine of a sync method", "coroutine"),
    ],
)
def test_who_leaves_ends_the_work(edge: Edge, path: str, do: str, ended: str) -> None:
    """Whatever runs for a client ends soon after it has left, and the next call gets its slot."""
    name = uuid4().hex

    with edge.asking({"do": do, "name": name}, path):
        edge.gates.wait(f"{name}-started")

    assert edge.gates.wait(f"{name}-ended", 8) == ended
    assert is_free(edge)


def test_a_slow_reader_that_leaves_is_noticed_too(edge: Edge) -> None:
    """A generator that waits for its reader hears that the reader is gone."""
    name = uuid4().hex

    with edge.connect(receive_buffer=4096) as sock:
        sock.sendall(request_bytes("/predict", {"do": "generator", "name": name}))
        read_until(sock, b"first")
        edge.gates.wait(f"{name}-started")

    assert edge.gates.wait(f"{name}-ended", 8) == "closed"
    assert is_free(edge)


def leave(sock: socket.socket) -> None:
    """End a connection and wait until the server has noticed."""
    sock.shutdown(socket.SHUT_WR)
    assert sock.recv(1) == b""


def test_who_leaves_the_queue_never_starts(edge: Edge) -> None:
    """A request whose client left while it waited is not begun, whether its body was read or not."""
    first = uuid4().hex
    queued = [uuid4().hex for _ in range(3)]

    with edge.asking({"name": first}, "/v1/responses") as running:
        edge.gates.wait(f"{first}-started")
        with (
            edge.asking({"do": "wait", "name": queued[0]}) as parsed,
            edge.asking({"name": queued[1]}, "/v1/completions") as sync,
            edge.connect() as upload,
        ):
            upload.sendall(request_bytes("/v1/messages", body=b"abc", headers=f"x-name: {queued[2]}\r\n"))
            for sock in (parsed, sync, upload):
                leave(sock)
        edge.gates.open(f"{first}-let go")
        assert b" 200 OK" in read_until(running, b"\r\n")

    assert is_free(edge)
    assert [edge.gates.has(f"{name}-started") for name in queued] == [False] * 3


def test_who_leaves_in_the_middle_of_an_upload(edge: Edge) -> None:
    """A model that waits for a body whose client leaves is told there; inputs that never come start nothing."""
    name = uuid4().hex

    with edge.connect() as sock:
        sock.sendall(f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-name: {name}\r\n".encode())
        sock.sendall(b"content-length: 1000000\r\n\r\n" + b"x" * 300_000)
        edge.gates.wait(f"{name}-started")
        leave(sock)
    assert edge.gates.wait(f"{name}-ended", 8) in ("CancelledError", "ClientDisconnect")
    with edge.connect() as sock:
        sock.sendall(request_bytes("/predict", {"do": "wait", "name": name})[:-5])
        leave(sock)

    assert is_free(edge)


def upload(sock: socket.socket, path: str, name: str) -> None:
    """Send as much of a large body as is taken before the model reads any of it."""
    sock.settimeout(0.5)
    with contextlib.suppress(TimeoutError):
        sock.sendall(request_bytes(path, body=b"x" * 16_000_000, headers=f"x-name: {name}\r\n"))


def reset(sock: socket.socket) -> None:
    """End a connection the hard way."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_who_leaves_the_queue_with_an_unread_upload(edge: Edge) -> None:
    """A large upload that waits for its turn, and that nobody reads meanwhile, is not begun once its client left."""
    first, queued = uuid4().hex, uuid4().hex

    with edge.asking({"name": first}, "/v1/responses") as running, edge.connect() as sock:
        edge.gates.wait(f"{first}-started")
        upload(sock, "/v1/chat/completions", queued)
        assert "truss_queued 1.0" in edge.http.get("/metrics").text
        reset(sock)
        wait_until(lambda: "truss_queued 0.0" in edge.http.get("/metrics").text, what="the empty queue")
        edge.gates.open(f"{first}-let go")
        assert b" 200 OK" in read_until(running, b"\r\n")

    assert is_free(edge)
    assert not edge.gates.has(f"{queued}-started")


def test_who_leaves_with_an_upload_that_the_model_does_not_read(edge: Edge) -> None:
    """A call that never looks at its large body ends when its client leaves."""
    name = uuid4().hex

    with edge.connect() as sock:
        upload(sock, "/v1/chat/completions", name)
        edge.gates.wait(f"{name}-started")
        reset(sock)

    assert edge.gates.wait(f"{name}-ended", 8) == "unread"
    assert is_free(edge)


def test_a_sync_call_is_interrupted(edge: Edge) -> None:
    """Synchronous work whose client left ends where it is, and the next call has its slot."""
    name = uuid4().hex

    with edge.asking({"name": name}, "/v1/responses") as sock:
        edge.gates.wait(f"{name}-started")
        leave(sock)
    with edge.asking({"do": "quick", "name": "-"}) as behind:
        assert read_until(behind, b'"quick"')


def test_work_that_outlives_its_cancellation_keeps_its_slot(edge: Edge) -> None:
    """A coroutine that catches its cancellation is not forgotten: the limit holds for the model."""
    name = uuid4().hex

    with edge.asking({"do": "stubborn", "name": name}) as sock:
        edge.gates.wait(f"{name}-started")
        leave(sock)
    edge.gates.wait(f"{name}-cancelled")
    with edge.asking({"do": "quick", "name": "-"}) as behind:
        behind.settimeout(0.3)
        with pytest.raises(TimeoutError):
            behind.recv(1)
        edge.gates.open(f"{name}-let go")
        behind.settimeout(20)
        assert read_until(behind, b'"quick"')


def test_a_sync_stage_is_interrupted(servers: Servers) -> None:
    """The thread of a sync stage beside an async one ends where it is, and the next call has the slot."""
    edge = servers.start(MIXED, runtime={"predict_concurrency": 1})

    with edge.asking("wait") as sock:
        edge.gates.wait("started")
        leave(sock)
    with edge.asking("quick") as behind:
        assert read_until(behind, b'"quick"')


def test_leaving_is_no_error(edge: Edge) -> None:
    """Nothing of all this is in the log as an error."""
    assert [r for r in edge.records if r["levelname"] == "ERROR"] == []
