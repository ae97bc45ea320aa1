"""Honest stand-ins for ports of the tool."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from truss.build_report import BuiltImage


class RecordedProgress:
    """Keeps what it is told; see `truss.progress.Progress`.

    Args:
        on_detail: Called with each line: what happens while it happens.

    Attributes:
        details: Lines inside steps.
        images: What the last build took.
    """

    def __init__(self, on_detail: Callable[[str], object] = str) -> None:
        self.details: list[str] = []
        self.images: list[BuiltImage] = []
        self._on_detail = on_detail

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Enter a step."""
        yield

    def detail(self, line: str) -> None:
        """Keep a line."""
        self.details.append(line)
        self._on_detail(line)

    def note(self, line: str) -> None:
        """Keep a line."""
        self.details.append(line)

    def built(self, images: Sequence[BuiltImage]) -> None:
        """Keep what a build took."""
        self.images = list(images)
