"""How fast the body of a request has to come."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SLOWEST = 1024
"""Bytes a second of a body that the edge gathers; one that the model reads must only not pause."""


class Pace:
    """Gives up a body of which less than `least` bytes come within `seconds`. One timer a body.

    Args:
        seconds: Between two looks.
        least: Bytes between them.
        on_slow: Called once when there were fewer.

    Attributes:
        held: Whether the server takes nothing at the moment; that is not the client's fault.
    """

    def __init__(self, seconds: float, least: float, on_slow: Callable[[], None]) -> None:
        self.held = False
        self._seconds = seconds
        self._least = least
        self._on_slow = on_slow
        self._came = 0.0
        self._wait()

    def came(self, size: int) -> None:
        """Note bytes of the body."""
        self._came += size

    def go_on(self) -> None:
        """Note that the server takes bytes again."""
        self.held = False
        self._came = self._least  # nothing is asked of the client until the next look

    def close(self) -> None:
        """Stop looking."""
        self._handle.cancel()

    def _wait(self) -> None:
        self._handle = asyncio.get_running_loop().call_later(self._seconds, self._look)

    def _look(self) -> None:
        if self._came < self._least and not self.held:
            self._on_slow()
            return
        self._came = 0.0
        self._wait()
