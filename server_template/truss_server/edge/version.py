"""A version of the package, as workers load it, and the ways in which it may not come up."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from truss_server.protocol import ENVIRONMENT_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from truss_server.protocol import Manifest


@dataclass(frozen=True)
class Version:
    """A version of the package that a worker can load.

    Attributes:
        root: Its folder.
        manifest: What lies in it as `release.json`.
        generation: Its number.
        python: Interpreter of the model's environment.
        environment: Name of the environment the deployment belongs to.
        swaps: Whether the worker is to take new code later.
    """

    root: Path
    manifest: Manifest
    generation: int
    python: str
    environment: str
    swaps: bool

    def fits(self, other: Version) -> bool:
        """Return whether a process that was started for this one has all that another one's is started with."""
        return self._start() == other._start()

    def environ(self) -> dict[str, str]:
        """Return the environment variables of its process."""
        environment = {
            **os.environ,
            **self.manifest.config["environment_variables"],  # the model's, and not the server's
            ENVIRONMENT_VARIABLE: self.environment,
        }
        folder = str(Path(self.python).parent)
        environment["PATH"] = os.pathsep.join([folder, environment.get("PATH", os.defpath)])
        return environment

    def _start(self) -> tuple[object, ...]:
        return self.python, self.environment, self.swaps, self.manifest.config["environment_variables"]


@dataclass(frozen=True)
class Swap:
    """How a version's code is brought up beside that of another.

    Attributes:
        modules: Files that are to be executed again.
        keep: Names, by file, whose objects stay what they are.
    """

    modules: Sequence[str]
    keep: Mapping[str, Sequence[str]]


class FailedError(Exception):
    """A version cannot serve.

    Args:
        message: Why, in a line.
        trace: Of the author's code.
    """

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.trace = trace

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> FailedError:
        """Return what a worker's STATE says."""
        text = f"{state.get('type', 'Error')}: {state.get('message', state.get('detail'))}"
        return cls(text, state.get("traceback", ""))


class RefusedError(Exception):
    """A version cannot be swapped in; it has to be loaded."""
