"""A line of requirements: what it names, what is wrong with it, and what the code implies beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from truss.requirement_grammar import AFTER, COMMAND, after_objection, grammar_objection, option_objection

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Set as AbstractSet

IMPLIED = ("fastapi", "starlette")
"""Asked for by importing them: the specification's models import `fastapi` and list nothing."""

HASH = re.compile(r"\s--hash[=\s]\s*\S+")

OPTION = re.compile(r"-")

_DIRS = "`external_package_dirs`"

_COMMENT = re.compile(r"(^|\s)#.*$")
_NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*($|[\[(<>=!~;@\s])")
_OTHER_FILE = re.compile(r"-[rc]|--(requirement|constraint)\b")
_EDITABLE = re.compile(r"-e|--editable\b")
_LINKS = re.compile(
    r"(-f|--find-links)(\s+|=)(?!https?://).*|(-i|--index-url|--extra-index-url)(\s+|=)(file:|[./~]).*"
)
_ARCHIVE = r"[^\s;@:]+\.(tar\.gz|tgz|tar\.bz2|tar\.xz|zip)\s*($|;|\[)"
_PATH = re.compile(rf"(\.|/|~|[A-Za-z]:\\|file:)|[^@]*@\s*(file:|[./~])|(?!-)([^\s;@:\[]+/|{_ARCHIVE})")
_WHEEL = re.compile(r"(?P<path>[^\s;\[\]@:]+\.whl)(?P<rest>\s*(\[[\w\s,.-]*\])?(\s*;.*|\s+--hash.*)?)")


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


def without_hashes(line: str) -> str:
    """Return a requirement without its hashes."""
    return HASH.sub("", line).strip()


_REFUSED = (
    (
        _OTHER_FILE,
        "`{option}` is not supported here: name the file in `requirements_file`, which may include others",
    ),
    (
        _EDITABLE,
        "`{line}` installs code in place, which no image sees: put it into the packages folder, or name "
        + _DIRS,
    ),
    (COMMAND, "`{line}` is a command: write what it installs, each project on a line of its own"),
    (_LINKS, "`{line}` is no URL: set PIP_FIND_LINKS, or name each wheel by its path in the package"),
)


def objection(line: str) -> str | None:
    """Return what is wrong with a requirement: it is none, or names a file of this machine, which no image sees."""
    for pattern, text in _REFUSED:
        if pattern.match(line):
            return text.format(line=line, option=line.split(maxsplit=1)[0])
    if OPTION.match(line):
        return option_objection(line, objection)
    bare = without_hashes(line)
    if (found := AFTER.search(bare)) is not None:
        return after_objection(bare[: found.start()].strip(), bare[found.start() :].strip())
    if wheel_path(line) is not None:
        return None
    if _PATH.match(line):
        return f"`{line}` is a path on this machine: name a wheel in the package, a URL, or put the code into {_DIRS}"
    return grammar_objection(bare)


def refusals() -> Iterator[tuple[str, str]]:
    """Yield how a requirement must not begin, as a regular expression, and what is said of one that does."""
    for pattern, text in _REFUSED:
        words = text.partition("` ")[2]
        yield pattern.pattern, f"{words[0].upper()}{words[1:]}."


def wheel_path(line: str) -> PurePosixPath | None:
    """Return the path, in the package, of the wheel that a requirement names; None where it names none there."""
    match = _WHEEL.fullmatch(line)
    if match is None:
        return None
    path = PurePosixPath(match["path"])
    leads_out = (
        path.is_absolute() or ".." in path.parts or match["path"].startswith("~") or "\\" in match["path"]
    )
    return None if leads_out else path


def with_wheel_in(line: str, folder: str) -> str:
    """Return a requirement whose wheel, if it names one, lies below another folder."""
    path = wheel_path(line)
    match = _WHEEL.fullmatch(line)
    return line if path is None or match is None else f"{folder}/{path}{match['rest']}"


def project(line: str) -> str:
    """Return the normalised name of the project that a requirement asks for, empty where it says none."""
    wheel = wheel_path(line)
    match = _NAME.match(wheel.name.partition("-")[0] if wheel else line)
    return re.sub(r"[-_.]+", "-", match[1]).lower() if match else ""


def implied(requirements: Iterable[str], modules: AbstractSet[str]) -> tuple[str, ...]:
    """Return what the code imports and no requirement names, of the few libraries that are implied."""
    named = {project(line) for line in requirements}
    return tuple(name for name in IMPLIED if name in modules and name not in named)
