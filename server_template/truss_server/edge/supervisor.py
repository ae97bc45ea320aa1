"""The worker's life as the edge sees it: started, loaded, dead, started again, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from truss_server import wire
from truss_server.edge.link import Link
from truss_server.edge.logs import LINE, Log
from truss_server.protocol import ENVIRONMENT_VARIABLE, EXIT_LOAD_FAILED, EXIT_WORKER_LOST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from truss_server.edge.asks import Ask
    from truss_server.edge.metrics import Metrics
    from truss_server.edge.settings import Settings

_BOOT = Path(__file__).resolve().parent.parent / "worker" / "boot.py"

BACKOFF = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Seconds before the first, second, ... start after a death; after as many deaths in a row it is given up."""

STEADY = 60.0
"""Seconds a worker must have been ready for its death not to count as one more in a row."""

STOP_TIMEOUT = 10.0
"""Seconds a worker is given to exit when asked to."""

HEALTH_SECONDS = 1.0
"""How long a model's answer to whether it is healthy counts."""

ASK_TIMEOUT = 5.0
"""Seconds the worker is given to answer a question of the edge's own."""

LAST_WORDS = 1.0
"""Seconds to wait for the end of what a dead worker has sent."""


class Supervisor:
    """Keeps one worker running.

    Args:
        settings: Of the edge.
        metrics: Count restarts.
        log: Receives the worker's output line by line.

    Attributes:
        link: Connection to a worker whose model is loaded; None while there is none.
        methods: What that model can be called by: name -> {"inputs", "request"}.
        status: `loading`, `ready`, `restarting`, `stopping`, or why it has failed.
    """

    def __init__(self, settings: Settings, metrics: Metrics, log: Log) -> None:
        self.draining = False
        self.was_ready = False
        self.link: Link | None = None
        self.methods: dict[str, dict[str, Any]] = {}
        self.status = "loading"
        self._settings = settings
        self._metrics = metrics
        self._log = log
        self._link: Link | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._failed = False
        self._stopping = False
        self._health: asyncio.Task[bool] | None = None
        self._health_until = 0.0

    async def run(self) -> int:
        """Run workers, one after another, until told to stop; return the exit code for the server."""
        deaths = 0
        while True:
            started = time.monotonic()
            reason = await self._live()
            if self._is_stopping():
                return 0
            if self._failed and not self.was_ready:
                return EXIT_LOAD_FAILED
            deaths = 1 if time.monotonic() - started > STEADY else deaths + 1
            if deaths > len(BACKOFF):
                self.status = f"{reason}, {deaths} times in a row"
                self._log.write("ERROR", f"giving up: {self.status}")
                return EXIT_WORKER_LOST
            self.status = "restarting"
            delay = BACKOFF[deaths - 1]
            self._metrics.restarts.inc()
            self._log.write("ERROR", f"{reason}; starting it again in {delay:g} s")
            await asyncio.sleep(delay)
            if self._is_stopping():
                return 0

    @property
    def loaded(self) -> bool:
        """Whether a model is loaded that may be called."""
        return self.link is not None and not self.draining

    def drain(self) -> None:
        """Admit no more calls; those that run may finish."""
        self.draining = True
        self.status = "stopping"

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
        if self.loaded:
            self.status = "ready" if healthy else "unhealthy"
        self._health_until = time.monotonic() + HEALTH_SECONDS
        return healthy

    async def ask_metrics(self) -> bytes:
        """Return the metrics the model's code registered, as text; empty where there are none."""
        answer = await self._ask("metrics")
        return b"" if answer is None else str(wire.unpack(answer)).encode()

    async def _ask(self, method: str) -> bytes | None:
        """Call a method of the worker's own; None where it fails or does not answer in time."""
        if self.link is None or method not in self.methods:
            return None
        exchange = self.link.open({"method": method, "framing": "lines", "request": None})
        try:
            answer = await asyncio.wait_for(exchange.rest(), ASK_TIMEOUT)
        except asyncio.TimeoutError:
            exchange.cancel()
            return None
        if exchange.error is not None:
            self._log.write("ERROR", f"`{method}` failed", exc_info=exchange.error.get("traceback", ""))
            return None
        return answer

    def _is_stopping(self) -> bool:
        return self._stopping

    async def stop(self) -> None:
        """End the worker: ask, then insist."""
        self._stopping = True
        self.status = "stopping"
        process, link = self._process, self._link
        if process is None or process.returncode is not None:
            return
        if link is not None:
            link.stop()
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT)
        except asyncio.TimeoutError:
            self.kill()
            await process.wait()

    def kill(self) -> None:
        """End the worker at once."""
        self._stopping = True
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _live(self) -> str:
        """Run one worker to its end; return how it ended, in words."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        self._failed = False
        try:
            self._process = process = await self._spawn(theirs)
        finally:
            theirs.close()
        self._link = link = Link(loop, self._on_state, self._on_log, self._on_broken)
        await loop.create_unix_connection(lambda: link, sock=ours)
        await self._copy_output(process)
        code = await process.wait()
        # Its last words may still lie in the socket, which a process it forked may hold open.
        await asyncio.wait([link.closed], timeout=LAST_WORDS)
        reason = describe_exit(code)
        self.link = None
        link.lost(f"{reason} while it was working on this request")
        return reason

    async def _spawn(self, theirs: socket.socket) -> asyncio.subprocess.Process:
        settings = self._settings
        folder = str(Path(settings.python).parent)
        environment = {
            **os.environ,
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
        )

    async def _copy_output(self, process: asyncio.subprocess.Process) -> None:
        """Log what the model prints, line by line, until the worker ends."""
        stream = process.stdout
        if stream is None:
            return
        exited = asyncio.ensure_future(process.wait())
        rest = b""
        while True:
            reading = asyncio.ensure_future(stream.read(LINE))
            # What the model started may hold the pipe open after the worker is gone: its end ends the copying.
            await asyncio.wait({reading, exited}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                reading.cancel()
                break
            chunk = reading.result()
            if not chunk:
                break
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > LINE:
                lines.append(rest)
                rest = b""
            for line in lines:
                self._log.write("INFO", line.decode("utf-8", "replace"), source="model")
        if rest:
            self._log.write("INFO", rest.decode("utf-8", "replace"), source="model")
        await exited

    def _on_state(self, state: Mapping[str, Any]) -> None:
        if state.get("protocol") not in (None, wire.PROTOCOL):
            self._on_broken(f"it speaks protocol {state['protocol']}, not {wire.PROTOCOL}")
        elif state.get("state") == "ready":
            self.methods = dict(state["methods"])
            self.link = self._link
            self.status = "stopping" if self.draining else "ready"
            self._metrics.generation.inc()
            self.was_ready = True
            self._log.write("INFO", f"ready: {', '.join(sorted(self.methods))}", source="worker")
        elif state.get("state") == "failed":
            self._failed = True
            text = f"{state.get('type', 'Error')}: {state.get('message', state.get('detail'))}"
            self.status = f"the model could not be loaded: {text}"
            self._log.write("ERROR", self.status, source="worker", exc_info=state.get("traceback", ""))

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
        if self._process is not None and self._process.returncode is None:
            self._process.kill()


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
