"""Hashes of large files, kept from one command to the next: a push does not read gigabytes that it has read before."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from truss.errors import EngineError
from truss.state import state_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

CHUNK = 1 << 20

LARGE_BYTES = 8 << 20
"""Smaller files are read each time: that takes about ten milliseconds."""

SETTLED_NS = 60_000_000_000
"""A file that was written less than this before it was read is read again, for its next write might show nowhere.

Linux may take half a minute until it notes the time of what is written to a file through memory.
"""

NAME = "hashes"
"""Of the file, in the folder for state."""

MOST_LINES = 4000
"""Of the file; then the older half is forgotten."""

Identity = tuple[int, ...]
"""What the system says of a file: another one, or the same with other content, differs in it."""


class Hashes:
    """What large files of this machine hold.

    They are lines of a file that each command adds to; what it holds besides, half a line of a command that was
    killed, say, is passed over.

    Args:
        path: The file; None where nothing is kept.
        clock_ns: Time of day, in nanoseconds.
    """

    def __init__(self, path: Path | None = None, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._path = path
        self._clock_ns = clock_ns
        self._known: dict[Identity, str] | None = None

    @classmethod
    def of_user(cls, environ: Mapping[str, str] = os.environ) -> Hashes:
        """Return those of a user; where nothing can be kept, none are known."""
        try:
            return cls(state_folder(environ) / NAME)
        except EngineError:
            return cls()

    def read(self, path: Path) -> tuple[int, str]:
        """Return the size in bytes and the SHA-256, in hex, of what a file holds.

        Raises:
            OSError: It cannot be read.
        """
        with path.open("rb", buffering=0) as file:
            begin = self._clock_ns()
            identity = _identity(file.fileno())
            size = identity[2]
            if size >= LARGE_BYTES and (known := self._recall(identity)) is not None:
                return size, known
            digest = hashlib.sha256()
            size = 0
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
            settled = begin - max(identity[3:]) > SETTLED_NS
            if size >= LARGE_BYTES and settled and _identity(file.fileno()) == identity:
                self._keep(identity, digest.hexdigest())
        return size, digest.hexdigest()

    def _recall(self, identity: Identity) -> str | None:
        """Return the hash of a file that was read before."""
        if self._known is None:
            self._known = {}
            if self._path is not None:
                with suppress(OSError):
                    self._known = _parse(self._path)
        return self._known.get(identity)

    def _keep(self, identity: Identity, sha256: str) -> None:
        """Know a hash from now on; that it cannot be written down is nobody's business."""
        if self._known is not None:
            self._known[identity] = sha256
        if self._path is not None:
            line = json.dumps([*identity, sha256])
            with suppress(OSError), self._path.open("a", encoding="ascii") as file:
                file.write(f"{line}\n")  # in one write: lines of two commands do not mix


def _identity(fd: int) -> Identity:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _parse(path: Path) -> dict[Identity, str]:
    """Return the hashes that a file holds, which is made shorter where it has become long."""
    lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    if len(lines) > MOST_LINES:
        lines = lines[-MOST_LINES // 2 :]
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.write_text("".join(f"{line}\n" for line in lines), encoding="ascii", errors="replace")
        draft.replace(path)
    known: dict[Identity, str] = {}
    for line in lines:
        with suppress(ValueError, TypeError):
            *identity, sha256 = json.loads(line)
            known[tuple(map(int, identity))] = str(sha256)
    return known
