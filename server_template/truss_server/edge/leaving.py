"""What is over when its last call has ended: a worker, a generation of the code in one."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from truss_server import wire

if TYPE_CHECKING:
    from truss_server.edge.link import Link
    from truss_server.edge.worker import Worker

QUIET_SECONDS = 0.1
"""Between two looks whether calls still run: counting each call would cost all of them."""


async def retire(worker: Worker, seconds: float) -> None:
    """End a worker when its calls have, in some seconds at most."""
    deadline = time.monotonic() + seconds
    while worker.link is not None and worker.link.calls() and time.monotonic() < deadline:  # noqa: ASYNC110 - see above
        await asyncio.sleep(QUIET_SECONDS)
    await worker.stop()


async def drop(link: Link, generation: int) -> None:
    """Have a worker forget a generation when its last call has ended."""
    while link.calls(generation):  # noqa: ASYNC110 - see above
        await asyncio.sleep(QUIET_SECONDS)
    link.write(wire.encode(wire.DROP, 0, wire.pack(generation)))
