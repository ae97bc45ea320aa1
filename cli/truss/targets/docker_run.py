"""A release in a container of its own, for as long as somebody looks at it: closed in as far as it can be."""

from __future__ import annotations

from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

from docker.errors import NotFound

from truss.config_values import EDGE_PORT
from truss.errors import EngineError, StartError
from truss.targets.docker_container import LOOPBACK, is_taken
from truss.targets.docker_engine import engine_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker

STOP_SECONDS = 35
"""What the server gets to end its requests before it is killed."""


class DockerRun:
    """Runs images where they can write to nothing but their home, a volume that goes with them, and /tmp, in memory.

    Args:
        client: Of the engine.
    """

    def __init__(self, client: docker.APIClient) -> None:
        self._client = client

    @contextmanager
    def running(self, reference: str, port: int) -> Iterator[str]:
        """Run an image inside of the block, published on loopback; give the id of its container.

        Raises:
            EngineError: The port is taken, or there is no such image.
        """
        if is_taken(port):
            raise EngineError(f"Port {port} is taken.", hint="Name another one by --port.")
        starting = f"start a container of {reference}"
        with engine_errors(starting):
            container = self._create(reference, port)
        try:
            with engine_errors(starting):
                self._client.start(container)
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
            closing(self._client.logs(container, stream=True, follow=True)) as log,
        ):
            for chunk in log:
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (line.decode(errors="replace") for line in lines)
        code = int(self._client.wait(container)["StatusCode"])
        if code != 0:
            raise StartError(f"The server ended with exit code {code}.", hint="The lines above say why.")

    def _create(self, reference: str, port: int) -> str:
        """Create a container that can do nothing but serve."""
        made = self._client.create_container(
            reference,
            ports=[EDGE_PORT],
            volumes=["/home/truss"],
            host_config=self._client.create_host_config(
                port_bindings={EDGE_PORT: (LOOPBACK, port)},
                read_only=True,
                tmpfs={"/tmp": ""},  # noqa: S108 of the container
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
            ),
        )
        return str(made["Id"])
