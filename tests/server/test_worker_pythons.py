"""The worker by itself, on every Python of this machine that a model may run on."""

from __future__ import annotations

import shutil
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers import build_tree
from tests.server.interpreters import PYTHONS
from tests.server.raw_worker import PACKAGE, RawWorker
from tests.server.releases import Gates, write_release
from truss_server import wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODEL = """
from __future__ import annotations

import asyncio
import importlib.util
import sys
import time

import gates


class Model:
    def __init__(self, **kwargs):
        self.kwargs = sorted(kwargs)

    async def load(self):
        await asyncio.sleep(0)

    def predict(self, x):
        if x == "facts":
            return {
                "version": "%d.%d" % sys.version_info[:2],
                "path": sys.path,
                "modules": sorted({name.partition(".")[0] for name in sys.modules}),
                "stdlib": sorted(getattr(sys, "stdlib_module_names", [])),
                "fastapi": importlib.util.find_spec("fastapi") is not None,
                "kwargs": self.kwargs,
            }
        if x == "raise":
            raise ValueError("broken on purpose")
        if x == "async":
            return self.answer()
        return x

    async def answer(self):
        await asyncio.sleep(0)
        return "awaited"

    async def completions(self, x):
        gates.mark(x)
        if x == "block":
            gates.wait("unblock")
        await asyncio.sleep(600)

    def chat_completions(self, x):
        try:
            for n in range(x):
                yield {"n": n}
        finally:
            gates.mark("closed")

    async def messages(self, x):
        try:
            for n in range(x):
                yield b"x" * 10_000
        finally:
            gates.mark("closed async")

    async def responses(self, x, request):
        return [len(x), len(await request.body())]

    def embeddings(self, x):
        return "y" * x
"""

THEIRS = {"__main__", "__mp_main__", "model", "gates", "truss_server", "sitecustomize", "_distutils_hack"}
"""Modules that are not the standard library's and may be there: the model's, ours, the distribution's hooks."""


@pytest.fixture(scope="module", params=sorted(PYTHONS))
def worker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, bare_python: str
) -> Iterator[RawWorker]:
    """Run MODEL on one Python; on the tests' own version in an environment without packages."""
    python = PYTHONS[request.param]
    root = write_release(tmp_path_factory.mktemp("worker") / "release", MODEL)
    started = RawWorker(bare_python if python == sys.executable else python, root)
    started.gates = Gates(root / "gates")  # type: ignore[attr-defined]
    started.version = request.param  # type: ignore[attr-defined]
    yield started
    started.close()
    assert started.process.returncode in (0, 1, -signal.SIGKILL)


def gates(worker: RawWorker) -> Gates:
    """Return the gates of the worker's release."""
    found: Gates = worker.gates  # type: ignore[attr-defined]
    return found


def test_it_says_what_it_is(worker: RawWorker) -> None:
    """HELLO and STATE tell protocol, Python, pid and methods."""
    assert worker.hello["protocol"] == wire.PROTOCOL
    assert worker.hello["python"].startswith(worker.version)  # type: ignore[attr-defined]
    assert worker.hello["pid"] == worker.process.pid
    assert worker.state["state"] == "ready"
    for name, request in (("predict", False), ("responses", True)):
        facts = worker.state["methods"][name]
        assert (facts["inputs"], facts["request"]) == (True, request)


def test_the_environment_is_the_models(worker: RawWorker) -> None:
    """The model sees the standard library, itself and `truss_server`, and can import nothing else of ours."""
    facts = worker.call("predict", "facts").value

    stdlib = set(facts["stdlib"] or sys.stdlib_module_names) | {"_bootlocale", "distutils", "imp"}
    assert {name for name in facts["modules"] if name not in stdlib} - THEIRS == set()
    assert "truss_server" in facts["modules"]
    assert facts["fastapi"] is False
    assert str(PACKAGE.parent) not in facts["path"]
    assert str(PACKAGE / "worker") not in facts["path"]
    assert not [entry for entry in facts["path"] if entry.startswith(sys.prefix)]
    assert facts["kwargs"] == ["config", "data_dir", "environment", "secrets"]


