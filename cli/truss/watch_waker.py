"""What ends a watcher's wait: other threads, and signals."""

from __future__ import annotations

import signal
import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Waker:
    """Becomes readable when somebody is to wake up."""

    def __init__(self) -> None:
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)

    def fileno(self) -> int:
        """Return what becomes readable."""
        return self._woken.fileno()

    def wake(self) -> None:
        """Make it readable; from any thread."""
        with suppress(BlockingIOError):  # it is full of reasons to wake up already
            self._waker.send(b"!")

    def rest(self) -> None:
        """Make it unreadable until somebody wakes it again."""
        self._woken.recv(1 << 12)

    def close(self) -> None:
        """Close both ends."""
        self._woken.close()
        self._waker.close()

    @contextmanager
    def hears_signals(self) -> Iterator[None]:
        """Let a signal wake it: one that comes just before a wait would else be seen after it."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
