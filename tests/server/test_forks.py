"""Processes that the model forks, and that come back into the server: they are ended, and take nothing from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.helpers import wait_until

if TYPE_CHECKING:
    from tests.server.harness import Edge, Servers

CALLS = 30

MODEL = """
import asyncio
import os
import sys


class Model:
    def predict(self, x):
        if x == "return":
            return [os.getpid(), os.fork()]
        if x == "raise" and os.fork() == 0:
            raise ValueError("in the child")
        if x == "exit" and os.fork() == 0:
            sys.exit(0)
        if x == "stream":
            return self.stream()
        return x

    def stream(self):
        yield str(os.fork() > 0)

    async def embeddings(self, x):
        pid = os.fork()
        if x == "await":
            await asyncio.sleep(0.01)
        return x

    async def completions(self, x):
        await asyncio.sleep(0)
        return x
"""


@pytest.fixture(scope="module")
def edge(module_servers: Servers) -> Edge:
    """Serve MODEL."""
    return module_servers.start(MODEL)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/predict", "return"),
        ("/predict", "raise"),
        ("/predict", "exit"),
        ("/predict", "stream"),
        ("/v1/embeddings", "return"),
        ("/v1/embeddings", "await"),
    ],
)
def test_a_forked_child_that_comes_back_is_ended(edge: Edge, path: str, value: str) -> None:
    """Only the parent answers, the child is ended and its author told, and no later call waits for what it took."""
    (worker,) = edge.workers()
    edge.records.clear()

    for _ in range(CALLS):
        assert edge.post(path, value, timeout=10).status_code == 200
        assert edge.post("/predict", "sync", timeout=10).json() == "sync"
        assert edge.post("/v1/completions", "async", timeout=10).json() == "async"

    edge.wait_log("came back from its call, and is ended: end it with os._exit()", source="model")
    wait_until(lambda: edge.workers() == [worker], 10, what="the end of the children")
