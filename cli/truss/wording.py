"""What is said to the user, as text: errors, durations, lines that somebody else wrote. No input or output."""

from __future__ import annotations

import json
import re
import signal
import traceback
from dataclasses import asdict
from typing import TYPE_CHECKING

from truss.errors import TrussError

if TYPE_CHECKING:
    from collections.abc import Mapping

SIGNALLED = 128
"""Exit codes above it name the signal that ended a process."""

BUG_LINES = 6
"""Lines of a traceback that are shown of an error nobody foresaw."""

DEBUG_VARIABLE = "TRUSS_DEBUG"

OPTION_WORDS = {
    "Value error, ": "",
    "Input should be a valid integer, unable to parse string as an integer": "it is no whole number.",
    "Input should be a valid number, unable to parse string as a number": "it is no number.",
}
"""What pydantic says of an option's value, and how people say it."""

CONTROL = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.?)|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
"""Escape sequences and control characters, tab and newline excepted."""


def clean(line: str) -> str:
    """Return what a line leaves on a terminal: what follows its last carriage return, no control codes."""
    return CONTROL.sub("", line.rstrip("\r\n").rpartition("\r")[2]).expandtabs(4)


def plain_words(message: str) -> str:
    """Return what is said of a wrong option without the words of the library that found it."""
    for theirs, ours in OPTION_WORDS.items():
        message = message.replace(theirs, ours)
    return message


def format_seconds(seconds: float) -> str:
    """Return a duration for people: `0.4 s`, `75 s`, `12 min 5 s`."""
    if seconds < 10:  # noqa: PLR2004 a tenth of a second matters below ten of them
        return f"{seconds:.1f} s"
    if seconds < 120:  # noqa: PLR2004 two minutes are still felt as seconds
        return f"{seconds:.0f} s"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def format_exit(code: int) -> str:
    """Return how a server has ended: `was stopped`, `was ended by SIGKILL (by hand, or out of memory)`.

    Args:
        code: As shells and Docker give it; negative where nobody saw it end.
    """
    if code == 0:
        return "was stopped"
    try:
        name = signal.Signals(code - SIGNALLED).name
    except ValueError:
        return "has ended" if code < 0 else f"has ended with exit code {code}"
    return f"was ended by {name}" + (" (by hand, or out of memory)" if name == "SIGKILL" else "")


def format_error(error: TrussError, *, whole: bool = False) -> str:
    """Return the text of an error: the message, what shows it, what to do next.

    Args:
        error: Is told.
        whole: Whether what shows it is told even if it was seen in passing.
    """
    where = f"{error.step} failed: " if error.step else ""
    details = "" if error.streamed and not whole else error.details
    lines = f"error: {where}{error.message}\n{details}".rstrip().splitlines()
    if error.hint:
        lines += ["", *f"hint: {error.hint}".splitlines()]
    return "".join(f"{clean(line)}\n" for line in lines)


def format_error_json(error: TrussError) -> str:
    """Return an error as one line of JSON."""
    fields = {
        "message": error.message,
        "step": error.step,
        "details": error.details,
        "problems": [asdict(problem) for problem in error.problems],
        "hint": error.hint,
        "exit_code": error.exit_code,
    }
    return json.dumps({"error": fields}, ensure_ascii=False) + "\n"


def as_error(exc: BaseException, environ: Mapping[str, str]) -> TrussError:
    """Return an error nobody foresaw in the shape of those that were.

    Args:
        exc: What was raised.
        environ: With `TRUSS_DEBUG` the whole traceback is given.
    """
    if isinstance(exc, TrussError):
        return exc
    lines = "".join(traceback.format_exception(exc)).rstrip().splitlines()
    whole = bool(environ.get(DEBUG_VARIABLE)) or len(lines) <= BUG_LINES
    shown = lines if whole else ["  ...", *lines[-BUG_LINES:]]
    see_all = "" if whole else f"Run it again with {DEBUG_VARIABLE}=1 for the whole traceback. "
    return TrussError(
        "This is a bug in truss.",
        details="\n".join(shown),
        hint=f"{see_all}Please report it with the command you ran.",
    )
