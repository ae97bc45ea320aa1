"""The target `local`: releases are folders, deployments are background processes of the user.

Below the state folder::

    envs/                                   environments of models, see `truss.environment`
    local/<model>/releases/<number>/        see `truss.targets.local_releases`
    local/<model>/environments/<name>/
        push.lock                           held from `start` to `promote` or `discard`
        current.json                        names the server that is the deployment
        servers/<id>/                       one for each server, see `truss.targets.local_server`
"""

from __future__ import annotations

import atexit
import os
import secrets
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from truss.channel import connect
from truss.config_sections import BaseImage
from truss.config_values import CONFIG
from truss.environment import Wanted, model_python, prune_environments
from truss.errors import EngineError, NotDeployedError, UsageError
from truss.names import slug
from truss.secrets import find_secrets
from truss.state import state_folder
from truss.targets.local_place import Place
from truss.targets.local_releases import Releases
from truss.targets.local_server import (
    CONTROL,
    KILL_TIMEOUT,
    Launch,
    PortTakenError,
    Server,
    launch,
    listen,
    signals_deferred,
)
from truss.targets.local_use import environments_in_use
from truss_server.protocol import CONTROL_SOCKET, DEVELOPMENT

if TYPE_CHECKING:
    import socket
    import subprocess
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from truss.channel import Channel
    from truss.progress import Progress
    from truss.release import Deployment, Release, ReleasePlan

STOP_MARGIN = 8.0
"""Seconds a server gets beyond its drain timeout before it is killed; it takes up to five to end its worker."""

PATIENCE = 15.0
"""Seconds to wait for another push to the same environment."""

UNKNOWN = -1
"""Exit code of a server that has ended unseen: another process had started it."""


@dataclass(frozen=True)
class _Candidate:
    """What the process that started a candidate knows of it.

    Attributes:
        deployment: The candidate.
        displaced: What was stopped for its port.
        push: Holds the lock of its push.
    """

    deployment: Deployment
    displaced: Server | None
    push: ExitStack


OF_IMAGES = ("base_image", "system_packages", "build_commands")
"""Keys of config.yaml that have no meaning here."""


