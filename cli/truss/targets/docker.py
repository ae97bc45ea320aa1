"""The target `docker`: releases are images, deployments containers, and labels hold all that is known of them."""

from __future__ import annotations

import math
import os
import re
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from docker.errors import NotFound

from truss.config_values import EDGE_PORT
from truss.errors import EngineError, NotDeployedError
from truss.gpus import explain_start, gpus_here
from truss.images import DRAIN_LABEL, GPUS_LABEL, MODEL_LABEL, SECRETS_LABEL
from truss.ports import free_port, is_taken
from truss.state import locked, state_folder
from truss.targets.docker_cache import cache_mount, prune_caches
from truss.targets.docker_container import (
    CANDIDATE,
    ENVIRONMENT_LABEL,
    REPLACES_LABEL,
    Container,
    candidate_name,
    host_config,
)
from truss.targets.docker_control import attach, control_options
from truss.targets.docker_engine import connect, engine_errors, hearing
from truss.targets.docker_prune import prune
from truss.targets.docker_releases import DockerReleases
from truss.targets.docker_secrets import MountedSecrets, forget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    import docker

    from truss.channel import Channel
    from truss.progress import Progress
    from truss.release import Deployment, Release, ReleasePlan

PORT_ATTEMPTS = 5
"""Free ports that are tried: between finding one and publishing it another program may take it."""

RESTART = "unless-stopped"
"""What the engine does when the server of a deployment ends by itself, or the machine starts again."""

STOP_MARGIN_SECONDS = 5
"""What the server gets beyond its drain timeout before it is killed."""

PATIENCE = 15.0
"""Seconds to wait for another push to the same environment."""


