"""The text of a YAML file: of the right name, of a size that is no accident, in UTF-8."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from truss.errors import PackageError

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 1 << 20


def read_text(path: Path) -> str:
    """Return the text of a file.

    Raises:
        PackageError: There is none, or it cannot be read.
    """
    try:
        raw = _read(path)
    except FileNotFoundError as exc:
        raise _missing(path) from exc
    except NotADirectoryError as exc:
        raise PackageError(
            f"{path.parent} is no folder of a package.", hint=f"Name the folder that holds {path.name}."
        ) from exc
    except OSError as exc:
        raise PackageError(f"{path} cannot be read: {exc.strerror}.") from exc
    if len(raw) > MAX_BYTES:
        raise PackageError(f"{path} is larger than {MAX_BYTES >> 20} MiB.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = raw.count(b"\n", 0, exc.start) + 1
        raise PackageError(f"{path}:{line} is not UTF-8.", hint="Save the file as UTF-8.") from exc


def _read(path: Path) -> bytes:
    """Return what a file holds, or so much of it that it is too much."""
    if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():  # a pipe or a device may have no end
        raise PackageError(f"{path} is no regular file.", hint="Put a file there.")
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _missing(path: Path) -> PackageError:
    sibling = path.with_suffix(".yml")
    if sibling.is_file():
        return PackageError(
            f"The file must be called {path.name}, not {sibling.name}.", hint=f"mv {sibling} {path}"
        )
    if not path.parent.is_dir():
        return PackageError(
            f"There is no folder {path.parent}.", hint="`truss init DIR` makes a new package."
        )
    return PackageError(
        f"There is no {path.name} in {path.parent.absolute()}.",
        hint="Change to the folder of a package, or make one with `truss init DIR`.",
    )
