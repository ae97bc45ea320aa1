"""Runs real servers for tests: a release from a model's source, an edge on a free port, no process left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from tests.helpers import wait_until
from tests.server.raw_http import request_bytes
from tests.server.releases import Gates, write_release
from truss_server.edge.logs import Log
from truss_server.edge.metrics import Metrics
from truss_server.edge.restarts import BACKOFF
from truss_server.edge.settings import read_settings
from truss_server.edge.supervisor import Supervisor
from truss_server.protocol import READY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

START_SECONDS = 30.0
"""Given to a server to become ready or to end; a machine may be busy with other tests."""


class Edge:
    """A running server.

    Args:
        root: Folder of its release.
        python: Interpreter of the model.
        environment: Name of the environment.
        control: Whether it takes edits, by a socket in the folder `control`.
        options: More command line.
        environ: More environment variables.
        send_buffer: Bytes the kernel may hold for each client, where a test counts them.
        inherited: More descriptors it is started with.

    Attributes:
        records: The log so far, a record each line.
        control: Folder of its control channel.
        http: A client that takes a new connection for each request and gives up after 30 s.
    """

    def __init__(
        self,
        root: Path,
        *,
        python: str = sys.executable,
        environment: str = "production",
        control: bool = False,
        options: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        send_buffer: int | None = None,
        inherited: Sequence[int] = (),
    ) -> None:
        self.root = root
        self.control = root.with_name(f"{root.name}-control")
        self.gates = Gates(root / "gates")
        self.records: list[dict[str, Any]] = []
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
            if send_buffer is not None:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
            self.port: int = listener.getsockname()[1]
            arguments = ["--release", str(root), "--python", python, "--environment", environment]
            if control:
                arguments += ["--control", str(self.control)]
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "truss_server.edge",
                    *arguments,
                    "--fd",
                    str(listener.fileno()),
                    *options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                pass_fds=[listener.fileno(), *inherited],
                env={**_clean_environ(), **(environ or {})},
            )
        no_keepalive = httpx.Limits(max_keepalive_connections=0)
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            timeout=30,
            trust_env=False,
            verify=False,
            limits=no_keepalive,
        )
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    # ---- its life

    def wait_ready(self) -> None:
        """Wait until the model is loaded.

        Raises:
            AssertionError: The server ended instead.
        """

        def ready() -> bool:
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.log_text()}"
            return self.readiness() == 200

        wait_until(ready, START_SECONDS, what="readiness")

    def readiness(self) -> int:
        """Return the status of the readiness route, 0 where nobody answers."""
        try:
            return self.http.get(READY).status_code
        except httpx.TransportError:
            return 0

    def signal(self, number: int) -> None:
        """Send a signal to the edge."""
        self.process.send_signal(number)

    def wait_exit(self, deadline: float = START_SECONDS) -> int:
        """Wait for the server's end and return its exit code; the log is complete then."""
        code = self.process.wait(deadline)
        self._reader.join(deadline)
        return code

    def end(self) -> None:
        """End the server in any case and see that nothing of it is left.

        Raises:
            AssertionError: Something wrote to stderr, failed inside the edge, or a process is left.
        """
        try:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
                if self.process.poll() is not None:
                    break
                self.process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(5)
            self._reader.join(5)
            wait_until(lambda: not self.processes(), 10, what="the end of all processes of the server")
        finally:
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.http.close()
            if self.process.stdout is not None:
                self.process.stdout.close()
            self._stderr.seek(0)
            errors = self._stderr.read().decode()
            self._stderr.close()
        assert errors == ""
        assert [r for r in self.records if r["source"] == "edge" and "exc_info" in r] == []

    def processes(self) -> list[int]:
        """Return the pids of the edge, its workers and what they forked: all that name the release's folder."""
        return [pid for pid, command in _commands() if str(self.root) in command]

    def workers(self) -> list[int]:
        """Return the pids of running workers; a spare one has no version, and is in no folder of one, yet."""
        found = [
            pid for pid, command in _commands() if str(self.root) in command and "worker/boot.py" in command
        ]
        return [pid for pid in found if not self._is_spare(pid)]

    def spares(self) -> list[int]:
        """Return the pids of workers that wait for a version."""
        return [pid for pid in self.processes() if self._is_spare(pid)]

    def _is_spare(self, pid: int) -> bool:
        try:
            spare = b"--spare" in Path(f"/proc/{pid}/cmdline").read_bytes()
            return spare and Path(f"/proc/{pid}/cwd").readlink() == Path.cwd()
        except OSError:  # it has just ended
            return False

    # ---- its log

    def _read_log(self) -> None:
        if self.process.stdout is not None:
            for line in self.process.stdout:
                self.records.append(json.loads(line))

    def log_text(self) -> str:
        """Return the log for a reader."""
        return "\n".join(f"{r['source']}: {r['message']}\n{r.get('exc_info', '')}" for r in self.records)

    def wait_log(self, text: str, **fields: Any) -> dict[str, Any]:
        """Wait for a record whose message contains `text` and whose fields are as given, and return it."""

        def find() -> dict[str, Any] | None:
            for record in list(self.records):
                if text in record["message"] and all(record.get(k) == v for k, v in fields.items()):
                    return record
            return None

        found = wait_until(find, START_SECONDS, what=f"{text!r} {fields} in the log")
        assert found is not None
        return found

    # ---- its clients

    def post(self, path: str = "/predict", json: Any = None, **options: Any) -> httpx.Response:
        """Post once."""
        return self.http.post(path, json=json, **options)

    def call(self, json: Any) -> Any:
        """Return what `predict` answers.

        Raises:
            AssertionError: It is not a 200.
        """
        response = self.post("/predict", json)
        assert response.status_code == 200, response.text
        return response.json()

    @contextlib.contextmanager
    def stream(self, json: Any, path: str = "/predict") -> Iterator[httpx.Response]:
        """Post and read the answer as it comes."""
        with self.http.stream("POST", path, json=json) as response:
            yield response

    @contextlib.contextmanager
    def connect(self, receive_buffer: int | None = None) -> Iterator[socket.socket]:
        """Give a connected socket, with a small receive buffer for a client that reads slowly."""
        with socket.socket() as sock:
            if receive_buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.settimeout(30)
            sock.connect(("127.0.0.1", self.port))
            yield sock

    @contextlib.contextmanager
    def asking(self, json: Any, path: str = "/predict") -> Iterator[socket.socket]:
        """Send a request on a socket and give it; who leaves the block leaves the server alone."""
        with self.connect() as sock:
            sock.sendall(request_bytes(path, json))
            yield sock


class Servers:
    """Starts servers and ends them all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._edges: list[Edge] = []

    def start(
        self,
        model: str,
        *,
        runtime: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
        files: Mapping[str, str | bytes] | None = None,
        ready: bool = True,
        **options: Any,
    ) -> Edge:
        """Serve a model.

        Args:
            model: Source of `model/model.py`.
            runtime: The section of that name in config.yaml.
            config: Other keys of config.yaml.
            files: More files of the release by relative path.
            ready: Wait until the model is loaded.
            options: See `Edge`.
        """
        root = self._folder / f"release-{len(self._edges)}"
        write_release(root, model, runtime=runtime, config=config, files=files)
        edge = Edge(root, **options)
        self._edges.append(edge)
        if ready:
            edge.wait_ready()
        return edge

    def end(self) -> None:
        """End all; every one is ended before the first complaint is raised."""
        with contextlib.ExitStack() as stack:
            for edge in self._edges:
                stack.callback(edge.end)


def supervise(root: Path, backoff: Sequence[float] = BACKOFF) -> tuple[int, list[dict[str, Any]]]:
    """Run the workers of a release without HTTP in front until they are given up.

    Returns:
        The exit code that the server would end with, and the log.
    """

    async def run(log: Log) -> int:
        settings = read_settings(["--release", str(root), "--python", sys.executable])
        return await asyncio.wait_for(Supervisor(settings, Metrics(), log, backoff).run(), 60)

    with tempfile.TemporaryFile() as stream:
        log = Log(stream)
        code = asyncio.run(run(log))
        log.close()
        stream.seek(0)
        return code, [json.loads(line) for line in stream]


def _clean_environ() -> dict[str, str]:
    """Return this process's environment without what would change the server; fixtures of a module run unscrubbed."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TRUSS_", "PYTHON")) and not name.lower().endswith("_proxy")
    }


def _commands() -> Iterator[tuple[int, str]]:
    """Yield the pid and command line of every running process; a zombie has an empty one."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                yield (
                    int(folder.name),
                    (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"),
                )
