"""From saves to a deployment that runs them: look, plan, carry out, tell; one edit at a time, until told to end."""

from __future__ import annotations

import select
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from truss.control_messages import Applied, Cancelled, ChannelClosedError, Failed, Mismatch, State
from truss.errors import PackageError, StartError, TrussError
from truss.keys import read_keys
from truss.patch import Kind, Patch, plan_patch, plan_resync
from truss.release import FileChangedError
from truss.watch_attempt import Attempt, change_for
from truss.watch_events import Told, applied, attached_to, because, failed, state
from truss.watch_link import Link
from truss.watch_look import Looker
from truss.watch_waker import Waker

if TYPE_CHECKING:
    from pathlib import Path

    from truss.control_messages import Event
    from truss.release import Deployment
    from truss.snapshot import Snapshot
    from truss.watch_attempt import Strategy
    from truss.watch_outside import Outside

MOST_MISMATCHES = 3


class Watch:
    """Keeps a deployment at what its package holds.

    Args:
        package: Its folder.
        deployment: In development.
        outside: The world.
        strategy: Whether two models may be loaded at a time.
        seconds: How long the model may take to load.
    """

    def __init__(
        self, package: Path, deployment: Deployment, outside: Outside, *, strategy: Strategy, seconds: float
    ) -> None:
        self._package = package
        self._outside = outside
        self._strategy = strategy
        self._seconds = seconds
        self._running: Snapshot | None = None
        self._attempt: Attempt | None = None
        self._refused = ""
        self._said = ""
        self._mismatches = 0
        self._dirty = True
        self._asked: Literal["", "load", "rebuild"] = ""
        self._keys: int | None = None
        self._waker = Waker()
        self._looker = Looker(package, outside.clock, self._waker.wake)
        self._link = Link(deployment, outside.target, outside.clock, outside.tell, self._waker.wake)

    def run(self, keys: int | None = None) -> None:
        """Watch until the key for that, or Ctrl-C.

        Args:
            keys: Descriptor that gives single keys, if there is one.

        Raises:
            TrussError: The deployment is gone, or somebody else watches it.
        """
        self._keys = keys
        with ExitStack() as end:
            end.enter_context(self._waker.hears_signals())
            for closing in (self._waker, self._looker, self._link):
                end.callback(closing.close)
            self._link.attach()
            self._begin()
            attached = False
            going = True
            while going:
                try:
                    if self._dirty or self._asked:
                        self._turn_to_what_is_new()
                    if not attached:
                        self._outside.tell(attached_to(self.deployment, self._link.generation))
                        attached = True
                    going = self._step()
                except ChannelClosedError as exc:  # noqa: PERF203 once in a while
                    self._link.find_again(exc)
                    self._begin()
                    what = f"it is back, generation {self._link.generation}"
                    self._outside.tell(Told("state", what, generation=self._link.generation))

    @property
    def deployment(self) -> Deployment:
        """What is watched; a rebuild makes it another one."""
        return self._link.deployment

    def _begin(self) -> None:
        """Begin with a new session: does what runs there equal what was left there?"""
        self._attempt = None
        if self._running and self._running.plan.manifest.digest != self._link.digest:
            self._running = None
        self._dirty = True

    def _step(self) -> bool:
        """Wait for what happens next and take it in; return whether to go on."""
        ears = [self._waker.fileno(), self._link.fileno(), *([] if self._keys is None else [self._keys])]
        left = None
        if self._attempt is not None:
            left = max(0.0, self._attempt.begin + self._seconds - self._outside.clock.monotonic())
        heard = select.select(ears, [], [], left)[0]
        if self._waker.fileno() in heard:
            self._waker.rest()
            self._dirty |= self._looker.changed()
        self._link.tell_logs()
        if self._link.fileno() in heard:
            for event in self._link.receive():
                self._answer(event)
        elif not heard and self._attempt is not None:
            self._too_late(self._attempt)
        if self._keys is None or self._keys not in heard:
            return True
        pressed = read_keys(self._keys)
        if pressed is None:  # the terminal is gone, and who ignores SIGHUP goes on without it
            self._keys = None
        return self._press(pressed or "")

    def _press(self, keys: str) -> bool:
        """Do what keys stand for; return whether to go on."""
        if "q" in keys:
            return False
        if "R" in keys:
            self._asked = "rebuild"
        elif "r" in keys:
            self._asked = "load"
        return True

    def _turn_to_what_is_new(self) -> None:
        """Look at what was saved, or do what was asked for; an edit that is being loaded is given up for it."""
        attempt = self._attempt
        if attempt is None:
            self._look()
        elif attempt.cancelled:
            pass  # its answer comes soon
        elif self._asked or self._is_outdated(attempt):
            self._link.cancel()
            self._attempt = replace(attempt, cancelled=True)

    def _is_outdated(self, attempt: Attempt) -> bool:
        """Return whether something else is on disk than what is being loaded."""
        self._dirty = False
        try:
            snapshot = self._looker.look(self.deployment.model)
        except PackageError as exc:
            self._not_taken(failed(exc, "", self._link.generation), str(exc) + exc.details)
            return False
        self._dirty = snapshot.plan.manifest.digest != attempt.snapshot.plan.manifest.digest
        return self._dirty

    def _look(self) -> None:
        """Plan what is on disk and begin to carry it out."""
        at_least, self._asked = self._asked, ""
        self._dirty = False
        begin = self._outside.clock.monotonic()
        try:
            snapshot = self._looker.look(self.deployment.model)
            patch = self._plan(snapshot)
            if at_least == "rebuild":
                patch = replace(patch, kind="rebuild", reasons=("asked for",))
            elif at_least == "load" and patch.kind in {"nothing", "swap"}:
                kind: Kind = "load" if patch.kind == "swap" else "nothing"
                patch = replace(patch, kind=kind, reasons=("asked for",))
            self._carry_out(snapshot, patch, begin, asked=bool(at_least))
        except PackageError as exc:
            self._not_taken(failed(exc, "", self._link.generation), str(exc) + exc.details)

    def _plan(self, snapshot: Snapshot) -> Patch:
        if self._running is None:
            return plan_resync(self._link.files, self._link.digest, snapshot)
        return plan_patch(self._running, snapshot)

    def _carry_out(self, snapshot: Snapshot, patch: Patch, begin: float, *, asked: bool) -> None:
        """Begin what a patch asks for."""
        if patch.kind == "nothing":
            self._running = snapshot
            if asked:
                self._link.reload()
                self._attempt = Attempt(snapshot, patch, begin)
            elif self._said:
                self._taken(Told("unchanged", f"as it runs, generation {self._link.generation}"))
        elif snapshot.plan.manifest.digest == self._refused and not asked:
            pass  # it was told already
        elif patch.kind in {"swap", "load"}:
            self._apply(snapshot, patch, begin, None)
        elif patch.kind == "rebuild" or not self._environment(snapshot, patch, begin):
            self._rebuild(snapshot, patch, begin)

    def _apply(self, snapshot: Snapshot, patch: Patch, begin: float, python: Path | None) -> None:
        change = change_for(snapshot, patch, self._link.digest, self._strategy, python)
        try:
            self._link.apply(change)
        except FileChangedError:
            self._dirty = True
            return
        self._attempt = Attempt(snapshot, patch, begin)

    def _environment(self, snapshot: Snapshot, patch: Patch, begin: float) -> bool:
        """Make a new environment and ask for a load in it; return whether this target can."""
        try:
            with self._outside.progress() as progress, progress.step("environment"):
                python = self._outside.target.prepare(snapshot.plan, progress)
        except TrussError as exc:
            self._refused = snapshot.plan.manifest.digest
            self._not_taken(failed(exc, patch.where, self._link.generation), self._refused)
            return True
        if python is not None:
            self._apply(snapshot, patch, begin, python)
        return python is not None

    def _rebuild(self, snapshot: Snapshot, patch: Patch, begin: float) -> None:
        """Push the package to where it runs; a push that fails leaves what ran."""
        error = self._link.push(self._package, self._outside.client, self._outside.progress, self._seconds)
        self._running = snapshot  # unless something was saved while it was pushed, which the digest tells
        self._begin()
        if error is not None:
            self._refused = snapshot.plan.manifest.digest
            self._not_taken(failed(error, patch.where, self._link.generation), self._refused)
            return
        what = f"rebuilt, release {self.deployment.release}"
        self._taken(
            Told("rebuilt", what, patch.where, self._link.generation, self._since(begin), because(patch))
        )

    def _answer(self, event: Event) -> None:
        """Take in what the deployment says."""
        attempt = self._attempt
        if isinstance(event, State):
            self._outside.tell(state(event, self._link.generation))
        elif attempt is None:
            return
        elif isinstance(event, Applied):
            self._attempt = None
            self._running = attempt.snapshot
            self._mismatches = 0
            self._taken(applied(event, attempt.patch, self._since(attempt.begin)))
        elif isinstance(event, Failed):
            self._attempt = None
            self._refused = attempt.snapshot.plan.manifest.digest
            seconds = self._since(attempt.begin)
            told = Told("failed", event.error, attempt.patch.where, event.generation, seconds)
            self._not_taken(replace(told, details=event.traceback), self._refused)
        elif isinstance(event, Cancelled):
            self._attempt = None
        elif isinstance(event, Mismatch):
            self._attempt = None
            self._running = None
            self._mismatches += 1
            self._dirty = self._mismatches <= MOST_MISMATCHES

    def _too_late(self, attempt: Attempt) -> None:
        """Give up a load that takes too long; the deployment discards it when the session ends."""
        self._refused = attempt.snapshot.plan.manifest.digest
        error = StartError(
            f"It was not loaded after {self._seconds:g} s.", hint="--timeout SECONDS waits longer."
        )
        self._not_taken(failed(error, attempt.patch.where, self._link.generation), self._refused)
        self._link.attach()
        self._begin()

    def _since(self, begin: float) -> float:
        return self._outside.clock.monotonic() - begin

    def _taken(self, told: Told) -> None:
        self._said = ""
        self._refused = ""
        self._outside.tell(told)

    def _not_taken(self, told: Told, about: str) -> None:
        """Tell why an edit is not taken, once."""
        if about != self._said:
            self._said = about
            self._outside.tell(told)
