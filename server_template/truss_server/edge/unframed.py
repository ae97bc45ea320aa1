"""Answers in HTTP/1.0, which knows no chunks: one without a length ends with its connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from truss_server.edge.asgi import Message, Scope, Send

VERSION = "1.0"


class Unframed:
    """Sends such an answer through uvicorn, which would send chunks.

    Args:
        scope: ASGI scope of the request.
        send: ASGI send channel.
    """

    def __init__(self, scope: Scope, send: Send) -> None:
        self._send = send
        self._cycle: Any = scope["state"]["connection"].running
        self._open = False

    async def __call__(self, message: Message) -> None:
        """Send a message; part of ASGI."""
        if message["type"] == "http.response.start":
            self._open = all(name.lower() != b"content-length" for name, _ in message["headers"])
            if self._open:
                self._cycle.chunked_encoding = False
        elif self._open:
            self._cycle.expected_content_length = len(message.get("body", b""))
        await self._send(message)


def breaks(cycle: Any) -> bool:
    """Tell whether an answer that is cut now would seem to be complete."""
    return (
        cycle is not None
        and cycle.response_started
        and not cycle.response_complete
        and cycle.scope["http_version"] == VERSION
    )
