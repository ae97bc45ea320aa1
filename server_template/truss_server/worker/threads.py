"""Threads for the model's synchronous code: as many as it needs at once, no hop per chunk."""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue
from typing import Any, Callable

_IDLE_SECONDS = 60.0
"""A thread without work for this long ends."""


class Threads:
    """Runs functions on threads; a new one starts only when none is idle.

    How many run at once is bounded by who submits: the edge never has more calls under way than the model's
    concurrency.
    """

    def __init__(self) -> None:
        self._tasks: SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]]] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0

    def submit(self, function: Callable[..., None], *args: Any) -> None:
        """Run `function(*args)` on a thread. It must not raise: nobody waits for it."""
        with self._lock:
            if self._idle:
                self._idle -= 1  # that one takes it
                start = False
            else:
                start = True
        self._tasks.put((function, args))
        if start:
            threading.Thread(target=self._work, name="truss-model", daemon=True).start()

    def _work(self) -> None:
        while True:
            try:
                function, args = self._tasks.get(timeout=_IDLE_SECONDS)
            except Empty:
                with self._lock:
                    # Counted as idle: leave. Not counted any more: a task is on its way, take it.
                    if self._idle:
                        self._idle -= 1
                        return
                continue
            function(*args)
            del function, args  # what a call held must not live until the next one
            with self._lock:
                self._idle += 1
