"""A version of the package, as workers load it, and the ways in which it may not come up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

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


class RefusedError(Exception):
    """A version cannot be swapped in; it has to be loaded."""
