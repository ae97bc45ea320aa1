"""A package under an author's hands, looked at when it has come to rest."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from truss.errors import PackageError
from truss.memory import Memory
from truss.plan import plan_release
from truss.release import FileChangedError
from truss.saves import Saves
from truss.snapshot import Snapshot, Sources

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from truss.deps import Clock

FEW = 10
"""Files that are saved by hand at once; more of them are a checkout, which is waited for."""

CALM_SECONDS = 0.15
"""Quiet time after many files were saved at once."""

LONGEST_STORM_SECONDS = 10.0

MOST_TRIES = 50
"""How often a file that is still being written is looked at again, with `RETRY_SECONDS` in between."""

RETRY_SECONDS = 0.02


class Looker:
    """Looks at a package again and again.

    Args:
        package: Its folder.
        clock: Time.
        wake: Called in a thread when something was saved.
    """

    def __init__(self, package: Path, clock: Clock, wake: Callable[[], None]) -> None:
        self._package = package
        self._clock = clock
        self._memory = Memory()
        self._sources = Sources()
        self._saves = Saves(package, wake)
        self._saves.watch(None, ())

    def changed(self) -> bool:
        """Return whether something was saved since the last look."""
        return self._saves.pending()

    def close(self) -> None:
        """Look no more."""
        self._saves.close()

    def _settle(self) -> None:
        """Wait until a checkout of many files is over."""
        clock = self._clock
        end = clock.monotonic() + LONGEST_STORM_SECONDS
        calm = self._is_calm()
        while not calm and clock.monotonic() < end:
            clock.sleep(CALM_SECONDS)
            calm = self._is_calm()

    def _is_calm(self) -> bool:
        return len(self._saves.take()) <= FEW and not _checks_out(self._package)

    def look(self, model: str) -> Snapshot:
        """Return the package as it is; a file that is being written is waited for.

        Args:
            model: Name it must have.

        Raises:
            PackageError: It makes no release, or not one of this model.
        """
        self._settle()
        for _ in range(MOST_TRIES):
            with suppress(FileChangedError):
                plan = plan_release(self._package, self._memory)
                if self._saves.watch(plan.config, (*plan.files, *plan.wheels)):
                    continue  # what happened in a folder before it was watched
                if plan.manifest.model != model:
                    raise PackageError(
                        f"The model is called {plan.manifest.model} now; {model} is watched.",
                        hint="`truss push --watch` makes a deployment of its own.",
                    )
                return self._sources.snapshot(plan)
            self._clock.sleep(RETRY_SECONDS)
        raise PackageError(
            "The package does not come to rest.", hint="It is looked at again at the next save."
        )


def _checks_out(package: Path) -> bool:
    """Return whether git is changing the files of a package."""
    return any((folder / ".git" / "index.lock").exists() for folder in (package, *package.parents))
