"""The specification's own models for `/v1` and requests, byte for byte, behave as it says."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.server.raw_http import read_until

if TYPE_CHECKING:
    from tests.server.harness import Edge, Servers

SNIPPETS = Path(__file__).parent / "specification"


@pytest.fixture(scope="module")
def edges(module_servers: Servers, bare_python: str) -> dict[str, Edge]:
    """Serve every snippet as `model/model.py`, its bytes untouched; what imports no fastapi has none."""
    started = {
        path.stem: module_servers.start(
            "",
            files={"model/model.py": path.read_bytes()},
            python=sys.executable if b"import fastapi" in path.read_bytes() else bare_python,
            ready=False,
        )
        for path in SNIPPETS.glob("*.py")
    }
    for name, edge in started.items():
        edge.wait_ready()
        assert (edge.root / "model" / "model.py").read_bytes() == (SNIPPETS / f"{name}.py").read_bytes()
    return started


def test_chat_completions(edges: dict[str, Edge]) -> None:
    """An endpoint delegates to predict; the un-annotated request needs no package."""
    edge = edges["chat_completions"]
    body = {"messages": [{"role": "user", "content": "hi"}], "model": "m", "stream": False}

    for path in ("/v1/chat/completions", "/predict"):
        response = edge.post(path, body)
        assert (response.status_code, response.json()) == (200, {"output": body})
    assert edge.post("/v1/completions", body).status_code == 404


def test_completions_without_predict(edges: dict[str, Edge]) -> None:
    """A model with one endpoint and no predict is served."""
    edge = edges["completions"]

    response = edge.post("/v1/completions", {"prompt": "a falcon"})

    assert response.status_code == 200
    assert response.json() == {
        "id": "cmpl-example",
        "object": "text_completion",
        "choices": [{"index": 0, "text": "You sent: a falcon", "finish_reason": "stop"}],
    }
    assert edge.post("/v1/completions", {}).status_code == 500
    assert edge.post("/predict", {}).status_code == 404


def test_embeddings_messages_and_responses(edges: dict[str, Edge]) -> None:
    """Each method answers its own route."""
    edge = edges["embeddings_messages_responses"]

    answers = {name: edge.post(f"/v1/{name}", {}).json() for name in ("embeddings", "messages", "responses")}

    assert answers == {name: {"output": name} for name in answers}


def test_the_request_in_every_stage(edges: dict[str, Edge]) -> None:
    """A preprocess of the request only, and predict and postprocess of both, take a body that is no JSON."""
    edge = edges["stages"]

    response = edge.post("/predict", content=b"\x08\x96\x01 a protocol buffer")

    assert (response.status_code, response.content) == (200, b"null")


def test_cancellation(edges: dict[str, Edge]) -> None:
    """A client that stays gets all chunks; clients that leave are noticed before and during generation."""
    edge = edges["cancellation"]

    with ThreadPoolExecutor() as pool:
        stays = pool.submit(edge.post, "/predict", {})
        with edge.asking({}) as sock:
            head = read_until(sock, b"\r\n\r\n")  # comes with the first chunk
        edge.wait_log("Cancelled during generation.", source="model")
        assert not any("before generation" in record["message"] for record in edge.records)
        for _ in range(3):  # at least one of them is begun before its client leaves
            with edge.asking({}):
                assert edge.readiness() == 200
        edge.wait_log("Cancelled before generation.", source="model")
        response = stays.result()

    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert (response.status_code, response.text) == (200, "01234")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("name", [path.stem for path in SNIPPETS.glob("*.py")])
def test_every_snippet_is_run_here(name: str) -> None:
    """No snippet lies in the folder without a test that serves it."""
    assert f'"{name}"' in Path(__file__).read_text(encoding="utf-8")
