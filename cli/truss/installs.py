"""What an environment is made from, as files for whichever tool installs it, and what it holds then."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from truss.requirements import with_wheel_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from truss.release import PackageFile

REQUIREMENTS, CONSTRAINTS = "requirements.txt", "constraints.txt"

LOCK = "requirements.lock"
"""What was installed, in the folder of the environment: in an image and on this machine."""

_FROM_FILE = re.compile(r".* @ (file://.*)")


def install_files(
    requirements: Iterable[str], constraints: Iterable[str], wheels: Iterable[PackageFile], folder: str
) -> Iterator[tuple[str, bytes | PackageFile]]:
    """Yield the files an environment is made from, each with its path in a folder.

    Args:
        requirements: Lines of a requirements file.
        constraints: Lines of a constraints file.
        wheels: What requirements name by a path.
        folder: Where the files are going to lie.
    """
    yield REQUIREMENTS, _text(with_wheel_in(line, folder) for line in requirements)
    if lines := [*constraints]:  # uv warns of a file in which nothing is
        yield CONSTRAINTS, _text(lines)
    for wheel in wheels:
        yield str(wheel.path), wheel


def lock_text(frozen: Iterable[str], folder: str) -> str:
    """Return what was installed as a requirements file of the package: wheels by their path in it.

    Args:
        frozen: What the installer lists.
        folder: URL of the folder that wheels of the package were installed from.
    """
    before = f"{folder}/"
    lines = []
    for line in frozen:
        match = _FROM_FILE.fullmatch(line)
        path = match[1].partition("#")[0] if match else ""
        lines.append(f"./{path.removeprefix(before)}" if path.startswith(before) else line)
    return "".join(f"{line}\n" for line in lines)


def _text(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
