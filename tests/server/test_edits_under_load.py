"""A hundred edits while streams and calls run: none fails, none is cut, none mixes two versions."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.server.editing import MODEL, Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.server.harness import Edge, Servers

STREAMS, CALLS = 32, 8
EDITS, BROKEN, LOADS = 100, 30, 10
CHUNKS = 20

SOURCE = """
import time

class Model:
    def load(self):
        self.loaded = True

    async def chat_completions(self, x):
        return VERSION

    def predict(self, x):
        for _ in range(CHUNKS):
            yield "VERSION "
            time.sleep(0.01)
"""


def source(version: int) -> str:
    """Return the model in a version."""
    return SOURCE.replace("VERSION", str(version)).replace("CHUNKS", str(CHUNKS))


async def ask(http: httpx.AsyncClient, path: str, generations: set[tuple[int, int]]) -> None:
    """Ask once, see that the answer is whole and of one version, and note of which generation it said it was."""
    response = await http.post(path, json={})
    assert response.status_code == 200, response.text
    words = response.text.split()
    assert len(words) == (CHUNKS if path == "/predict" else 1)
    (version,) = set(words)
    generations.add((int(response.headers["x-truss-generation"]), int(version)))


async def load_server(edge: Edge, edits: asyncio.Task[dict[int, int]]) -> set[tuple[int, int]]:
    """Keep streams and calls going until the edits are done; return generations with the versions they answered by."""
    seen: set[tuple[int, int]] = set()

    async def one(path: str) -> None:
        while not edits.done():
            await ask(http, path, seen)

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    url = f"http://127.0.0.1:{edge.port}"
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits, trust_env=False) as http:
        paths = ["/predict"] * STREAMS + ["/v1/chat/completions"] * CALLS
        await asyncio.gather(*[one(path) for path in paths])
    return seen


KINDS = ["broken"] * BROKEN + ["load"] * LOADS + ["swap"] * (EDITS - BROKEN - LOADS)
random.Random(4).shuffle(KINDS)


def make_edits(edge: Edge, kinds: Sequence[str], strategy: str) -> dict[int, int]:
    """Make edits, each when the one before was taken; return the version of each generation."""
    session = Session(edge.control)
    versions = {1: 0}
    for number, kind in enumerate(kinds, start=1):
        text = source(number) if kind != "broken" else source(number) + "raise ValueError('broken')\n"
        answer = session.edit(edge, {MODEL: text}, "load" if kind == "load" else "swap", strategy=strategy)
        assert answer["event"] == ("failed" if kind == "broken" else "applied"), answer
        if kind != "broken":
            assert answer["how"] == kind
            versions[answer["generation"]] = number
    session.close()
    return versions


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("strategy", "kinds"), [("beside", KINDS), ("replace", ["load", "swap"] * 3)])
def test_nothing_is_dropped(servers: Servers, strategy: str, kinds: list[str]) -> None:
    """Every answer is whole, and of the version whose generation its header names; also where one makes room first."""
    edge = servers.start(source(0), environment="development", control=True)

    async def run() -> tuple[set[tuple[int, int]], dict[int, int]]:
        edits = asyncio.create_task(asyncio.to_thread(make_edits, edge, kinds, strategy))
        return await load_server(edge, edits), await edits

    seen, versions = asyncio.run(run())

    assert len(versions) == len(kinds) - kinds.count("broken") + 1
    assert seen <= set(versions.items())
    assert len(seen) > len(kinds) // 10
