"""A target that keeps its promises in threads of the test: builds are values, deployments are small HTTP servers."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

from tests.control_server import ControlServer, Version
from truss.channel import connect
from truss.errors import BuildError, EngineError, NotDeployedError
from truss.release import Deployment, Release
from truss_server.protocol import DEVELOPMENT, READY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from truss.channel import Channel
    from truss.progress import Progress
    from truss.release import ReleasePlan
    from truss.targets import Target

SECONDS = 30.0
FIRST_START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def log_line(message: str, level: str = "INFO", source: str = "model", **more: str) -> str:
    """Return a line as the server logs it."""
    fields = {"asctime": "2026-01-02 03:04:05,678", "levelname": level, "message": message, "source": source}
    return json.dumps({**fields, **more})


@dataclass(frozen=True)
class Script:
    """What a server of a fake deployment does.

    Attributes:
        log: Lines it logs while it starts.
        code: What it exits with after that; None if it becomes ready.
        loads_forever: Whether it never becomes ready.
        on: Called when a verb of the target begins: what happens in the middle of it.
    """

    log: tuple[str, ...] = ()
    code: int | None = None
    loads_forever: bool = False
    on: Callable[[str], object] = str


@dataclass
class FakeServer:
    """The server of a deployment; it is ready, or ends, once its log was read."""

    script: Script
    port: int = 0
    was_read: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                ready = self.path == READY and server.is_ready
                self.send_response(200 if ready else 503)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing on stderr."""

        self.http = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def is_ready(self) -> bool:
        """Whether its model is loaded."""
        return self.was_read.is_set() and self.script.code is None and not self.script.loads_forever

    def end(self) -> None:
        """End it."""
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()
        self.ended.set()


