#!/usr/bin/env python3
"""A wheel holds every file of the source roots: hatchling leaves out, without a word, what git ignores."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOTS = ("cli", "server_template", "templates")
MUST = ("truss/py.typed", "truss_server/py.typed")
START_LIMIT_SECONDS = 120


def expected(repository: Path) -> set[str]:
    """Return the wheel's names of all files in the source roots."""
    files = (path for root in ROOTS for path in (repository / root).rglob("*") if path.is_file())
    names = (path.relative_to(repository) for path in files if "__pycache__" not in path.parts)
    return {Path(*name.parts[1:]).as_posix() for name in names}


def main(wheel: Path) -> int:
    """Compare the wheel's names with the sources, then install it alone and scaffold a package with it."""
    missing = (expected(Path.cwd()) | set(MUST)) - set(zipfile.ZipFile(wheel).namelist())
    if missing:
        sys.stderr.write(f"{wheel.name} lacks:\n" + "".join(f"  {name}\n" for name in sorted(missing)))
        return 1
    with tempfile.TemporaryDirectory() as folder:
        uv_run = [str(Path(sys.executable).parent / "uv"), "run", "--quiet", "--isolated", "--no-project"]
        scaffold = [
            *uv_run,
            "--python",
            sys.executable,
            "--with",
            str(wheel.resolve()),
            "truss",
            "init",
            "probe",
        ]
        done = subprocess.run(
            scaffold, cwd=folder, check=False, timeout=START_LIMIT_SECONDS, stdout=subprocess.DEVNULL
        )
    sys.stdout.write(f"{wheel.name} holds every source and works alone\n" if done.returncode == 0 else "")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
