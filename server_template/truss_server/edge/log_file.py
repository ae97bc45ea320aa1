"""A log file of bounded size: where it is full it becomes `FILE.1`, in place of the one before, and begins anew."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 10 * 1024 * 1024
"""Bytes of one file; a log keeps its last one to two of them."""


class LogFile:
    """The process's standard output, which is the log file; standard error goes with it.

    Args:
        path: Of the file, which standard output has been opened on for appending.
        limit: Bytes of one file.
    """

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self._path = path
        self._limit = limit
        self._stream = sys.stdout.buffer
        self._size = os.fstat(self._stream.fileno()).st_size

    def write(self, line: bytes) -> None:
        """Append a whole line, and turn to a new file where that fills this one.

        Raises:
            OSError: It cannot be written.
        """
        self._stream.write(line)
        self._size += len(line)
        if self._size >= self._limit:
            self._stream.flush()
            self._turn()
            self._size = 0

    def flush(self) -> None:
        """Write what is buffered.

        Raises:
            OSError: It cannot be written.
        """
        self._stream.flush()

    def _turn(self) -> None:
        self._path.replace(f"{self._path}.1")
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            # What writes to the descriptors, C code in a crash for one, is not to know of any of this.
            os.dup2(file, self._stream.fileno())
            os.dup2(file, sys.stderr.fileno())
        finally:
            os.close(file)
