"""Processes of workers as the system has them: ended with all they started, and their ends put in words."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


def kill_group(leader: asyncio.subprocess.Process) -> None:
    """End a worker and what it started, as far as that stayed in its process group."""
    # None is left, in the words of Linux and macOS.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader.pid, signal.SIGKILL)


def describe_exit(code: int, who: str = "the model's process") -> str:
    """Say in words how a process ended."""
    if code >= 0:
        return f"{who} ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"{who} was ended by {name}{hint}"
