"""Calls that watch for the disconnect themselves: the time they are given."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import fastapi  # noqa: TC002 - the signature is read at run time
import pytest

from tests.helpers import wait_until
from truss_server.worker import execute
from truss_server.worker.body import Body
from truss_server.worker.calls import Call
from truss_server.worker.channel import Channel
from truss_server.worker.execute import Executor
from truss_server.worker.methods import find_methods
from truss_server.worker.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Iterator

SCOPE = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}


class Model:
    """Sees the disconnect and does not end its work."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.cancelled = threading.Event()

    async def predict(self, inputs: None, request: fastapi.Request) -> None:
        """Wait for the disconnect, then for more."""
        self.started.set()
        while not await request.is_disconnected():  # noqa: ASYNC110 - what models do
            await asyncio.sleep(0.001)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop on a thread."""
    running = asyncio.new_event_loop()
    thread = threading.Thread(target=running.run_forever)
    thread.start()
    yield running
    running.call_soon_threadsafe(running.stop)
    thread.join(10)
    running.close()


def start(loop: asyncio.AbstractEventLoop, sock: socket.socket, model: Model) -> Call:
    """Start a call of a model."""
    channel = Channel(sock)
    call = Call(channel, 1, ("predict", "lines", dict(SCOPE), 1), lambda _: None)
    call.body = Body(lambda _: None, watched=True)
    call.whole_body, call.inputs = b"", None
    threads = Threads(channel, lambda _: None, lambda: None)
    Executor(loop, [Path.cwd()], threads).submit(call, find_methods(model)[0]["predict"])
    assert model.started.wait(10)
    return call


def test_a_watching_call_has_a_grace(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A coroutine that sees the disconnect and does not end is cancelled after the grace and not before."""
    monkeypatch.setattr(execute, "WATCH_GRACE", 0.3)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        model = Model()
        call = start(loop, theirs, model)
        begun = time.monotonic()
        call.cancel()

        assert model.cancelled.wait(10)
        assert time.monotonic() - begun >= 0.3
        wait_until(lambda: call.ended)