@pytest.mark.parametrize("value", [None, [1, 2.5, "\ud83d"], {"a": {"b": [True]}}, "x" * 200_000], ids=type)
def test_values(worker: RawWorker, value: Any) -> None:
    """A sync method gets plain values and gives them back."""
    assert worker.call("predict", value).value == value


def test_a_coroutine_of_a_sync_method(worker: RawWorker) -> None:
    """What a sync method returns is awaited where it can be."""
    assert worker.call("predict", "async").value == "awaited"


def test_a_value_larger_than_the_window(worker: RawWorker) -> None:
    """An answer waits for credit, and is whole."""
    stream = worker.open("embeddings", 1_000_000)

    assert worker.until_silent(stream) == wire.WINDOW
    worker.grant(stream, wire.WINDOW)
    assert worker.finish(stream).value == "y" * 1_000_000


def test_a_sync_generator(worker: RawWorker) -> None:
    """Objects arrive as JSON lines or events."""
    lines = worker.call("chat_completions", 3)
    events = worker.call("chat_completions", 2, framing="openai")

    assert lines.head == {"kind": "stream", "content_type": "application/x-ndjson"}
    assert lines.data == b'{"n":0}\n{"n":1}\n{"n":2}\n'
    assert events.data == b'data: {"n":0}\n\ndata: {"n":1}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize(
    ("method", "mark", "size"), [("messages", "closed async", 1000), ("chat_completions", "closed", 10**9)]
)
def test_a_generator_stops_at_the_window_and_goes_with_its_client(
    worker: RawWorker, method: str, mark: str, size: int
) -> None:
    """Without credit no more than a window is sent; a credit lets as much more through; CANCEL closes it."""
    stream = worker.open(method, size)

    assert wire.WINDOW - 10_000 < worker.until_silent(stream) <= wire.WINDOW
    worker.grant(stream, 20_000)
    assert wire.WINDOW + 10_000 < worker.until_silent(stream) <= wire.WINDOW + 20_000
    worker.cancel(stream)
    assert worker.finish(stream).error == {"status": 499, "detail": "the client left", "headers": []}
    gates(worker).wait(mark)


def test_an_error(worker: RawWorker) -> None:
    """An exception crosses the wire with type, message and the author's own frames."""
    error = worker.call("predict", "raise").error

    assert (error["status"], error["type"], error["message"]) == (500, "ValueError", "broken on purpose")
    assert 'File "model/model.py"' in error["traceback"]
    assert "truss_server" not in error["traceback"]


def test_a_cancelled_coroutine(worker: RawWorker) -> None:
    """CANCEL ends a coroutine that waits, and the stream with it."""
    stream = worker.open("completions", "waiting")
    gates(worker).wait("waiting")

    worker.cancel(stream)

    assert worker.finish(stream).error["status"] == 499


def test_cancelled_before_it_starts(worker: RawWorker) -> None:
    """A coroutine whose client leaves while the event loop is busy ends without having begun."""
    worker.open("completions", "block")
    gates(worker).wait("block")
    streams = [worker.open("completions", f"never {n}", then=wire.CANCEL) for n in range(20)]
    assert worker.call("predict", 1).value == 1  # all that was sent before it has been read

    gates(worker).open("unblock")

    assert [worker.finish(stream).error["status"] for stream in streams] == [499] * 20
    assert not any(gates(worker).has(f"never {n}") for n in range(20))


def test_cancelled_as_it_starts(worker: RawWorker) -> None:
    """A sync call whose CANCEL comes along with it ends, begun or not."""
    streams = [worker.open("predict", n, then=wire.CANCEL) for n in range(50)]

    errors = [worker.finish(stream).error for stream in streams]
    assert all(error is None or error["status"] == 499 for error in errors)


