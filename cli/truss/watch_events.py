"""What a watcher tells: each event as a line for people and as an object for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from truss.wording import clean, format_error

if TYPE_CHECKING:
    from datetime import datetime

    from truss.control_messages import Applied, State
    from truss.errors import TrussError
    from truss.patch import Patch
    from truss.release import Deployment

WHERE_WIDTH, WHAT_WIDTH = 24, 32

MINUTE = 60.0


@dataclass(frozen=True)
class Told:
    """Something that happened.

    Attributes:
        event: `attached`, `swapped`, `loaded`, `environment`, `rebuilt`, `failed`, `unchanged`, `state`, `log`.
        what: What it is, for people.
        where: The file it is about, may be empty.
        generation: That serves now.
        seconds: It took; None where that says nothing.
        reason: Why it was not less, may be empty.
        details: Lines that show it: a traceback, an excerpt of a file.
    """

    event: str
    what: str
    where: str = ""
    generation: int | None = None
    seconds: float | None = None
    reason: str = ""
    details: str = ""


def failed(error: TrussError, where: str, generation: int, seconds: float | None = None) -> Told:
    """Return what to tell of an edit that was not taken."""
    lines = format_error(error, whole=True).removeprefix("error: ").splitlines()
    return Told("failed", lines[0], where, generation, seconds, details="\n".join(lines[1:]))


def because(patch: Patch) -> str:
    """Return why a patch is not less than it is."""
    return "; ".join(patch.reasons)


def attached_to(deployment: Deployment, generation: int) -> Told:
    """Return what to tell at the beginning."""
    return Told("attached", f"watching {deployment.url}, generation {generation}", generation=generation)


def applied(event: Applied, patch: Patch, seconds: float) -> Told:
    """Return what to tell of an edit that serves."""
    if event.how == "swap":
        return Told(
            "swapped", f"code swapped, generation {event.generation}", patch.where, event.generation, seconds
        )
    kind, words = (
        ("environment", "new environment") if patch.kind == "environment" else ("loaded", "loaded again")
    )
    reason = event.because or because(patch)
    return Told(
        kind, f"{words}, generation {event.generation}", patch.where, event.generation, seconds, reason
    )


def state(event: State, generation: int) -> Told:
    """Return what to tell of the model's process."""
    words = f"the model is {event.status}" + (f": {event.error}" if event.error else "")
    return Told("state", words, generation=generation)


def format_json(told: Told, now: datetime) -> str:
    """Return an event as a line of JSON; what is not known is left out."""
    fields = {name: value for name, value in asdict(told).items() if value not in {None, ""}}
    return json.dumps({"time": now.isoformat(), **fields}, ensure_ascii=False) + "\n"


def format_text(told: Told, now: datetime) -> str:
    """Return an event for people; what the model says is told as it said it."""
    if told.event == "log":
        return "".join(f"{clean(line)}\n" for line in told.what.splitlines() or [""])
    time = now.astimezone().strftime("%H:%M:%S")
    seconds = "" if told.seconds is None else _format_seconds(told.seconds)
    cells = f"{time}  {told.where:<{WHERE_WIDTH}}  {told.what:<{WHAT_WIDTH}}  {seconds}"
    line = clean(cells).rstrip()
    lines = [f"{line}   ({told.reason})" if told.reason else line]
    lines += [f"  {clean(one)}".rstrip() for one in told.details.splitlines()]
    if told.event == "failed":
        lines.append(f"{' ' * len(time)}  still serving generation {told.generation}")
    return "".join(f"{one}\n" for one in lines)


def _format_seconds(seconds: float) -> str:
    """Return a duration with the hundredths that matter here: `0.09 s`, `75 s`."""
    return f"{seconds:.2f} s" if seconds < MINUTE else f"{seconds:.0f} s"
