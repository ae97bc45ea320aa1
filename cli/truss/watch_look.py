"""A package under an author's hands, looked at when it has come to rest."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from truss.errors import PackageError
from truss.memory import Memory
from truss.plan import plan_edit, plan_release
from truss.release import FileChangedError
from truss.saves import Saves
from truss.snapshot import Snapshot, Sources

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from truss.deps import Clock
    from truss.release import ReleasePlan

FEW = 10
"""Files that are saved by hand at once; more of them are a checkout, which is waited for."""

CALM_SECONDS = 0.15
"""Quiet time after many files were saved at once."""

LONGEST_STORM_SECONDS = 10.0

MOST_TRIES = 50
"""How often a file that is still being written is looked at again, with `RETRY_SECONDS` in between."""

RETRY_SECONDS = 0.02

HALF_SECONDS = 0.05
"""A file that is suddenly empty, or no Python any more, is looked at again after this time: it may be half-written."""


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
        self._last: Snapshot | None = None
        self._saves = Saves(package, wake)
        self._saves.watch(None, ())

    def changed(self) -> bool:
        """Return whether something was saved since the last look."""
        return self._saves.pending()

    def close(self) -> None:
        """Look no more."""
        self._saves.close()

    def _settle(self) -> set[str]:
        """Wait until a checkout of many files is over; return the paths that were saved."""
        clock = self._clock
        end = clock.monotonic() + LONGEST_STORM_SECONDS
        saved = new = self._saves.take()
        while (len(new) > FEW or _checks_out(self._package)) and clock.monotonic() < end:
            clock.sleep(CALM_SECONDS)
            new = self._saves.take()
            saved |= new
        return saved

    def look(self, model: str) -> Snapshot:
        """Return the package as it is; a file that is being written is waited for.

        Args:
            model: Name it must have.

        Raises:
            PackageError: It makes no release, or not one of this model.
        """
        last, self._last = self._last, None
        saved = self._settle()
        try:
            snapshot = self._look(model, last, saved)
            half = last is not None and _is_half_written(last, snapshot)
        except PackageError:
            if last is None:
                raise
            half = True
        if half:
            self._clock.sleep(HALF_SECONDS)
            snapshot = self._look(model, last, saved)
        self._last = snapshot
        return snapshot

    def _look(self, model: str, last: Snapshot | None, saved: set[str]) -> Snapshot:
        for _ in range(MOST_TRIES):
            with suppress(FileChangedError):
                plan = self._plan(last.plan if last else None, saved)
                if plan is None:
                    continue
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

    def _plan(self, last: ReleasePlan | None, saved: set[str]) -> ReleasePlan | None:
        """Return the plan of the package; None where more of it has to be watched, and it is to be planned again."""
        if last is not None and 0 < len(saved) <= FEW and self._saves.direct:
            plan = plan_edit(last, saved, self._memory)
            if plan is not None:
                return plan
        plan = plan_release(self._package, self._memory)
        # What happened in a folder before it was watched was told by nobody.
        return None if self._saves.watch(plan.config, (*plan.files, *plan.wheels)) else plan


def _is_half_written(last: Snapshot, now: Snapshot) -> bool:
    """Return whether a file looks as if somebody has only begun to write it."""
    if any(path not in last.broken for path in now.broken):
        return True
    before = last.files
    return any(not file.size and path in before and before[path].size for path, file in now.files.items())


def _checks_out(package: Path) -> bool:
    """Return whether git is changing the files of a package."""
    return any((folder / ".git" / "index.lock").exists() for folder in (package, *package.parents))
