"""Synchronous code whose client left: interrupted at once, and nobody else is hit."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.helpers import wait_until
from tests.server.test_admission import metric

if TYPE_CHECKING:
    from tests.server.harness import Edge, Servers

MODEL = """
import asyncio, threading, time
import gates
from starlette.requests import Request


def work(name, seconds=30):
    gates.mark("in-" + name)
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            sum(range(100))
    finally:
        gates.mark("out-" + name, f"{time.monotonic() - end + seconds:.3f}")


class Model:
    strays = 0

    def predict(self, inputs):
        if inputs.get("pre"):
            work(inputs["name"])
        try:
            kind = inputs["kind"]
            if kind == "busy":
                work(inputs["name"])
            elif kind == "swallow":
                gates.mark("in-" + inputs["name"])
                while True:
                    try:
                        time.sleep(0.001)
                    except Exception:
                        gates.mark("swallowed")
            elif kind == "spin":
                end = time.monotonic() + inputs["seconds"]
                while time.monotonic() < end:
                    pass
            elif kind == "lazy":
                return {"items": map(work, [inputs["name"]])}
            elif kind == "thread":
                return threading.get_ident()
            return kind
        except BaseException as exc:
            if inputs["kind"] == "thread":
                type(self).strays += 1
            if inputs.get("name"):
                gates.mark("raised-" + inputs["name"], type(exc).__name__)
            raise

    def completions(self, inputs, request: Request):
        with request.state.watch_disconnect() as left:
            gates.mark("watching")
            seen = left.wait(20)
            time.sleep(0.05)
            gates.mark("watched", seen)
        return "done"

    def chat_completions(self, inputs):
        return type(self).strays
"""

STAGES = """
import gates, time


class Model:
    def preprocess(self, inputs):
        gates.mark("in-pre")
        try:
            while inputs == "pre":
                time.sleep(0.001)
        except BaseException as exc:
            gates.mark("raised-pre", type(exc).__name__)
            raise
        return inputs

    async def predict(self, inputs):
        gates.mark("predicted-" + inputs)
        return inputs
"""


@pytest.fixture(scope="module")
def edge(module_servers: Servers) -> Edge:
    """Serve the model once for all tests."""
    return module_servers.start(MODEL, runtime={"predict_concurrency": 8})


def test_a_busy_call_ends_when_its_client_leaves(edge: Edge) -> None:
    """A loop of Python ends within a moment, through its `finally`, by no `Exception`."""
    with edge.asking({"kind": "busy", "name": "busy"}):
        edge.gates.wait("in-busy")
    edge.gates.wait("out-busy")

    assert edge.gates.wait("raised-busy") == "ClientLeftError"
    assert float(edge.gates.read("out-busy")) < 5
    wait_until(lambda: metric(edge, "truss_running") == 0, what="a free slot")


def test_an_iterator_in_an_answer_ends_when_its_client_leaves(edge: Edge) -> None:
    """Work that an answer only promises is interrupted as any other."""
    with edge.asking({"kind": "lazy", "name": "lazy"}):
        edge.gates.wait("in-lazy")

    assert float(edge.gates.wait("out-lazy")) < 5
    wait_until(lambda: metric(edge, "truss_running") == 0, what="a free slot")


def test_except_exception_does_not_swallow_it(edge: Edge) -> None:
    """A loop that catches every `Exception` ends all the same."""
    with edge.asking({"kind": "swallow", "name": "swallow"}):
        edge.gates.wait("in-swallow")

    assert edge.gates.wait("raised-swallow") == "ClientLeftError"
    assert not edge.gates.has("swallowed")


def test_who_watches_is_not_interrupted(edge: Edge) -> None:
    """Within `watch_disconnect()` the model hears of the disconnect and ends its work itself."""
    with edge.asking("x", "/v1/completions"):
        edge.gates.wait("watching")
    assert edge.gates.wait("watched") == "True"
    wait_until(lambda: metric(edge, "truss_running") == 0, what="a free slot")


def test_a_stage_of_an_async_method_is_interrupted(servers: Servers) -> None:
    """A synchronous preprocess before an async predict ends like any call, and predict is not called."""
    edge = servers.start(STAGES)
    with edge.asking("pre"):
        edge.gates.wait("in-pre")

    assert edge.gates.wait("raised-pre") == "ClientLeftError"
    assert edge.call("next") == "next"
    assert not edge.gates.has("predicted-pre")


def test_no_stray_exception(edge: Edge) -> None:
    """Hundreds of clients leave around the end of their call; none of their exceptions hits the next call."""
    rng = random.Random(3)

    def abort(seconds: float, wait: float) -> None:
        with edge.asking({"kind": "spin", "seconds": seconds}):
            time.sleep(max(0.0, wait))

    def check() -> None:
        assert isinstance(edge.call({"kind": "thread"}), int)

    with ThreadPoolExecutor(4) as pool:
        futures = []
        for _ in range(400):
            seconds = rng.uniform(0, 0.004)
            futures += [pool.submit(abort, seconds, seconds + rng.uniform(-0.002, 0.004)), pool.submit(check)]
        for future in futures:
            future.result()

    assert edge.post("/v1/chat/completions", 0).json() == 0
    wait_until(lambda: metric(edge, "truss_running") == 0, what="free slots")
