"""What a build says, as lines, and what is shown of it when it fails."""

from __future__ import annotations

import re
from textwrap import shorten
from typing import TYPE_CHECKING

from truss.errors import BuildError
from truss.indexes import redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from truss.images import Image
    from truss.pip_settings import PipSettings

SHOWN_LINES = 30
"""Lines of a failed step that its error shows."""

KILLED = 137
"""Exit code of a process that was ended by SIGKILL, most often for want of memory."""

NOT_FOUND = re.compile(
    r"No solution found|No matching distribution|Failed to fetch: `?\S+/`?$|Retrying \(Retry"
)
"""What uv and pip say where a package is in no index that they can ask; nothing but their words tells."""

MISSING = (
    (
        re.compile(r"No module named pip$"),
        "Write `pip install ...`: `python -m pip` needs `pip` in `requirements`.",
    ),
    (
        re.compile(r"sh: .*\buv: (command )?not found$"),
        "Write `pip install ...`: uv is there while truss builds, and for no command.",
    ),
    (
        re.compile(r"Git executable not found|Cannot find command 'git'|sh: .*\bgit: (command )?not found$"),
        "Add `git` to `system_packages`.",
    ),
)
"""Of what the base image lacks, and builds often want: what is said then, and what helps."""

COMMAND_CHARACTERS = 100
"""Of a command that failed, at most, in one line with what became of it."""

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Lines:
    """Whole lines out of text that comes in any pieces.

    Args:
        redacted: Puts stars in place of passwords.
    """

    def __init__(self, redacted: Callable[[str], str]) -> None:
        self._open = ""
        self._redacted = redacted

    def feed(self, text: str) -> Iterable[str]:
        """Return the lines that a piece completes."""
        *whole, self._open = (self._open + text).split("\n")
        return [self._redacted(COLOUR.sub("", line).rstrip()) for line in whole]

    def rest(self) -> list[str]:
        """Return the line that was not completed, if there is one."""
        return [self._redacted(line)] if (line := COLOUR.sub("", self._open).strip()) else []


def failure(
    image: Image, settings: PipSettings, lines: Iterable[str], code: int | None, number: int | None = None
) -> BuildError:
    """Return the error of a build, which shows what the failed step said rather than what the engine says of it.

    Args:
        image: What was to be built.
        settings: What the build was given.
        lines: The last ones of the failed step.
        code: Exit code of the step, if it came to run.
        number: Of the command that failed, where it is known.
    """
    said, hints = list(lines), []
    hints += [hint for sign, hint in MISSING if any(sign.search(line) for line in said)]
    if code == KILLED:
        hints.append("The step was killed, most likely for want of memory: give the engine more.")
    if settings.unseen and image.kind != "system" and any(NOT_FOUND.search(line) for line in said):
        hints.append(
            f"Not asked was {', '.join(settings.unseen)}: an index that is a folder of this machine, which no build "
            "inside Docker sees. Name its packages in PIP_FIND_LINKS or the URL of a server, or push with "
            "`--target local`."
        )
    message = could_not(image)
    if number is not None and number < len(image.written):
        hidden = redactor(settings.secrets)(image.written[number])
        command = shorten(hidden, COMMAND_CHARACTERS, placeholder=" ...")
        several = len(image.written) > 1 and image.written.count(image.written[number]) == 1
        of = f" ({number + 1} of {len(image.written)})" if several else ""
        ended = "failed" if code is None else f"ended with exit code {code}"
        message = f"{message[:-1]}: `{command}`{of} {ended}."
    return BuildError(message, details="\n".join(said), hint="\n".join(hints))


def could_not(image: Image) -> str:
    """Return what to say of an image that cannot be built."""
    return f"Docker could not {image.purpose}."
