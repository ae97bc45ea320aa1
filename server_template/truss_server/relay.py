"""A pipe between this process's standard streams and a Unix socket: `python -m truss_server.relay SOCKET`.

A container's control socket is reached through it, by the engine's exec. It ends when either side does, so that
a watcher which is killed leaves nothing behind.
"""

from __future__ import annotations

import os
import socket
import sys
import threading

CHUNK = 1 << 16

EXIT_NO_SOCKET = 1
"""Exit code where nobody listens at the socket."""


def connect(path: str) -> socket.socket:
    """Return a connection to a Unix socket, whose path may be longer than such an address can be."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)  # noqa: PTH120 no need to import pathlib
    try:
        # Linux: an address of a hundred bytes at most is the way through the open folder.
        connection.connect(f"/proc/self/fd/{folder}/{os.path.basename(path)}")  # noqa: PTH119 as above
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(folder)
    return connection


def _pump_in(connection: socket.socket) -> None:
    """Send what comes on stdin until it ends."""
    try:
        while chunk := os.read(0, CHUNK):
            connection.sendall(chunk)
    except OSError:
        pass
    connection.shutdown(socket.SHUT_RDWR)  # wakes the other direction: the watcher is gone


def relay(connection: socket.socket) -> None:
    """Pass on bytes in both directions until one of the sides ends."""
    threading.Thread(target=_pump_in, args=(connection,), daemon=True).start()
    try:
        while chunk := connection.recv(CHUNK):
            view = memoryview(chunk)
            while view:
                view = view[os.write(1, view) :]
    except OSError:
        pass


def main() -> int:
    """Relay; return the exit code."""
    try:
        connection = connect(sys.argv[1])
    except OSError as exc:
        sys.stderr.write(f"nobody listens at {sys.argv[1]}: {exc.strerror}\n")
        return EXIT_NO_SOCKET
    with connection:
        relay(connection)
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # A thread that waits for stdin would hold up the interpreter's end.
    os._exit(code)
