"""Versions of a package on the deployment's disk: made from the one before and an edit, kept once they serve.

Below the folder of the control channel::

    versions/<generation>/   a release folder; files that did not change are hard links to those of the one before
    current                  symlink to the newest version that loaded
    python                   the interpreter it was loaded with
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from truss_server.protocol import CONTROL_PYTHON, MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

VERSIONS, CURRENT = "versions", "current"

_CHUNK = 1 << 20


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
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / VERSIONS).mkdir(exist_ok=True)
        for left in (folder / VERSIONS).iterdir():  # of edits that a restart has ended
            if left != root:
                shutil.rmtree(left, ignore_errors=True)

    def stage(self, generation: int, manifest: str, delete: Iterable[str], tar: Path) -> Path:
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
        gone = {str(_checked(path)) for path in delete}
        shutil.rmtree(place, ignore_errors=True)
        try:
            with tarfile.open(tar) as edit:
                members = edit.getmembers()
                changed = {_checked_member(member) for member in members}
                self._link_rest(place, {MANIFEST, *gone, *changed})
                for member in members:
                    _extract(edit, member, place / member.name)
            (place / MANIFEST).write_text(manifest, encoding="utf-8")
        except (OSError, tarfile.TarError) as exc:
            shutil.rmtree(place, ignore_errors=True)
            raise BadEditError(f"the edit cannot be written: {exc}") from exc
        except BadEditError:
            shutil.rmtree(place, ignore_errors=True)
            raise
        return place

    def keep(self, root: Path, python: str, oldest: int) -> None:
        """Have a version be the one that edits apply to, and that a restart comes back with.

        Args:
            root: Its folder.
            python: Interpreter it was loaded with.
            oldest: Number of the first version that somebody still reads; those before it are removed.
        """
        if root.parent == self._folder / VERSIONS:  # the release itself, loaded again, needs no link
            (self._folder / CONTROL_PYTHON).write_text(python, encoding="utf-8")
            new = self._folder / f"{CURRENT}.new"
            new.unlink(missing_ok=True)
            new.symlink_to(root.relative_to(self._folder))  # the folder may be moved
            new.replace(self._folder / CURRENT)
        self._root = root
        for version in (self._folder / VERSIONS).iterdir():
            if int(version.name) < oldest:
                self.discard(version)

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

    def _link_rest(self, place: Path, without: set[str]) -> None:
        """Have a new version hold the files of the newest one, but for some; there may be very many."""
        for folder, names in _folders(self._root):
            kept = [name for name in names if f"{folder}{name}" not in without]
            if kept:
                (place / folder).mkdir(parents=True, exist_ok=True)
            for name in kept:
                _link(f"{self._root}/{folder}{name}", f"{place}/{folder}{name}")


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


def _checked_member(member: tarfile.TarInfo) -> str:
    if not member.isreg():
        raise BadEditError(f"{member.name!r} is no file")
    return str(_checked(member.name))


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
