"""The port through which a workflow tells what it is doing. The adapter is `truss.console`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class Progress(Protocol):
    """Told by a workflow about its steps, as they happen."""

    def step(self, name: str) -> AbstractContextManager[None]:
        """Enter a named step; leaving it reports its duration. A `TrussError` that leaves it gets `step = name`."""

    def detail(self, line: str) -> None:
        """Report one line of what happens inside the current step: a pip line, a build step, a model's log line."""

    def note(self, line: str) -> None:
        """Report something the user should keep reading after the step is over."""
