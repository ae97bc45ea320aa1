"""Which worker serves: started, started again when it dies, replaced by one with newer code, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from truss_server import wire
from truss_server.edge.background import Background
from truss_server.edge.health import Health
from truss_server.edge.leaving import drop, retire
from truss_server.edge.restarts import BACKOFF, Restarts
from truss_server.edge.version import FailedError, RefusedError, Swap, Version
from truss_server.edge.workers import Workers
from truss_server.protocol import EXIT_LOAD_FAILED, EXIT_WORKER_LOST

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from truss_server.edge.link import Link
    from truss_server.edge.logs import Log
    from truss_server.edge.metrics import Metrics
    from truss_server.edge.settings import Settings
    from truss_server.edge.worker import Worker

_NOT_LOADED = "the model could not be loaded"


class Supervisor:
    """Keeps one worker serving.

    Args:
        settings: Of the edge.
        metrics: Count restarts.
        log: Receives the worker's output line by line.
        backoff: Seconds before the first, second, ... start after a death.

    Attributes:
        was_ready: Whether a model was loaded once.
        listeners: Told when the model's process has died and when it is back, as the message `state`.
        workers: That there are.
    """

    def __init__(
        self, settings: Settings, metrics: Metrics, log: Log, backoff: Sequence[float] = BACKOFF
    ) -> None:
        self.was_ready = False
        self.listeners: set[Callable[..., None]] = set()
        self._version = settings.version
        self._drain = settings.drain_timeout
        self._patience = max(settings.request_timeout, settings.drain_timeout)
        self._metrics = metrics
        self._log = log
        self._backoff = backoff
        self._worker: Worker | None = None  # whose end is a death
        self._serving: Worker | None = None  # which new calls go to
        self.workers = Workers(log)
        self._background = Background()
        self._held: asyncio.Future[None] | None = None
        self._back: asyncio.Task[None] | None = None
        self._turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._trouble = ""
        self._leaving = False
        self._stopping = asyncio.Event()
        self._health = Health(partial(self._ask, "is_healthy"))

    # ---- what calls need to know

    @property
    def link(self) -> Link | None:
        """Connection to a worker whose model is loaded; None while there is none."""
        return self._serving.link if self._serving is not None else None

    @property
    def methods(self) -> dict[str, dict[str, Any]]:
        """What the model can be called by: name -> {"inputs", "request", ...}; of the last one while there is none."""
        return self._serving.methods if self._serving is not None else {}

    @property
    def generation(self) -> int:
        """Number of the code that new calls run."""
        return self._serving.generation if self._serving is not None else 0

    @property
    def version(self) -> Version:
        """What serves, or is started next."""
        return self._version

    @property
    def loaded(self) -> bool:
        """Whether a model is loaded that may be called."""
        return self.link is not None and not self._leaving

    @property
    def held(self) -> asyncio.Future[None] | None:
        """What calls wait for while one worker makes room for the next."""
        return self._held

    @property
    def status(self) -> str:
        """`loading`, `ready`, `unhealthy`, `restarting`, `stopping`, or why the model is not there."""
        if self._leaving:
            return "stopping"
        if self._trouble and self.link is None:
            return self._trouble
        if self.link is None:
            return "restarting" if self.was_ready else "loading"
        return "unhealthy" if self._health.is_bad else "ready"

    async def healthy(self) -> bool:
        """Return whether a model is loaded and says that it is healthy."""
        return self.loaded and await self._health.is_good() and self.loaded

    async def alive(self) -> bool:
        """Return whether what serves lives; where nothing does, the edge does and is about to start it."""
        return self.link is None or self._serving is None or await self._serving.is_alive()

    async def ask_metrics(self) -> bytes:
        """Return the metrics the model's code registered, as text; empty where there are none."""
        answer = await self._ask("metrics")
        return b"" if answer is None else str(wire.unpack(answer)).encode()

    async def _ask(self, method: str) -> bytes | None:
        return await self._serving.ask(method) if self._serving is not None else None

    # ---- life

    async def run(self) -> int:
        """Run workers, one after another, until told to stop; return the exit code for the server."""
        restarts = Restarts(self._backoff)
        worker = self._follow(self.workers.start(self._version))
        while True:
            ready_at = await self._until_ready(worker)
            reason = await self._until_end(worker)
            if self._stopping.is_set():
                return 0
            if self._held is not None:
                await asyncio.wait({self._held})
            if self._worker is not worker and self._worker is not None:  # it has made room for another one
                worker = self._worker
                continue
            if not self.was_ready:
                self._on_failed(reason)
                return EXIT_LOAD_FAILED
            delay = restarts.delay(ready_at)
            if delay is None:
                self._trouble = f"{reason}, {restarts.deaths} times in a row"
                self._log.write("ERROR", f"giving up: {self._trouble}")
                return EXIT_WORKER_LOST
            self._metrics.restarts.inc()
            self._log.write("ERROR", f"{reason}; starting it again in {delay:g} s")
            self._report("restarting", reason)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
                return 0
            if worker is self._worker:
                self._follow(self.workers.start(self._version))
            worker = self._worker or worker

    def leave(self) -> None:
        """Say that the server is on its way out, while it finishes what was begun."""
        self._leaving = True

    def give_up(self) -> None:
        """End the calls that have not come to their end while the server could wait for them."""
        self.workers.give_up()

    async def stop(self) -> None:
        """End all workers: ask, then insist."""
        self._stopping.set()
        await self.workers.stop()

    def kill(self) -> None:
        """End all workers, and what they started, at once."""
        self._stopping.set()
        self.workers.kill()

    def _follow(self, worker: Worker) -> Worker:
        """Have the end of a worker be the death that `run` waits for."""
        self._worker = worker
        turn, self._turn = self._turn, asyncio.get_running_loop().create_future()
        turn.set_result(None)
        return worker

    async def _until_end(self, worker: Worker) -> str:
        """Wait until a worker has ended, or another one is in its place; return how it ended."""
        while worker is self._worker and not worker.life.done():
            ends: set[asyncio.Future[Any]] = {worker.life, self._turn}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        return worker.life.result() if worker.life.done() else ""

    async def _until_ready(self, worker: Worker) -> float:
        """Have a worker serve when it is ready; return since when it does, infinity where it never will."""
        try:
            await worker.ready
        except FailedError as exc:
            if worker is self._worker:
                self._on_failed(str(exc), exc.trace)
            return math.inf
        if worker is self._worker and worker is not self._serving:
            if self.was_ready:
                self._report("ready", "")
            self._serve(worker)
        return time.monotonic()

    def _serve(self, worker: Worker) -> None:
        """Send new calls to a worker."""
        if worker is not self._worker:
            self._follow(worker)
        self._serving = worker
        self._trouble = ""
        self._health.forget()
        self.was_ready = True
        self._tell("ready")

    def _report(self, status: str, error: str) -> None:
        for listener in self.listeners:
            listener(event="state", status=status, error=error)

    def _tell(self, what: str) -> None:
        self._metrics.generation.set(self.generation)
        self._log.write("INFO", f"{what}: {', '.join(sorted(self.methods))}", source="worker")

    def _on_failed(self, reason: str, trace: str = "") -> None:
        """Say once why the model is not there."""
        if not self._trouble.startswith(_NOT_LOADED):
            self._trouble = f"{_NOT_LOADED}: {reason}"
            self._log.write("ERROR", self._trouble, source="worker", exc_info=trace)

    # ---- newer versions

    async def swap(self, version: Version, how: Swap, gone: asyncio.Future[None]) -> None:
        """Have the serving worker take over a version's code: `Worker.swap`.

        Raises:
            RefusedError: It has to be loaded.
            FailedError: Its code is broken, or nobody wants it any more; what served goes on.
        """
        worker = self._serving
        if worker is None or worker.link is None:
            raise RefusedError("no model is loaded at the moment")
        before, link = worker.generation, worker.link
        await worker.swap(version, how, gone)
        self._version = version
        self._health.forget()
        self._tell(f"generation {version.generation}")
        self._background.begin(drop(link, before))

    async def load(self, version: Version, gone: asyncio.Future[None], *, beside: bool) -> None:
        """Have a new worker load a version and take over.

        Args:
            version: What to load.
            gone: Resolved when nobody wants it any more.
            beside: Whether the one before serves meanwhile; else it ends first, and calls wait.

        Raises:
            FailedError: It cannot be loaded, or nobody wants it; what served goes on, after it was loaded again
                where it had to end.
        """
        before = self._worker
        if not beside and before is not None:
            await self._replace(before, version, gone)
            return
        worker = self.workers.start(version)
        await worker.until_ready(gone)
        self._version = version
        self._stay_away()
        self._serve(worker)
        self._go_on()
        for other in {*self.workers} - {worker}:  # one, or two where it died meanwhile and was started again
            self._background.begin(retire(other, self._patience))

    async def _replace(self, before: Worker, version: Version, gone: asyncio.Future[None]) -> None:
        """Have a version take the place of a worker, which may be one that is only about to come back."""
        self._stay_away()
        if self._held is None:
            self._held = asyncio.get_running_loop().create_future()
        try:
            await retire(before, self._drain)
            await self._arrival(version, gone)
            self._version = version
        except FailedError:
            back = self._back = self._background.begin(self._come_back())
            if not gone.done():  # else there may be another version that takes the place at once
                await asyncio.wait({back})
            raise
        finally:
            if self._back is None:
                self._go_on()

    async def _come_back(self) -> None:
        """Have what served before serve again; calls wait for it."""
        with contextlib.suppress(FailedError):  # which `run` deals with
            await self._arrival(self._version, asyncio.get_running_loop().create_future())
        self._back = None
        self._go_on()

    def _stay_away(self) -> None:
        """Have what is about to come back serve no more: something else does, or takes its place."""
        back, self._back = self._back, None
        if back is not None:
            back.cancel()

    def _go_on(self) -> None:
        """Let calls that wait go on."""
        held, self._held = self._held, None
        if held is not None:
            held.set_result(None)

    async def _arrival(self, version: Version, gone: asyncio.Future[None]) -> None:
        """Start a worker in the place of the one that has ended, and have it serve when it is ready.

        Raises:
            FailedError: It cannot load its version, or nobody wants it.
        """
        if self._stopping.is_set():
            raise FailedError("the server is stopping")
        worker = self._follow(self.workers.start(version))
        await worker.until_ready(gone)
        self._serve(worker)
