"""The forms a stream can have: text, JSON lines, server-sent events, or one document of it all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.server.raw_http import read_broken

if TYPE_CHECKING:
    import httpx

    from tests.server.harness import Edge, Servers

MODEL = """
STREAMS = {
    "words": ["one ", "two"],
    "objects": [{"a": 1}, {"b": "x\\ny"}],
    "nothing": [],
    "fails": ["one", ValueError("midway")],
    "binary": [b"\\x00", b"\\x01"],
    "objects first": [{"a": 1}, "te\\nxt", {"b": 2}, b"by", ""],
    "lines of text": ["Hello\\nx", b"by"],
    "events": ["data: ", "1\\n\\n", {"a": 1}, "event: x\\ndata: 2\\n\\n"],
    "half an event": ["data: half", {"a": 1}],
    "comment": [": ping\\n\\n", "data: 1\\n\\n"],
    "smile": [":) "],
    "own end": [{"a": 1}, "data: [DONE]\\n\\n"],
}


class Model:
    def predict(self, inputs):
        for item in STREAMS[inputs]:
            if isinstance(item, Exception):
                raise item
            yield item

    def messages(self, inputs):
        yield from STREAMS[inputs]
"""


@pytest.fixture(scope="module")
def edge(module_servers: Servers) -> Edge:
    """Serve the model once for all tests."""
    return module_servers.start(MODEL)


def fetch(edge: Edge, name: str, accept: str, agent: str = "tested/1.0") -> httpx.Response:
    """Call predict with an Accept header."""
    return edge.post("/predict", name, headers={"accept": accept, "user-agent": agent})


@pytest.mark.parametrize(
    ("name", "expected"), [("words", "one two"), ("objects", [{"a": 1}, {"b": "x\ny"}]), ("nothing", "")]
)
def test_gathers_for_who_takes_only_json(edge: Edge, name: str, expected: object) -> None:
    """With exactly `Accept: application/json` a stream is collected into one JSON document, as Truss does."""
    response = fetch(edge, name, "application/json")

    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert expected == response.json()


@pytest.mark.parametrize(
    ("accept", "agent"),
    [("application/json", "AsyncOpenAI/Python 1.0"), ("application/json, */*", "x"), ("*/*", "x")],
)
def test_streams_for_everybody_else(edge: Edge, accept: str, agent: str) -> None:
    """OpenAI's clients and those that accept more get the stream."""
    assert fetch(edge, "words", accept, agent).text == "one two"


def test_a_gathered_stream_that_fails_is_an_error(edge: Edge) -> None:
    """What nobody has seen the beginning of is a plain 500."""
    response = fetch(edge, "fails", "application/json")

    assert response.status_code == 500
    assert "ValueError" in response.json()["error"]


def test_events_for_who_asks(edge: Edge) -> None:
    """`Accept: text/event-stream` frames what the model yields as server-sent events."""
    objects = fetch(edge, "objects", "text/event-stream")
    words = fetch(edge, "words", "text/event-stream")

    assert objects.headers["content-type"].partition(";")[0] == "text/event-stream"
    assert objects.text == 'data: {"a":1}\n\ndata: {"b":"x\\ny"}\n\n'
    assert words.headers["content-type"].partition(";")[0] == "text/event-stream"
    assert words.text == "data: one \n\ndata: two\n\n"


def test_events_that_fail(edge: Edge) -> None:
    """A stream of events that fails says so in its last event and is cut."""
    with edge.http.stream(
        "POST", "/predict", json="fails", headers={"accept": "text/event-stream"}
    ) as response:
        received = read_broken(response)

    assert b"ValueError" in received


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("words", "text/plain; charset=utf-8"),
        ("objects", "application/x-ndjson"),
        ("binary", "application/octet-stream"),
    ],
)
def test_content_types_of_streams(edge: Edge, name: str, expected: str) -> None:
    """Without a wish, the content type says what the model yields."""
    assert expected == fetch(edge, name, "*/*").headers["content-type"]


def test_lines_stay_lines(edge: Edge) -> None:
    """Text and bytes after an object are lines of JSON as well, bytes in base64 as in every answer."""
    expected = [{"a": 1}, "te\nxt", {"b": 2}, "Ynk=", ""]

    lines = fetch(edge, "objects first", "*/*")
    document = fetch(edge, "objects first", "application/json")

    assert lines.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in lines.text.splitlines()] == expected
    assert document.json() == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "objects first",
            'data: {"a":1}\n\ndata: te\ndata: xt\n\ndata: {"b":2}\n\ndata: Ynk=\n\ndata: \n\n',
        ),
        ("lines of text", "data: Hello\ndata: x\n\ndata: Ynk=\n\n"),
        ("events", 'data: 1\n\ndata: {"a":1}\n\nevent: x\ndata: 2\n\n'),
        ("half an event", 'data: half\n\ndata: {"a":1}\n\n'),
        ("comment", ": ping\n\ndata: 1\n\n"),
        ("smile", "data: :) \n\n"),
        ("own end", 'data: {"a":1}\n\ndata: [DONE]\n\n'),
        ("nothing", ""),
    ],
)
def test_events_stay_events(edge: Edge, name: str, expected: str) -> None:
    """A stream of events holds nothing else: text becomes events, those that the author wrote pass."""
    response = fetch(edge, name, "text/event-stream")

    assert response.headers["content-type"].partition(";")[0] == "text/event-stream"
    assert response.text == expected


def test_events_stay_events_on_v1(edge: Edge) -> None:
    """So it is on the routes that are events by nature, where what begins as text is the author's from end to end."""
    objects = edge.post("/v1/messages", "objects first")
    text = edge.post("/v1/messages", "lines of text")

    assert objects.text.startswith('data: {"a":1}\n\ndata: te\ndata: xt\n\ndata: {"b":2}\n\n')
    assert text.text == "Hello\nxby"
