"""The other end of a session of the control channel: lines of JSON, and bytes that follow them."""

from __future__ import annotations

import asyncio
import json
from typing import IO, Any

from truss_server.edge.versions import BadEditError

LINE = 16 * 1024 * 1024
"""Bytes of one line of JSON: it may name each file of a package."""

EDIT = 64 * 1024**3
"""Bytes of files in one edit."""

_CHUNK = 1 << 20


class Peer:
    """The other end of a session."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._ahead: asyncio.Task[dict[str, Any]] | None = None

    def read_ahead(self) -> asyncio.Task[dict[str, Any]]:
        """Return what ends when the peer says something more, or goes; `receive` has it as well."""
        self._ahead = self._ahead or asyncio.get_running_loop().create_task(self._read())
        return self._ahead

    def close(self) -> None:
        """End the session."""
        if self._ahead is not None:
            self._ahead.cancel()
        self._writer.close()

    async def receive(self) -> dict[str, Any]:
        """Wait for a message.

        Raises:
            ConnectionError: The peer has gone.
            ValueError: It is no JSON object, or too long.
        """
        ahead, self._ahead = self._ahead, None
        return await (ahead or self._read())

    async def _read(self) -> dict[str, Any]:
        line = await self._reader.readline()
        if not line:
            raise ConnectionError
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError("no object")  # noqa: TRY004 - as what json raises
        return message

    async def receive_file(self, size: int, file: IO[bytes]) -> None:
        """Write the bytes that follow a message into a file.

        Raises:
            ConnectionError: The peer has gone.
            ValueError: They are too many.
            BadEditError: The disk does not take them; they were read all the same.
        """
        if not 0 <= size <= EDIT:
            raise ValueError(f"an edit of {size} bytes; the limit is {EDIT}")
        trouble = ""
        while size:
            chunk = await self._reader.read(min(size, _CHUNK))
            if not chunk:
                raise ConnectionError
            size -= len(chunk)
            if trouble:
                continue
            try:
                await asyncio.to_thread(file.write, chunk)
                await asyncio.to_thread(file.flush)
            except OSError as exc:
                trouble = str(exc)
        if trouble:
            raise BadEditError(f"the edit cannot be written: {trouble}")

    async def send(self, **message: Any) -> None:
        """Send a message."""
        self.tell(**message)
        await self._writer.drain()

    def tell(self, **message: Any) -> None:
        """Send a small message without waiting."""
        self._writer.write(json.dumps(message).encode() + b"\n")
