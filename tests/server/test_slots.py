"""Slots are given in order, bounded, and never lost, whoever gives up when."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truss_server.edge.admission import ClosedError, OverloadedError, Slots

if TYPE_CHECKING:
    from collections.abc import Callable


def test_slots_are_given_in_order() -> None:
    """Who waits longest is next, and the queue is bounded."""

    async def scenario() -> list[str]:
        slots, order = Slots(1, 2), []

        releases: list[Callable[[], None]] = []

        async def call(name: str) -> None:
            releases.append(await slots.acquire())
            order.append(name)

        releases.append(await slots.acquire())
        calls = [asyncio.create_task(call(name)) for name in "ab"]
        await asyncio.sleep(0)
        assert slots.waiting == 2
        with pytest.raises(OverloadedError):
            await slots.acquire()
        for task in calls:
            releases.pop()()
            await task
        return order

    assert asyncio.run(scenario()) == ["a", "b"]


def test_what_runs_long_is_expected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """The expected wait grows with the age of the calls that run, and calls that were cancelled do not shrink it."""
    now = 0.0
    monkeypatch.setattr("truss_server.edge.admission.time.perf_counter", lambda: now)
    slots = Slots(2, 10)
    first = slots.take()
    assert first is not None
    now = 4.0
    first()
    held = [slots.take(), slots.take()]
    assert slots.expected_wait() == 2
    now = 14.0
    assert slots.expected_wait() == 5
    for slot in held:
        assert slot is not None
        slot(measure=False)
    held = [slots.take(), slots.take()]
    assert slots.expected_wait() == 2


@given(
    limit=st.integers(1, 3),
    steps=st.lists(
        st.tuples(st.sampled_from(["arrive", "give up", "finish", "turn", "close"]), st.integers(0, 9))
    ),
)
def test_no_slot_is_lost(limit: int, steps: list[tuple[str, int]]) -> None:
    """Whoever comes, ends, gives up or is stopped in whatever order: never more than the limit, at last all free."""

    async def scenario() -> None:
        slots = Slots(limit, 100)
        waiting: list[asyncio.Task[Callable[[], None]]] = []
        running: list[asyncio.Task[Callable[[], None]]] = []
        for step, number in steps:
            if step == "arrive":
                waiting.append(asyncio.create_task(slots.acquire()))
            elif step == "give up" and waiting:
                waiting[number % len(waiting)].cancel()
            elif step == "finish" and running:
                running.pop(number % len(running)).result()()
            elif step == "close":
                slots.close()
            else:
                await asyncio.sleep(0)
                done = [task for task in waiting if task.done()]
                waiting = [task for task in waiting if not task.done()]
                running += [task for task in done if not task.cancelled() and task.exception() is None]
                assert len(running) <= limit
        for task in waiting:
            task.cancel()
        for task in waiting:
            with contextlib.suppress(asyncio.CancelledError, ClosedError):
                await task
                running.append(task)
        for task in running:
            task.result()()
        assert slots.running == 0
        assert slots.waiting == 0

    asyncio.run(scenario())
