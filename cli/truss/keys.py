"""Single keys from a terminal, which is left as it was found, whatever happens."""

from __future__ import annotations

import os
import termios
import tty
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def single_keys(fd: int) -> Iterator[int | None]:
    """Let a terminal give each key at once inside of the block; Ctrl-C stays Ctrl-C.

    Args:
        fd: Of the terminal.

    Yields:
        What to read the keys from; None where it is no terminal, or another job has it.
    """
    if not _is_ours(fd):
        yield None
        return
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd, termios.TCSADRAIN)
        yield fd
    finally:
        with suppress(termios.error):  # it is gone
            termios.tcsetattr(fd, termios.TCSADRAIN, before)


def read_keys(fd: int) -> str | None:
    """Return the keys that were pressed; None where the terminal is gone."""
    try:
        return os.read(fd, 32).decode("ascii", "replace") or None
    except OSError:
        return None


def _is_ours(fd: int) -> bool:
    try:
        return os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False
