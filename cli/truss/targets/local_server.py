"""A server process of this machine that outlives the tool: started, found alive, ended, its log read.

A server inherits an open, locked file. The lock is held exactly as long as the server lives, whatever ends it;
so nobody has to guess from a process id, and a signal is sent only while the lock says whom it will meet.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from truss.errors import EngineError, NotDeployedError
from truss.release import Deployment
from truss.secrets import write_secrets
from truss.state import is_held, locked, read_json, write_json
from truss.targets.local_log import log_lines
from truss_server.protocol import SECRETS_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import FrameType

HOST = "127.0.0.1"

BACKLOG = 2048

POLL = 0.02
"""Seconds between two looks at a server that is about to end."""

INSIST = 2.0
"""Seconds in which a server is asked again and again to end at once."""

KILL_TIMEOUT = 10.0
"""Seconds the system may take to end a killed process."""

RECORD, LOG, ALIVE = "server.json", "log", "alive"

SECRETS = "secrets"
"""Folder of the secrets of a server, as they were when it was started."""

CONTROL = "control"
"""Folder of a server in development, with its control socket and the versions it was brought."""

FIELDS = ("pid", "port", "model", "release", "environment", "drain")
"""Of a server, as its record has them."""


@dataclass(frozen=True)
class Server:
    """A server that was started, and the folder that knows of it.

    Attributes:
        folder: Holds the record, the log and the lock.
        pid: Of the server, which leads a session and a process group of its own.
        port: It listens on.
        model: Name of its model.
        release: Number of its release.
        environment: It belongs to.
        drain: Seconds it gives running requests when it is to end.
        started: When (UTC).
    """

    folder: Path
    pid: int
    port: int
    model: str
    release: int
    environment: str
    drain: float
    started: datetime

    @classmethod
    def read(cls, folder: Path) -> Server | None:
        """Return the server that a folder knows of."""
        record = read_json(folder / RECORD, (*FIELDS, "started"))
        if record is None:
            return None
        return cls(folder, **{**record, "started": datetime.fromisoformat(record["started"])})

    def write(self) -> None:
        """Let the folder know of this server."""
        record = {name: getattr(self, name) for name in FIELDS}
        write_json(self.folder / RECORD, {**record, "started": self.started.isoformat()})

    @property
    def alive(self) -> bool:
        """Whether it lives."""
        return is_held(self.folder / ALIVE)

    @property
    def control(self) -> Path:
        """Folder of its control socket, if it has one."""
        return self.folder / CONTROL

    def deployment(self) -> Deployment:
        """Return it as users meet it."""
        return Deployment(
            model=self.model,
            environment=self.environment,
            release=self.release,
            target="local",
            url=f"http://{HOST}:{self.port}",
            id=self.folder.name,
            started=self.started,
            running=self.alive,
        )

    def end(self, grace: float) -> None:
        """Ask it to end; after `grace` seconds, or when Ctrl-C says so, end it with all its processes.

        Raises:
            EngineError: It does not even die.
        """
        try:
            if self.alive:
                with suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGTERM)
                self._wait(grace)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it at once: by asking until it has ended its worker and goes, at last by force.

        Raises:
            EngineError: It does not die.
        """
        deadline = time.monotonic() + INSIST
        while self.alive and time.monotonic() < deadline:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)  # a server that is asked again drops what it was to finish
            self._wait(INSIST / 20)
        if self.alive:
            with suppress(
                ProcessLookupError, PermissionError
            ):  # none is left, in the words of Linux and macOS
                os.killpg(self.pid, signal.SIGKILL)
            if not self._wait(KILL_TIMEOUT):
                raise EngineError(
                    f"The server with process id {self.pid} does not end.", hint="End it by hand."
                )

    def remove(self) -> None:
        """Forget a server that has ended."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.alive and time.monotonic() < deadline:
            time.sleep(POLL)
        return not self.alive

    def lines(self, *, follow: bool) -> Iterator[str]:
        """Yield the lines of its log; `follow` goes on until it has ended.

        Raises:
            NotDeployedError: It was removed.
        """
        try:
            yield from log_lines(self.folder / LOG, lambda: follow and self.alive)
        except FileNotFoundError as exc:
            raise NotDeployedError(f"The server {self.folder.name} of {self.model} is gone.") from exc


@dataclass(frozen=True)
class Launch:
    """How a server is started.

    Attributes:
        command: Its command line, without the number of the inherited socket.
        environ: Its environment variables.
        model: Name of its model.
        release: Number of its release.
        environment: It belongs to.
        drain: Seconds it gives running requests when it is to end.
        versions: Control folder of a server whose place it takes, which becomes its own.
        secrets: Values by name, which become files of the server's own folder.
    """

    command: Sequence[str]
    environ: Mapping[str, str]
    model: str
    release: int
    environment: str
    drain: float
    versions: Path | None = None
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


def launch(how: Launch, folder: Path, listener: socket.socket) -> tuple[Server, subprocess.Popen[bytes]]:
    """Start a server.

    Args:
        how: What to start.
        folder: New; is going to know of it.
        listener: Where it is to listen. The caller closes it, so that it closes when the server ends.

    Raises:
        EngineError: It cannot be started; nothing is left of it.
    """
    folder.mkdir(parents=True)
    process = None
    try:
        if how.versions is not None and how.versions.is_dir():
            how.versions.rename(folder / CONTROL)
        write_secrets(folder / SECRETS, how.secrets)
        with (
            locked(folder / ALIVE, timeout=0, busy=f"{folder} is in use.") as lock,
            (folder / LOG).open("ab") as log,
        ):
            process = subprocess.Popen(
                [*how.command, "--log-file", str(folder / LOG), "--fd", str(listener.fileno())],
                env={**how.environ, SECRETS_VARIABLE: str(folder / SECRETS)},
                cwd=folder,  # `python -m` would import from the folder of the release, or from the user's
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(listener.fileno(), lock.fd),
                start_new_session=True,  # Ctrl-C in the tool's terminal is none of its business
            )
        server = Server(
            folder,
            pid=process.pid,
            port=listener.getsockname()[1],
            model=how.model,
            release=how.release,
            environment=how.environment,
            drain=how.drain,
            started=datetime.now(timezone.utc),
        )
        server.write()
    except BaseException as exc:
        if process is not None:
            with process, suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(exc, OSError):
            raise EngineError(f"The server cannot be started: {exc}.") from exc
        raise
    # Something has to wait for its end: it would be a zombie as long as the tool runs.
    threading.Thread(target=process.wait, name=f"reaper of {process.pid}", daemon=True).start()
    return server, process


def listen(port: int | None) -> socket.socket:
    """Return a listening socket on a port of the loopback interface; None takes a free one.

    Raises:
        EngineError: The port cannot be had.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port or 0))
        listener.listen(BACKLOG)
    except OSError as exc:
        listener.close()
        if exc.errno == errno.EADDRINUSE:
            raise PortTakenError(
                f"Port {port} is taken.", hint="Take another one, or leave the choice to truss."
            ) from exc
        raise EngineError(
            f"Port {port} cannot be used: {exc.strerror}.", hint="Take one above 1023."
        ) from exc
    return listener


class PortTakenError(EngineError):
    """Somebody listens there already."""


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Keep signals that end this process waiting until the block is over; children start without them held."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {number: signal.signal(number, note) for number in ending}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)
