"""How long the command line takes to answer."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Figure, figure, timed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RUNS = 21
TRUSS = str(Path(sys.executable).parent / "truss")


def run(*arguments: str, cwd: Path | None = None) -> str:
    """Run truss and return what it prints; its talk goes to the terminal only when it fails."""
    done = subprocess.run(
        [TRUSS, *arguments], cwd=cwd, capture_output=True, text=True, timeout=900, check=False
    )
    if done.returncode:
        raise SystemExit(
            f"truss {' '.join(arguments)} failed with {done.returncode}:\n{done.stderr}{done.stdout}"
        )
    return done.stdout


def measure() -> Iterator[Figure]:
    """Yield the start-up figures."""
    with tempfile.TemporaryDirectory() as folder:
        numbers = iter(range(10_000))
        cases: dict[str, tuple[float, Callable[[], object]]] = {
            "truss --version": (0.100, lambda: run("--version")),
            "truss --help": (0.250, lambda: run("--help")),
            "truss init": (0.350, lambda: run("init", f"{folder}/package-{next(numbers)}")),
        }
        for name, (limit, action) in cases.items():
            action()  # the first one compiles
            seconds = [timed(action) * 1000 for _ in range(RUNS)]
            yield figure(name, seconds, limit=limit * 1000, unit="ms")
