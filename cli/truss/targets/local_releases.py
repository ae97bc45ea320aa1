"""Releases of one model on this machine: numbered folders, of which none is ever seen half-written."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from truss.errors import BuildError, EngineError, PackageError
from truss.hashes import Hashes
from truss.release import Release
from truss.state import Lock, locked, read_json, write_json
from truss_server.protocol import MANIFEST, Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from truss.progress import Progress
    from truss.release import PackageFile, ReleasePlan

APP, RECORD = "app", "record.json"

DRAFT = "."
"""Begins the names of folders that are being written or removed."""

KEPT = 3
"""Releases that are kept though nothing uses them."""

WAIT = 300.0
"""Seconds to wait for another push of the same model that is writing its release."""

CHUNK = 1 << 20


@dataclass(frozen=True)
class StoredRelease:
    """A release on disk.

    Attributes:
        folder: Holds the release's files in `app` and this record.
        number: Of the release.
        digest: Of the plan.
        python: Interpreter of the model's environment.
    """

    folder: Path
    number: int
    digest: str
    python: str

    @property
    def app(self) -> Path:
        """The folder the server is given."""
        return self.folder / APP

    @classmethod
    def read(cls, folder: Path) -> StoredRelease | None:
        """Return the release in a folder."""
        record = read_json(folder / RECORD, ("number", "digest", "python"))
        return None if record is None else cls(folder, **record)

    def manifest(self) -> Manifest:
        """Return what the release is.

        Raises:
            EngineError: Somebody has damaged it.
        """
        try:
            return Manifest.from_json((self.app / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError) as exc:
            hint = f"Remove {self.folder} and push again."
            raise EngineError(f"Release {self.number} is damaged: {exc}.", hint=hint) from exc


class Releases:
    """The releases of a model.

    Args:
        folder: Holds one folder for each.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def all(self) -> list[StoredRelease]:
        """Return the releases, the oldest first."""
        found = [StoredRelease.read(path) for path in self._visible()]
        return sorted((one for one in found if one is not None), key=lambda release: release.number)

    def get(self, number: int) -> StoredRelease:
        """Return a release by its number.

        Raises:
            EngineError: It was removed.
        """
        stored = StoredRelease.read(self._folder / str(number))
        if stored is None:
            raise EngineError(f"Release {number} was removed from {self._folder}.", hint="Push again.")
        return stored

    def add(self, plan: ReleasePlan, python: Path, progress: Progress) -> Release:
        """Return the release of an equal plan with the same interpreter, written now if there is none.

        Raises:
            PackageError: A file of the package has changed since it was planned.
            BuildError: It cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with locked(
            self._folder.with_suffix(".lock"),
            timeout=WAIT,
            busy=f"Another push of {plan.manifest.model} has been writing its release for {WAIT / 60:.0f} minutes.",
            waiting=lambda: progress.detail(
                "another push of this model is writing its release; waiting for it"
            ),
        ):
            stored = self._equal(plan, python) or self._write(plan, python)
        return Release(plan.manifest.model, stored.number, stored.digest, str(stored.app))

    def prune(self, used: AbstractSet[int]) -> None:
        """Remove all but the newest releases and those in use."""
        lock = Lock.take(self._folder.with_suffix(".lock"))
        if lock is None:
            return  # whoever holds it will promote, and prune, too
        with closing(lock):
            by_use = sorted(self.all(), key=lambda release: release.folder.stat().st_mtime_ns)
            for release in by_use[:-KEPT]:
                if release.number not in used:
                    self._remove(release.folder)

    def _equal(self, plan: ReleasePlan, python: Path) -> StoredRelease | None:
        for release in reversed(self.all()):
            if (release.digest, release.python) == (plan.manifest.digest, str(python)):
                os.utime(release.folder)  # the last to be pruned
                return release
        return None

    def _write(self, plan: ReleasePlan, python: Path) -> StoredRelease:
        for path in self._folder.glob(f"{DRAFT}*"):
            shutil.rmtree(path, ignore_errors=True)  # left by a push that was killed: the lock is ours
        number = 1 + max((release.number for release in self.all()), default=0)
        draft = self._folder / f"{DRAFT}{secrets.token_hex(4)}"
        final = self._folder / str(number)
        try:
            _fill(draft / APP, plan)
            write_json(
                draft / RECORD, {"number": number, "digest": plan.manifest.digest, "python": str(python)}
            )
            draft.replace(final)
        except OSError as exc:
            raise BuildError(f"The release cannot be written: {exc.strerror}: {exc.filename}.") from exc
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return StoredRelease(final, number, plan.manifest.digest, str(python))

    def _remove(self, folder: Path) -> None:
        doomed = folder.replace(self._folder / f"{DRAFT}{secrets.token_hex(4)}")  # gone in one step
        shutil.rmtree(doomed, ignore_errors=True)

    def _visible(self) -> Iterator[Path]:
        yield from self._folder.glob("[0-9]*")


def _fill(app: Path, plan: ReleasePlan) -> None:
    app.mkdir(parents=True)
    for name in (plan.config.data_dir, plan.config.bundled_packages_dir):
        (app / name).mkdir(parents=True, exist_ok=True)  # there on every target, empty or not
    for file in plan.files:
        _copy(file, app / file.path)
    (app / MANIFEST).write_text(plan.manifest.to_json(), encoding="utf-8")


def _copy(file: PackageFile, final: Path) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    try:
        source = file.source.open("rb", buffering=0)
    except OSError as exc:
        raise _changed(file) from exc
    with source, final.open("xb", buffering=0) as copy:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            copy.write(chunk)
    if digest.hexdigest() != file.sha256:
        Hashes().forget()
        raise _changed(file)
    final.chmod(0o755 if file.executable else 0o644)


def _changed(file: PackageFile) -> PackageError:
    return PackageError(f"{file.path} has changed while it was pushed.", hint="Push again.")
