"""The two servers that are compared, each started as a process on a socket it inherits."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import workload
from benchmarks.machine import cpu_seconds, descendants
from truss.config import TrussConfig
from truss_server.protocol import MANIFEST, READY, Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

START_SECONDS = 30.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.002


class Server:
    """A running server.

    Args:
        process: Its first process; others may have been started by that one.
        port: Where it listens, on loopback.
        started_in: Seconds from its start to the first 200.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, started_in: float) -> None:
        self.port = port
        self.started_in = started_in
        self.pids = descendants(process.pid)

    def cpu_seconds(self) -> float:
        """Return the CPU time that its processes have used."""
        return cpu_seconds(self.pids)


@contextmanager
def truss(model: str) -> Iterator[Server]:
    """Run our server with a class of `workload` as the model."""
    with tempfile.TemporaryDirectory() as folder:
        write_release(Path(folder), model)
        edge = [sys.executable, "-m", "truss_server.edge", "--release", folder, "--python", sys.executable]
        with serving([*edge, "--fd"]) as server:
            yield server


@contextmanager
def bare_asgi(model: str) -> Iterator[Server]:
    """Run the bare application with a class of `workload`."""
    with serving([sys.executable, "-m", "benchmarks.bare", model]) as server:
        yield server


def write_release(folder: Path, model: str) -> None:
    """Write a release as the tool would."""
    config = TrussConfig.model_validate({"model_class_name": model}).filled()
    (folder / "model").mkdir()
    shutil.copy(Path(workload.__file__), folder / "model" / "model.py")
    manifest = Manifest(model="bench", digest="0", tool_version="0", config=config)
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")


@contextmanager
def serving(command: list[str]) -> Iterator[Server]:
    """Run a server that takes its listening socket as an inherited descriptor, named by its last argument.

    Raises:
        SystemExit: It ended, or did not become ready in time.
    """
    # Start-up is measured with compiled modules, as any start but the first has them.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener, tempfile.TemporaryFile() as log:
        number = listener.fileno()
        began = time.perf_counter()
        process = subprocess.Popen(
            [*command, str(number)], pass_fds=[number], stdout=log, stderr=log, env=environment
        )
        try:
            port = listener.getsockname()[1]
            while not _is_ready(port):
                if process.poll() is not None or time.perf_counter() > began + START_SECONDS:
                    log.seek(0)
                    raise SystemExit(f"{command} did not start:\n{log.read().decode(errors='replace')}")
                time.sleep(POLL_SECONDS)
            yield Server(process, port, time.perf_counter() - began)
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


def _is_ready(port: int) -> bool:
    """Ask for readiness; a server that does not accept yet is given a moment."""
    with socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS) as sock:
        sock.settimeout(1.0)
        sock.sendall(f"GET {READY} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n".encode())
        try:
            return sock.recv(4096).startswith(b"HTTP/1.1 200")
        except TimeoutError:
            return False
