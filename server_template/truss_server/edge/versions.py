"""Versions of a package on the deployment's disk: made from the one before and an edit, kept once they serve.

Below the folder of the control channel::

    versions/<generation>/   a release folder; files that did not change are hard links to those of the one before
    next                     the same of the newest one, made while nobody waits, for the next edit to be written into
    current                  symlink to the newest version that loaded
    python                   the interpreter it was loaded with
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tarfile
import threading
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from truss_server.protocol import CONTROL_PYTHON, MANIFEST

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

VERSIONS, CURRENT, NEXT = "versions", "current", "next"

_CHUNK = 1 << 20

TIDIED = 2
"""Versions that are removed at a time, which may have very many files: one comes with each edit."""


class BadEditError(Exception):
    """An edit that cannot be applied; nothing was changed."""


def current_version(folder: Path) -> tuple[Path, int] | None:
    """Return folder and generation of the version that edits have led to; None where there were none."""
    link = folder / CURRENT
    if not link.is_symlink():
        return None
    root = link.resolve()
    return (root, int(root.name)) if (root / MANIFEST).is_file() else None


def current_python(folder: Path, otherwise: str) -> str:
    """Return the interpreter that `current_version` was last loaded with: edits may have brought a new environment."""
    try:
        return (folder / CONTROL_PYTHON).read_text(encoding="utf-8")
    except FileNotFoundError:
        return otherwise


class Versions:
    """The versions of one deployment.

    Args:
        folder: Of the control channel; made where it is missing, for its owner only.
        root: The version that is loaded first.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder = folder
        self._root = root
        self._digests: dict[tuple[int, int, int, int], str] = {}
        self._lock = threading.Lock()
        self._prepared: Path | None = None  # what `next` holds the files of
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / VERSIONS).mkdir(exist_ok=True)
        shutil.rmtree(folder / NEXT, ignore_errors=True)
        for left in (folder / VERSIONS).iterdir():  # of edits that a restart has ended
            if left != root:
                shutil.rmtree(left, ignore_errors=True)

    def stage(self, generation: int, manifest: str, delete: Iterable[str], tar: IO[bytes]) -> Path:
        """Make a version out of the newest one and an edit; return its folder.

        Args:
            generation: Its number.
            manifest: Text of its `release.json`.
            delete: Paths that it does not have any more.
            tar: New and changed files.

        Raises:
            BadEditError: A path leads out of the package, or the disk does not take it.
        """
        place = self._folder / VERSIONS / str(generation)
        gone = [_checked(path) for path in delete]
        with self._lock:
            shutil.rmtree(place, ignore_errors=True)
            try:
                with tarfile.open(fileobj=tar) as edit:
                    self._write(place, gone, edit)
                (place / MANIFEST).write_text(manifest, encoding="utf-8")
            except (OSError, tarfile.TarError) as exc:
                shutil.rmtree(place, ignore_errors=True)
                raise BadEditError(f"the edit cannot be written: {exc}") from exc
            except BadEditError:
                shutil.rmtree(place, ignore_errors=True)
                raise
        return place

    def _write(self, place: Path, gone: Iterable[PurePosixPath], edit: tarfile.TarFile) -> None:
        """Write the newest version with an edit into a folder."""
        members = edit.getmembers()
        changed = [_checked_member(member) for member in members]
        self._prepare()
        self._prepared = None
        (self._folder / NEXT).rename(place)
        for path in (*gone, *changed, PurePosixPath(MANIFEST)):
            _remove(place, path)
        for member in members:
            _extract(edit, member, place / member.name)

    def _prepare(self) -> None:
        """Have `next` hold the files of the newest version; there may be very many."""
        root = self._root  # an edit may be kept meanwhile
        if self._prepared == root:
            return
        place = self._folder / NEXT
        shutil.rmtree(place, ignore_errors=True)
        for folder, names in _folders(root):
            (place / folder).mkdir(parents=True, exist_ok=True)
            for name in names:
                _link(f"{root}/{folder}{name}", f"{place}/{folder}{name}")
        self._prepared = root

    def keep(self, root: Path, python: str) -> None:
        """Have a version be the one that edits apply to, and that a restart comes back with.

        Args:
            root: Its folder.
            python: Interpreter it was loaded with.
        """
        if root.parent == self._folder / VERSIONS:  # the release itself, loaded again, needs no link
            (self._folder / CONTROL_PYTHON).write_text(python, encoding="utf-8")
            new = self._folder / f"{CURRENT}.new"
            new.unlink(missing_ok=True)
            new.symlink_to(root.relative_to(self._folder))  # the folder may be moved
            new.replace(self._folder / CURRENT)
        self._root = root

    def tidy(self, used: Collection[int], newest: int) -> None:
        """Do what nobody waits for: make ready for the next edit, and remove what nobody needs, a little at a time.

        Args:
            used: Numbers of the versions that somebody still reads.
            newest: Number of the one that serves; those after it are being brought up.
        """
        with self._lock:
            with contextlib.suppress(OSError):  # an edit will tell
                self._prepare()
            numbers = sorted(int(version.name) for version in (self._folder / VERSIONS).iterdir())
            for number in [one for one in numbers if one < newest and one not in used][:TIDIED]:
                self.discard(self._folder / VERSIONS / str(number))

    def discard(self, root: Path) -> None:
        """Remove a version, unless it is the one that edits apply to."""
        if root.parent == self._folder / VERSIONS and root != self._root:
            shutil.rmtree(root, ignore_errors=True)

    def files(self) -> dict[str, str]:
        """Return the SHA-256 of each file of the newest version, by path; the manifest is none of them."""
        found = [f"{folder}{name}" for folder, names in _folders(self._root) for name in names]
        return {name: self._digest(self._root / name) for name in sorted(found) if name != MANIFEST}

    def _digest(self, path: Path) -> str:
        stat = path.stat()
        key = (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if key not in self._digests:
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
            self._digests[key] = digest.hexdigest()
        return self._digests[key]


def _link(old: str, new: str) -> None:
    try:
        os.link(old, new)
    except OSError:  # another file system, or one that has no links
        shutil.copy2(old, new)


def _checked(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\0" in name:
        raise BadEditError(f"{name!r} leads out of the package")
    return path


def _checked_member(member: tarfile.TarInfo) -> PurePosixPath:
    if not member.isreg():
        raise BadEditError(f"{member.name!r} is no file")
    return _checked(member.name)


def _remove(place: Path, path: PurePosixPath) -> None:
    """Remove a file, if it is there, and the folders that are empty without it: Python can import those."""
    with contextlib.suppress(FileNotFoundError):
        (place / path).unlink()
        with contextlib.suppress(OSError):  # it is not empty
            for folder in path.parents[:-1]:
                (place / folder).rmdir()


def _extract(edit: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    source = edit.extractfile(member)
    if source is not None:  # as it is for a file
        with contextlib.closing(source), place.open("xb") as target:
            shutil.copyfileobj(source, target, _CHUNK)
        place.chmod(0o755 if member.mode & 0o100 else 0o644)


def _folders(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the folders of a version, each with a `/` at its end, with the names of the files in them.

    What Python and a running model left beside them is not of it.
    """
    for folder, _, names in os.walk(root):
        if not folder.endswith("__pycache__"):
            inside = folder[len(str(root)) + 1 :]
            yield f"{inside}/" if inside else "", names
