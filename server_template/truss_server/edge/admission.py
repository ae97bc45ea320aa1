"""Who may call the model now, who waits, and who is told at once to come back later."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_MEMORY = 0.1
"""Weight of the newest call in the average service time."""


UNKNOWN = 1.0
"""Seconds a call is taken to need before the first has ended."""


def _blend(average: float, newest: float) -> float:
    return average + (newest - average) * _MEMORY


class ClosedError(Exception):
    """No call is admitted any more."""


class OverloadedError(Exception):
    """A call cannot be admitted.

    Args:
        reason: For the client.
        seconds: After which it may try again: when the queue is expected to have moved.
    """

    def __init__(self, reason: str, seconds: float) -> None:
        super().__init__(reason)
        self.seconds = seconds


class Slot:
    """One call's place.

    Args:
        release: Called with this and with whether the time it took says something of others.

    Attributes:
        taken: Since when it is taken.
    """

    __slots__ = ("_release", "taken")

    def __init__(self, release: Callable[[Slot, bool], None]) -> None:
        self.taken = time.perf_counter()
        self._release = release

    def __call__(self, *, measure: bool = True) -> None:
        """Give it back.

        Args:
            measure: Whether the call came to its own end.
        """
        self._release(self, measure)


class Slots:
    """As many calls at once as the model's concurrency allows, in the order they came; the queue is bounded.

    Args:
        limit: Calls at once.
        queue: Calls that may wait.
    """

    def __init__(self, limit: int, queue: int) -> None:
        self._limit = limit
        self._free = limit
        self._queue = queue
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed = False
        self._running: dict[Slot, None] = {}
        self._service = UNKNOWN  # average seconds a call holds its slot

    @property
    def waiting(self) -> int:
        """Calls that wait for a slot."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Calls that hold a slot."""
        return self._limit - self._free

    def expected_wait(self) -> float:
        """Return the seconds a call that comes now will wait for its slot, by the measured service times."""
        return 0.0 if self._free > 0 else self._seconds() * (len(self._waiting) + 1) / self._limit

    def _seconds(self) -> float:
        """Return how long a call takes: the average of those that ended, or longer where those that run say so."""
        if not self._running:
            return self._service
        now = time.perf_counter()
        return max(self._service, sum(now - slot.taken for slot in self._running) / len(self._running))

    def take(self) -> Slot | None:
        """Take a slot if one is free; return what gives it back, to be called once."""
        if self._free <= 0:
            return None
        self._free -= 1
        return self._slot()

    def _slot(self) -> Slot:
        slot = Slot(self._release)
        self._running[slot] = None
        return slot

    async def acquire(self, deadline: float | None = None) -> Slot:
        """Take a slot, waiting for one if need be; return what gives it back, to be called once.

        Args:
            deadline: Seconds after which the client will have given up.

        Raises:
            OverloadedError: The queue is full, or the client would not live to see its answer.
            ClosedError: It would have to wait, and the server is stopping.
        """
        slot = self.take()
        if slot is not None:
            return slot
        wait = self.expected_wait()
        if len(self._waiting) >= self._queue:
            raise OverloadedError(f"{len(self._waiting)} calls are waiting already", wait)
        if deadline is not None and wait + self._seconds() > deadline:
            seconds = wait + self._seconds()
            text = f"an answer is expected in {seconds:.1f} s, later than the {deadline:g} s you wait"
            raise OverloadedError(text, wait)
        if self._closed:
            raise ClosedError
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                if turn in self._waiting:
                    self._waiting.remove(turn)
            elif turn.exception() is None:
                self._hand_on()  # the turn came at the moment the caller gave up
            raise
        return self._slot()

    def close(self) -> None:
        """Let nobody wait any more: who has waited is told so."""
        self._closed = True
        waiting, self._waiting = self._waiting, deque()
        for turn in waiting:
            if not turn.done():
                turn.set_exception(ClosedError())

    def _release(self, slot: Slot, measure: bool) -> None:
        del self._running[slot]
        if measure:
            seconds = time.perf_counter() - slot.taken
            self._service = seconds if self._service == UNKNOWN else _blend(self._service, seconds)
        self._hand_on()

    def _hand_on(self) -> None:
        """Give a slot to whoever waits longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
