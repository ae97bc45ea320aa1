"""The Pythons of this machine that a model may run on; tests skip those that are absent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from shutil import which

VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")


def find_pythons() -> dict[str, str]:
    """Return interpreters by minor version: pyenv's, this one, and those on the path."""
    found = {f"{sys.version_info.major}.{sys.version_info.minor}": sys.executable}
    for version in VERSIONS:
        candidates = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
        on_path = which(f"python{version}")
        for candidate in [*map(str, candidates), *([on_path] if on_path else [])]:
            if version not in found and _is(candidate, version):
                found[version] = candidate
    return found


def _is(path: str, version: str) -> bool:
    """Tell whether an interpreter runs and is of a version; pyenv's shims run only sometimes."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([path, "-I", "-c", code], capture_output=True, text=True, check=False, timeout=30)
    return done.stdout.strip() == version


PYTHONS = find_pythons()
