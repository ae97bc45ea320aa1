"""Generators fed by a thread of the model's own, as those over transformers' `TextIteratorStreamer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.server.raw_http import read_until

if TYPE_CHECKING:
    from tests.server.harness import Edge, Servers

MODEL = """
from queue import Queue
from threading import Event, Thread

import gates


class Streamer:
    def __init__(self):
        self.queue = Queue()

    def __iter__(self):
        return self

    def __next__(self):
        text = self.queue.get(timeout=30)
        if text is None:
            raise StopIteration
        return text


class Model:
    def predict(self, inputs):
        return self.stream(inputs["name"], inputs.get("most", 10**9))

    async def completions(self, inputs):
        return self.stream(inputs["name"], 10**9)

    def messages(self, inputs):
        return self.stream_as_specified(inputs["name"])

    def generate(self, name, streamer, unwanted, most):
        for token in range(most):
            if unwanted.is_set():
                break
            streamer.queue.put(f"token {token} ")
            gates.wait(f"{name}-go-on")
        streamer.queue.put(None)
        gates.mark(f"{name}-thread", "unwanted" if unwanted.is_set() else "complete")

    def stream(self, name, most):
        streamer, unwanted = Streamer(), Event()
        thread = Thread(target=self.generate, args=(name, streamer, unwanted, most))
        thread.start()
        try:
            for text in streamer:
                yield text
        finally:
            unwanted.set()
            thread.join()
            gates.mark(f"{name}-closed")

    def stream_as_specified(self, name):
        streamer = Streamer()
        thread = Thread(target=self.generate, args=(name, streamer, Event(), 2000))
        thread.start()

        def stream_output():
            try:
                for text in streamer:
                    yield text
                thread.join()
            finally:
                gates.mark(f"{name}-closed")

        return stream_output()
"""


@pytest.fixture(scope="module")
def edge(module_servers: Servers) -> Edge:
    """Serve the model, one call at a time."""
    return module_servers.start(MODEL, runtime={"predict_concurrency": 1})


def is_free(edge: Edge) -> bool:
    """Tell whether the only slot is free: a short stream comes through."""
    edge.gates.open("free-go-on")
    return edge.post("/predict", {"name": "free", "most": 2}).text == "token 0 token 1 "


@pytest.mark.parametrize("path", ["/predict", "/v1/completions"])
def test_the_thread_ends_with_its_client(edge: Edge, path: str) -> None:
    """Who leaves while the generator waits for a token has it closed at the next one, and its thread ended."""
    name = f"left{path.rpartition('/')[2]}"

    with edge.asking({"name": name}, path) as sock:
        assert b"token 0 " in read_until(sock, b"token 0 ")
    edge.gates.open(f"{name}-go-on")

    edge.gates.wait(f"{name}-closed")
    assert edge.gates.wait(f"{name}-thread") == "unwanted"
    assert is_free(edge)


def test_a_thread_that_does_not_look_holds_no_slot(edge: Edge) -> None:
    """Without a `finally`, as in the specification, the generator still ends with its client, the slot is free."""
    with edge.asking({"name": "specified"}, "/v1/messages") as sock:
        read_until(sock, b"token 0 ")
    edge.gates.open("specified-go-on")

    edge.gates.wait("specified-closed")
    assert is_free(edge)
    assert edge.gates.wait("specified-thread") == "complete"


def test_a_thread_fed_stream_is_whole(edge: Edge) -> None:
    """Who stays gets every token."""
    assert is_free(edge)
    assert edge.gates.wait("free-thread") == "complete"
