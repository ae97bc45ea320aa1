"""Secrets of the user: kept in the folder for state, and handed to deployments as files, never otherwise."""

from __future__ import annotations

import difflib
import os
import secrets
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from truss.errors import BuildError, EngineError, UsageError
from truss.names import is_secret_name
from truss.state import state_folder
from truss_server.protocol import SECRET_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

MOST_BYTES = 256 * 1024
"""Of one secret: more is data."""

TELLING_LENGTH = 8
"""Of a line of a secret: a shorter one, such as the `{` of JSON, says something else."""

PRIVATE, READABLE = 0o600, 0o444


class SecretStore:
    """The secrets that were set: one file each, which only its user may read.

    Args:
        folder: Holds them; made when the first is set.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> SecretStore:
        """Return the store in the user's folder for state."""
        return cls(state_folder(environ) / "secrets")

    def names(self) -> list[str]:
        """Return the names of what is set."""
        if not self._folder.is_dir():
            return []
        return sorted(path.name for path in self._folder.iterdir() if is_secret_name(path.name))

    def get(self, name: str) -> str | None:
        """Return a value, None where it is not set.

        Raises:
            EngineError: It cannot be read.
        """
        try:
            return (self._folder / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as exc:
            why = "it is no UTF-8" if isinstance(exc, UnicodeDecodeError) else exc.strerror
            hint = f"`truss secrets set {name}` sets it anew."
            raise EngineError(f"The secret {name} cannot be read: {why}.", hint=hint) from exc

    def set(self, name: str, value: str) -> None:
        """Set a secret, or set it anew; readers see the one or the other whole.

        Raises:
            UsageError: The name or the value is none.
            EngineError: It cannot be written.
        """
        check_name(name)
        _check_value(value)
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            _write(self._folder / name, value, PRIVATE)
        except OSError as exc:
            raise EngineError(f"The secret {name} cannot be kept: {exc}.") from exc

    def remove(self, name: str) -> None:
        """Remove a secret.

        Raises:
            UsageError: It is not set.
        """
        check_name(name)
        try:
            (self._folder / name).unlink()
        except FileNotFoundError:
            close = difflib.get_close_matches(name, self.names(), n=1)
            hint = f"Did you mean {close[0]}?" if close else "`truss secrets list` shows what is set."
            raise UsageError(f"There is no secret {name}.", hint=hint) from None


def check_name(name: str) -> None:
    """Refuse what is no name of a secret.

    Raises:
        UsageError: It is none.
    """
    if not is_secret_name(name):
        raise UsageError(
            f"{name!r} is no name of a secret.", hint="Take letters, digits, `_`, `-` and `.`, not first."
        )


def find_secrets(names: Iterable[str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the values of those secrets that are set, by `truss secrets set` or by a variable of the environment.

    Args:
        names: Those that a package's config.yaml names.
        environ: The user's environment.
    """
    wanted = list(names)
    if not wanted:
        return {}
    store = SecretStore.of(environ)
    found = {name: store.get(name) or environ.get(SECRET_VARIABLE + name) for name in wanted}
    return {name: value for name, value in found.items() if value}


def needed_secrets(names: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the values of secrets that a build cannot do without.

    Raises:
        BuildError: One is not set.
    """
    wanted = sorted(set(names))
    found = find_secrets(wanted, environ)
    if missing := [name for name in wanted if name not in found]:
        several = len(missing) > 1
        raise BuildError(
            f"The secret{'s' if several else ''} {', '.join(missing)}, which `build_commands` read,"
            f" {'are' if several else 'is'} not set.",
            hint="; ".join(f"`truss secrets set {name}`" for name in missing),
        )
    return found


def shown_as(value: str) -> set[str]:
    """Return what a secret looks like in a text of lines: itself, or each of its own lines that tells something."""
    lines = [line.strip() for line in value.splitlines()]
    telling = {line for line in lines if len(line) >= TELLING_LENGTH}
    return telling or {line for line in lines if line}


def write_secrets(folder: Path, values: Mapping[str, str], *, mode: int = PRIVATE) -> None:
    """Write secrets into a folder that no other user of this machine can look into.

    Raises:
        EngineError: They cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True)
        for name, value in values.items():
            _write(folder / name, value, mode)
    except OSError as exc:
        shutil.rmtree(folder, ignore_errors=True)
        raise EngineError(f"The secrets of the deployment cannot be written: {exc}.") from exc


def _write(path: Path, value: str, mode: int) -> None:
    draft = path.with_name(f".{secrets.token_hex(8)}")  # a name no secret has
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    try:
        with os.fdopen(file, "w", encoding="utf-8", newline="") as stream:
            stream.write(value)
            os.fchmod(stream.fileno(), mode)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            draft.unlink()
        raise


def _check_value(value: str) -> None:
    if not value.strip():
        raise UsageError("The secret is empty.", hint="`truss secrets rm NAME` removes one.")
    if "\0" in value or len(value.encode(errors="surrogateescape")) > MOST_BYTES:
        raise UsageError(f"A secret is text of {MOST_BYTES // 1024} KiB at most.")
