"""What a requirement must be to an installer: a project and its versions, a URL, or an option on a line of its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

AFTER = re.compile(r"\s-{1,2}[A-Za-z]")
"""Where an option begins that follows a requirement."""

ALONE = {"--no-index", "--pre", "--prefer-binary", "--require-hashes"}
WITH_VALUE = {
    *("-i", "--index-url", "--extra-index-url", "-f", "--find-links"),
    *("--no-binary", "--only-binary", "--trusted-host", "--use-feature"),
}
"""Options that mean something in a file of requirements. All others are those of a command."""

COMMAND = re.compile(r"(?:python3? -m )?(?:uv )?pip3? install\b")

INDEXES = {"-i", "--index-url", "--extra-index-url"}

_WORD = re.compile(r"(?P<option>-[^\s=]*)(?:(?:\s*=\s*|\s+)(?P<rest>.*))?")
_URL = re.compile(
    r"(?:[A-Za-z0-9][\w.-]*\s*(?:\[[^\]]*\]\s*)?@\s*)?(?:git\+file://|(git\+)?(https?|ssh|ftp)?(://|\$\{[A-Z0-9_]+\}))\S*"
)
_REPOSITORY = re.compile(r"(?:[^@]*@\s*)?(hg|svn|bzr)\+")
_NAME = re.compile(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?(?:\s*\[[^\]]*\])?", re.ASCII)

_SLIPS = (
    (re.compile(r"(?P<quote>['\"])(?P<rest>.+)(?P=quote)"), "`{line}` is in quotes twice: write `{rest}`"),
    (
        re.compile(r"(?P<name>\w[\w.-]*)\s+v?(?P<rest>\d[\w.]*)"),
        "`{line}` has no `==`: write `{name}=={rest}`",
    ),
    (
        re.compile(r"[^;]*(?<![<>=!~])=(?P<rest>[<>])"),
        "`{line}` has its signs the wrong way round: write `{rest}=`",
    ),
    (re.compile(r"[\w.-]+(?:\s*\[[^\]]*\])?\s*=[^=]"), "`{line}` compares by a single `=`: write `==`"),
    (
        re.compile(r"\w[\w.-]*(?:\[[^\]]*\])?(?:[<>=!~]=?=?[\w.*+!]+)?(?:\s*,\s*|\s+)[A-Za-z][^;@]*"),
        "`{line}` are two names: each requirement is a line of its own",
    ),
    (
        re.compile(r".*(?P<rest>(?:[<>]=?|~=)\s*[\d.]+?)\.?\*"),
        "`{line}` has a `*` that goes with `==` and `!=` only: write `{rest}`",
    ),
    (
        re.compile(r".*~=\s*(?P<rest>\d+)\s*(?:$|[,;])"),
        "`{line}` says too little for `~=`: write `~={rest}.0`",
    ),
    (
        re.compile(r"(?P<name>[^;]*[^\s;])\s*;"),
        '`{line}` has no condition after `;`: write one like `{name} ; python_version < "3.13"`',
    ),
)
"""What is written instead of a requirement, and what is meant; the first that fits."""


def option_objection(line: str, objection: Callable[[str], str | None]) -> str | None:
    """Return what is wrong with a line that begins with an option.

    Args:
        line: Of requirements.
        objection: Judges what follows on the line.
    """
    word = _WORD.fullmatch(line)
    option, rest = (word["option"], word["rest"] or "") if word else (line, "")
    if option in WITH_VALUE:
        value, _, rest = rest.partition(" ")
        if not value:
            return f"`{option}` needs a value: write it on the same line"
    elif option not in ALONE:
        return f"`{option}` is an option of a command, not of a requirement: remove it"
    return objection(rest.strip()) if rest.strip() else None


def after_objection(requirement: str, option: str) -> str:
    """Return what is wrong with an option that follows a requirement."""
    word, _, rest = option.replace("=", " ", 1).partition(" ")
    if word in INDEXES:  # alone on its line, `--index-url` would be that of all requirements
        more = f"`--extra-index-url {rest}`"
        return f"`{word}` stands on a line of its own: write `{requirement}` on one and {more} on another"
    if word in WITH_VALUE | ALONE:
        return f"`{word}` stands on a line of its own: write `{requirement}` on one and `{option}` on another"
    return f"`{word}` is an option of a command: write `{requirement}` alone"


def grammar_objection(line: str) -> str | None:
    """Return what is wrong with the name, the versions and the condition of a requirement, or with its URL."""
    # Slow to import, and not needed where nothing is required.
    from packaging.requirements import InvalidRequirement, Requirement

    if _REPOSITORY.match(line):
        return f"`{line}` is in a repository that only pip could read: name one of git, or a wheel"
    if _URL.match(line):
        return None
    try:
        if Requirement(line).url is None:
            return None
    except InvalidRequirement:
        pass
    else:
        return f"`{line}` has no URL after `@`: write `==` for a version"
    for pattern, text in _SLIPS:
        if (found := pattern.match(line)) is not None:
            return text.format(line=line, **found.groupdict())
    name = found[0] if (found := _NAME.match(line)) else "torch"
    return f"`{line}` is no requirement: write a name and versions, like `{name}==1.0` or `{name}>=1.0,<2`"
