"""Run benchmarks and print their figures: `python -m benchmarks [cli] [first-byte] [local] [docker]`."""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import command_line, first_byte, pushes
from benchmarks.figures import Figure, format_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BENCHMARKS: dict[str, Callable[[], Iterable[Figure]]] = {
    "cli": command_line.measure,
    "first-byte": first_byte.measure,
    "local": partial(pushes.measure, "local"),
    "docker": partial(pushes.measure, "docker"),
}


def main() -> int:
    """Measure what is asked for; exit 1 where something was not reached."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("which", nargs="*", metavar="|".join(BENCHMARKS), help="all of them by default")
    parser.add_argument("--json", type=Path, help="write the figures to a file as well")
    options = parser.parse_args()
    unknown = set(options.which) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    figures = [one for name in options.which or BENCHMARKS for one in BENCHMARKS[name]()]
    print(format_table(figures))
    if options.json is not None:
        options.json.write_text(json.dumps([one.row() for one in figures], indent=2) + "\n", encoding="utf-8")
    return 0 if all(one.reached for one in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
