"""What was read of a package's files, for as long as they are what they were: the next plan reads what changed."""

from __future__ import annotations

import stat
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from truss.hashes import Hashes
from truss.release import PackageFile

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

SETTLED_NS = 2_000_000_000
"""A file that was written less than this before it was read is read again: its next write might show nowhere.

Clocks of file systems tick every few milliseconds, some every two seconds.
"""


class Memory:
    """What is known of files from earlier plans. A new one knows the user's large files alone.

    Args:
        hashes: Of large files, from earlier commands; by default the user's.
        clock_ns: Time of day, in nanoseconds.
    """

    def __init__(self, hashes: Hashes | None = None, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._hashes = hashes or Hashes()
        self._clock_ns = clock_ns
        self._files: dict[str, tuple[tuple[int, ...], PackageFile]] = {}
        self._imports: dict[str, frozenset[str]] = {}
        self._lock = ("", "")
        self._patterns: tuple[str, ...] = ()
        self._ignored: dict[str, bool] = {}
        self._server = ""

    def file(self, path: str, source: str, found: os.stat_result, *, link: bool) -> PackageFile:
        """Return what a plan says of a file, which is read only if it is not the one that was read before.

        Args:
            path: In the package.
            source: Where it lies on this machine.
            found: What the system says of it.
            link: Whether it is a link there.
        """
        identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, link)
        known = self._files.get(path)
        if known is not None and known[0] == identity:
            return known[1]
        begin = self._clock_ns()
        size, sha256 = self._hashes.read(Path(source))
        executable = bool(found.st_mode & stat.S_IXUSR)
        file = PackageFile(PurePosixPath(path), Path(source), executable, size, sha256, link)
        if begin - max(found.st_mtime_ns, found.st_ctime_ns) > SETTLED_NS:
            self._files[path] = (identity, file)
        return file

    def imports(self, sha256: str, find: Callable[[], frozenset[str]]) -> frozenset[str]:
        """Return the modules that code of this hash imports."""
        if sha256 not in self._imports:
            self._imports[sha256] = find()
        return self._imports[sha256]

    def lock(self, text: str, export: Callable[[], str]) -> str:
        """Return what the lock of this text was exported as."""
        if self._lock[0] != text:
            self._lock = (text, export())
        return self._lock[1]

    def ignored(self, patterns: tuple[str, ...]) -> dict[str, bool]:
        """Return which paths are known to match patterns, or not to; to be added to."""
        if self._patterns != patterns:
            self._patterns, self._ignored = patterns, {}
        return self._ignored

    def server(self, digest: Callable[[], str]) -> str:
        """Return the digest of the server that this tool brings along."""
        self._server = self._server or digest()
        return self._server


def read_files(paths: Iterable[Path]) -> Iterator[PackageFile]:
    """Yield what is known of files that belong to no package.

    Raises:
        OSError: One cannot be read.
    """
    hashes = Hashes()
    for path in paths:
        size, sha256 = hashes.read(path)
        yield PackageFile(PurePosixPath(path.name), path, executable=False, size=size, sha256=sha256)
