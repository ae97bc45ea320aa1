"""The worker's life as the edge sees it: started, loaded, dead, started again, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from truss_server import wire
from truss_server.edge.link import Link
from truss_server.edge.output import copy_output
from truss_server.protocol import ENVIRONMENT_VARIABLE, EXIT_LOAD_FAILED, EXIT_WORKER_LOST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from truss_server.edge.asks import Ask
    from truss_server.edge.logs import Log
    from truss_server.edge.metrics import Metrics
    from truss_server.edge.settings import Settings

_BOOT = Path(__file__).resolve().parent.parent / "worker" / "boot.py"

BACKOFF = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Seconds before the first, second, ... start after a death; with one death more in a row it is given up."""

STEADY = 60.0
"""Seconds a worker must have been ready for its death not to count as one more in a row."""

STOP_TIMEOUT = 5.0
"""Seconds a worker is given to exit when asked to."""

HEALTH_SECONDS = 1.0
"""How long a model's answer to whether it is healthy counts."""

ASK_TIMEOUT = 5.0
"""Seconds the worker is given to answer a question of the edge's own."""

LAST_WORDS = 1.0
"""Seconds to wait for the end of what a dead worker has sent."""

_NOT_LOADED = "the model could not be loaded"


class Supervisor:
    """Keeps one worker running.

    Args:
        settings: Of the edge.
        metrics: Count restarts.
        log: Receives the worker's output line by line.
        backoff: Seconds before the first, second, ... start after a death.

    Attributes:
        link: Connection to a worker whose model is loaded; None while there is none.
        was_ready: Whether a model was loaded once.
        methods: What that model can be called by: name -> {"inputs", "request"}.
    """

    def __init__(
        self, settings: Settings, metrics: Metrics, log: Log, backoff: Sequence[float] = BACKOFF
    ) -> None:
        self.was_ready = False
        self.link: Link | None = None
        self.methods: dict[str, dict[str, Any]] = {}
        self._status = "loading"
        self._settings = settings
        self._metrics = metrics
        self._log = log
        self._backoff = backoff
        self._link: Link | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._leaving = False
        self._stopping = asyncio.Event()
        self._ready_at = math.inf  # when the worker that lives became ready
        self._health: asyncio.Task[bool] | None = None
        self._health_until = 0.0

    @property
    def status(self) -> str:
        """`loading`, `ready`, `restarting`, `stopping`, or why the model is not there."""
        return "stopping" if self._leaving else self._status

    async def run(self) -> int:
        """Run workers, one after another, until told to stop; return the exit code for the server."""
        deaths = 0
        while True:
            self._ready_at = math.inf
            reason = await self._live()
            if self._stopping.is_set():
                return 0
            if not self.was_ready:
                self._on_failed(reason)
                return EXIT_LOAD_FAILED
            deaths = 1 if time.monotonic() - self._ready_at > STEADY else deaths + 1
            if deaths > len(self._backoff):
                self._status = f"{reason}, {deaths} times in a row"
                self._log.write("ERROR", f"giving up: {self._status}")
                return EXIT_WORKER_LOST
            delay = self._backoff[deaths - 1]
            self._metrics.restarts.inc()
            self._log.write("ERROR", f"{reason}; starting it again in {delay:g} s")
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
                return 0

    @property
    def loaded(self) -> bool:
        """Whether a model is loaded that may be called."""
        return self.link is not None and not self._leaving

    async def healthy(self) -> bool:
        """Ask the model whether it is healthy; its answer counts for a moment, so that probes cost little.

        A model whose event loop does not answer is not healthy.
        """
        if not self.loaded:
            return False
        if self._health is None or (self._health.done() and time.monotonic() > self._health_until):
            self._health = asyncio.create_task(self._ask_health())
        healthy = await asyncio.shield(self._health)
        return healthy and self.loaded

    async def _ask_health(self) -> bool:
        answer = await self._ask("is_healthy")
        healthy = answer is not None and bool(wire.unpack(answer))
        if self.link is not None:
            self._status = "ready" if healthy else "unhealthy"
        self._health_until = time.monotonic() + HEALTH_SECONDS
        return healthy

    async def ask_metrics(self) -> bytes:
        """Return the metrics the model's code registered, as text; empty where there are none."""
        answer = await self._ask("metrics")
        return b"" if answer is None else str(wire.unpack(answer)).encode()

    async def _ask(self, method: str) -> bytes | None:
        """Call a method of the worker's own; None where it fails or does not answer in time."""
        if self.link is None:
            return None
        exchange = self.link.open((method, "lines", None))
        try:
            answer = await asyncio.wait_for(exchange.rest(), ASK_TIMEOUT)
        except asyncio.TimeoutError:
            exchange.abandon()
            return None
        if exchange.error is not None:
            self._log.write("ERROR", f"`{method}` failed", source="worker", exc_info=_trace(exchange.error))
            return None
        return answer

    def leave(self) -> None:
        """Say that the server is on its way out, while it finishes what was begun."""
        self._leaving = True

    async def stop(self) -> None:
        """End the worker: ask, then insist. One that is not ready has nothing to finish."""
        self._stopping.set()
        if self.link is None or self._process is None:
            self.kill()
            return
        self.link.stop()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT)
        except asyncio.TimeoutError:
            self.kill()

    def kill(self) -> None:
        """End the worker, and what it started, at once."""
        self._stopping.set()
        if self._process is not None:
            _kill_group(self._process)

    async def _live(self) -> str:
        """Run one worker to its end; return how it ended, in words."""
        loop = asyncio.get_running_loop()
        self._status = "restarting" if self.was_ready else "loading"
        ours, theirs = socket.socketpair()
        try:
            self._process = process = await self._spawn(theirs)
        except OSError as exc:
            ours.close()
            return f"{self._settings.python} cannot be started: {exc.strerror}"
        finally:
            theirs.close()
        self._link = link = Link(loop, self._on_state, self._on_log, self._on_broken)
        await loop.create_unix_connection(lambda: link, sock=ours)
        output = loop.create_task(copy_output(process.stdout, self._log))
        exited = loop.create_task(process.wait())
        if self._stopping.is_set():  # while it was being started
            _kill_group(process)
        ends: set[asyncio.Future[Any]] = {exited, link.closed}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        self.link = None
        if self._status in ("ready", "unhealthy"):
            self._status = "restarting"
        await asyncio.wait({exited}, timeout=LAST_WORDS)  # it may have closed the socket and live
        _kill_group(process)  # what it started would keep the memory of the GPU, and the pipes
        code = await exited
        self._process = None
        # Its last words may still lie in pipe and socket, which a process that left its group may hold open.
        ends = {output, link.closed}
        await asyncio.wait(ends, timeout=LAST_WORDS)
        output.cancel()
        reason = describe_exit(code)
        link.lost(f"{reason} while it was working on this request")
        return reason

    async def _spawn(self, theirs: socket.socket) -> asyncio.subprocess.Process:
        settings = self._settings
        folder = str(Path(settings.python).parent)
        environment = {
            **os.environ,
            **settings.manifest.config["environment_variables"],  # the model's, and not the server's
            ENVIRONMENT_VARIABLE: settings.environment,
            "PATH": os.pathsep.join([folder, os.environ.get("PATH", os.defpath)]),
        }
        arguments = ["--fd", str(theirs.fileno()), "--release", str(settings.root)]
        return await asyncio.create_subprocess_exec(
            settings.python,
            "-u",  # what the model prints is to be seen when it prints it
            str(_BOOT),
            *arguments,
            "--environment",
            settings.environment,
            pass_fds=[theirs.fileno()],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # a process group to end as a whole; Ctrl-C of a terminal is for the edge
        )

    def _on_state(self, state: Mapping[str, Any]) -> None:
        if state.get("protocol") not in (None, wire.PROTOCOL):
            self._on_broken(f"it speaks protocol {state['protocol']}, not {wire.PROTOCOL}")
        elif state.get("state") == "ready":
            self.methods = dict(state["methods"])
            self.link = self._link
            self._status = "ready"
            self.was_ready = True
            self._ready_at = time.monotonic()
            self._metrics.generation.inc()
            self._log.write("INFO", f"ready: {', '.join(sorted(self.methods))}", source="worker")
        elif state.get("state") == "failed":
            text = f"{state.get('type', 'Error')}: {state.get('message', state.get('detail'))}"
            self._on_failed(text, state.get("traceback", ""))

    def _on_failed(self, reason: str, trace: str = "") -> None:
        """Say once why the model is not there."""
        if not self._status.startswith(_NOT_LOADED):
            self._status = f"{_NOT_LOADED}: {reason}"
            self._log.write("ERROR", self._status, source="worker", exc_info=trace)

    def _on_log(self, record: Mapping[str, Any], ask: Ask | None) -> None:
        fields = {key: value for key, value in record.items() if key not in ("level", "message")}
        if ask is not None:
            fields["request_id"] = ask.request_id
            if ask.traceparent:
                fields["traceparent"] = ask.traceparent
        self._log.write(str(record["level"]), str(record["message"]), source="model", **fields)

    def _on_broken(self, reason: str) -> None:
        """End a worker that does not keep to the protocol."""
        self._log.write("ERROR", f"the worker broke the protocol: {reason}")
        if self._process is not None:
            _kill_group(self._process)


def _trace(error: Mapping[str, Any]) -> str:
    return str(error.get("traceback", error.get("detail", "")))


def _kill_group(leader: asyncio.subprocess.Process) -> None:
    """End a worker and what it started, as far as that stayed in its process group."""
    with contextlib.suppress(
        ProcessLookupError, PermissionError
    ):  # none is left, in the words of Linux and macOS
        os.killpg(leader.pid, signal.SIGKILL)


def describe_exit(code: int) -> str:
    """Say in words how the model's process ended."""
    if code >= 0:
        return f"the model's process ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"the model's process was ended by {name}{hint}"
