"""Waiting for a model: what it prints is told meanwhile, and in the end why it was in vain, if it was."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from truss.config_values import CONFIG
from truss.errors import StartError
from truss.log_tail import LogTail

if TYPE_CHECKING:
    from collections.abc import Iterable

    from truss.client import HttpClient
    from truss.deps import Clock
    from truss.log_lines import LogRecord
    from truss.progress import Progress
    from truss.release import Deployment
    from truss.targets import Target

MISSING_MODULE = re.compile(
    r"^(?:ModuleNotFoundError: No module named '([\w]+)|ImportError: cannot import name \S+ from '(\w+))",
    re.MULTILINE,
)
"""The end of a traceback that tells of a module which is not there."""

POLL_SECONDS = 0.05
"""Between two looks at a server that is about to be ready; a twentieth of the wait so far, later on."""

LONGEST_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Wait:
    """How to wait for a model, and what to say if that is in vain.

    Attributes:
        seconds: The longest.
        reason: Why it may take long, as far as the package says.
        runs_on: Whether a deployment is there that goes on instead.
    """

    seconds: float
    reason: str
    runs_on: bool

    @property
    def consolation(self) -> str:
        """What to add to a hint."""
        return " What ran before runs on." if self.runs_on else ""


def wait_until_ready(
    target: Target,
    candidate: Deployment,
    wait: Wait,
    *,
    client: HttpClient,
    clock: Clock,
    progress: Progress,
) -> None:
    """Wait until the model of a candidate is loaded, telling what it prints.

    Raises:
        StartError: The server ended, or the time is over.
    """
    begin = clock.monotonic()
    tail = LogTail(target.logs(candidate, follow=True))
    while not client.is_ready(candidate.url):
        tail.show(progress)
        code = target.exit_code(candidate)
        if code is not None:
            tail.finish(progress)
            raise ended_error(code, tail.records, wait)
        waited = clock.monotonic() - begin
        if waited > wait.seconds:
            raise late_error(tail, wait)
        clock.sleep(min(max(POLL_SECONDS, waited / 20), LONGEST_POLL_SECONDS))
    tail.show(progress)


def late_error(tail: LogTail, wait: Wait) -> StartError:
    """Return what to say of a model that was not ready in time."""
    reason = f": {tail.warning}" if tail.warning else f". {wait.reason}"
    message = f"The model was not ready after {wait.seconds:g} s{reason}"
    hint = f"--timeout SECONDS waits longer.{wait.consolation}"
    return StartError(message, details=format_records(tail.records), hint=hint)


def ended_error(code: int, records: Iterable[LogRecord], wait: Wait) -> StartError:
    """Return what to say of a server that ended before its model was ready."""
    told = [record for record in records if record.level == "ERROR" and record.source != "model"]
    traced = [record for record in told if record.trace]
    if not told:
        message, details = f"The server ended with exit code {code}.", format_records(records)
    else:
        words = (traced or told)[-1].message.partition("\n")[0]
        message = words[:1].upper() + words[1:]
        details = traced[-1].trace if traced else format_records(records)
    missing = MISSING_MODULE.search(details)
    hint = "Correct it and push again."
    if missing:
        hint = (
            f"If `{missing[1] or missing[2]}` is a package from PyPI, add it to `requirements` in {CONFIG}; "
            "code of yours belongs in packages/."
        )
    return StartError(message, details=details, hint=f"{hint}{wait.consolation}")


def format_records(records: Iterable[LogRecord]) -> str:
    """Return the end of a log: what was shown while it was written, or all of it if that is nothing."""
    kept = list(records)
    shown = [record for record in kept if record.matters]
    return "\n".join(f"{record.message}\n{record.trace}".rstrip() for record in shown or kept)
