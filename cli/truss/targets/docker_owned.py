"""Containers that live no longer than the command that made them, and the end of those whose command was killed.

A command has a folder of the state, with a lock that ends with its process. Its container bears the folder's path.
"""

from __future__ import annotations

import secrets
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from docker.errors import APIError, NotFound

from truss.errors import EngineError
from truss.images import BUILD_LABEL
from truss.stages import BUILD_ARG
from truss.state import Lock, is_held, locked, state_folder
from truss.targets.docker_engine import engine_errors
from truss.targets.docker_store import in_containerd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import docker

OWNER_LABEL = "truss.owner"

PATIENCE = 30.0
"""Seconds to wait for another command that begins or clears away."""

_LOCK = "lock"


@dataclass(frozen=True)
class Owner:
    """A command that has a container.

    Attributes:
        folder: Of its own, for its user alone; it goes with the command.
    """

    folder: Path

    @property
    def container(self) -> str:
        """The name of its container."""
        return f"truss-{self.folder.name}"

    @property
    def labels(self) -> dict[str, str]:
        """What its container bears."""
        return {OWNER_LABEL: str(self.folder)}

    @property
    def build(self) -> Path:
        """A file with the id of the build that it has under way, for who clears away after it."""
        return self.folder / "build"


@contextmanager
def owner(environ: Mapping[str, str]) -> Iterator[Owner]:
    """Give this process what shows, for the time of the block, that a container is still wanted.

    Raises:
        EngineError: The folder for state cannot be used.
    """
    folder = _folder(environ)
    mine = folder / f"run-{secrets.token_hex(6)}"
    with _alone(folder):
        mine.mkdir(mode=0o700)
        lock = Lock.take(mine / _LOCK)
    try:
        yield Owner(mine)
    finally:
        shutil.rmtree(mine, ignore_errors=True)
        if lock is not None:
            lock.close()


def sweep(client: docker.APIClient, environ: Mapping[str, str]) -> None:
    """Remove the containers and folders of commands that were killed; that this fails is nobody's business now."""
    folder = _folder(environ)
    with suppress(EngineError, OSError), _alone(folder), engine_errors("clear away old containers"):
        for found in client.containers(all=True, filters={"label": OWNER_LABEL}):
            one = Owner(Path(found["Labels"][OWNER_LABEL]))
            # An image that a user made of such a container has its label, too, and their containers other names.
            if one.folder.parent == folder and f"/{one.container}" in found["Names"] and not _lives(one):
                with suppress(APIError):
                    client.remove_container(found["Id"], force=True, v=True)
        for one in map(Owner, folder.glob("run-*")):
            if not _lives(one):
                with suppress(APIError):  # there is none, mostly; one whose image is made bears no such label
                    client.remove_container(one.container, force=True, v=True)
                if one.build.exists():
                    clear_build(client, one.build.read_text(encoding="utf-8"))
                shutil.rmtree(one.folder, ignore_errors=True)


def clear_build(client: docker.APIClient, build_id: str) -> bool:
    """Remove the containers and the unnamed images of a build; return whether there were containers."""
    label = f"{BUILD_LABEL}={build_id}"
    containers = client.containers(all=True, filters={"label": label})
    for found in containers:
        with suppress(NotFound):
            client.remove_container(found, force=True, v=True)
    begun = _begun_with(client, label) if in_containerd(client) else ()
    client.prune_images({"dangling": True, "label": label})  # type: ignore[no-untyped-call]
    for image in begun:
        with suppress(APIError):
            client.remove_image(image)
    return bool(containers)


def _begun_with(client: docker.APIClient, label: str) -> set[str]:
    """Return the images that a build has made before it came to its label.

    Containerd's store keeps an image of each step of the classic builder; that of the ARG, which the LABEL after it
    needs, has the labels of the image below. In Docker's own store they are parts of the image that is made.
    """
    made = client.images(all=True, filters={"label": label})
    above = {one["ParentId"] for one in made} - {one["Id"] for one in made}
    return {one for one in above if one and _is_argument(client, one)}


def _is_argument(client: docker.APIClient, image: str) -> bool:
    """Return whether an image is of our ARG, rather than one that a build stands upon, which may be a user's."""
    with suppress(APIError):
        history = client.history(image) or []  # type: ignore[no-untyped-call]
        return any(f"ARG {BUILD_ARG}" in last["CreatedBy"] for last in history[:1])
    return False


def _folder(environ: Mapping[str, str]) -> Path:
    return state_folder(environ) / "docker" / ".runs"  # no model is called so


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep those who begin and those who clear away out of each other's way."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(folder / _LOCK, timeout=PATIENCE, busy="Another truss begins to run an image."):
        yield


def _lives(one: Owner) -> bool:
    return is_held(one.folder / _LOCK)
