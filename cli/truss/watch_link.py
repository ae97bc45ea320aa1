"""A watcher's way to its deployment: the session, the log, and how both are found again after they broke."""

from __future__ import annotations

import getpass
import os
import platform
from contextlib import ExitStack
from typing import TYPE_CHECKING

from truss.control import Session
from truss.control_messages import Applied, BusyError, ChannelClosedError, Failed, Mismatch
from truss.errors import EngineError, NotDeployedError, TrussError
from truss.log_lines import format_record, parse_log_line
from truss.push import Wish, push
from truss.watch_events import Told
from truss.watch_log import WatchLog
from truss.wording import format_exit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from truss.client import HttpClient
    from truss.control_messages import Change, Event
    from truss.deps import Clock
    from truss.progress import Progress
    from truss.release import Deployment
    from truss.targets import Target

AGAIN_SECONDS = 120.0
"""How long a deployment that went away may take to come back: an engine is restarted, a machine has slept."""

LOOK_SECONDS = 0.25
"""Between two looks for it."""

OWN_SECONDS = 10.0
"""How long an earlier session of ours may take to end at the other side."""

STOPPED_SECONDS = 3.0
"""How long one that is stopped may take to be started again: a restart is a stop, and then a start."""


class Link:
    """The session with a deployment and its log.

    Args:
        deployment: Which.
        target: Where it runs.
        clock: Time.
        tell: Told of what happens to it.
        wake: Called in a thread when there are lines of the log to be told.

    Attributes:
        deployment: Which.
        digest: Of the version that runs.
        files: SHA-256 (hex) of its files by path.
        generation: Its number.
    """

    def __init__(
        self,
        deployment: Deployment,
        target: Target,
        clock: Clock,
        tell: Callable[[Told], None],
        wake: Callable[[], None],
    ) -> None:
        self.deployment = deployment
        self.digest = ""
        self.files: Mapping[str, str] = {}
        self.generation = 0
        self._target = target
        self._clock = clock
        self._tell = tell
        self._wake = wake
        self._session: Session | None = None
        self._log: WatchLog | None = None

    def attach(self) -> None:
        """Begin a session.

        Raises:
            BusyError: Somebody else watches.
            TrussError: The deployment is gone, or does not answer.
        """
        self.close()
        self._session = self._begin_session(self._clock.monotonic() + OWN_SECONDS)
        hello = self._session.hello
        self.digest, self.files = hello.digest, hello.files
        self.generation = hello.generation
        if self._log is not None and self._log.id == self.deployment.id:
            self._log.resume()
            return
        if self._log is not None:
            self._log.close()
        self._log = WatchLog(self._target, self.deployment, self._wake)

    def _begin_session(self, deadline: float) -> Session:
        """Return a session; one of our own that has not ended yet over there is waited for."""
        who = f"pid {os.getpid()} of {_user()} on {platform.node()}"
        while True:
            try:
                return Session.begin(self._target.attach(self.deployment), who)
            except BusyError as exc:  # noqa: PERF203 once or twice
                if exc.who != who or self._clock.monotonic() > deadline:
                    raise
                self._clock.sleep(LOOK_SECONDS)

    def follow(self, deployment: Deployment) -> None:
        """Go on with another deployment; a session with it has to be begun."""
        self.close()
        self.deployment = deployment

    def push(
        self,
        package: Path,
        client: HttpClient,
        shown: Callable[[], AbstractContextManager[Progress]],
        seconds: float,
    ) -> TrussError | None:
        """Push a package to where the deployment is, and begin a session with what runs there then.

        Args:
            package: Its folder.
            client: Asks the new server whether it is ready.
            shown: Shows the steps.
            seconds: How long it may take to become ready.

        Returns:
            Why the push failed, which leaves what ran; None where it did not.
        """
        self.close()
        where = self.deployment
        wish = Wish(where.target, where.environment, where.port, seconds)
        try:
            with shown() as progress, ExitStack() as finish:
                pushed = push(
                    package,
                    wish,
                    target=lambda _: self._target,
                    client=client,
                    clock=self._clock,
                    progress=progress,
                    finish=finish,
                )
            self.follow(pushed.deployment)
            self.attach()
        except TrussError as exc:
            self.find_again(exc)
            return exc
        return None

    def close(self) -> None:
        """End the session."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def fileno(self) -> int:
        """Return what becomes readable when the deployment says something."""
        return self._open().fileno()

    def apply(self, change: Change) -> None:
        """Ask for a version; see `Session.apply`."""
        self._open().apply(change)

    def reload(self) -> None:
        """Ask for the current version to be loaded again."""
        self._open().reload()

    def cancel(self) -> None:
        """Ask for what is being loaded to be given up; see `Session.cancel`."""
        self._open().cancel()

    def receive(self) -> list[Event]:
        """Wait for events and return them; see `Session.receive`."""
        events = self._open().receive()
        for event in events:
            if isinstance(event, (Applied, Failed)):
                self.generation = event.generation
            if isinstance(event, (Applied, Mismatch)):
                self.digest = event.digest
            if isinstance(event, Mismatch):
                self.files = event.files
        return events

    def find_again(self, lost: TrussError) -> None:
        """Wait until the deployment, or the one that took its place, can be attached to.

        Args:
            lost: Why it has to be found.

        Raises:
            NotDeployedError: It was stopped, or has ended.
            EngineError: It does not come back.
        """
        self.close()
        begin = alive = self._clock.monotonic()
        told = False
        while True:
            try:
                self.follow(self._find())
                self.attach()
            except NotDeployedError:
                if self._clock.monotonic() > alive + STOPPED_SECONDS:
                    raise
            except EngineError as exc:
                alive = self._clock.monotonic()
                if alive > begin + AGAIN_SECONDS:
                    raise EngineError(
                        exc.message, details=lost.details or exc.details, hint=exc.hint
                    ) from exc
            else:
                return
            if not told:
                self._tell(Told("state", f"{lost.message} Waiting for it to come back."))
                told = True
            self._clock.sleep(LOOK_SECONDS)

    def _find(self) -> Deployment:
        model, environment = place = (self.deployment.model, self.deployment.environment)
        hint = "`truss push --watch` starts it anew."
        for one in self._target.deployments():
            if (one.model, one.environment) == place:
                code = self._target.exit_code(one)
                if code is None:
                    return one
                raise NotDeployedError(f"{model} in {environment} {format_exit(code)}.", hint=hint)
        raise NotDeployedError(f"{model} is not deployed in {environment} any more.", hint=hint)

    def tell_logs(self) -> None:
        """Tell the lines of the log that have come."""
        for line in self._log.take() if self._log is not None else ():
            record = parse_log_line(line)
            if record.matters:
                self._tell(Told("log", format_record(record)))

    def _open(self) -> Session:
        if self._session is None:
            raise ChannelClosedError("There is no session with the deployment.")
        return self._session


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"user {os.getuid()}"
