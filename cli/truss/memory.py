"""What was read of a package's files, for as long as they are what they were: the next plan reads what changed."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from pathlib import Path

CHUNK = 1 << 20

SETTLED_NS = 2_000_000_000
"""A file that was written less than this before it was read is read again: its next write might show nowhere.

Clocks of file systems tick every few milliseconds, some every two seconds.
"""


@dataclass(frozen=True)
class _Read:
    """What was read of a file, and how to tell that it is the same."""

    identity: tuple[int, ...]
    size: int
    sha256: str


class Memory:
    """What is known of files from earlier plans. A new one knows nothing.

    Args:
        clock_ns: Time of day, in nanoseconds.
    """

    def __init__(self, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._clock_ns = clock_ns
        self._files: dict[Path, _Read] = {}
        self._imports: dict[str, frozenset[str]] = {}
        self._patterns: tuple[str, ...] = ()
        self._ignored: dict[str, bool] = {}
        self._server = ""

    def read(self, path: Path, found: os.stat_result) -> tuple[int, str]:
        """Return the size and the SHA-256 (hex) of a file, read only if it is not the one that was read before."""
        identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        known = self._files.get(path)
        if known is not None and known.identity == identity:
            return known.size, known.sha256
        begin = self._clock_ns()
        size, sha256 = _read(path)
        if begin - max(found.st_mtime_ns, found.st_ctime_ns) > SETTLED_NS:
            self._files[path] = _Read(identity, size, sha256)
        return size, sha256

    def imports(self, sha256: str, find: Callable[[], frozenset[str]]) -> frozenset[str]:
        """Return the modules that code of this hash imports."""
        if sha256 not in self._imports:
            self._imports[sha256] = find()
        return self._imports[sha256]

    def ignored(self, patterns: tuple[str, ...], path: str, match: Callable[[str], bool]) -> bool:
        """Return whether patterns match a path."""
        if self._patterns != patterns:
            self._patterns, self._ignored = patterns, {}
        if path not in self._ignored:
            self._ignored[path] = match(path)
        return self._ignored[path]

    def server(self, digest: Callable[[], str]) -> str:
        """Return the digest of the server that this tool brings along."""
        self._server = self._server or digest()
        return self._server


def _read(path: Path) -> tuple[int, str]:
    """Return the size and the SHA-256 of what was read, which a write at the same time cannot set apart."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()
