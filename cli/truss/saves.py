"""Notices that files of a package were saved: the system tells, and what no release holds is passed over."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from truss.errors import EngineError, PackageError
from truss.ignore import IGNORE_FILE, ignore_rules
from truss.memory import Memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from truss.config import TrussConfig
    from truss.release import PackageFile

STEP_MS = 20
"""Quiet time after which saves are told, and how often an idle watcher wakes up."""

FLAT_STEP_MS = 100
"""The same for what lies beside the folders of code and data: settings, which nobody saves in a hurry."""

GROUP_MS = 200
"""The longest time saves are held back to be told together."""

AGAIN_MS = 500
"""Quiet time after saves until all is looked at once more: what is saved while others are taken is told by nobody."""

LOOK_MS = 300_000
"""The same while nothing is saved."""

JOIN_SECONDS = 5.0


class Saves:
    """Watches the folders of a package.

    Args:
        package: Its folder.
        wake: Called in a thread when something was saved.

    Attributes:
        direct: Whether what is watched has no links, so that each file is where it is told to be.
    """

    def __init__(self, package: Path, wake: Callable[[], None]) -> None:
        self.direct = False
        self._root = package.resolve()
        self._wake = wake
        self._lock = threading.Lock()
        self._changed: set[str] = set()
        self._watched: tuple[frozenset[Path], frozenset[Path]] = (frozenset(), frozenset())
        self._stale = True
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def watch(self, config: TrussConfig | None, files: Iterable[PackageFile]) -> bool:
        """Watch where the files of a plan are; return whether that was not watched before.

        Raises:
            EngineError: The system watches no more folders.
        """
        wanted = self._folders(config, files)
        if wanted == self._watched and not self._stale:
            return False
        self.close()
        self._stale = False
        self._watched = wanted
        self._stop = threading.Event()
        flat, deep = wanted
        self._ignored = self._rules()
        for folders, recursive in ((flat, False), (deep, True)):
            if folders:
                self._start([str(folder) for folder in sorted(folders)], recursive=recursive)
        return True

    def pending(self) -> bool:
        """Return whether paths were saved since the last time they were taken."""
        with self._lock:
            return bool(self._changed)

    def take(self) -> set[str]:
        """Return the paths that were saved since the last time; the package's own where there may be others."""
        with self._lock:
            changed, self._changed = self._changed, set()
        return changed

    def close(self) -> None:
        """Watch no more."""
        self._stop.set()
        for thread in self._threads:
            thread.join(JOIN_SECONDS)
        self._threads = []

    def _folders(
        self, config: TrussConfig | None, files: Iterable[PackageFile]
    ) -> tuple[frozenset[Path], frozenset[Path]]:
        """Return the folders that are watched for themselves, and those that are with all that is below them."""
        flat, deep = {self._root}, set()
        if config is not None:
            for name in (config.model_module_dir, config.bundled_packages_dir, config.data_dir):
                deep.add((self._root / name).resolve())
            deep |= {(self._root / name).resolve() for name in config.external_package_dirs}
            if config.requirements_file:
                flat.add((self._root / config.requirements_file).resolve().parent)
        files = list(files)
        reached = {Path(one) for one in {os.path.dirname(file.source) for file in files}}  # noqa: PTH120 of many files
        reached |= {file.source.resolve().parent for file in files if file.link}
        self.direct = all(os.path.realpath(one) == str(one) for one in reached) and not any(
            file.link for file in files
        )
        deep |= {real for folder in reached if (real := folder.resolve()) not in flat}
        deep = {folder for folder in deep if folder.is_dir()}
        deep = {folder for folder in deep if not any(above in deep for above in folder.parents)}
        return frozenset(folder for folder in flat if folder.is_dir()), frozenset(deep)

    def _rules(self) -> Callable[[str], bool]:
        try:
            return ignore_rules(self._root, Memory())
        except PackageError:  # which planning will tell
            return lambda _: False

    def _start(self, folders: list[str], *, recursive: bool) -> None:
        from watchfiles._rust_notify import RustNotify

        try:
            notifier = RustNotify(
                folders,
                debug=False,
                force_polling=False,
                poll_delay_ms=300,
                recursive=recursive,
                ignore_permission_denied=True,
            )
        except OSError as exc:
            raise EngineError(
                f"The system does not watch {self._root}: {exc}.",
                hint="`sysctl fs.inotify.max_user_watches` is how many folders it watches; raise it.",
            ) from exc
        thread = threading.Thread(
            target=self._listen,
            args=(notifier, STEP_MS if recursive else FLAT_STEP_MS, self._stop),
            daemon=True,
        )
        self._threads.append(thread)
        thread.start()

    def _listen(self, notifier: object, step: int, stop: threading.Event) -> None:
        quiet = LOOK_MS
        with notifier:  # type: ignore[attr-defined]
            while True:
                try:
                    told = notifier.watch(GROUP_MS, step, quiet, stop)  # type: ignore[attr-defined]
                except (OSError, RuntimeError):  # a name that it cannot decode, for one; it tells no more
                    self._stale = True
                    self._tell({str(self._root)})
                    return
                if told == "stop":
                    return
                if isinstance(told, set):
                    self._note({path for _, path in told})
                    quiet = AGAIN_MS
                else:
                    self._tell({str(self._root)})
                    quiet = LOOK_MS

    def _note(self, paths: set[str]) -> None:
        if str(self._root / IGNORE_FILE) in paths:
            self._ignored = self._rules()
        if any(Path(path) in self._watched[1] for path in paths):
            self._stale = True  # a folder was made anew: what watched it watches nothing any more
        self._tell({path for path in paths if not self._is_ignored(path)})

    def _tell(self, paths: set[str]) -> None:
        if paths:
            with self._lock:
                self._changed |= paths
            with suppress(OSError):  # whoever was to be woken has gone
                self._wake()

    def _is_ignored(self, path: str) -> bool:
        try:
            return self._ignored(Path(path).relative_to(self._root).as_posix())
        except ValueError:
            return False
