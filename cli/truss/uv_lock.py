"""A `uv.lock` said in pip's words, by uv itself: pins with their hashes, without the project and its tools."""

from __future__ import annotations

import subprocess
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from truss.errors import PackageError
from truss.uv_settings import find_uv

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 60.0
"""Seconds uv may take; it reads two files."""

_OPTIONS = ("--frozen", "--no-emit-project", "--no-default-groups", "--no-header", "--no-annotate")


def export_lock(package: Path, name: str) -> str:
    """Return the text of a requirements file with what a lock pins.

    Args:
        package: The folder of the package.
        name: Of the lock in it.

    Raises:
        PackageError: uv makes nothing of it.
        BuildError: There is no uv.
    """
    project = package.resolve() / PurePosixPath(name).parent
    command = [find_uv(), "export", *_OPTIONS, "--offline", "--no-config", "--color", "never", "--quiet"]
    try:
        done = subprocess.run(
            command,
            cwd=project,
            env={"PATH": "", "HOME": str(project), "UV_PYTHON_DOWNLOADS": "never"},  # equal on any machine
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=LIMIT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise PackageError(f"uv could not read {package / name}: {exc}.") from exc
    if done.returncode != 0:
        hint = "`uv lock` writes it anew; pyproject.toml lies beside it."
        raise PackageError(f"uv could not read {package / name}.", details=done.stderr.strip(), hint=hint)
    return done.stdout
