"""Start the edge: `python -m truss_server.edge --release DIR --python PYTHON ...`."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import os
import signal
import socket
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
import uvloop

from truss_server.edge.admission import Slots
from truss_server.edge.app import Application
from truss_server.edge.calls import ModelRoutes
from truss_server.edge.control import Control
from truss_server.edge.front import put_in_front
from truss_server.edge.http import Protocol
from truss_server.edge.log_file import LogFile
from truss_server.edge.logs import LibraryHandler, Log
from truss_server.edge.metrics import Metrics
from truss_server.edge.orphans import INIT, bury_orphans
from truss_server.edge.probes import Probes
from truss_server.edge.settings import Settings, read_settings
from truss_server.edge.supervisor import Supervisor
from truss_server.edge.websockets import WebsocketRoute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastapi import FastAPI

    from truss_server.edge.spans import Spans


WEBSOCKET_BYTES = 100 * 1024 * 1024
"""Size of one websocket message."""

_LAST_WORDS = 1
"""Seconds for clients to be told of calls that were given up, before uvicorn cuts their connections."""

_GARBAGE = 10_000
"""Objects that are made before garbage is looked for: a request makes a hundred and leaves none."""


class Server(uvicorn.Server):
    """uvicorn without its signal handling, which ends the process by the signal instead of with an exit code.

    Args:
        config: uvicorn's.
        drain: Seconds that running calls are given.
        give_up: Called when they are over.
    """

    def __init__(self, config: uvicorn.Config, drain: float, give_up: Callable[[], None]) -> None:
        super().__init__(config)
        self._drain = drain
        self._give_up = give_up

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `serve`."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, and close also connections without a request that were accepted at the last moment."""
        closing = asyncio.create_task(self._close_idle())
        end = asyncio.get_running_loop().call_later(self._drain, self._give_up)
        await super().shutdown(sockets)
        end.cancel()
        closing.cancel()

    async def _close_idle(self) -> None:
        while True:
            await asyncio.sleep(0.2)
            for connection in list(self.server_state.connections):
                connection.shutdown()


async def serve(settings: Settings, log: Log) -> int:
    """Serve a release until a signal or the loss of its worker; return the exit code."""
    try:
        listener = _listen(settings)
    except OSError as exc:
        log.write("ERROR", f"cannot listen on {settings.host}:{settings.port}: {os.strerror(exc.errno or 0)}")
        return 1
    metrics = Metrics()
    supervisor = Supervisor(settings, metrics, log)
    control = await open_control(settings, supervisor, log)
    slots = Slots(settings.concurrency, settings.queue)
    metrics.watch_slots(slots)
    gc.freeze()  # modules stay; no collection needs to look at them again
    gc.set_threshold(_GARBAGE)
    app, ws = _create_app(settings, supervisor, slots, metrics, log)
    server = Server(_configure(app, ws, settings), settings.drain_timeout, supervisor.give_up)
    _install_signals(server, supervisor, slots)
    burying = asyncio.create_task(bury_orphans()) if os.getpid() == INIT else None
    supervising = asyncio.create_task(supervisor.run())
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    done, _ = await asyncio.wait({supervising, serving}, return_when=asyncio.FIRST_COMPLETED)
    if supervising in done:  # the model is lost; tell those who still wait, and go
        server.should_exit = True
        await serving
        return supervising.result()
    if control is not None:
        control.close()
    if burying is not None:
        burying.cancel()
    await supervisor.stop()
    await supervising
    serving.result()
    return 0


def _create_app(
    settings: Settings, supervisor: Supervisor, slots: Slots, metrics: Metrics, log: Log
) -> tuple[Any, Any]:
    """Return the application for requests, and what takes websockets."""
    calls = ModelRoutes(settings, supervisor, slots, metrics, log)
    websocket = WebsocketRoute(settings, supervisor, slots, metrics, log)
    probes = Probes(settings, supervisor, metrics)

    def create_rest() -> FastAPI:
        from truss_server.edge.api import create_api

        return create_api(settings, supervisor, probes)

    app = Application(settings.environment, calls, websocket, probes, create_rest)
    if settings.manifest.config.get("docker_server"):
        return put_in_front(
            app, settings=settings, supervisor=supervisor, slots=slots, metrics=metrics, log=log
        )
    return app, "websockets-sansio"


def _configure(app: Any, ws: Any, settings: Settings) -> uvicorn.Config:
    """Return what uvicorn is to do."""
    return uvicorn.Config(
        app,
        http=Protocol,
        loop="none",
        ws=ws,
        ws_max_size=WEBSOCKET_BYTES,
        ws_ping_interval=settings.ping_interval,
        ws_ping_timeout=settings.ping_timeout,
        timeout_keep_alive=settings.client_timeout,  # type: ignore[arg-type]  # any number of seconds will do
        lifespan="off",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        log_config=None,
        timeout_graceful_shutdown=math.ceil(settings.drain_timeout) + _LAST_WORDS,
    )


async def open_control(settings: Settings, supervisor: Supervisor, log: Log) -> asyncio.Server | None:
    """Open the control channel, where there is to be one; a disk that cannot hold it is no reason not to serve."""
    if settings.control is None:
        return None
    try:
        return await Control(settings, supervisor, log, settings.control).serve()
    except OSError as exc:
        log.write("WARNING", f"edits cannot be taken: {exc}")
        return None


def _install_signals(server: uvicorn.Server, supervisor: Supervisor, slots: Slots) -> None:
    """First SIGTERM or SIGINT: drain. Second: go at once."""
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if server.should_exit:
            server.force_exit = True
            supervisor.kill()
        server.should_exit = True
        supervisor.leave()
        slots.close()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)


def _listen(settings: Settings) -> socket.socket:
    """Return the listening socket, inherited or new."""
    if settings.fd is not None:
        return socket.socket(fileno=settings.fd)
    return socket.create_server((settings.host, settings.port), backlog=2048)


def _keep_what_was_inherited() -> None:
    """Have no process of the model inherit what this one did: it would hold the port open, or a lock.

    uvloop leaves open in a child what is inheritable.
    """
    for path in Path("/dev/fd").iterdir():
        if int(path.name) > sys.stderr.fileno():
            with suppress(OSError):  # of the listing itself
                os.set_inheritable(int(path.name), False)


def _spans(settings: Settings, log: Log) -> Spans | None:
    """Return what tells a collector of answered requests."""
    from truss_server.edge.spans import Spans

    config = settings.manifest.config
    variables = {**os.environ, **config["environment_variables"]}
    resource = {
        "service.name": variables.get("OTEL_SERVICE_NAME") or settings.manifest.model,
        "deployment.environment.name": settings.environment,
    }
    return Spans.open(resource, variables, log)


def main() -> int:
    """Run the edge; return its exit code."""
    settings = read_settings()
    _keep_what_was_inherited()
    log = Log(LogFile(settings.log_file) if settings.log_file else None)
    if settings.tracing:
        log.spans = _spans(settings, log)
    logging.basicConfig(handlers=[LibraryHandler(log)], level=logging.WARNING, force=True)
    try:
        return uvloop.run(serve(settings, log))
    finally:
        log.close()


if __name__ == "__main__":
    sys.exit(main())
