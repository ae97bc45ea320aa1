"""The log of a deployment that is watched, collected in a thread, also across a restart of the deployment."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from truss.errors import TrussError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from truss.release import Deployment
    from truss.targets import Target

MOST_PENDING = 10_000
"""Lines that wait to be taken; of more than that the last ones are."""


class WatchLog:
    """What a deployment logs from now on.

    Args:
        target: Where it runs.
        deployment: Which.
        wake: Called in a thread when there are lines to be taken.

    Attributes:
        id: Of the deployment.
    """

    def __init__(self, target: Target, deployment: Deployment, wake: Callable[[], None]) -> None:
        self.id = deployment.id
        self._target = target
        self._deployment = deployment
        self._wake = wake
        self._lines: deque[str] = deque(maxlen=MOST_PENDING)
        self._resumed = threading.Event()
        self._closed = False
        # A daemon, because a log waits for its writer.
        threading.Thread(target=self._follow, daemon=True).start()

    def take(self) -> Iterator[str]:
        """Yield the lines that have come."""
        while self._lines:
            yield self._lines.popleft()

    def resume(self) -> None:
        """Go on where the log has ended, with what the deployment has logged since: it was started again."""
        self._resumed.set()

    def close(self) -> None:
        """Follow it no more."""
        self._closed = True
        self._resumed.set()

    def _follow(self) -> None:
        with suppress(TrussError):  # whether it is there shows elsewhere
            seen = self._count()
            while not self._closed:
                seen = self._read(seen)
                self._resumed.wait()
                self._resumed.clear()
                seen = min(seen, self._count())  # a long log loses its beginning

    def _count(self) -> int:
        return sum(1 for _ in self._target.logs(self._deployment, follow=False))

    def _read(self, seen: int) -> int:
        """Collect lines until the deployment ends; return how many there were, those seen before included."""
        with suppress(TrussError):
            for number, line in enumerate(self._target.logs(self._deployment, follow=True), 1):
                if number > seen and not self._closed:
                    self._lines.append(line)
                    with suppress(OSError):  # the watcher has ended
                        self._wake()
                    seen = number
        return seen
