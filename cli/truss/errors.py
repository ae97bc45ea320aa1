"""Every error a user can meet, and the exit code of each.

::

    TrussError                      1   what we did not foresee more exactly
    ├── UsageError                  2   an option or argument makes no sense
    ├── PackageError                3   config.yaml or the package's files are wrong
    ├── BuildError                  4   requirements or the image could not be built
    ├── StartError                  5   the model did not become ready
    ├── EngineError                 6   the machine: no Docker engine, a port that is taken
    ├── NotDeployedError            7   nothing runs that could answer
    ├── AnswerError                 8   the server answered with an error status
    ├── StreamError                 9   a stream broke before its end
    └── ConnectError               10   nobody answers at the URL

Ctrl-C is 130. The classes are raised anywhere and printed in one place, `truss.main`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Problem:
    """What is wrong at a place of config.yaml.

    Attributes:
        line: Counted from 1.
        column: Counted from 1.
        key: With dots, empty where the file is no YAML.
        problem: What is wrong.
        advice: What to do; may be empty.
    """

    line: int
    column: int
    key: str
    problem: str
    advice: str = ""


class TrussError(Exception):
    """An error to be shown to the user without a traceback.

    Args:
        message: What failed, one sentence.
        details: Lines that show it: an excerpt, a log's tail, a traceback of the user's code.
        hint: What to do next.
        problems: What the details say of config.yaml, for programs.

    Attributes:
        exit_code: What the process ends with.
        step: The step of a workflow that failed, set by the progress display.
        streamed: Whether that display has written the details already, where they stay.
    """

    exit_code = 1

    def __init__(
        self, message: str, *, details: str = "", hint: str = "", problems: Sequence[Problem] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.hint = hint
        self.problems = problems
        self.step = ""
        self.streamed = False


class UsageError(TrussError):
    """An option or argument makes no sense."""

    exit_code = 2


class PackageError(TrussError):
    """`config.yaml` or the package's files are wrong."""

    exit_code = 3


class BuildError(TrussError):
    """Requirements or the image could not be built."""

    exit_code = 4


class StartError(TrussError):
    """The model did not become ready."""

    exit_code = 5


class EngineError(TrussError):
    """The machine cannot do it: no Docker engine, a port that is taken."""

    exit_code = 6


class NotDeployedError(TrussError):
    """Nothing runs that could answer."""

    exit_code = 7


class AnswerError(TrussError):
    """The server answered with an error status."""

    exit_code = 8


class StreamError(TrussError):
    """A stream broke before its end."""

    exit_code = 9


class ConnectError(TrussError):
    """Nobody answers at the URL."""

    exit_code = 10
