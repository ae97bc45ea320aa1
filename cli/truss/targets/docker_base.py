"""Whether an image can be built upon: looked at before anything runs in it, as some have nothing that could run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from docker.errors import NotFound

from truss.errors import BuildError
from truss.targets.docker_engine import engine_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    import docker

NEEDED = ("/usr/bin/dpkg", "/bin/sh")
"""Every Debian, Ubuntu and what is made of them has these; slim ones do, too."""


def check_base(client: docker.APIClient, name: str) -> None:
    """Look into a base image of the user's own.

    Raises:
        BuildError: It is no Debian-like one.
    """
    with engine_errors(f"look into the image {name}"):
        container = client.create_container(name, ["nothing"])["Id"]
        try:
            missing = next((path for path in NEEDED if not _has(client, container, path)), None)
        finally:
            client.remove_container(container, v=True, force=True)
    if missing is not None:
        raise BuildError(
            f"The base image {name} is no Debian-like one: it has no {missing}.",
            hint="Name one that is made from Debian or Ubuntu in `base_image`, such as python:3.12-slim; "
            "Alpine and distroless images are none.",
        )


def command_of(found: Mapping[str, Any], name: str) -> str:
    """Return what starts a base image by itself, as the server is told it.

    Args:
        found: What the engine says of the image.
        name: Of the image.

    Raises:
        BuildError: Nothing does.
    """
    config = found["Config"]
    command = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
    if not command:
        raise BuildError(
            f"The base image {name} has no command of its own.",
            hint="Write `start_command` into docker_server.",
        )
    return json.dumps({"command": command, "folder": config.get("WorkingDir") or "/"})


def _has(client: docker.APIClient, container: str, path: str) -> bool:
    try:
        stream, _ = client.get_archive(container, path)
    except NotFound:
        return False
    for _ in stream:  # to its end, which gives the connection back
        pass
    return True
