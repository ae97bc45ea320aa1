"""Ten thousand clients that leave, of many kinds: nothing is left of them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tests.helpers import wait_until
from tests.server.raw_http import request_bytes
from tests.server.test_admission import metric

if TYPE_CHECKING:
    from tests.server.harness import Edge, Servers

ABORTS = 10_000

MODEL = """
import asyncio, gc, os, threading, time
from starlette.requests import Request
from starlette.responses import StreamingResponse


def numbers():
    while True:
        yield b"x" * 100
        time.sleep(0.001)


async def async_numbers():
    while True:
        yield {"n": 1}
        await asyncio.sleep(0.001)


class Model:
    def predict(self, kind):
        if kind == "call":
            while True:
                time.sleep(0.001)
        if kind == "response":
            return StreamingResponse(async_bytes())
        if kind == "facts":
            gc.collect()
            tasks = [t for t in gc.get_objects() if isinstance(t, asyncio.Task) and not t.done()]
            return [threading.active_count(), len(tasks), len(os.listdir("/proc/self/fd"))]
        return numbers() if kind == "stream" else kind

    async def chat_completions(self, kind):
        if kind == "stream":
            return self.chunks()
        await asyncio.sleep(60)

    async def chunks(self):
        yield {"n": 1}

    async def completions(self, kind):
        async for item in async_numbers():
            yield item

    async def embeddings(self, request: Request):
        return len(await request.body())


async def async_bytes():
    while True:
        yield b"y" * 1000
        await asyncio.sleep(0.001)
"""

KINDS = [
    request_bytes("/predict", "call"),
    request_bytes("/predict", "stream"),
    request_bytes("/predict", "response"),
    request_bytes("/predict", "quick"),
    request_bytes("/v1/chat/completions", "sleep"),
    request_bytes("/v1/completions", "stream"),
    request_bytes("/v1/embeddings", body=b"x" * 5000),
    request_bytes("/v1/embeddings", body=b"x" * 5000)[:-1000],
    request_bytes("/predict", body=b"[" + b"1," * 3000 + b"1]")[:3000],
    request_bytes("/predict", "call")[:40],
]


async def abort(port: int, count: int, seed: int) -> None:
    """Leave again and again: before the answer, amid it, with a close or a reset."""
    rng = random.Random(seed)
    for _ in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(rng.choice(KINDS))
        how = rng.random()
        if how < 0.5:
            await asyncio.sleep(rng.uniform(0, 0.01))
        elif how < 0.8:
            with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
                await asyncio.wait_for(reader.read(100), 0.02)
        if rng.random() < 0.5:
            writer.transport.abort()
        writer.close()


async def abort_all(port: int, count: int, seed: int) -> None:
    """Abort `count` requests, forty at a time."""
    await asyncio.gather(*[abort(port, count // 40, seed + at) for at in range(40)])


def descriptors(pid: int) -> int:
    """Return how many files a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def memory(edge: Edge) -> int:
    """Return the resident bytes of edge and worker."""
    pids = [edge.process.pid, *edge.workers()]
    return sum(
        int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) * 1024 for pid in pids
    )


def test_ten_thousand_aborts(servers: Servers) -> None:
    """Slots, threads, tasks, descriptors and memory are afterwards what they were after the first thousand."""
    edge = servers.start(MODEL, runtime={"predict_concurrency": 32})
    workers = edge.workers()

    def settle() -> None:
        wait_until(lambda: metric(edge, "truss_running") == 0, 20, what="free slots")

    asyncio.run(abort_all(edge.port, ABORTS // 10, 100))
    settle()
    before = memory(edge)
    threads, tasks, files = edge.call("facts")
    own = descriptors(edge.process.pid)
    asyncio.run(abort_all(edge.port, ABORTS - ABORTS // 10, 200))
    settle()

    assert edge.workers() == workers
    assert metric(edge, "truss_queued") == 0
    assert metric(edge, "truss_worker_restarts_total") == 0
    assert metric(edge, "truss_cancelled_total") > ABORTS / 3
    wait_until(lambda: descriptors(edge.process.pid) <= own + 3, what="closed connections")
    after = edge.call("facts")
    assert after[0] <= max(threads, 32 + 4)  # idle threads of the model are kept for a minute
    assert after[1] <= tasks + 1
    assert after[2] <= files + 1
    assert memory(edge) - before < 30_000_000
    assert edge.call("fine") == "fine"
