"""What a model's environment is to hold: what its author lists, and what the code imports of the server's own kind."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

IMPLIED = ("fastapi", "starlette")
"""Asked for by importing them: the specification's models import `fastapi` and list nothing."""

_COMMENT = re.compile(r"(^|\s)#.*$")
_NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*($|[\[(<>=!~;@\s])")
_OTHER_FILE = re.compile(r"-[rce]|--(requirement|constraint|editable)\b")
_PATH = re.compile(r"(\.|/|~|[A-Za-z]:\\)")


@dataclass(frozen=True)
class Line:
    """A requirement in a file, and the line (from 1) where it begins."""

    number: int
    text: str


def read_lines(text: str) -> list[Line]:
    r"""Return the requirements in a pip requirements file: no comments, lines that end in `\` joined to the next."""
    found = []
    pending = ""
    start = 1
    for number, raw in enumerate(text.splitlines(), start=1):
        start = start if pending else number
        pending += raw
        if pending.endswith("\\"):
            pending = pending[:-1] + " "
            continue
        found.append(Line(start, without_comment(pending)))
        pending = ""
    found.append(Line(start, without_comment(pending)))
    return [line for line in found if line.text]


def without_comment(line: str) -> str:
    """Return a requirement without what follows a `#` and without space around it."""
    return _COMMENT.sub("", line).strip()


def objection(line: str) -> str | None:
    """Return what is wrong with a requirement that names a file of this machine, which no image sees."""
    if _OTHER_FILE.match(line):
        return f"`{line.split(maxsplit=1)[0]}` is not supported: list the requirements themselves"
    if _PATH.match(line):
        return f"`{line}` is a path on this machine: put the code into the packages folder, or name a URL"
    return None


def implied(requirements: Iterable[str], modules: AbstractSet[str]) -> tuple[str, ...]:
    """Return what the code imports and no requirement names, of the few libraries that are implied."""
    named = {_normal(match[1]) for line in requirements if (match := _NAME.match(line))}
    return tuple(name for name in IMPLIED if name in modules and name not in named)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
