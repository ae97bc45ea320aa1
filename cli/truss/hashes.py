"""Hashes of large files, kept from one command to the next: a push does not read gigabytes that it has read before.

A file is known by what the system says of it. That tells of each write on the file systems of `TOLD`, to within the
time of `SETTLED_NS`; on others every push reads.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from truss.errors import EngineError
from truss.state import state_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import BinaryIO

CHUNK = 1 << 20

LARGE_BYTES = 8 << 20
"""Smaller files are read each time: that takes about ten milliseconds."""

SETTLED_NS = 60_000_000_000
"""A file that was written less than this before it was read is read again, for its next write might show nowhere.

Linux takes half a minute, unless it is told otherwise, until it notes the time of what is written through memory.
"""

TOLD = {"ext4", "xfs", "btrfs", "f2fs", "zfs", "overlay"}
"""File systems whose times are the kernel's own. Not among them: what has no such times, or those of other machines."""

SECOND_NS = 10**9

NAME = "hashes"
"""Of the file, in the folder for state."""

MOST_LINES = 20_000
"""Of the file; then all is forgotten."""

MOUNTS = Path("/proc/self/mountinfo")
"""https://www.kernel.org/doc/html/latest/filesystems/proc.html says what stands in it."""

Identity = tuple[int, ...]
"""What the system says of a file: another one, or the same with other content, differs in it."""


class Hashes:
    """What large files of this machine hold.

    They are lines of a file that each command adds to; what it holds besides, half a line of a command that was
    killed, say, is passed over. Nothing is made or read before a large file is met.

    Args:
        environ: The user's environment, which says where that file is.
        clock_ns: Time of day, in nanoseconds.
    """

    def __init__(
        self, environ: Mapping[str, str] = os.environ, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._environ = environ
        self._clock_ns = clock_ns

    def read(self, path: Path) -> tuple[int, str]:
        """Return the size in bytes and the SHA-256, in hex, of what a file holds.

        Raises:
            OSError: It cannot be read.
        """
        with path.open("rb", buffering=0) as file:
            begin = self._clock_ns()
            identity = _identity(file)
            told = identity[2] >= LARGE_BYTES and _tells_of_writes(path, file, identity)
            if told and (known := self._known.get(identity)) is not None:
                return identity[2], known
            digest = hashlib.sha256()
            size = 0
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
            settled = begin - max(identity[3:]) > SETTLED_NS
            if told and settled and _identity(file) == identity:
                self._keep(identity, digest.hexdigest())
        return size, digest.hexdigest()

    def forget(self) -> None:
        """Know nothing any more: a file was not what it was known for."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    @cached_property
    def _path(self) -> Path | None:
        """Where they are kept; None where nothing can be."""
        try:
            path = state_folder(self._environ) / NAME
        except EngineError:
            return None
        return path if path.is_file() or not os.path.lexists(path) else None

    @cached_property
    def _known(self) -> dict[Identity, str]:
        with suppress(OSError):
            if self._path is not None and self._path.exists():
                lines = self._path.read_bytes().splitlines()
                if len(lines) <= MOST_LINES:
                    return dict(filter(None, map(_parse, lines)))
                self.forget()
        return {}

    def _keep(self, identity: Identity, sha256: str) -> None:
        """Know a hash from now on; that it cannot be written down is nobody's business."""
        self._known[identity] = sha256
        if self._path is not None:
            line = json.dumps([*identity, sha256])
            with suppress(OSError), self._path.open("a", encoding="ascii") as file:
                file.write(f"{line}\n")  # in one write: lines of two commands do not mix


def _identity(file: BinaryIO) -> Identity:
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _tells_of_writes(path: Path, file: BinaryIO, identity: Identity) -> bool:
    """Return whether what the system says of a file differs after each write to it."""
    # Another image of a disk has other files with equal times; within whole seconds there may be two writes.
    fixed = os.fstatvfs(file.fileno()).f_flag & os.ST_RDONLY
    return not fixed and identity[-1] % SECOND_NS != 0 and _file_system(path) in TOLD


def _file_system(path: Path) -> str:
    """Return the type of the file system that a file lies on, empty where the system does not say."""
    real, found, kind = os.path.realpath(path), "", ""
    with suppress(OSError, IndexError):
        for line in os.fsdecode(MOUNTS.read_bytes()).splitlines():
            mount, _, rest = line.partition(" - ")
            point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), mount.split()[4])
            if len(point) >= len(found) and f"{real}/".startswith(f"{point.rstrip('/')}/"):
                found, kind = point, rest.split()[0]
    return kind


def _parse(line: bytes) -> tuple[Identity, str] | None:
    """Return what a line says, None where it says nothing."""
    with suppress(ValueError, RecursionError):
        match json.loads(line):
            case [int(), int(), int(), int(), int(), str() as sha256] as found:
                return (tuple(found[:-1]), sha256) if re.fullmatch("[0-9a-f]{64}", sha256) else None
    return None
