"""What a deployment and its watcher say to each other, as values; see docs/watch.md. No input or output.

A message is a line of JSON, followed by as many raw bytes as its `bytes` says.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from truss.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from truss.release import PackageFile

PROTOCOL = 1

LONGEST_LINE = 16 << 20
"""Of a message; a deployment names every file it has."""

LONGEST_PAYLOAD = 16 << 20


class ChannelClosedError(EngineError):
    """The deployment, or the way to it, is gone."""


class BusyError(EngineError):
    """Somebody else watches the deployment.

    Args:
        who: The one who does.
        since: When they began, may be empty.
    """

    def __init__(self, who: str, since: str) -> None:
        begun = f" since {since}" if since else ""
        super().__init__(
            f"It is being watched already, by {who}{begun}.", hint="One at a time: end that one first."
        )
        self.who = who


@dataclass(frozen=True)
class Hello:
    """What a deployment says of itself.

    Attributes:
        model: Name of the model.
        environment: Where it belongs.
        tool_version: Of the truss it was pushed with.
        digest: Of the version that runs.
        generation: Its number.
        files: SHA-256 (hex) of the version's files by path.
    """

    model: str
    environment: str
    tool_version: str
    digest: str
    generation: int
    files: Mapping[str, str]


@dataclass(frozen=True)
class Applied:
    """A version runs.

    Attributes:
        generation: Its number.
        digest: Of its plan.
        how: `swap` or `load`.
        because: Why what was to be swapped had to be loaded, may be empty.
        seconds: It took.
    """

    generation: int
    digest: str
    how: str
    because: str
    seconds: float


@dataclass(frozen=True)
class Failed:
    """A version does not load; the one before it goes on.

    Attributes:
        generation: That goes on.
        error: What went wrong, one line.
        traceback: Of the author's code, may be empty.
        seconds: It took.
    """

    generation: int
    error: str
    traceback: str
    seconds: float


@dataclass(frozen=True)
class Mismatch:
    """A patch was made for another version than the one that runs."""

    digest: str
    files: Mapping[str, str]


@dataclass(frozen=True)
class State:
    """The model's process has died, or is back."""

    status: str
    error: str


@dataclass(frozen=True)
class Cancelled:
    """What was being loaded was given up, as it was wished."""

    generation: int


Event = Applied | Failed | Mismatch | State | Cancelled


@dataclass(frozen=True)
class Change:
    """A version to run instead of another.

    Attributes:
        base: Digest of the version it is made from.
        how: `swap` or `load`.
        manifest: Of the version, as plain data.
        files: New and changed ones.
        delete: Paths that are gone.
        modules: Paths of modules to be executed again.
        keep: Names in them that stay.
        strategy: `beside` or `replace`: whether two models may be loaded at a time.
        python: Interpreter for the model, None for the one it has.
    """

    base: str
    how: str
    manifest: Mapping[str, Any]
    files: tuple[PackageFile, ...] = ()
    delete: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    keep: Mapping[str, tuple[str, ...]] | None = None
    strategy: str = "beside"
    python: str | None = None


class Messages:
    """Takes apart what a deployment sends."""

    def __init__(self) -> None:
        self._rest = b""
        self._fields: dict[str, Any] | None = None

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Return the messages that are complete with some more bytes; the raw bytes after one are dropped.

        Raises:
            EngineError: It is none of ours.
        """
        self._rest += data
        found: list[dict[str, Any]] = []
        while True:
            if self._fields is None:
                line, ended, rest = self._rest.partition(b"\n")
                if len(line) > LONGEST_LINE:
                    raise EngineError("The deployment sent a message without an end.", hint="Push it again.")
                if not ended:
                    return found
                self._rest, self._fields = rest, _parse(line)
            size = self._fields.get("bytes", 0)
            if not isinstance(size, int) or not 0 <= size <= LONGEST_PAYLOAD:
                raise EngineError(f"The deployment announced {size} bytes.", hint="Push it again.")
            if len(self._rest) < size:
                return found
            self._rest = self._rest[size:]
            found.append(self._fields)
            self._fields = None


def _parse(line: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        shown = line[:80].decode("utf-8", "replace")
        raise EngineError(f"The deployment sent what is no message: {shown}", hint="Push it again.")
    return fields


def check_path(path: str) -> None:
    """Refuse a path that may lead out of a release.

    Raises:
        EngineError: It may.
    """
    parts = PurePosixPath(path)
    if not path or parts.is_absolute() or ".." in parts.parts or "\0" in path or str(parts) != path:
        raise EngineError(f"{path!r} is no path in a release.", hint="Push the package again.")


def change_fields(change: Change) -> dict[str, Any]:
    """Return what a change says, without its files."""
    return {
        "do": "apply",
        "base": change.base,
        "how": change.how,
        "manifest": dict(change.manifest),
        "delete": list(change.delete),
        "modules": list(change.modules),
        "keep": {path: list(names) for path, names in (change.keep or {}).items()},
        "strategy": change.strategy,
        "python": change.python,
    }


def parse_hello(fields: Mapping[str, Any]) -> Hello:
    """Return what a deployment says first.

    Raises:
        BusyError: Somebody else watches it.
        EngineError: It speaks otherwise.
    """
    if fields.get("event") == "busy":
        raise BusyError(str(fields.get("who", "somebody")), str(fields.get("since") or ""))
    if fields.get("event") != "hello" or fields.get("protocol") != PROTOCOL:
        raise EngineError(
            "The deployment was pushed by another version of truss.", hint="`truss push --watch` replaces it."
        )
    try:
        return Hello(**{name: fields[name] for name in Hello.__dataclass_fields__})
    except KeyError as exc:
        raise EngineError(f"The deployment does not say its {exc}.", hint="Push it again.") from exc


def parse_event(fields: Mapping[str, Any]) -> Event | None:
    """Return what a message says; None for what a later server may say.

    Raises:
        EngineError: It makes no sense.
    """
    try:
        kind = fields.get("event")
        if kind == "applied":
            return Applied(
                int(fields["generation"]),
                str(fields["digest"]),
                str(fields["how"]),
                str(fields.get("because") or ""),
                float(fields.get("seconds", 0)),
            )
        if kind == "failed":
            return Failed(
                int(fields["generation"]),
                str(fields["error"]),
                str(fields.get("traceback") or ""),
                float(fields.get("seconds", 0)),
            )
        if kind == "mismatch":
            return Mismatch(str(fields["digest"]), dict(fields["files"]))
        if kind == "cancelled":
            return Cancelled(int(fields["generation"]))
        if kind == "state":
            return State(str(fields["status"]), str(fields.get("error") or ""))
    except (KeyError, TypeError, ValueError) as exc:
        raise EngineError(f"The deployment sent what makes no sense: {exc}.", hint="Push it again.") from exc
    return None