class DockerTarget:
    """Builds images and runs containers on a Docker engine.

    Args:
        client: Of the engine.
        environ: The user's environment: settings of pip and of the network reach builds.
        gpus: Counts the GPUs of this machine.
    """

    name = "docker"

    def __init__(
        self,
        client: docker.APIClient,
        environ: Mapping[str, str],
        gpus: Callable[[], int] = gpus_here,
    ) -> None:
        self._client = client
        self._environ = environ
        self._gpus = gpus
        self._releases = DockerReleases(client, environ)
        self._pushes: dict[str, ExitStack] = {}  # locks that are held from `start` to `promote` or `discard`

    @classmethod
    def connect(cls, environ: Mapping[str, str] = os.environ) -> DockerTarget:
        """Return the target on the engine that answers, or find within two seconds that none does.

        Raises:
            EngineError: With what to do about it.
        """
        return cls(connect(environ), environ)

    def close(self) -> None:
        """Close the connection to the engine."""
        self._client.close()

    def build(self, plan: ReleasePlan, progress: Progress) -> Release:
        """Build the images of a release that the engine does not have yet; see `Target.build`."""
        return self._releases.build(plan, progress)

    def start(self, release: Release, environment: str, *, port: int | None) -> Deployment:
        """Start a candidate; see `Target.start`."""
        with ExitStack() as push:
            push.enter_context(self._pushing(release.model, environment))
            self._sweep(release.model, environment)
            name = candidate_name(release, environment)
            replaced = self._holder_of(port, release.model, environment)
            labels = {ENVIRONMENT_LABEL: environment, REPLACES_LABEL: replaced.id if replaced else ""}
            try:
                if replaced is not None:
                    self._stop(replaced)
                self._run(name, release, environment, labels, port)
                candidate = self._container(name).deployment()
            except BaseException:
                self._undo(name, labels[REPLACES_LABEL])
                raise
            self._pushes[candidate.id] = push.pop_all()
        return candidate

    def prepare(self, plan: ReleasePlan, progress: Progress) -> None:
        """An environment is a layer of an image: it is made by a build; see `Target.prepare`."""

    def attach(self, deployment: Deployment) -> Channel:
        """Return a channel through an exec in a deployment's container; see `Target.attach`."""
        if not self._container(deployment.id).running:
            raise NotDeployedError(f"The container {deployment.id[:12]} is stopped.", hint="Push again.")
        return attach(self._client, deployment.id)

    def promote(self, candidate: Deployment) -> None:
        """Make a candidate the deployment of its environment; see `Target.promote`."""
        before = self._listed(candidate.model, candidate.environment)
        name = self._container(candidate.id).name.removesuffix(CANDIDATE)
        with engine_errors("promote the candidate"):
            with suppress(NotFound):  # Podman before 5 gives no container a policy once it is made
                self._client.update_container(candidate.id, restart_policy={"Name": RESTART})  # type: ignore[arg-type]
            self._client.rename(candidate.id, name)
        with self._pushes.pop(candidate.id, ExitStack()):
            self._end(*before)
            with suppress(
                EngineError
            ):  # the push has happened, and the next one removes what this one does not
                prune(self._client, candidate.model)
                prune_caches(self._client)

    def discard(self, candidate: Deployment) -> None:
        """Remove a candidate and put back what it replaced; see `Target.discard`."""
        with self._pushes.pop(candidate.id, ExitStack()), suppress(NotDeployedError):
            container = self._container(candidate.id)
            if container.is_candidate:
                self._undo(container.id, container.labels[REPLACES_LABEL])

    def stop(self, deployment: Deployment) -> None:
        """Drain and remove a deployment; see `Target.stop`."""
        with suppress(NotDeployedError):
            self._end(self._container(deployment.id))

    def exit_code(self, deployment: Deployment) -> int | None:
        """Return the exit code of a deployment's server; see `Target.exit_code`.

        Raises:
            NotDeployedError: Its container was removed.
        """
        container = self._container(deployment.id)
        return None if container.running else container.code

    def logs(self, deployment: Deployment, *, follow: bool) -> Iterator[str]:
        """Yield a deployment's log lines; see `Target.logs`."""
        rest = b""
        with (
            engine_errors("read the log"),
            hearing(self._client.logs(deployment.id, stream=True, follow=follow)) as log,
        ):
            for chunk in log:
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (line.decode(errors="replace") for line in lines)
        if rest:
            yield rest.decode(errors="replace")

    def deployments(self) -> list[Deployment]:
        """Return the listed deployments, newest first; see `Target.deployments`."""
        found = [container.deployment() for container in self._listed()]
        return sorted(found, key=lambda deployment: deployment.started, reverse=True)

    def _run(
        self, name: str, release: Release, environment: str, labels: Mapping[str, str], port: int | None
    ) -> None:
        """Create and start a container. A port of its own choice stays its own when it is restarted.

        Raises:
            EngineError: It does not start, or the port is taken.
        """
        for attempt in range(1, PORT_ATTEMPTS + 1):
            published = port or free_port()
            try:
                with engine_errors(f"start a container of {release.reference}"):
                    self._create(name, release, environment, labels, published)
                    self._client.start(name)
            except EngineError as exc:
                self._remove(name)  # Podman holds the port of a container that did not start
                if not is_taken(published):
                    explain_start(exc)
                    raise
                if port or attempt == PORT_ATTEMPTS:
                    hint = "Take another one, or leave the choice to truss."
                    raise EngineError(f"Port {published} is taken.", details=exc.details, hint=hint) from exc
            else:
                return

    def _gpus_of(self, release: Release) -> int:
        """Return how many GPUs a container of a release gets: what its model asks for, of those there are."""
        wanted = int(self._releases.labels_of(release.reference).get(GPUS_LABEL, 0))
        return min(wanted, self._gpus()) if wanted else 0

    def _create(
        self, name: str, release: Release, environment: str, labels: Mapping[str, str], port: int
    ) -> None:
        """Create a container that can do nothing but serve."""
        asked = self._releases.labels_of(release.reference)
        drain = float(asked[DRAIN_LABEL])
        mounts = MountedSecrets.of(self._environ, release.model, environment).mount(
            asked.get(SECRETS_LABEL, "").split()
        )
        mounts.append(cache_mount(self._client, release))
        gpus = self._gpus_of(release)
        self._client.create_container(
            release.reference,
            name=name,
            command=["--environment", environment, *control_options(environment)],
            labels=dict(labels),
            ports=[EDGE_PORT],
            stop_timeout=math.ceil(drain) + STOP_MARGIN_SECONDS,
            host_config=host_config(self._client, port, gpus, mounts),
        )

    def _container(self, name: str) -> Container:
        """Return a container by its id or name.

        Raises:
            NotDeployedError: There is none.
        """
        with engine_errors("look at a container"):
            try:
                return Container.of(self._client.inspect_container(name))
            except NotFound as exc:
                raise NotDeployedError(f"The container {name} is gone.") from exc

    def _pushing(self, model: str, environment: str) -> AbstractContextManager[object]:
        """Hold the lock of pushes of a model to an environment; it ends with this process, however that ends.

        Raises:
            EngineError: Another push is under way.
        """
        folder = state_folder(self._environ) / "docker" / model
        folder.mkdir(parents=True, exist_ok=True)
        busy = f"Another push of {model} to {environment} is under way."
        words = re.sub(r"[^A-Za-z0-9_.-]", "-", environment)
        return locked(folder / f"{words}.lock", timeout=PATIENCE, busy=busy)

    def _sweep(self, model: str, environment: str) -> None:
        """Remove candidates of pushes that were killed, and put back what they had replaced."""
        for container in self._containers(model, environment):
            if container.is_candidate:
                self._undo(container.id, container.labels[REPLACES_LABEL])
        secrets = MountedSecrets.of(self._environ, model, environment)
        if secrets.there:
            left = [self._client.inspect_container(one.id) for one in self._containers(model, environment)]
            secrets.sweep(left)

    def _listed(self, model: str | None = None, environment: str | None = None) -> list[Container]:
        """Return the containers that are deployments, of a model and an environment or of all."""
        return [one for one in self._containers(model, environment) if not one.is_candidate]

    def _containers(self, model: str | None, environment: str | None) -> list[Container]:
        """Return the containers of ours, of a model and an environment or of all."""
        wanted = {MODEL_LABEL: model, ENVIRONMENT_LABEL: environment}
        label = [key if value is None else f"{key}={value}" for key, value in wanted.items()]
        with engine_errors("list its containers"):
            ids = [found["Id"] for found in self._client.containers(all=True, filters={"label": label})]
        containers = []
        for id_ in ids:
            with suppress(NotDeployedError):
                containers.append(self._container(id_))
        return containers

    def _holder_of(self, port: int | None, model: str, environment: str) -> Container | None:
        """Return the running deployment of a model and environment that holds a port."""
        listed = self._listed(model, environment) if port else []
        return next((one for one in listed if one.running and one.port == port), None)

    def _stop(self, container: Container) -> None:
        """Let a container's server drain; the engine kills it when its time is over."""
        with engine_errors("stop a container"), suppress(NotFound):
            self._client.stop(container.id, timeout=container.stop_timeout)

    def _end(self, *containers: Container) -> None:
        """Drain and remove containers; after Ctrl-C they are removed at once."""
        with ExitStack() as removals:
            for container in containers:
                removals.callback(self._remove, container.id)
            for container in containers:
                self._stop(container)

    def _remove(self, name: str) -> None:
        """Remove a container, running or not, if it is there."""
        with engine_errors("remove a container"), suppress(NotFound):
            found = self._client.inspect_container(name)
            self._client.remove_container(name, force=True, v=True)
            forget(found)

    def _undo(self, name: str, replaced: str) -> None:
        """Remove a candidate and start what it replaced, which may still be about to end."""
        self._remove(name)
        if not replaced:
            return
        with suppress(NotDeployedError):
            self._stop(self._container(replaced))
            with engine_errors("start the container that was replaced"):
                self._client.start(replaced)
