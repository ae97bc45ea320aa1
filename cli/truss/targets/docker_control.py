"""The control socket of a container: reached by an exec, because it is no port."""

from __future__ import annotations

import socket
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from truss.channel import ExecChannel
from truss.errors import EngineError
from truss.targets.docker_engine import engine_errors
from truss_server.protocol import CONTROL_SOCKET, DEVELOPMENT

if TYPE_CHECKING:
    import docker

CONTROL_FOLDER = PurePosixPath("/home/truss/control")
"""In a container in development: its control socket and the versions it was brought."""

PYTHON = "/opt/truss/edge/bin/python"


def control_options(environment: str) -> list[str]:
    """Return what lets a server be watched, where it may be."""
    return ["--control", str(CONTROL_FOLDER)] if environment == DEVELOPMENT else []


def attach(client: docker.APIClient, container: str) -> ExecChannel:
    """Return a channel to the control socket of a running container.

    Raises:
        EngineError: The engine does not let us in.
    """
    relay = [PYTHON, "-I", "-m", "truss_server.relay", str(CONTROL_FOLDER / CONTROL_SOCKET)]
    with engine_errors("reach into the container"):
        made = client.exec_create(container, relay, stdin=True)
        raw: Any = client.exec_start(made["Id"], socket=True)
    connection = getattr(raw, "_sock", raw)
    if not isinstance(connection, socket.socket):
        raise EngineError("The connection to the engine cannot be used.", hint="Use its Unix socket.")
    # docker-py closes what it holds when it is forgotten.
    return ExecChannel(connection.dup())
