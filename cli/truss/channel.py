"""A stream of bytes to the control socket of a deployment: the socket itself, or an exec in its container."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from truss.errors import EngineError

if TYPE_CHECKING:
    from _typeshed import HasFileno

CHUNK = 1 << 16

CONNECT_SECONDS = 5.0
"""How long the control socket may take to answer a connection."""

POLL_SECONDS = 0.02

DESCRIPTORS = Path("/proc/self/fd")

SEND_SECONDS = 30.0
"""How long the other side may take no byte of what is sent."""

FRAME = struct.Struct(">BxxxL")
"""Before each piece of an exec's output: 1 for stdout or 2 for stderr, and how many bytes follow."""

STDERR = 2

LONGEST_COMPLAINT = 4096


class Channel(Protocol):
    """Bytes in both directions.

    Attributes:
        complaint: What the other end said of why it ended, may be empty.
    """

    complaint: str

    def fileno(self) -> int:
        """Return what becomes readable when something has come."""

    def send(self, data: bytes) -> None:
        """Send all of some bytes.

        Raises:
            OSError: The other side is gone, or takes nothing.
        """

    def receive(self) -> bytes | None:
        """Wait for bytes and return them; None at the end, nothing where what came was for somebody else.

        Raises:
            OSError: The other side broke off.
        """

    def close(self) -> None:
        """End it."""


class SocketChannel:
    """A connected socket.

    Args:
        connection: The socket.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.complaint = ""
        connection.settimeout(SEND_SECONDS)
        self._connection = connection

    def fileno(self) -> int:
        """Return what becomes readable when something has come."""
        return self._connection.fileno()

    def send(self, data: bytes) -> None:
        """Send all of some bytes; see `Channel.send`."""
        self._connection.sendall(data)

    def receive(self) -> bytes | None:
        """Wait for bytes and return them; see `Channel.receive`."""
        return self._connection.recv(CHUNK) or None

    def close(self) -> None:
        """End it."""
        with suppress(OSError):  # the other side closed first
            # Others may hold this connection, too: docker-py does until it is collected, and the watched would wait.
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()


class ExecChannel(SocketChannel):
    """The hijacked connection of an exec without a terminal, whose output comes in frames."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection)
        self._frames = Frames()

    def receive(self) -> bytes | None:
        """Wait for bytes and return those of stdout."""
        received = super().receive()
        if received is None:
            return None
        data, told = self._frames.feed(received)
        self.complaint = (self.complaint + told.decode("utf-8", "replace"))[-LONGEST_COMPLAINT:]
        return data


class Frames:
    """Takes apart the output of an exec."""

    def __init__(self) -> None:
        self._kind = 0
        self._left = 0
        self._rest = b""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what some more bytes hold of stdout and of stderr."""
        out, told = bytearray(), bytearray()
        data = self._rest + data
        while data:
            if not self._left:
                if len(data) < FRAME.size:
                    break
                self._kind, self._left = FRAME.unpack(data[: FRAME.size])
                data = data[FRAME.size :]
                continue
            piece, data = data[: self._left], data[self._left :]
            self._left -= len(piece)
            (told if self._kind == STDERR else out).extend(piece)
        self._rest = data
        return bytes(out), bytes(told)


def connect(path: Path, *, seconds: float = CONNECT_SECONDS) -> SocketChannel:
    """Return a channel to a Unix socket, whose path may be longer than the hundred bytes such an address has.

    Args:
        path: Of the socket.
        seconds: How long a server that has just been started may take to listen there.

    Raises:
        EngineError: Nobody listens there.
    """
    deadline = time.monotonic() + seconds
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _connect(connection, path, seconds)
        except OSError as exc:
            connection.close()
            early = isinstance(exc, (FileNotFoundError, ConnectionRefusedError))
            if not early or time.monotonic() > deadline:
                raise EngineError(
                    f"The control socket {path} does not answer: {exc.strerror or exc}.",
                    hint="A deployment can be watched if this version of truss pushed it to development.",
                ) from exc
            time.sleep(POLL_SECONDS)
        else:
            return SocketChannel(connection)


def _connect(connection: socket.socket, path: Path, seconds: float) -> None:
    connection.settimeout(seconds)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Where there is no /proc, the path has to be short enough.
        through = DESCRIPTORS / str(folder) / path.name
        connection.connect(str(through if DESCRIPTORS.exists() else path))
    finally:
        os.close(folder)


def wait_readable(channel: HasFileno, seconds: float) -> bool:
    """Return whether something has come, or the end, within a time."""
    return bool(select.select([channel], [], [], max(0.0, seconds))[0])
