"""The border to the Docker engine: a client that answers at once or not at all, and what its errors are called."""

from __future__ import annotations

import http.client
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import docker
from docker.errors import APIError, DockerException
from docker.utils import kwargs_from_env
from urllib3.exceptions import HTTPError

from truss.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from docker.types import CancellableStream

DEFAULT_ADDRESS = "unix:///var/run/docker.sock"

CONNECT_LIMIT_SECONDS = 2
CALL_LIMIT_SECONDS = 60
"""How long the engine may keep silent; a call that takes longer by nature has a limit of its own."""

FOREIGN = (DockerException, HTTPError, http.client.HTTPException, OSError)
"""What docker-py, and what it is made of, raises."""


def connect(environ: Mapping[str, str]) -> docker.APIClient:
    """Return a client of the engine that answers.

    Raises:
        EngineError: None does within two seconds.
    """
    address = _address(environ)
    if not _is_here(address):
        raise EngineError(
            f"The Docker engine at {address} is on another machine; deployments run on this one.",
            hint="Name an engine of this machine in DOCKER_HOST, or take `--target local`.",
        )
    try:
        _probe(address)
        settings = kwargs_from_env({**environ, "DOCKER_HOST": address})
        client = docker.APIClient(**settings, version="auto", timeout=CONNECT_LIMIT_SECONDS)
    except FOREIGN as exc:
        raise _no_engine(address, exc) from exc
    client.timeout = CALL_LIMIT_SECONDS
    return client


@contextmanager
def hearing(stream: CancellableStream[bytes]) -> Iterator[Iterator[bytes]]:
    """Give what the engine sends until it is not wanted any more.

    docker-py closes the socket but leaves what reads it, and with it the descriptor, to the garbage collector.
    """
    try:
        yield iter(stream)
    finally:
        stream.close()
        stream._response.close()  # type: ignore[attr-defined]  # noqa: SLF001 - there is no other way to it


@contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """Raise an `EngineError` for whatever docker-py raises in the block.

    Args:
        doing: What Docker is asked for, after "Docker could not".
    """
    try:
        yield
    except APIError as exc:
        raise EngineError(f"Docker could not {doing}.", details=explanation(exc)) from exc
    except BrokenPipeError:
        raise  # of whoever reads what we print: docker-py wraps those of its own
    except FOREIGN as exc:
        if _find(exc, TimeoutError):
            raise EngineError(f"Docker did not {doing} in time.", hint="Look at the engine's log.") from exc
        raise EngineError(f"Docker could not {doing}: the engine went away.", details=str(exc)) from exc


def is_podman(client: docker.APIClient) -> bool:
    """Return whether what answers is Podman, which has Docker's API and none of BuildKit."""
    with engine_errors("say what it is"):
        known = client.version(api_version=False)
    return any(part["Name"] == "Podman Engine" for part in known.get("Components") or ())


def explanation(error: APIError) -> str:
    """Return what the engine itself says."""
    return str(error.explanation or error)


def with_address(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which Docker's own command line takes the engine that `connect` takes."""
    kept = {name: value for name, value in environ.items() if name != "DOCKER_CONTEXT"}
    return {**kept, "DOCKER_HOST": _address(environ)}


def _address(environ: Mapping[str, str]) -> str:
    """Return the address of the engine that is meant: of DOCKER_HOST, of DOCKER_CONTEXT, or of the chosen context.

    `docker context use` chooses one, as Docker Desktop, Colima and rootless engines do.
    """
    if address := environ.get("DOCKER_HOST"):
        return address
    name = environ.get("DOCKER_CONTEXT")
    try:
        context = docker.ContextAPI.get_context(name) if name else docker.ContextAPI.get_current_context()
    except FOREIGN:
        context = None
    if name and context is None:
        raise EngineError(
            f"There is no Docker context {name}, which DOCKER_CONTEXT names.",
            hint="`docker context ls` shows those there are.",
        )
    return getattr(context, "Host", None) or DEFAULT_ADDRESS


def _is_here(address: str) -> bool:
    """Return whether an engine is on this machine: where it publishes a port on loopback, we can reach it."""
    parts = urlsplit(address)
    return parts.scheme in {"unix", "npipe", "http+unix"} or parts.hostname in {
        "127.0.0.1",
        "::1",
        "localhost",
    }


def _probe(address: str) -> None:
    """Connect once: docker-py leaves a socket whose connection fails to the garbage collector."""
    if address.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(CONNECT_LIMIT_SECONDS)
            probe.connect(address.removeprefix("unix://"))


def _no_engine(address: str, error: Exception) -> EngineError:
    """Return why there is no client."""
    local = "or use the target that needs none: `--target local`."
    if _find(error, PermissionError):
        return EngineError(
            f"You may not use the Docker engine at {address}.",
            hint=f"Join the group its socket belongs to (usually `docker`) and log in again, {local}",
        )
    if _find(error, TimeoutError):
        return EngineError(
            f"The Docker engine at {address} did not answer within {CONNECT_LIMIT_SECONDS} s.",
            hint=f"It may still be starting: try again, {local}",
        )
    if _find(error, (FileNotFoundError, ConnectionRefusedError)):
        return EngineError(
            f"No Docker engine answers at {address}.",
            hint=f"Start Docker, name another engine in DOCKER_HOST, {local}",
        )
    return EngineError(
        f"The Docker engine at {address} cannot be used.",
        details=str(error),
        hint=f"Check DOCKER_HOST and the other DOCKER_ variables, {local}",
    )


def _find(error: BaseException, kind: type[BaseException] | tuple[type[BaseException], ...]) -> bool:
    """Return whether an error of a kind is the error or what led to it, however wrapped."""
    todo: list[object] = [error]
    seen: list[object] = []
    while todo:
        current = todo.pop()
        if isinstance(current, kind):
            return True
        if isinstance(current, BaseException) and not any(current is other for other in seen):
            seen.append(current)
            todo += [current.__cause__, current.__context__, *current.args]
    return False
