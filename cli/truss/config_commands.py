"""What a command in config.yaml must be: one that a build runs in a shell, and one that is started without."""

from __future__ import annotations

import re
import shlex
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field

from truss.config_shapes import FILLED, ONE_COMMAND, problem
from truss.config_values import one_line

_CONTINUED = re.compile(r"[ \t]*\\\n[ \t]*")
"""A backslash at the end of a line: the next one goes on with it."""

_SHELLS = {"sh", "ash", "bash", "dash", "ksh", "zsh"}
_BUILTINS = {".", "cd", "eval", "exec", "export", "set", "source", "ulimit", "umask"}
_OPERATORS = {"&&", "||", "|", "&", ";", ">", ">>", "<", "2>&1", "&>"}
_QUOTED = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)
_REPLACED = re.compile(r"(?<!\\)\$(?!PORT\b|\{PORT\})[A-Za-z_({]")


def _build_command(value: str) -> str:
    joined = _CONTINUED.sub(" ", value.strip())
    if "\n" in joined:
        raise problem("has several lines", "Make each an item of its own, or end a line with `&& \\`.")
    one_line(joined.replace("\t", " "))
    return joined


def _command(value: str) -> str:
    command = _CONTINUED.sub(" ", value.strip())
    if any(not sign.isprintable() and sign not in "\n\t" for sign in command):
        raise problem("must be printable characters")
    try:
        words = shlex.split(command)
    except ValueError as exc:
        raise problem(
            f"is no command: {str(exc).lower()}", "Write it as for a shell, which it is run without."
        ) from exc
    if not words:
        raise problem("must not be empty")
    if (word := _of_a_shell(command, words)) is not None:
        raise problem(
            f"`{word}` means something to a shell, and it is run without one",
            'Write it as `sh -c "..."`; variables have a place in `environment_variables`.',
        )
    return command


def _of_a_shell(command: str, words: list[str]) -> str | None:
    """Return a word of a command that has no effect without a shell; None where there is none, or a shell."""
    if any(PurePosixPath(word).name in _SHELLS for word in words):  # perhaps behind `env` or `tini --`
        return None
    program = words[0]
    if program in _BUILTINS or re.match(r"[A-Za-z_]\w*=", program):
        return program
    bare = _QUOTED.sub("''", command)
    open_to_names = _QUOTED.sub(lambda found: "''" if found[0][0] == "'" else found[0], command)
    operators = [word for word in bare.split() if word in _OPERATORS]
    names = [word for word in open_to_names.split() if _REPLACED.search(word)]
    return next(iter(operators + names), None)


BuildCommand = Annotated[str, AfterValidator(_build_command), FILLED, ONE_COMMAND]
BuildCommands = Annotated[tuple[BuildCommand, ...], Field(strict=False)]
Command = Annotated[str, AfterValidator(_command), FILLED]
