"""Whether an image can be built upon: looked at before anything runs in it, as some have nothing that could run."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from docker.errors import NotFound

from truss.errors import BuildError
from truss.stages import HOME
from truss.targets.docker_engine import engine_errors
from truss.targets.docker_owned import owner

if TYPE_CHECKING:
    from collections.abc import Mapping

    import docker

OURS = (PurePosixPath("/opt/truss"), PurePosixPath("/opt/model"), HOME)
"""Where the server, the model's environment and the home of both are in an image."""

NEEDED = ("/usr/bin/dpkg", "/bin/sh")
"""Every Debian, Ubuntu and what is made of them has these; slim ones do, too."""


def check_base(client: docker.APIClient, environ: Mapping[str, str], name: str) -> None:
    """Look into a base image of the user's own.

    Raises:
        BuildError: It is no Debian-like one, or would keep a build's files or lose them.
    """
    with owner(environ) as mine, engine_errors(f"look into the image {name}"):
        config: Mapping[str, Any] = client.inspect_image(name)["Config"]  # type: ignore[no-untyped-call]
        _check_config(config, name)
        container = client.create_container(name, ["nothing"], name=mine.container, labels=mine.labels)["Id"]
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


def _check_config(config: Mapping[str, Any], name: str) -> None:
    """Refuse an image that does more in a build than to be built upon.

    Raises:
        BuildError: It does.
    """
    if config.get("OnBuild"):
        raise BuildError(
            f"The base image {name} has ONBUILD instructions, which would copy the settings of the build.",
            hint="Name one without, such as the one it is made from.",
        )
    ours = {folder for place in OURS for folder in (place, *place.parents)}
    lost = [path for path in config.get("Volumes") or () if PurePosixPath(path) in ours]
    if lost:
        raise BuildError(
            f"The base image {name} declares {lost[0]} as a volume: what a build puts there is lost.",
            hint="Name one without it, such as the one it is made from.",
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