class LocalTarget:
    """Builds releases and runs deployments on this machine.

    Args:
        state: The tool's folder for state; by default `truss.state.state_folder`.
        environ: The user's environment.
        server_command: What starts a server.
    """

    name = "local"

    def __init__(
        self,
        state: Path | None = None,
        *,
        environ: Mapping[str, str] = os.environ,
        server_command: Sequence[str] = (sys.executable, "-I", "-m", "truss_server.edge"),
    ) -> None:
        self._state = state or state_folder(environ)
        self._environ = environ
        self._server_command = server_command
        self._candidates: dict[str, _Candidate] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        atexit.register(
            self._discard_all
        )  # Ctrl-C may come before `start` has told its caller of a candidate

    def build(self, plan: ReleasePlan, progress: Progress) -> Release:
        """Make the model's environment and the release's folder, as far as they are not there; see `Target.build`."""
        ignored = [key for key in OF_IMAGES if getattr(plan.config, key) not in ((), BaseImage())]
        server = plan.config.docker_server
        if server is not None and server.start_command is None:
            raise UsageError(
                f"{CONFIG}: docker_server has no start_command, and the target local has no image to take one from.",
                hint="Push with `--target docker`, or write the command.",
            )
        if server is not None and server.run_as_user_id is not None:
            ignored.append("docker_server.run_as_user_id")
        if ignored:
            progress.note(
                f"{CONFIG}: {', '.join(ignored)}: of images; the target local uses what this machine has."
            )
        python = self.prepare(plan, progress)
        return self._releases(plan.manifest.model).add(plan, python, progress)

    def prepare(self, plan: ReleasePlan, progress: Progress) -> Path:
        """Make the model's environment, as far as it is not there; see `Target.prepare`."""
        wanted = Wanted(plan.requirements, plan.config.asked_python, plan.constraints, plan.wheels)
        return model_python(wanted, self._state / "envs", progress, self._environ)

    def attach(self, deployment: Deployment) -> Channel:
        """Return a channel to a deployment's control socket; see `Target.attach`."""
        return connect(self._server(deployment).control / CONTROL_SOCKET)

    def start(self, release: Release, environment: str, *, port: int | None) -> Deployment:
        """Start a candidate; see `Target.start`."""
        place = self._place(release.model, environment)
        busy = f"Another push of {release.model} to {environment} is under way."
        with ExitStack() as undo:
            push = undo.enter_context(ExitStack())
            push.enter_context(place.pushing(PATIENCE, busy))
            place.sweep()
            listener, displaced = self._listen(place, port)
            undo.callback(self._restore, place, displaced)
            with signals_deferred():
                server = self._launch(place, release.model, release.number, listener)
                candidate = server.deployment()
                self._candidates[candidate.id] = _Candidate(candidate, displaced, push)
                undo.pop_all()
        return candidate

    def promote(self, candidate: Deployment) -> None:
        """List a candidate in place of the deployment before it, which is drained; see `Target.promote`."""
        place = self._place(candidate.model, candidate.environment)
        before = place.current()
        if before is not None and before.folder.name == candidate.id:
            before = None
        with ExitStack() as last:
            with signals_deferred():
                place.list_server(candidate.id)
                known = self._candidates.pop(candidate.id, None)
                if known is not None:
                    last.enter_context(known.push)
                if before is not None:
                    last.callback(before.remove)
                    last.callback(before.kill)
            if before is not None:
                before.end(before.drain + STOP_MARGIN)
        self._releases(candidate.model).prune(self._used(candidate.model))
        used = environments_in_use(self._state / "local", self._places())
        prune_environments(self._state / "envs", used, time.time())

    def discard(self, candidate: Deployment) -> None:
        """Kill a candidate and start what it had displaced; see `Target.discard`."""
        place = self._place(candidate.model, candidate.environment)
        if place.is_listed(candidate.id):
            return
        server = place.server(candidate.id)
        known = self._candidates.pop(candidate.id, None)
        with ExitStack() as last:
            if known is not None:
                last.enter_context(known.push)
                last.callback(self._restore, place, known.displaced)
            if server is not None:
                last.callback(server.remove)
                server.kill()

    def stop(self, deployment: Deployment) -> None:
        """Drain, end and unlist a deployment; see `Target.stop`."""
        place = self._place(deployment.model, deployment.environment)
        server = place.server(deployment.id)
        if server is not None:
            with ExitStack() as last:
                last.callback(server.remove)
                last.callback(place.unlist_server, deployment.id)
                server.end(server.drain + STOP_MARGIN)

    def exit_code(self, deployment: Deployment) -> int | None:
        """Return the exit code of a deployment's server, `UNKNOWN` if nobody saw it end; see `Target.exit_code`."""
        server = self._place(deployment.model, deployment.environment).server(deployment.id)
        if server is not None and server.alive:
            return None
        process = self._processes.get(deployment.id)
        if process is None:
            return UNKNOWN
        code = process.wait(KILL_TIMEOUT)  # the lock goes a moment before the process does
        return 128 - code if code < 0 else code  # as shells and Docker say it

    def logs(self, deployment: Deployment, *, follow: bool) -> Iterator[str]:
        """Yield a deployment's log lines; see `Target.logs`."""
        return self._server(deployment).lines(follow=follow)

    def deployments(self) -> list[Deployment]:
        """Return the listed deployments, newest first; see `Target.deployments`."""
        listed = [place.current() for place in self._places()]
        found = [server.deployment() for server in listed if server is not None]
        return sorted(found, key=lambda deployment: deployment.started, reverse=True)

    def _server(self, deployment: Deployment) -> Server:
        """Return the server of a deployment.

        Raises:
            NotDeployedError: It was removed.
        """
        server = self._place(deployment.model, deployment.environment).server(deployment.id)
        if server is None:
            raise NotDeployedError(f"The server {deployment.id} of {deployment.model} is gone.")
        return server

    def _releases(self, model: str) -> Releases:
        return Releases(self._state / "local" / model / "releases")

    def _place(self, model: str, environment: str) -> Place:
        for name in (model, environment):
            if not name or slug(name) != name:  # it becomes the name of a folder
                raise UsageError(
                    f"{name!r} is no name: take lower case letters, digits and single `.`, `_`, `-`."
                )
        return Place(self._state / "local" / model / "environments" / environment)

    def _places(self, model: str = "*") -> list[Place]:
        return [Place(folder) for folder in (self._state / "local").glob(f"{model}/environments/*")]

    def _used(self, model: str) -> set[int]:
        return {server.release for place in self._places(model) for server in place.servers()}

    def _listen(self, place: Place, port: int | None) -> tuple[socket.socket, Server | None]:
        """Return a listening socket, and the current deployment if it had to be stopped for it.

        Raises:
            EngineError: Somebody else has the port.
        """
        current = place.current()
        if current is None or current.port != port or not current.alive:
            return self._bind(port), None
        with ExitStack() as undo:
            undo.callback(self._restore, place, current)
            current.end(current.drain + STOP_MARGIN)
            listener = self._bind(port)
            undo.pop_all()
        return listener, current

    def _bind(self, port: int | None) -> socket.socket:
        """Return a listening socket.

        Raises:
            EngineError: The port cannot be had; where a deployment has it, it is named.
        """
        try:
            return listen(port)
        except PortTakenError as exc:
            for one in self.deployments():
                if one.running and one.url.endswith(f":{port}"):
                    holder = f"{one.model} ({one.environment}, release {one.release})"
                    raise EngineError(f"Port {port} is taken by {holder}.", hint=exc.hint) from exc
            raise

    def _launch(
        self, place: Place, model: str, number: int, listener: socket.socket, before: Server | None = None
    ) -> Server:
        """Start a server; one of a release that ran before goes on with the versions which that was brought."""
        with listener, signals_deferred():
            stored = self._releases(model).get(number)
            config = stored.manifest().config
            folder = place.servers_folder / secrets.token_hex(6)
            options = ["--release", str(stored.app), "--python", stored.python, "--environment", place.name]
            if place.name == DEVELOPMENT:
                options += ["--control", str(folder / CONTROL)]
            how = Launch(
                command=[*self._server_command, *options],
                environ=self._environ,
                model=model,
                release=number,
                environment=place.name,
                drain=config["runtime"]["drain_timeout"],
                versions=before.control if before else None,
                secrets=find_secrets(config.get("secrets") or {}, self._environ),
            )
            server, process = launch(how, folder, listener)
            self._processes[server.folder.name] = process
        return server

    def _restore(self, place: Place, displaced: Server | None) -> None:
        """Start a deployment again that was stopped for its port."""
        if displaced is None:
            return
        listener = self._bind(displaced.port)
        server = self._launch(place, displaced.model, displaced.release, listener, displaced)
        place.list_server(server.folder.name)
        displaced.remove()

    def _discard_all(self) -> None:
        for candidate in list(self._candidates.values()):
            self.discard(candidate.deployment)
