"""The port through which a workflow tells what it is doing. The adapter is `truss.console`."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from truss.errors import TrussError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from truss.build_report import BuiltImage


class Progress(Protocol):
    """Told by a workflow about its steps, as they happen."""

    def step(self, name: str) -> AbstractContextManager[None]:
        """Enter a named step; leaving it reports its duration. A `TrussError` that leaves it gets `step = name`."""

    def detail(self, line: str) -> None:
        """Report one line of what happens inside the current step: a pip line, a build step, a model's log line."""

    def note(self, line: str) -> None:
        """Report something the user should keep reading after the step is over."""

    def built(self, images: Sequence[BuiltImage]) -> None:
        """Report what a build took, image by image, once something was built."""


@contextmanager
def named(step: str) -> Iterator[None]:
    """Give the step's name to a `TrussError` that leaves the block without one."""
    try:
        yield
    except TrussError as error:
        error.step = error.step or step
        raise
