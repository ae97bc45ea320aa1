"""The limit: a bare ASGI application on the same uvicorn. `python -m benchmarks.bare CLASS FD`.

No routing, no validation, no threads (the work holds the event loop), no care for a client that leaves. It is no
competitor of any server, but what is left of uvicorn once everything else is taken away.
"""

from __future__ import annotations

import socket
import sys
from typing import Any

import orjson
import uvicorn

from benchmarks import workload


class Application:
    """Answers POST by the `predict` of a class of `workload`, and everything else, health included, with `{}`."""

    def __init__(self, model: Any) -> None:
        self._predict = model.predict

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request; part of ASGI."""
        if scope["method"] != "POST":
            await _respond(send, b"{}")
            return
        body = b""
        while True:
            message = await receive()
            body += message["body"]
            if not message["more_body"]:
                break
        result: Any = self._predict(orjson.loads(body))
        if hasattr(result, "__next__"):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for chunk in result:
                await send({"type": "http.response.body", "body": chunk.encode(), "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        elif hasattr(result, "__anext__"):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            async for chunk in result:
                await send({"type": "http.response.body", "body": chunk.encode(), "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        else:
            await _respond(send, orjson.dumps(result))


async def _respond(send: Any, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main(name: str, fd: int) -> None:
    """Serve a class of `workload` on an inherited listening socket."""
    config = uvicorn.Config(
        Application(getattr(workload, name)()),
        http="httptools",
        loop="uvloop",
        lifespan="off",
        access_log=False,
        log_level="error",
    )
    # As a socket object: uvloop takes what uvicorn makes of `fd=` for a Unix socket and leaves TCP_NODELAY off.
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=fd)])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