def test_cancelled_before_its_inputs_are_there(worker: RawWorker) -> None:
    """A call of which only the beginning came ends with its CANCEL."""
    worker._streams += 1
    stream = worker._streams
    head = wire.pack(("predict", "lines", None, 1))
    worker.send(wire.encode(wire.CALL, stream, head) + wire.encode(wire.INPUT, stream, b"x" * 100))

    worker.cancel(stream)

    assert worker.finish(stream).error["status"] == 499


def test_large_inputs_and_body(worker: RawWorker) -> None:
    """Inputs and body larger than the window come in as credit is given for them."""
    stream = worker.upload("responses", [wire.INPUT, wire.BODY], 1_000_000)

    assert worker.finish(stream).value == [1_000_000, 1_000_000]


@pytest.mark.skipif("3.14" not in PYTHONS, reason="there is no Python 3.14 on this machine")
def test_annotations_that_nobody_can_evaluate(tmp_path: Path) -> None:
    """From 3.14 on a module with such annotations is imported as well; what they name is not needed to call it."""
    model = "class Model:\n    def predict(self, inputs: Nowhere) -> nobody.Nothing: return 1\n"
    with RawWorker(PYTHONS["3.14"], write_release(tmp_path / "release", model)) as worker:
        assert worker.call("predict", 5).value == 1


def test_it_ends_when_asked(bare_python: str, tmp_path: Path) -> None:
    """STOP ends a worker with exit code 0."""
    with RawWorker(bare_python, write_release(tmp_path / "release", MODEL)) as worker:
        assert worker.stop() == 0
        assert worker.output() == ""


@pytest.mark.parametrize(
    "frames",
    [
        (wire.MAX_PAYLOAD + 1).to_bytes(4, "big") + bytes(5),
        wire.encode(wire.CALL, 1, b"\xff"),
        wire.encode(wire.CALL, 1, wire.pack(("predict", "lines", None, 1)))
        + wire.encode(wire.BODY, 1, b"nobody asked"),
        wire.encode(wire.CALL, 1, wire.pack(("predict", "lines", None, 1)))
        + wire.encode(wire.INPUT, 1, bytes(65536)) * 4
        + wire.encode(wire.HEAD, 1, b""),
    ],
    ids=["oversize", "no value", "unasked body", "wrong direction"],
)
def test_it_ends_when_the_edge_breaks_the_protocol(bare_python: str, tmp_path: Path, frames: bytes) -> None:
    """A worker does not guess what a broken edge meant."""
    with RawWorker(bare_python, write_release(tmp_path / "release", MODEL)) as worker:
        worker.send(frames)

        assert worker.process.wait(20) == -signal.SIGKILL
        assert any("WireError" in line for line in worker.last_words())


def test_the_servers_neighbours_are_not_the_models(bare_python: str, tmp_path: Path) -> None:
    """Installed beside the server's own packages, the server brings none of them into the model's reach."""
    site = build_tree(tmp_path / "site-packages", {"fastapi/__init__.py": "", "orjson.py": ""})
    shutil.copytree(PACKAGE, site / "truss_server")
    root = write_release(tmp_path / "release", MODEL)

    with RawWorker(bare_python, root, package=site / "truss_server") as worker:
        facts = worker.call("predict", "facts").value

    assert facts["fastapi"] is False
    assert not [entry for entry in facts["path"] if str(site) in entry]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="PYTHONSAFEPATH is 3.11's")
def test_a_safe_path_loses_nothing(bare_python: str, tmp_path: Path) -> None:
    """Where Python is told not to put the script's folder first, the first entry is the author's and stays."""
    extra = build_tree(tmp_path / "extra", {"fastapi.py": ""})
    environ = {"PYTHONSAFEPATH": "1", "PYTHONPATH": str(extra)}

    root = write_release(tmp_path / "release", MODEL)

    with RawWorker(bare_python, root, environ=environ) as worker:
        assert worker.call("predict", "facts").value["fastapi"] is True
