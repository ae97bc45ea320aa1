"""Responses that the author makes: status, headers and cookies pass, and their streams end truthfully."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.server.raw_http import read_broken

if TYPE_CHECKING:
    from tests.server.harness import Edge, Servers

MODEL = """
import asyncio, time
from pathlib import Path

import gates
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response, StreamingResponse

HERE = Path(__file__).parent


def cookies():
    response = JSONResponse({"a": 1}, status_code=201, headers={"x-a": "1"})
    response.set_cookie("one", "1", httponly=True)
    response.set_cookie("two", "2")
    return response


def words():
    yield "one "
    gates.wait("go-on")
    yield "two"


async def async_words():
    yield b"one "
    await gates.wait_async("go-on")
    yield b"two"


def failing():
    yield "one "
    raise ValueError("midway")


async def async_failing():
    yield "one "
    raise ValueError("midway")


def forever():
    try:
        while True:
            time.sleep(0.01)
            yield "on "
    finally:
        gates.mark("sync-left")


async def async_forever():
    try:
        while True:
            await asyncio.sleep(0.01)
            yield "on "
    finally:
        gates.mark("async-left")


async def flood():
    for at in range(64):
        yield b"x" * 1_000_000
        gates.mark("flood", at)


def later(name):
    gates.wait("go-background")
    print("printed in the background")
    gates.mark(name)


def broken_task():
    raise ValueError("in the background")


MAKERS = {
    "text": lambda: Response("teapot", status_code=418, media_type="text/plain", headers={"x-b": "ü"}),
    "empty": lambda: Response(status_code=204),
    "redirect": lambda: RedirectResponse("/elsewhere"),
    "json": lambda: JSONResponse({"a": [1]}),
    "cookies": cookies,
    "words": lambda: StreamingResponse(words(), media_type="text/plain", status_code=202, headers={"x-c": "3"}),
    "async_words": lambda: StreamingResponse(async_words(), media_type="text/event-stream"),
    "failing": lambda: StreamingResponse(failing()),
    "async_failing": lambda: StreamingResponse(async_failing(), media_type="text/event-stream"),
    "forever": lambda: StreamingResponse(forever()),
    "async_forever": lambda: StreamingResponse(async_forever()),
    "flood": lambda: StreamingResponse(flood()),
    "large": lambda: Response(b"x" * 3_000_000),
    "file": lambda: FileResponse(HERE / "model.py", filename="a.py"),
    "no_file": lambda: FileResponse(HERE / "none.py"),
    "background": lambda: JSONResponse(1, background=BackgroundTask(later, "task")),
    "broken_task": lambda: JSONResponse(1, background=BackgroundTask(broken_task)),
    "class": lambda: Response,
}
"""

SYNC = """
class Model:
    def predict(self, inputs):
        return MAKERS[inputs]()
"""
ASYNC = """
class Model:
    async def predict(self, inputs, request):
        return MAKERS[inputs]()
