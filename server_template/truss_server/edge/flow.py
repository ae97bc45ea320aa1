"""How much a connection takes: no more requests than are answered, and no answers that nobody reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.http.flow_control import FlowControl

if TYPE_CHECKING:
    import asyncio

    from truss_server.edge.http import Protocol


class Flow(FlowControl):
    """Reads no further while requests wait for the answers before them: a client could make them without end.

    Who takes nothing of what was written to it is cut off, whatever it sends meanwhile.

    Args:
        protocol: Of the connection.
    """

    def __init__(self, protocol: Protocol) -> None:
        super().__init__(protocol.transport)
        self._protocol = protocol
        self._looking: asyncio.TimerHandle | None = None

    def resume_reading(self) -> None:
        """Read on, if nothing waits."""
        if not self._protocol.pipeline:
            super().resume_reading()

    def pause_writing(self) -> None:
        """Note that the client has much to read."""
        super().pause_writing()
        self._look_later()

    def resume_writing(self) -> None:
        """Note that it has read, or is gone."""
        super().resume_writing()
        if self._looking is not None:
            self._looking.cancel()

    def _look_later(self) -> None:
        size = self._transport.get_write_buffer_size()
        self._looking = self._protocol.loop.call_later(self._protocol.timeout_keep_alive, self._look, size)

    def _look(self, before: int) -> None:
        if self._transport.get_write_buffer_size() < before:
            self._look_later()
        else:
            self._transport.abort()
