"""What a client and the log are told when the model raises."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.server.raw_worker import RawWorker
from tests.server.releases import write_release

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.harness import Edge, Servers

MODEL = """
import fastapi
import helper


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Circular(Exception):
    pass


def recurse(n):
    return recurse(n + 1)


def deep():
    value = []
    for _ in range(300):
        value = [value]
    return value


class Model:
    def predict(self, x):
        do = x["do"]
        if do == "plain":
            raise ValueError("secret on purpose")
        if do == "chained":
            try:
                helper.fail()
            except KeyError as exc:
                raise ValueError("outer") from exc
        if do == "huge":
            raise ValueError("x" * 100_000_000)
        if do == "huge detail":
            raise fastapi.HTTPException(400, "x" * 2_000_000)
        if do == "surrogate":
            raise ValueError("half \\ud83d of it")
        if do == "unprintable":
            raise Unprintable
        if do == "circular":
            one, two = Circular("one"), Circular("two")
            one.__cause__, two.__cause__ = two, one
            raise one
        if do == "recursion":
            recurse(0)
        if do == "group":
            raise ExceptionGroup("several", [ValueError("first"), KeyError("second")])
        if do == "exit":
            raise SystemExit("bye")
        if do == "interrupt":
            raise KeyboardInterrupt
        if do == "stop":
            raise StopIteration("stop")
        if do == "unserializable":
            return {"a": [1, {"b": {1, 2j}}]}
        if do == "unserializable key":
            return {"a": {(1, 2): 3}}
        if do == "deep":
            return deep()
        if do == "itself":
            x["x"] = x
            return x
        return "fine"


class Async(Model):
    async def predict(self, x):
        return super().predict(x)


class Mixed(Model):
    async def postprocess(self, x):
        return x
"""

FILES = {"packages/helper.py": "def fail():\n    return {}['key']\n"}


@pytest.fixture(scope="module")
def edges(module_servers: Servers) -> dict[str, Edge]:
    """Serve MODEL in production, sync, and in development, async."""
    started = {
        name: module_servers.start(
            MODEL, files=FILES, environment=environment, config={"model_class_name": name}, ready=False
        )
        for name, environment in (("Model", "production"), ("Async", "development"))
    }
    for edge in started.values():
        edge.wait_ready()
    return started


def test_production_tells_the_client_an_id_and_the_log_everything(edges: dict[str, Edge]) -> None:
    """The client gets no text of the model's; the id it gets finds the traceback in the log."""
    edge = edges["Model"]

    response = edge.post("/predict", {"do": "plain"})

    request_id = response.headers["x-request-id"]
    assert response.status_code == 500
    assert response.json() == {
        "error": "the model raised ValueError; its log has the traceback",
        "request_id": request_id,
    }
    record = edge.wait_log("the model raised ValueError: secret on purpose", request_id=request_id)
    assert (record["levelname"], record["source"]) == ("ERROR", "worker")
    assert record["exc_info"].splitlines() == [
        "Traceback (most recent call last):",
        '  File "model/model.py", line 30, in predict',
        '    raise ValueError("secret on purpose")',
        "ValueError: secret on purpose",
    ]


def test_development_shows_the_traceback(edges: dict[str, Edge]) -> None:
    """In the development environment the answer has the author's own frames, and the log has them too."""
    edge = edges["Async"]

    response = edge.post("/predict", {"do": "chained"}, headers={"x-request-id": "mine"})

    body = response.json()
    assert (response.status_code, body["error"], body["request_id"]) == (500, "ValueError: outer", "mine")
    assert '  File "packages/helper.py", line 2, in fail\n' in body["traceback"]
    assert "direct cause of the following exception" in body["traceback"]
    assert "truss_server" not in body["traceback"]
    assert edge.wait_log("ValueError: outer", request_id="mine")["exc_info"] == body["traceback"]


@pytest.mark.parametrize("name", ["Model", "Async"])
@pytest.mark.parametrize(
    ("do", "logged"),
    [
        ("huge", "ValueError: " + "x" * 8192 + "... [99991808 characters cut]"),
        ("surrogate", "ValueError: half \ud83d of it"),
        ("unprintable", "Unprintable: [RuntimeError while this was written]"),
        ("circular", "Circular: one"),
        ("recursion", "RecursionError: maximum recursion depth exceeded"),
        ("exit", "SystemExit: bye"),
        ("interrupt", "KeyboardInterrupt: "),
        ("stop", "StopIteration"),
        ("huge detail", "HTTPException"),
        ("unserializable", "output.a[1].b[1] is of type complex, which JSON has no form for"),
        ("unserializable key", "output.a has a key of type tuple; JSON has only text keys"),
        ("deep", "is nested more than 200 levels deep"),
        ("itself", "is nested more than 200 levels deep"),
    ],
)
def test_whatever_is_raised_is_an_answer(edges: dict[str, Edge], name: str, do: str, logged: str) -> None:
    """Nothing a model raises or returns costs more than its own request: one 500, one record, and it goes on."""
    edge = edges[name]
    workers = edge.workers()

    response = edge.post("/predict", {"do": do})

    assert response.status_code == 500
    record = edge.wait_log(logged, request_id=response.headers["x-request-id"])
    assert len(record.get("exc_info", "")) < 40_000
    assert 'File "model/model.py"' in record.get("exc_info", "") or do.startswith(("unserial", "deep", "its"))
    assert edge.call({"do": "fine"}) == "fine"
    assert edge.workers() == workers


def test_a_group_of_errors_is_shown_whole(edges: dict[str, Edge]) -> None:
    """All members of an exception group are in the traceback."""
    body = edges["Async"].post("/predict", {"do": "group"}).json()

    assert "ValueError: first" in body["traceback"]
    assert "KeyError: 'second'" in body["traceback"]


@pytest.mark.parametrize("do", ["plain", "exit", "stop", "deep"])
def test_an_error_between_stages(tmp_path: Path, do: str) -> None:
    """What a sync stage raises on its thread ends a chain that goes on in a coroutine."""
    root = write_release(tmp_path / "release", MODEL, files=FILES, config={"model_class_name": "Mixed"})

    with RawWorker(sys.executable, root) as worker:
        error = worker.call("predict", {"do": do}).error
        assert (error["status"], worker.call("predict", {"do": "fine"}).value) == (500, "fine")
