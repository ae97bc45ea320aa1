"""uvicorn's HTTP over a transport of our own, and what a request may ask of its connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from truss_server.edge.joining import Joining

if TYPE_CHECKING:
    from collections.abc import Callable


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol over a `Joining` transport; a request finds it as `connection` in its scope's state.

    Attributes:
        on_lost: Called when the client is gone, by the request that cannot wait for the message that says so.
    """

    on_lost: Callable[[], None] | None = None

    def connection_made(self, transport: Any) -> None:
        """Take the connection; part of asyncio.Protocol."""
        super().connection_made(Joining(transport, self))  # type: ignore[arg-type]  # as much of one as is used
        self.app_state = {**self.app_state, "connection": self}

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the client is gone; part of asyncio.Protocol."""
        super().connection_lost(exc)
        if self.on_lost is not None:
            self.on_lost()

    def on_response_complete(self) -> None:
        """Send the head of an answer without a body, as to HEAD."""
        self.transport.flush()  # type: ignore[attr-defined]  # a Joining
        super().on_response_complete()
