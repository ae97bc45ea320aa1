"""An HTTP server on loopback that sends exactly the bytes a test wants, in the pieces it wants."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 30.0
"""No test waits longer for the other side."""


@dataclass
class Exchange:
    """One request and the connection to answer it on."""

    connection: socket.socket
    line: str
    headers: dict[str, str]
    body: bytes

    def send(self, *pieces: bytes) -> None:
        """Send bytes as they are."""
        for piece in pieces:
            self.connection.sendall(piece)

    def head(self, status: str, content_type: str, *more: str) -> None:
        """Send the head of a chunked answer."""
        lines = [f"HTTP/1.1 {status}", f"content-type: {content_type}", "transfer-encoding: chunked", *more]
        self.send("".join(f"{line}\r\n" for line in [*lines, ""]).encode())

    def chunk(self, *pieces: bytes) -> None:
        """Send chunks of the body, each on its own."""
        for piece in pieces:
            self.send(b"%x\r\n%s\r\n" % (len(piece), piece))

    def end(self) -> None:
        """Send the end of a chunked body."""
        self.send(b"0\r\n\r\n")

    def answer(self, status: str, content_type: str, body: bytes, *more: str) -> None:
        """Send a whole answer."""
        self.head(status, content_type, *more)
        self.chunk(body)
        self.end()

    def reset(self) -> None:
        """Cut the connection without a word."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


@dataclass
class ScriptedServer:
    """A server whose answers are a script.

    Attributes:
        url: Where it answers.
        exchanges: The requests so far.
    """

    url: str
    exchanges: list[Exchange] = field(default_factory=list)


@contextlib.contextmanager
def scripted(script: Callable[[Exchange], None]) -> Iterator[ScriptedServer]:
    """Run a server that answers each request by a script and then closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)
        server = ScriptedServer(f"http://127.0.0.1:{listener.getsockname()[1]}")
        threads: list[threading.Thread] = []

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=answer, args=(connection,)))
                threads[-1].start()

        def answer(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                connection.settimeout(SECONDS)
                exchange = read_request(connection)
                server.exchanges.append(exchange)
                script(exchange)

        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield server
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            acceptor.join()
            for thread in threads:
                thread.join()


def read_request(connection: socket.socket) -> Exchange:
    """Read one request whose body has a length."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in fields)}
    while len(body) < int(headers.get("content-length", "0")):
        body += _some(connection)
    return Exchange(connection, line, headers, body)


def _some(connection: socket.socket) -> bytes:
    """Return what came, which is never nothing."""
    data = connection.recv(65536)
    if not data:
        raise ConnectionError("the client closed the connection inside a request")
    return data
