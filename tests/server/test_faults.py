"""Kills, stalls, floods and aborts at random points (seeded) against a mixed load: every promise holds."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.helpers import wait_until
from tests.server.raw_http import request_bytes
from tests.server.test_admission import metric

if TYPE_CHECKING:
    from tests.server.harness import Edge, Servers

MODEL = """
import asyncio, sys, time


class Model:
    def predict(self, inputs):
        if inputs["kind"] == "stream":
            return self.count(inputs["n"])
        if inputs["kind"] == "flood":
            for _ in range(2000):
                print("x" * 500)
        if inputs["kind"] == "stall":
            time.sleep(0.3)
        if inputs["kind"] == "raise":
            raise ValueError("as asked")
        return {"echo": inputs["n"], "fill": "x" * inputs.get("fill", 0)}

    def count(self, n):
        for at in range(n):
            yield {"at": at, "of": n}
            time.sleep(0.001)

    async def chat_completions(self, inputs):
        for at in range(inputs["n"]):
            await asyncio.sleep(0.001)
            yield {"at": at, "of": inputs["n"]}
"""

ALLOWED = {200, 429, 500, 503}
"""What a client may be told while workers are killed: the answer, busy, broken, not ready."""


class Load:
    """Clients that call in a mixture of ways and check every answer they get.

    Attributes:
        complete: Answers that were whole.
        broken: Answers that were cut or errors.
        lies: What no client may ever see.
    """

    def __init__(self, edge: Edge, seed: int) -> None:
        self._edge = edge
        self._seed = seed
        self.complete = 0
        self.broken = 0
        self.lies: list[str] = []
        self.stop = threading.Event()

    def run(self, number: int) -> None:
        """Be one client until told to stop."""
        rng = random.Random(self._seed * 1000 + number)
        with httpx.Client(
            base_url=f"http://127.0.0.1:{self._edge.port}", trust_env=False, timeout=30
        ) as http:
            while not self.stop.is_set():
                self._call(http, rng)

    def _call(self, http: httpx.Client, rng: random.Random) -> None:
        try:
            self._once(http, rng)
        except httpx.TransportError as exc:
            self.broken += 1
            if isinstance(exc, httpx.TimeoutException):
                self.lies.append(f"no answer in 30 s: {exc!r}")

    def _once(self, http: httpx.Client, rng: random.Random) -> None:
        kind = rng.choice(["echo", "large", "stream", "chat", "raise", "stall", "flood", "abort"])
        n = rng.randrange(1, 200)
        if kind == "abort":
            with self._edge.connect() as sock:
                sock.sendall(request_bytes("/predict", {"kind": "stream", "n": 10_000}))
                time.sleep(rng.uniform(0, 0.05))
            return
        path = "/v1/chat/completions" if kind == "chat" else "/predict"
        fill = 500_000 if kind == "large" else 0
        with http.stream("POST", path, json={"kind": kind, "n": n, "fill": fill}) as response:
            body = response.read()
        if response.status_code not in ALLOWED:
            self.lies.append(f"{kind}: {response.status_code} {body[:100]!r}")
        elif response.status_code != 200:
            self.broken += 1
            if "error" not in json.loads(body):
                self.lies.append(f"{kind}: an error without its shape: {body[:100]!r}")
        elif self._is_whole(kind, n, body):
            self.complete += 1
        else:
            self.lies.append(f"{kind}: a clean end after {body[-100:]!r}")

    @staticmethod
    def _is_whole(kind: str, n: int, body: bytes) -> bool:
        if kind in ("stream", "chat"):
            return body.count(b'"of":%d}' % n) == n and (
                kind == "stream" or body.endswith(b"data: [DONE]\n\n")
            )
        return bool(json.loads(body)["echo"] == n)


def disturb(edge: Edge, rng: random.Random) -> None:
    """Do something bad to the worker, and wait for the next one if that is what follows."""
    (pid,) = edge.workers()
    kind = rng.choice(["kill", "segfault", "stop"])
    if kind == "stop":
        os.kill(pid, signal.SIGSTOP)
        time.sleep(rng.uniform(0.05, 0.3))
        os.kill(pid, signal.SIGCONT)
    else:
        os.kill(pid, signal.SIGKILL if kind == "kill" else signal.SIGSEGV)
        wait_until(lambda: edge.workers() not in ([], [pid]), 20, what="the next worker")
        edge.wait_ready()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_promises_hold_under_faults(servers: Servers, seed: int) -> None:
    """Nobody sees a clean end of a broken answer, waits for ever, or leaves anything behind."""
    edge = servers.start(MODEL, runtime={"predict_concurrency": 8, "max_queue": 8})
    rng = random.Random(seed)
    load = Load(edge, seed)
    with ThreadPoolExecutor(12) as pool:
        clients = [pool.submit(load.run, number) for number in range(12)]
        try:
            for _ in range(4):  # one death more in a row would be the last
                time.sleep(rng.uniform(0.2, 0.8))
                disturb(edge, rng)
        finally:
            load.stop.set()
        for client in clients:
            client.result()
    wait_until(lambda: metric(edge, "truss_running") == 0, 20, what="free slots")

    assert load.lies == []
    assert load.complete > 20
    assert metric(edge, "truss_queued") == 0
    assert edge.call({"kind": "echo", "n": 7})["echo"] == 7
    assert len(edge.workers()) == 1
    edge.signal(signal.SIGTERM)
    assert edge.wait_exit() == 0
