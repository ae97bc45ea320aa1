"""The tool's own folder: JSON that is whole or not there, and locks that end with their holder."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from truss.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

POLL = 0.05
"""Seconds between two looks at a lock that somebody else holds."""


def state_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder for state, made if it is not there; only its owner can look inside.

    Raises:
        EngineError: It cannot be made.
    """
    folder = Path(environ["TRUSS_HOME"]).absolute() if environ.get("TRUSS_HOME") else _default(environ)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise EngineError(
            f"The folder for state, {folder}, cannot be made: {exc.strerror}.",
            hint="Set TRUSS_HOME to a folder that can be written.",
        ) from exc
    return folder


def _default(environ: Mapping[str, str]) -> Path:
    base = Path(environ.get("XDG_STATE_HOME", ""))
    try:
        return (base if base.is_absolute() else Path.home() / ".local" / "state") / "truss"
    except RuntimeError as exc:  # no HOME, and no entry for the user
        hint = "Set TRUSS_HOME to a folder that can be written."
        raise EngineError("There is no home for the folder for state.", hint=hint) from exc


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a file that readers see as it was before or as it is now, never half."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with draft.open("x", encoding="utf-8") as file:
            json.dump(value, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def read_json(path: Path, keys: Sequence[str]) -> dict[str, Any] | None:
    """Return the values of these keys in what `write_json` wrote, None where there is nothing.

    Raises:
        EngineError: Somebody else wrote it, or another version of truss.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return {key: value[key] for key in keys}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, KeyError) as exc:
        raise EngineError(f"{path} is damaged: {exc}.", hint="Remove the file.") from exc


class Lock:
    """A lock that is held as long as any process has this open file: it ends with the last of them.

    Attributes:
        fd: The open file; a child that inherits it holds the lock too.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def take(cls, path: Path) -> Lock | None:
        """Return the lock at a path, None if somebody holds it."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return cls(fd)

    def close(self) -> None:
        """Let go; children that inherited the lock go on holding it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def is_held(path: Path) -> bool:
    """Return whether somebody holds the lock at a path; looking does not get in the way of others who look."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


@contextmanager
def locked(
    path: Path, *, timeout: float, busy: str, waiting: Callable[[], None] = lambda: None
) -> Iterator[Lock]:
    """Hold the lock at a path.

    Args:
        path: The lock's file, which stays.
        timeout: Seconds to wait for another holder.
        busy: What to say when it is still held then.
        waiting: Called once if it is held by another.

    Raises:
        EngineError: It was not let go in time.
    """
    deadline = time.monotonic() + timeout
    lock = Lock.take(path)
    if lock is None:
        waiting()
    while lock is None:
        if time.monotonic() > deadline:
            raise EngineError(busy, hint="Wait until it is done, or end it.")
        time.sleep(POLL)
        lock = Lock.take(path)
    try:
        yield lock
    finally:
        lock.close()
