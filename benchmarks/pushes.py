"""How long a push takes until the model is ready, on each target."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.command_line import run
from benchmarks.figures import Figure, figure, timed

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNS = 5


def measure(target: str) -> Iterator[Figure]:
    """Yield the push figures of a target."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / f"benchmark-{target}"
        run("init", str(package), "--template", "basic")

        def push() -> None:
            run("push", "--target", target, "--output", "json", cwd=package)

        def stop() -> None:
            run("stop", cwd=package)

        model = package / "model" / "model.py"
        edits = iter(range(10_000))

        def edit_and_push() -> None:
            with model.open("a", encoding="utf-8") as file:
                file.write(f"\n# edit {next(edits)}\n")
            push()

        try:
            push()  # layers are warm after it
            fresh, edited = [], []
            for _ in range(RUNS):
                stop()
                fresh.append(timed(push))
                edited.append(timed(edit_and_push))
        finally:
            stop()
        limit = {"local": 2.0, "docker": 6.0}[target]
        yield figure(f"push to ready, {target}, nothing running", fresh, limit=limit, unit="s")
        yield figure(f"push to ready after a one-line edit, {target}", edited, limit=4.0, unit="s")
