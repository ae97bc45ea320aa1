"""What commands get from outside: targets, HTTP, console, folder, clock. Tests hand in their own."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from truss.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import typer

    from truss.client import HttpClient
    from truss.targets import Target
    from truss.targets.docker_works import DockerWorks

TARGETS = ("docker", "local")
"""Names of all targets."""


class Clock(Protocol):
    """Time, as far as workflows need it."""

    def monotonic(self) -> float:
        """Return seconds since some moment."""

    def now(self) -> datetime:
        """Return the current time (UTC)."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The clock of this machine."""

    def monotonic(self) -> float:
        """Return seconds since some moment."""
        return time.monotonic()

    def now(self) -> datetime:
        """Return the current time (UTC)."""
        return datetime.now(timezone.utc)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def open_client() -> HttpClient:
    """Return an HTTP client; importing httpx is what makes this slow, so only commands that call do it."""
    from truss.client import HttpClient

    return HttpClient()


def open_works() -> DockerWorks:
    """Return what builds and runs images on the engine of this machine.

    Raises:
        EngineError: It does not answer.
    """
    from truss.targets.docker_works import DockerWorks

    return DockerWorks.connect()


@dataclass(frozen=True)
class Deps:
    """The outside world of a command, in `ctx.obj`. Each default is built when it is first asked for.

    Attributes:
        target: Gives the target of a name of `TARGETS`; raises `EngineError` where it does not answer.
        client: Gives an HTTP client.
        works: Gives what builds and runs images; raises `EngineError` where no engine answers.
        console: Gives the console.
        cwd: Folder the command runs in.
        environ: Environment variables.
        clock: Time.
    """

    target: Callable[[str], Target]
    client: Callable[[], HttpClient] = open_client
    works: Callable[[], DockerWorks] = open_works
    console: Callable[[], Console] = Console.of_process
    cwd: Path = field(default_factory=Path.cwd)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    clock: Clock = field(default_factory=SystemClock)

    @classmethod
    def of(cls, ctx: typer.Context) -> Deps:
        """Return the dependencies of a command."""
        deps = ctx.obj
        if not isinstance(deps, cls):
            raise TypeError("the context of a command holds no Deps")
        return deps


def open_target(name: str) -> Target:
    """Return a target of this machine.

    Raises:
        EngineError: It does not answer.
    """
    if name == "docker":
        from truss.targets.docker import DockerTarget

        return DockerTarget.connect()
    from truss.targets.local import LocalTarget

    return LocalTarget()
