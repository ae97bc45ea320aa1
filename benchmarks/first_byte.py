"""When the first byte of a stream arrives, beside a bare ASGI application on the same uvicorn."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Figure, figure
from truss.config import TrussConfig
from truss_server.protocol import MANIFEST, Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNS = 300
START_SECONDS = 20.0

MODEL = """
class Model:
    def predict(self, inputs):
        for _ in range(10):
            yield "token "
"""

BARE = """
import socket, sys, uvicorn
START = {"type": "http.response.start", "status": 200, "headers": []}
async def app(scope, receive, send):
    await receive()
    await send(START)
    for _ in range(10):
        await send({"type": "http.response.body", "body": b"token ", "more_body": True})
    await send({"type": "http.response.body", "body": b""})
config = uvicorn.Config(app, http="httptools", loop="uvloop", lifespan="off", log_level="error")
uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
"""


@contextmanager
def serving(command: list[str]) -> Iterator[int]:
    """Run a server that takes its listening socket as an inherited descriptor; give its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = str(listener.fileno())
        arguments = [fd if part == "FD" else part for part in command]
        process = subprocess.Popen(arguments, pass_fds=[listener.fileno()], stdout=subprocess.DEVNULL)
        try:
            yield listener.getsockname()[1]
        finally:
            process.terminate()
            process.wait(20)


class Client:
    """A keep-alive connection that times the first byte of a streamed body."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def first_byte(self) -> float:
        """Return the milliseconds from the request to the first byte of the body."""
        started = time.perf_counter()
        self._sock.sendall(b"POST /predict HTTP/1.1\r\nhost: bench\r\ncontent-length: 2\r\n\r\n{}")
        data, first = b"", 0.0
        while not data.endswith(b"0\r\n\r\n"):
            data += self._sock.recv(65536)
            head = data.find(b"\r\n\r\n")
            if not first and head >= 0 and len(data) > head + 4:
                first = time.perf_counter() - started
        if not data.startswith(b"HTTP/1.1 200"):
            raise SystemExit(data.decode(errors="replace"))
        return first * 1000


def wait_ready(port: int) -> None:
    """Wait until a stream can be had; a server that is loading says 503."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS) as sock:
            sock.sendall(b"POST /predict HTTP/1.1\r\nhost: bench\r\ncontent-length: 2\r\n\r\n{}")
            if sock.recv(65536).startswith(b"HTTP/1.1 200"):
                return
        time.sleep(0.02)
    raise SystemExit("the server did not become ready")


def measure() -> Iterator[Figure]:
    """Yield the first-byte figures; requests to the two servers alternate, so that both see the same machine."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model").mkdir()
        (Path(folder) / "model" / "model.py").write_text(MODEL, encoding="utf-8")
        manifest = Manifest(model="bench", digest="0", tool_version="0", config=TrussConfig().filled())
        (Path(folder) / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        edge = [sys.executable, "-m", "truss_server.edge", "--release", folder, "--python", sys.executable]
        with serving([*edge, "--fd", "FD"]) as ours, serving([sys.executable, "-c", BARE, "FD"]) as bare:
            wait_ready(ours)
            wait_ready(bare)
            clients = Client(bare), Client(ours)
            for _ in range(RUNS // 10):
                for client in clients:
                    client.first_byte()
            pairs = [(clients[0].first_byte(), clients[1].first_byte()) for _ in range(RUNS)]
    yield figure("first byte, bare ASGI on uvicorn", [one for one, _ in pairs], limit=float("inf"), unit="ms")
    yield figure("first byte, truss", [one for _, one in pairs], limit=float("inf"), unit="ms")
    yield figure("first byte, truss less bare", [two - one for one, two in pairs], limit=2.0, unit="ms")