class FakeTarget:
    """See `truss.targets.Target`.

    Args:
        name: `local` or `docker`.
        script: What servers do that are started.
        control: Folder for control sockets of deployments in development; without it they have none.

    Attributes:
        control: The control servers by the deployment's id.
        candidates: Started, neither promoted nor discarded.
        builds: Plans that were built.
    """

    def __init__(
        self, name: str = "local", script: Script | None = None, control: Path | None = None
    ) -> None:
        self.name = name
        self.script = script or Script()
        self.candidates: list[Deployment] = []
        self.builds: list[ReleasePlan] = []
        self._listed: list[Deployment] = []
        self._servers: dict[str, FakeServer] = {}
        self._starts = 0
        self._control = control
        self.control: dict[str, ControlServer] = {}

    def build(self, plan: ReleasePlan, progress: Progress) -> Release:
        """Build a release."""
        progress.detail(f"made a build of {plan.manifest.model}")
        self.script.on("build")
        if plan not in self.builds:
            self.builds.append(plan)
        number = 1 + [one for one in self.builds if one.manifest.model == plan.manifest.model].index(plan)
        return Release(plan.manifest.model, number, plan.manifest.digest, f"fake/{number}")

    def start(self, release: Release, environment: str, *, port: int | None) -> Deployment:
        """Start a candidate; only a free port can be had, or that of the deployment it replaces."""
        self.script.on("start")
        place = (release.model, environment)
        same = [one for one in self._listed if (one.model, one.environment) == place and one.port == port]
        if port is not None and not same:
            raise EngineError(f"Port {port} is taken.")
        for one in same:
            self.stop(one)
        server = FakeServer(self.script, port or 0)
        self._starts += 1
        candidate = Deployment(
            model=release.model,
            environment=environment,
            release=release.number,
            target=self.name,
            url=f"http://127.0.0.1:{server.http.server_port}",
            id=f"{self.name}-{self._starts}",
            started=FIRST_START + timedelta(minutes=self._starts),
        )
        self._servers[candidate.id] = server
        if self._control is not None and environment == DEVELOPMENT:
            version = Version.of(self.builds[release.number - 1])
            self.control[candidate.id] = ControlServer(self._control / candidate.id, version)
        self.candidates.append(candidate)
        return candidate

    def prepare(self, plan: ReleasePlan, progress: Progress) -> Path | None:
        """Make an environment; one for a requirement called `conflict` cannot be made, docker makes none."""
        if "conflict" in plan.requirements:
            raise BuildError("The requirements could not be installed.", details="conflict is not there")
        return Path("/env/bin/python") if self.name == "local" else None

    def attach(self, deployment: Deployment) -> Channel:
        """Connect to the control server of a deployment."""
        if deployment.id not in self.control:
            raise EngineError("It has no control socket.")
        return connect(self.control[deployment.id].path, seconds=0)

    def promote(self, candidate: Deployment) -> None:
        """List a candidate and end what it replaces."""
        self.script.on("promote")
        self.candidates.remove(candidate)
        place = (candidate.model, candidate.environment)
        for listed in [one for one in self._listed if (one.model, one.environment) == place]:
            self.stop(listed)
        self._listed.append(candidate)
        self.script.on("drain")

    def discard(self, candidate: Deployment) -> None:
        """End a candidate; one that is none any more is left alone."""
        if candidate in self.candidates:
            self.candidates.remove(candidate)
            self._servers.pop(candidate.id).end()
        self.script.on("discard")

    def stop(self, deployment: Deployment) -> None:
        """End a deployment."""
        self._servers[deployment.id].script.on("stop")
        self._listed = [one for one in self._listed if one.id != deployment.id]
        self._servers.pop(deployment.id).end()
        if deployment.id in self.control:
            self.control.pop(deployment.id).close()

    def exit_code(self, deployment: Deployment) -> int | None:
        """Return what its server exited with."""
        server = self._servers[deployment.id]
        assert server.was_read.wait(SECONDS), "nobody follows the log"
        return server.script.code

    def logs(self, deployment: Deployment, *, follow: bool) -> Iterator[str]:
        """Yield what its server logged."""
        server = self._servers.get(deployment.id)
        if server is None:
            raise NotDeployedError(f"{deployment.id} is gone.")
        yield from server.script.log
        server.was_read.set()
        if follow and server.script.code is None:
            server.ended.wait(SECONDS)

    def deployments(self) -> list[Deployment]:
        """Return what is listed, newest first."""
        newest = sorted(self._listed, key=lambda one: one.started, reverse=True)
        return [replace(one, running=self._servers[one.id].script.code is None) for one in newest]

    def crash(self, deployment: Deployment, code: int = 1) -> None:
        """Let the server of a deployment die."""
        server = self._servers[deployment.id]
        server.script = Script(server.script.log, code)
        server.ended.set()

    def revive(self, deployment: Deployment, *log: str) -> None:
        """Let the server of a deployment that died be started again, and log something."""
        server = self._servers[deployment.id]
        server.ended.clear()
        server.script = Script((*server.script.log, *log))

    def close(self) -> None:
        """End everything."""
        for server in self._servers.values():
            server.end()
        for control in self.control.values():
            control.close()


class FakeMachine:
    """The targets of a machine.

    Args:
        targets: Those that answer.
    """

    def __init__(self, *targets: FakeTarget) -> None:
        self._targets = {target.name: target for target in targets}

    def target(self, name: str) -> Target:
        """Return a target; see `truss.deps.Deps`."""
        if name not in self._targets:
            raise EngineError(f"No engine for {name} answers.", hint=f"Start {name}.")
        return self._targets[name]


@dataclass
class FakeClock:
    """A clock whose time passes only in sleeps.

    Attributes:
        seconds: Since it was made.
    """

    seconds: float = 0.0

    def monotonic(self) -> float:
        """Return seconds since it was made."""
        return self.seconds

    def now(self) -> datetime:
        """Return a time of day."""
        return FIRST_START + timedelta(seconds=self.seconds)

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds
