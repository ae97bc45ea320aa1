"""A server of the author's own (`docker_server` of config.yaml), supervised in the place of a worker."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from truss_server import wire
from truss_server.edge.output import copy_output
from truss_server.edge.processes import describe_exit
from truss_server.edge.upstream import Upstream
from truss_server.edge.version import RefusedError
from truss_server.edge.worker import ASK_TIMEOUT, LAST_WORDS, STOP_TIMEOUT, Worker
from truss_server.protocol import (
    ENVIRONMENT_VARIABLE,
    IMAGE_COMMAND_VARIABLE,
    SECRETS_FOLDER,
    SECRETS_VARIABLE,
)

if TYPE_CHECKING:
    from truss_server.edge.logs import Log
    from truss_server.edge.version import Swap, Version

FORWARD = "forward"
"""Name, in metrics, of every route but that of `predict`."""

PROBE_SECONDS = 0.1
"""Between two looks whether the server is ready."""

_FACTS = {"inputs": False, "request": True, "input_schema": None, "output_schema": None}

_PORT = re.compile(r"\$(?:PORT\b|\{PORT\})")

_SUCCESS = range(200, 300)


@dataclass(frozen=True)
class _Answer:
    """What a route of the server answers.

    Attributes:
        status: Of HTTP; 0 where it does not answer.
        kind: Its media type.
        body: All of it.
    """

    status: int = 0
    kind: bytes = b""
    body: bytes = b""

    @property
    def good(self) -> bool:
        """Whether it is a success."""
        return self.status in _SUCCESS


class CustomServer(Worker):
    """A process that serves HTTP on a port of the loopback interface. Its parts are those of a worker.

    Args:
        version: What it runs.
        log: Receives its output line by line.
    """

    def __init__(self, version: Version, log: Log) -> None:
        self._settings: dict[str, Any] = version.manifest.config["docker_server"]
        self._upstream: Upstream | None = None
        super().__init__(version, log)

    async def swap(self, version: Version, how: Swap, gone: asyncio.Future[None]) -> None:  # noqa: ARG002 - of Worker
        """Refuse; see `Worker.swap`.

        Raises:
            RefusedError: Always.
        """
        raise RefusedError("a server of your own is started again with each edit")

    async def ask(self, method: str) -> bytes | None:
        """Return whether it says that it is ready, or its metrics; None where it does not answer in time."""
        if method == "metrics":
            answer = await self._get("/metrics")
            shown = answer.good and answer.kind.startswith(b"text/plain")
            return wire.pack(answer.body.decode("utf-8", "replace")) if shown else None
        return wire.pack((await self._get(self._settings["readiness_endpoint"])).good)

    async def is_alive(self) -> bool:
        """Tell whether its endpoint for that answers 2xx; one that is being started is given the benefit."""
        path = self._settings["liveness_endpoint"] or self._settings["readiness_endpoint"]
        return not self.ready.done() or (await self._get(path)).good

    async def stop(self) -> None:
        """End it: ask, then insist. One that is not ready has nothing to finish."""
        self._ended = True
        if self._process is not None and self.ready.done():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGTERM)
            await asyncio.wait({self.life}, timeout=STOP_TIMEOUT)
        self.kill()
        await self.life

    async def _get(self, path: str) -> _Answer:
        """Ask a route."""
        if self._upstream is None:
            return _Answer()
        scope = {
            "method": "GET",
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"host", b"truss")],
        }
        exchange = self._upstream.open(("", "", scope, self.generation))
        try:
            body = await asyncio.wait_for(exchange.rest(), ASK_TIMEOUT)
        except asyncio.TimeoutError:
            return _Answer()
        finally:
            exchange.abandon()
        if exchange.error is not None or exchange.head is None:
            return _Answer()
        return _Answer(
            exchange.head["status"], dict(exchange.head["headers"]).get(b"content-type", b""), body
        )

    async def _run(self) -> str:
        """Run the process to its end; return how it ended, in words."""
        port, lock = reserve_port(self._settings["server_port"])
        with lock:
            return await self._run_on(port)

    async def _run_on(self, port: int) -> str:
        words, folder, source = self._command()
        if not words:
            return "docker_server.start_command is not set, and the image's own command is not known"
        command = [_PORT.sub(str(port), word) for word in words]
        try:
            self._process = process = await self._launch(command, folder, port)
        except OSError as exc:
            return f"`{command[0]}`, of {source}, cannot be started: {exc.strerror}"
        loop = asyncio.get_running_loop()
        self.link = self._upstream = upstream = Upstream(loop, port, self.generation)
        output = loop.create_task(copy_output(process.stdout, self._log))
        probing = loop.create_task(self._probe())
        if self._ended:  # while it was being started
            self.kill()
        reason = describe_exit(await process.wait(), "the custom server")
        probing.cancel()
        self.link = self._upstream = None
        upstream.lost(f"{reason} while it was working on this request")
        self.kill()  # what it started would keep the port, the memory of the GPU, and the pipes
        self._process = None
        await asyncio.wait({output}, timeout=LAST_WORDS)
        output.cancel()
        return reason if self.ready.done() else reason + self._about_port(port)

    def _about_port(self, port: int) -> str:
        """Return what one that ended early may not have known of its port; empty where it is the one it wants."""
        wanted = self._settings["server_port"]
        if port == wanted:
            return ""
        if re.search(rf"(?<!\d){wanted}(?!\d)", self._settings["start_command"]):
            return f"; its command says {wanted}, which is taken on this machine: write $PORT there"
        return f" (PORT was {port}, because {wanted} is taken on this machine)"

    async def _probe(self) -> None:
        """Wait until it says that it is ready, and tell what it says instead."""
        path = self._settings["readiness_endpoint"]
        said = 0
        while not (answer := await self._get(path)).good:
            if answer.status not in (0, said):
                said = answer.status
                level = "INFO" if said == HTTPStatus.SERVICE_UNAVAILABLE else "WARNING"
                self._log.write(level, f"`readiness_endpoint`, {path}, answers {said}; 2xx is waited for")
            await asyncio.sleep(PROBE_SECONDS)
        if not self.ready.done():
            self.methods = {"predict": _FACTS, FORWARD: _FACTS}
            self.ready.set_result(None)

    def _command(self) -> tuple[list[str], str, str]:
        """Return what starts it, the folder for that, and where this is said."""
        given = self._settings["start_command"]
        if given is not None:
            return shlex.split(given), str(self._version.root), "docker_server.start_command"
        found = json.loads(os.environ.get(IMAGE_COMMAND_VARIABLE, "{}"))
        return found.get("command", []), found.get("folder", "/"), "the image"

    async def _launch(self, command: list[str], folder: str, port: int) -> asyncio.subprocess.Process:
        version = self._version
        config = version.manifest.config
        environment = {
            SECRETS_VARIABLE: SECRETS_FOLDER,
            "PYTHONUNBUFFERED": "1",  # what it prints is to be seen when it prints it
            **os.environ,
            **config["environment_variables"],  # the author's, and not the server's
            ENVIRONMENT_VARIABLE: version.environment,
            "PORT": str(port),
        }
        environment["PATH"] = os.pathsep.join(_path(version, environment.get("PATH", os.defpath)))
        packages = version.root / config["bundled_packages_dir"]
        if packages.is_dir():
            found = [str(packages), environment.get("PYTHONPATH", "")]
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, found))
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # a process group to end as a whole; Ctrl-C of a terminal is for the edge
        )


def _path(version: Version, given: str) -> list[str]:
    """Return where commands are looked for: an image of the author's may bring what no requirement names."""
    own = str(Path(version.python).parent)
    config = version.manifest.config
    return [own, given] if config["requirements"] or config["requirements_file"] else [given, own]


def reserve_port(wanted: int) -> tuple[int, socket.socket]:
    """Return a port that nobody listens on, the wanted one or any, and what keeps other edges off it until closed.

    Between this look and the moment in which the server listens another edge might take the port, too, and each
    would take the other's server for its own.

    Raises:
        OSError: There is none.
    """
    with suppress(OSError):
        return _reserve(wanted)
    return _reserve(0)


def _reserve(wanted: int) -> tuple[int, socket.socket]:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("", wanted))  # all interfaces: the server may listen on each of them
        port = int(one.getsockname()[1])
    lock = socket.socket(socket.AF_UNIX)
    try:
        if sys.platform == "linux":  # a name that is no file and ends with its holder: nowhere else
            lock.bind(f"\0truss-port-{port}")
    except OSError:
        lock.close()
        raise
    return port, lock
