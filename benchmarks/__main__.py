"""Run benchmarks and print their figures: `python -m benchmarks [NAME ...]`, all of them without a name.

The server's are written to docs/benchmarks.md and docs/benchmarks.svg as well, those of images to
docs/benchmarks-images.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from benchmarks import command_line, first_byte, images, pushes, report, server, watch
from benchmarks.figures import Figure, make_table
from benchmarks.machine import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BENCHMARKS: dict[str, Callable[[], Iterable[Figure]]] = {
    "cli": command_line.measure,
    "first-byte": first_byte.measure,
    "server": server.measure,
    "local": partial(pushes.measure, "local"),
    "docker": partial(pushes.measure, "docker"),
    "watch": watch.measure,
    "images": images.measure,
}

WIDTH = 150
"""Of the table where it does not go to a terminal."""

DOCS = Path(__file__).parents[1] / "docs"


def main() -> int:
    """Measure what is asked for; exit 1 where something was not reached."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("which", nargs="*", metavar="|".join(BENCHMARKS), help="all of them by default")
    parser.add_argument("--json", type=Path, help="write the figures to a file as well")
    options = parser.parse_args()
    unknown = set(options.which) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    # Every process starts with compiled modules, as any start but the first has them.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    found = {name: list(BENCHMARKS[name]()) for name in options.which or BENCHMARKS}
    figures = [one for group in found.values() for one in group]
    taken = f"{describe()}, {datetime.now(timezone.utc):%Y-%m-%d}"
    width = None if sys.stdout.isatty() else WIDTH
    Console(width=width).print(taken, make_table(figures), sep="\n\n")
    if options.json is not None:
        rows = {"taken": taken, "figures": [one.row() for one in figures]}
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    if "server" in found:
        report.write(DOCS, found["server"], taken)
    if "images" in found:
        report.write_images(DOCS, found["images"], taken)
    return 0 if all(one.reached for one in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
