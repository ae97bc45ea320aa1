"""How a model ends a websocket: codes, reasons and exceptions, also those that no client could be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.server.test_websockets import ended, talk

if TYPE_CHECKING:
    from tests.server.harness import Edge, Servers

MODEL = """
from fastapi import HTTPException, WebSocket, WebSocketException


class Model:
    async def websocket(self, ws: WebSocket):
        command = await ws.receive_json()
        if "code" in command:
            await ws.close(command["code"], command.get("reason"))
        elif "text" in command:
            await ws.send({"type": "websocket.send", "text": command["text"]})
        elif "type" in command:
            await self.raw(ws)
        elif "exception" in command:
            raise WebSocketException(command["exception"], "not allowed")
        else:
            raise HTTPException(403, "not for websockets")

    async def raw(self, ws):
        await ws._send({"type": "websocket.http.response.start", "status": 403, "headers": []})
"""

PLAIN = """
class Model:
    async def websocket(self, ws):
        await ws.send_json([ws.headers["x-name"], ws.query_params, ws.url])
"""


@pytest.fixture(scope="module")
def edge(module_servers: Servers) -> Edge:
    """Serve the model once for all tests."""
    return module_servers.start(MODEL)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ('{"code": 4001, "reason": "enough"}', (4001, "enough")),
        ('{"code": 1008, "reason": null}', (1008, "")),
        ('{"code": 3000, "reason": "%s"}' % ("ü" * 200), (3000, "ü" * 61)),
        ('{"exception": 1008}', (1008, "not allowed")),
    ],
)
def test_closes_that_reach_the_client(edge: Edge, command: str, expected: tuple[int, str]) -> None:
    """A code with a reason comes as it is, a long reason shortened; starlette's exception is such a close."""
    with talk(edge, command) as ws:
        assert ended(ws) == expected


@pytest.mark.parametrize(
    ("command", "logged"),
    [
        ('{"code": 1006}', "a websocket cannot be closed with 1006"),
        ('{"code": 99999}', "a websocket cannot be closed with 99999"),
        ('{"exception": 7}', "a websocket cannot be closed with 7"),
        ('{"type": "odd"}', "`websocket.http.response.start` cannot be sent"),
        ('{"text": 5}', "a websocket sends text or bytes, not int"),
        ('{"text": null}', "a websocket sends text or bytes, not NoneType"),
        ("{}", "not for websockets"),
    ],
)
def test_ends_that_no_client_could_be_sent(edge: Edge, command: str, logged: str) -> None:
    """They are errors of the model: 1011 for the client, a traceback in the log."""
    name = f"ws-{command}"
    with talk(edge, command, additional_headers={"x-request-id": name}) as ws:
        code, _ = ended(ws)

    assert code == 1011
    assert 'File "model/model.py"' in edge.wait_log(logged, request_id=name)["exc_info"]


def test_a_plain_websocket_knows_its_request(servers: Servers, bare_python: str) -> None:
    """Without starlette, too, a websocket has headers, query and URL."""
    edge = servers.start(PLAIN, python=bare_python)

    with talk(edge, path="/websocket?a=1&b=", additional_headers={"x-name": "mine"}) as ws:
        assert ws.recv(timeout=20) == '["mine",{"a":"1","b":""},"/websocket?a=1&b="]'
