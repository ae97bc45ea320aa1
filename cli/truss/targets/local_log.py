"""The log file of a server, read from its start while the server writes it and begins it anew where it is full."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

POLL, LONGEST_POLL = 0.02, 0.2
"""Seconds between two looks: few while lines come, more while none do."""

CHUNK = 1 << 16


def log_lines(path: Path, goes_on: Callable[[], bool]) -> Iterator[str]:
    """Yield the lines of a log: what the server keeps of it, then what it writes.

    Args:
        path: Of the file; what was in it before it was begun anew is in `PATH.1`.
        goes_on: Whether to wait for more.

    Raises:
        FileNotFoundError: There is no such log.
    """
    with ExitStack() as files:
        log = files.enter_context(path.open("rb"))
        with suppress(FileNotFoundError), path.with_name(f"{path.name}.1").open("rb") as before:
            if not os.path.sameopenfile(before.fileno(), log.fileno()):
                yield from (_text(line.rstrip(b"\n")) for line in before)
        rest = b""
        pause = POLL
        while True:
            # Asked before reading: what was written until then is read.
            more, turned = goes_on(), _was_turned(path, log)
            while chunk := log.read(CHUNK):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from map(_text, lines)
                pause = POLL
            if turned:
                files.close()
                log = files.enter_context(path.open("rb"))
            elif more:
                time.sleep(pause)
                pause = min(pause * 1.2, LONGEST_POLL)
            else:
                break
    if rest:
        yield _text(rest)


def _was_turned(path: Path, log: BinaryIO) -> bool:
    """Tell whether a server has begun its log anew since it was opened."""
    try:
        return not os.path.samestat(path.stat(), os.fstat(log.fileno()))
    except FileNotFoundError:  # this very moment, or it was removed with the server
        return False


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace")
