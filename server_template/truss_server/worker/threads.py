"""The worker's threads: all that are idle wait for the socket; one that wakes reads it and runs what came.

So a call is read, run and answered by one thread, and no other has to be woken on its way. Calls that come together
are begun by the thread that read them; for each next one another thread is woken, which finds nothing left to do
where the calls before it were quick.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import traceback
from collections import deque
from typing import TYPE_CHECKING, Any, Callable, NoReturn

if TYPE_CHECKING:
    from truss_server import wire
    from truss_server.worker.channel import Channel

_IDLE_SECONDS = 60.0
"""A thread without work for this long ends, unless it is the last one."""

_STRAY = b"a process that the model forked came back from its call, and is ended: end it with os._exit()\n"

Wait = Callable[[float], "list[tuple[int, int]]"]


class Threads:
    """Runs functions on threads, and hands over the frames that come.

    One thread at least runs no function: it reads, or will. A new one starts when the last such takes a function. How
    many functions run at once is bounded by who submits: the edge never has more calls under way than the model's
    concurrency.

    Args:
        channel: To the edge.
        handle: Takes each frame, in their order.
        lost: Called when no more frames will come.
    """

    def __init__(
        self, channel: Channel, handle: Callable[[wire.Frame], None], lost: Callable[[], None]
    ) -> None:
        self._channel = channel
        self._handle = handle
        self._lost = lost
        self._tasks: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._free = 0  # threads that run no function
        self._counting = threading.Lock()
        self._reading = threading.Lock()
        self._reader = 0
        self._rung = False
        self._bell, self._rope = os.pipe()
        os.set_blocking(self._bell, False)
        self._wait_for = waiting_for(channel.fileno(), self._bell)
        os.register_at_fork(after_in_child=self._leave)

    def _leave(self) -> None:
        """In a forked child: serve nothing. It shares what is waited on, and would take the parent's wake-ups."""
        self._tasks.clear()
        self._counting = threading.Lock()
        self._wait_for = end_child

    def start(self) -> None:
        """Start one more thread. The first begins to read."""
        with self._counting:
            self._free += 1
        threading.Thread(target=self._work, name="truss-model", daemon=True).start()

    def submit(self, function: Callable[..., None], *args: Any) -> None:
        """Run `function(*args)` on a thread. It must not raise: nobody waits for it."""
        self._tasks.append((function, args))
        if threading.get_ident() != self._reader:  # who reads looks for tasks afterwards
            self._ring()

    def _ring(self) -> None:
        """Wake one thread, unless one was woken that does not run yet."""
        if not self._rung:
            self._rung = True
            os.write(self._rope, b"!")

    def _work(self) -> None:
        tasks = self._tasks
        while True:
            if not tasks:
                self._channel.flush()
                if not self._wait():
                    return
            try:
                function, args = tasks.popleft()
            except IndexError:
                continue
            if tasks:
                self._ring()
            with self._counting:
                self._free -= 1
                last = not self._free
            if last:
                self.start()
            function(*args)
            del function, args  # what a call held must not live until the next one
            with self._counting:
                self._free += 1

    def _wait(self) -> bool:
        """Wait for the socket or the bell; return whether to go on."""
        events = self._wait_for(_IDLE_SECONDS)
        if not events:
            return self._is_needed()
        if events[0][0] == self._bell:
            self._rung = False
            with contextlib.suppress(BlockingIOError):
                os.read(self._bell, 1)
            self._channel.flush()  # answers left by a thread that is busy with its next call
        else:
            self._read()
        return True

    def _is_needed(self) -> bool:
        """Tell whether the caller is the last that runs no function; else it is not counted any more."""
        with self._counting:
            if self._free == 1:
                return True
            self._free -= 1
        return False

    def _read(self) -> None:
        with self._reading:
            self._reader = threading.get_ident()
            try:
                more = True
                while more:
                    frames, more = self._channel.receive()
                    for frame in frames:
                        self._handle(frame)
                    if more and self._tasks:
                        self._ring()
            except EOFError:
                self._lost()
            except BaseException:  # noqa: BLE001 - whatever it is, it is the end
                traceback.print_exc()
                self._channel.close()
                self._lost()
            finally:
                self._reader = 0


def end_child(*_: object) -> NoReturn:
    """End a process that the model forked, and that does not do so itself."""
    with contextlib.suppress(OSError):
        os.write(2, _STRAY)
    os._exit(1)


def waiting_for(*numbers: int) -> Wait:
    """Return what waits until one of some descriptors can be read, for a number of seconds, on any thread.

    On Linux each arrival wakes one of the threads that wait, the one that came last; elsewhere all of them.
    """
    if not hasattr(select, "epoll"):
        return lambda seconds: _poll(numbers, seconds)
    epoll = select.epoll()
    for number in numbers:
        epoll.register(number, select.EPOLLIN | select.EPOLLET)
    return lambda seconds: epoll.poll(seconds, 1)


def _poll(numbers: tuple[int, ...], seconds: float) -> list[tuple[int, int]]:
    poll = select.poll()
    for number in numbers:
        poll.register(number, select.POLLIN)
    return poll.poll(seconds * 1000)
