"""Runs `truss` as a user does: the command line in this process, or the installed command in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from truss.main import app

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from truss.deps import Deps

TRUSS = str(Path(sys.executable).with_name("truss"))
"""The installed command."""


@dataclass(frozen=True)
class Outcome:
    """What a run of `truss` left for its caller."""

    stdout: str = ""
    stderr: str = ""
    code: int = 0


def run_truss(*args: str, deps: Deps | None = None, stdin: str | bytes | None = None) -> Outcome:
    """Run `truss` with given dependencies in this process."""
    result = CliRunner().invoke(app, list(args), input=stdin, obj=deps, prog_name="truss")
    return Outcome(result.stdout, result.stderr, result.exit_code)


def spawn_truss(*args: str, environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> Outcome:
    """Run the installed `truss` in a process of its own."""
    done = subprocess.run(
        [TRUSS, *args],
        env={**os.environ, **(environ or {})},
        cwd=cwd,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    return Outcome(done.stdout.decode(), done.stderr.decode(), done.returncode)


def eventually(holds: Callable[[], object], *, seconds: float = 10) -> None:
    """Wait until something holds.

    Raises:
        AssertionError: It did not within the time.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not hold in time"
        time.sleep(0.005)
