"""Status, headers and length of responses that the author makes, where HTTP has no such thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.server.raw_http import read_until, request_bytes

if TYPE_CHECKING:
    from tests.server.harness import Edge, Servers

MODEL = """
from http import HTTPStatus

from fastapi import HTTPException
from starlette.responses import JSONResponse, Response, StreamingResponse


def fail(exc):
    raise exc


MAKERS = {
    "json": lambda: JSONResponse({"a": [1]}),
    "status 99": lambda: Response("x", status_code=99),
    "status 1000": lambda: Response("x", status_code=1000),
    "two lines": lambda: Response("x", headers={"x-a": "1\\r\\nx-b: 2"}),
    "no name": lambda: Response("x", headers={"x a": "1"}),
    "short": lambda: Response("four", headers={"content-length": "5"}),
    "long": lambda: Response("four", headers={"content-length": "3"}),
    "no length": lambda: Response("four", headers={"content-length": "-4"}),
    "not modified": lambda: Response("x" * 9, status_code=304, headers={"content-length": "9", "etag": "e"}),
    "no content": lambda: StreamingResponse(iter(["x", "y"]), status_code=204),
    "framed": lambda: StreamingResponse(iter(["x", "y"]), headers={"transfer-encoding": "chunked"}),
    "enum": lambda: Response("x", status_code=HTTPStatus.CREATED),
    "own id": lambda: Response("x", headers={"X-Request-Id": "mine"}),
    "own id of an error": lambda: fail(HTTPException(418, "x", {"X-Request-Id": "mine"})),
}


class Model:
    def predict(self, inputs):
        return MAKERS[inputs]()
"""


@pytest.fixture(scope="module")
def edge(module_servers: Servers) -> Edge:
    """Serve the model once for all tests."""
    return module_servers.start(MODEL)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("status 99", "its status is 99; a response has one from 200 to 599"),
        ("status 1000", "its status is 1000"),
        ("two lines", "its header 'x-a': '1\\r\\nx-b: 2' is none in HTTP"),
        ("no name", "its header 'x a': '1' is none in HTTP"),
        ("short", "its body is less than the 5 bytes of its content-length"),
        ("long", "its body is more than the 3 bytes of its content-length"),
        ("no length", "its content-length '-4' is none"),
    ],
)
def test_responses_http_does_not_have(edge: Edge, name: str, problem: str) -> None:
    """A response that no client could read is a 500 that says what is wrong with it, in the log as well."""
    response = edge.post("/predict", name)

    assert response.status_code == 500
    assert f"the model's answer cannot be sent: {problem}" in response.json()["error"]
    edge.wait_log(problem, request_id=response.headers["x-request-id"], levelname="ERROR")


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [("not modified", 304, ""), ("no content", 204, ""), ("framed", 200, "xy"), ("enum", 201, "x")],
)
def test_responses_are_framed_by_the_server(edge: Edge, name: str, status: int, text: str) -> None:
    """A status that has no body gets none, and the author's own framing is not sent beside the server's."""
    with edge.connect() as sock:
        sock.sendall(request_bytes("/predict", name) + request_bytes("/predict", "json"))
        both = read_until(sock, b'{"a":[1]}')
    response = edge.post("/predict", name)

    assert both.count(b"HTTP/1.1 ") == 2
    assert (status, text) == (response.status_code, response.text)


@pytest.mark.parametrize("name", ["own id", "own id of an error"])
def test_one_request_id(edge: Edge, name: str) -> None:
    """A response has the server's request id and no second one of the model's."""
    response = edge.post("/predict", name, headers={"x-request-id": "theirs"})

    assert response.headers.get_list("x-request-id") == ["theirs"]
