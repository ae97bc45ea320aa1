"""What a build says, as lines, and what is shown of it when it fails."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from truss.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from truss.images import Image
    from truss.pip_settings import PipSettings

SHOWN_LINES = 30
"""Lines of a failed step that its error shows."""

KILLED = 137
"""Exit code of a process that was ended by SIGKILL, most often for want of memory."""

NOT_FOUND = re.compile(r"No solution found|No matching distribution|Failed to fetch|Retrying \(Retry")
"""What uv and pip say where a package is in no index that they can ask; nothing but their words tells."""

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


def failure(image: Image, settings: PipSettings, lines: Iterable[str], code: int | None) -> BuildError:
    """Return the error of a build, which shows what the failed step said rather than what the engine says of it.

    Args:
        image: What was to be built.
        settings: What the build was given.
        lines: The last ones of the failed step.
        code: Exit code of the step, if it came to run.
    """
    said, hints = list(lines), []
    if code == KILLED:
        hints.append("The step was killed, most likely for want of memory: give the engine more.")
    if settings.unseen and image.kind != "system" and any(NOT_FOUND.search(line) for line in said):
        hints.append(
            f"The index {', '.join(settings.unseen)} is a folder of this machine, which no build inside Docker sees: "
            "name its packages in PIP_FIND_LINKS or the URL of a server, or push with `--target local`."
        )
    return BuildError(could_not(image), details="\n".join(said), hint="\n".join(hints))


def could_not(image: Image) -> str:
    """Return what to say of an image that cannot be built."""
    return f"Docker could not {image.purpose}."
