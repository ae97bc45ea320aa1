"""The duty of a container's first process: to bury the orphans of all others."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

SECONDS = 5.0
"""Between two looks; a dead process costs an entry in the system's table until then."""

INIT = 1
"""Process id of the first process, which orphans become children of."""


async def bury_orphans() -> None:
    """Wait for children that ended and that nobody else waits for; runs until it is cancelled.

    Whoever waits for a child of his own does so at once: what is still dead at the second look is an orphan.
    """
    before: set[int] = set()
    while True:
        await asyncio.sleep(SECONDS)
        dead = {pid for pid in _processes() if _is_dead_child(pid)}
        for pid in dead & before:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 - it is dead: nothing to wait for
        before = dead


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _is_dead_child(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:  # gone by now
        return False
    state, parent = stat.rpartition(b")")[2].split()[:2]
    return state == b"Z" and int(parent) == os.getpid()