"""


@pytest.fixture(scope="module", params=["sync", "async"])
def edge(module_servers: Servers, request: pytest.FixtureRequest) -> Edge:
    """Serve the model once with a synchronous predict and once with an asynchronous one that takes the request."""
    return module_servers.start(MODEL + (SYNC if request.param == "sync" else ASYNC))


def test_status_and_headers_pass(edge: Edge) -> None:
    """What the author set is what the client gets."""
    response = edge.post("/predict", "text")

    assert (response.status_code, response.text) == (418, "teapot")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert "ü".encode("latin-1") == dict(response.headers.raw)[b"x-b"]
    assert response.headers["content-length"] == "6"
    assert response.headers["x-request-id"]


def test_every_cookie_passes(edge: Edge) -> None:
    """Several headers of one name stay several."""
    response = edge.post("/predict", "cookies")

    assert (response.status_code, response.json(), response.headers["x-a"]) == (201, {"a": 1}, "1")
    assert response.headers.get_list("set-cookie") == [
        "one=1; HttpOnly; Path=/; SameSite=lax",
        "two=2; Path=/; SameSite=lax",
    ]


@pytest.mark.parametrize(("name", "status"), [("empty", 204), ("redirect", 307), ("json", 200)])
def test_responses_without_much_of_a_body(edge: Edge, name: str, status: int) -> None:
    """Empty answers, redirects and JSON pass; a response of the model is never gathered into JSON."""
    response = edge.post("/predict", name, headers={"accept": "application/json"})

    assert (status, {200: '{"a":[1]}'}.get(status, "")) == (response.status_code, response.text)


def test_files_and_large_bodies(edge: Edge) -> None:
    """A file comes with its name, type and length; a body larger than every window comes whole."""
    response = edge.post("/predict", "file")

    assert (edge.root / "model" / "model.py").read_bytes() == response.content
    assert response.headers["content-disposition"] == 'attachment; filename="a.py"'
    assert response.headers["content-type"].startswith("text/x-python")
    assert len(edge.post("/predict", "large").content) == 3_000_000


@pytest.mark.parametrize("name", ["no_file", "class"])
def test_responses_that_cannot_be_sent(edge: Edge, name: str) -> None:
    """A response that fails before its head, or is none, is an error in the usual shape."""
    response = edge.post("/predict", name)

    assert response.status_code == 500
    assert {"no_file": "the model raised", "class": "is of type type"}[name] in response.json()["error"]


@pytest.mark.parametrize(
    ("name", "status", "content_type"),
    [("words", 202, "text/plain; charset=utf-8"), ("async_words", 200, "text/event-stream; charset=utf-8")],
)
def test_streams_as_it_yields(
    servers: Servers, edge: Edge, name: str, status: int, content_type: str
) -> None:
    """The first chunk of a StreamingResponse is there before the second is made."""
    (edge.root / "gates" / "go-on").unlink(missing_ok=True)
    with edge.stream(name) as response:
        chunks = response.iter_text()
        first = next(chunks)
        edge.gates.open("go-on")
        rest = "".join(chunks)

    assert (status, content_type) == (response.status_code, response.headers["content-type"])
    assert (first, rest) == ("one ", "two")


@pytest.mark.parametrize("name", ["failing", "async_failing"])
def test_a_stream_that_raises_is_cut(edge: Edge, name: str) -> None:
    """A StreamingResponse that fails midway never ends cleanly, and an event stream says why."""
    with edge.stream(name) as response:
        received = read_broken(response)

    assert received.startswith(b"one ")
    assert (b"ValueError" in received) == (name == "async_failing")
    assert edge.wait_log("ValueError: midway", source="worker")["exc_info"]


@pytest.mark.parametrize(("name", "mark"), [("forever", "sync-left"), ("async_forever", "async-left")])
def test_a_client_that_leaves_ends_the_stream(edge: Edge, name: str, mark: str) -> None:
    """The generator behind a StreamingResponse is closed when its client leaves."""
    with edge.stream(name) as response:
        next(response.iter_raw())

    edge.gates.wait(mark)


def test_a_slow_client_stalls_its_generator(edge: Edge) -> None:
    """A StreamingResponse produces no more than the buffers hold."""
    with edge.asking("flood"):
        edge.gates.wait("flood")
        edge.post("/predict", "json")
        edge.post("/predict", "large")
        made = int(edge.gates.read("flood"))

    assert made < 20


def test_background_tasks_run_after_the_answer(edge: Edge) -> None:
    """The answer is complete before its background task ran, which then runs to its end."""
    for name in ("go-background", "task"):
        (edge.root / "gates" / name).unlink(missing_ok=True)
    answer = edge.post("/predict", "background", headers={"x-request-id": "mine"})
    early = edge.gates.has("task")
    edge.gates.open("go-background")
    edge.gates.wait("task")

    assert (answer.json(), early) == (1, False)
    edge.wait_log("printed in the background", request_id="mine", source="model")


def test_a_background_task_that_fails_is_logged(edge: Edge) -> None:
    """Nobody waits for a background task; its error is in the log."""
    assert edge.post("/predict", "broken_task", headers={"x-request-id": "broken"}).json() == 1
    record = edge.wait_log("after the answer had ended", request_id="broken")

    assert "ValueError: in the background" in record["exc_info"]
