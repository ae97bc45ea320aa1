"""What a model says of its health, remembered for a moment so that probes cost little."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from truss_server import wire

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

HEALTH_SECONDS = 1.0
"""How long a model's answer counts."""


class Health:
    """The health of what serves.

    Args:
        ask: Asks the model; None where it does not answer.
    """

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, bytes | None]]) -> None:
        self._ask = ask
        self._asking: asyncio.Task[bool] | None = None
        self._until = 0.0

    @property
    def is_bad(self) -> bool:
        """Whether the model said so when it was asked last."""
        return self._asking is not None and self._asking.done() and not self._asking.result()

    def forget(self) -> None:
        """Know nothing: another model serves."""
        self._asking = None

    async def is_good(self) -> bool:
        """Ask the model, unless it was asked just now; one whose event loop does not answer is not healthy."""
        if self._asking is None or (self._asking.done() and time.monotonic() > self._until):
            self._asking = asyncio.create_task(self._question())
        return await asyncio.shield(self._asking)

    async def _question(self) -> bool:
        answer = await self._ask()
        self._until = time.monotonic() + HEALTH_SECONDS
        return answer is not None and bool(wire.unpack(answer))
