"""A release in a container of its own, for as long as somebody looks at it: closed in as far as it can be."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from docker.errors import NotFound

from truss.config_values import EDGE_PORT
from truss.errors import EngineError, StartError
from truss.gpus import explain_start, gpus_here
from truss.images import GPUS_LABEL, SECRETS_LABEL
from truss.ports import is_taken
from truss.targets.docker_container import host_config
from truss.targets.docker_engine import engine_errors, hearing
from truss.targets.docker_owned import owner
from truss.targets.docker_secrets import MountedSecrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import docker

    from truss.targets.docker_owned import Owner

STOP_SECONDS = 35
"""What the server gets to end its requests before it is killed."""


class DockerRun:
    """Runs images where they can write to nothing but their home, a volume that goes with them, and /tmp, in memory.

    Args:
        client: Of the engine.
        environ: The user's environment: secrets.
        gpus: Counts the GPUs of this machine.
    """

    def __init__(
        self, client: docker.APIClient, environ: Mapping[str, str], gpus: Callable[[], int] = gpus_here
    ) -> None:
        self._client = client
        self._environ = environ
        self._gpus = gpus

    def check_port(self, port: int) -> None:
        """Refuse a port that is taken.

        Raises:
            EngineError: It is.
        """
        if is_taken(port):
            raise EngineError(f"Port {port} is taken.", hint="Name another one by --port.")

    @contextmanager
    def running(self, reference: str, port: int) -> Iterator[str]:
        """Run an image inside of the block, published on loopback; give the id of its container.

        Raises:
            EngineError: The port is taken, or there is no such image.
        """
        self.check_port(port)
        starting = f"start a container of {reference}"
        with owner(self._environ) as mine:
            with engine_errors(starting):
                labels = self._client.inspect_image(reference)["Config"]["Labels"]  # type: ignore[no-untyped-call]
                gpus = min(int(labels.get(GPUS_LABEL, 0)), self._gpus())
                container = self._create(reference, port, gpus, labels, mine)
            try:
                try:
                    with engine_errors(starting):
                        self._client.start(container)
                except EngineError as exc:
                    explain_start(exc)
                    raise
                yield container
                with engine_errors("stop the container"):
                    self._client.stop(container, timeout=STOP_SECONDS)
            finally:
                with engine_errors("remove the container"), suppress(NotFound):
                    self._client.remove_container(container, force=True, v=True)

    def logs(self, container: str) -> Iterator[str]:
        """Yield the lines of a container's log until it ends.

        Raises:
            StartError: It ended by itself, and not well.
        """
        rest = b""
        with (
            engine_errors("read the log"),
            hearing(self._client.logs(container, stream=True, follow=True)) as log,
        ):
            for chunk in log:
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (line.decode(errors="replace") for line in lines)
        code = int(self._client.wait(container)["StatusCode"])
        if code != 0:
            raise StartError(f"The server ended with exit code {code}.", hint="The lines above say why.")

    def _create(self, reference: str, port: int, gpus: int, labels: Mapping[str, str], mine: Owner) -> str:
        """Create a container that can do nothing but serve."""
        secrets = MountedSecrets(self._environ, mine.folder / "secrets")
        mounts = secrets.mount(labels.get(SECRETS_LABEL, "").split())
        closed = {"read_only": True, "tmpfs": {"/tmp": ""}}  # noqa: S108 of the container
        made = self._client.create_container(
            reference,
            name=mine.container,
            labels=mine.labels,
            ports=[EDGE_PORT],
            volumes=["/home/truss"],
            host_config=host_config(self._client, port, gpus, mounts, **closed),
        )
        return str(made["Id"])
