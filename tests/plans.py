"""Plans made by hand: what a target is given, without the reading of a package that makes it."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import Any

from truss import __version__
from truss.config import TrussConfig
from truss.release import PackageFile, ReleasePlan
from truss_server.protocol import Manifest


def make_plan(package: Path, model: str, requirements: tuple[str, ...] = (), **config: Any) -> ReleasePlan:
    """Return the plan of all files below a folder."""
    settings = TrussConfig.model_validate({"model_name": model, **config})
    files = [path for path in sorted(package.rglob("*")) if path.is_file()]
    planned = tuple(make_file(package, path) for path in files)
    content = "".join(f"{file.path}{file.sha256}" for file in planned)
    known = f"{content}{requirements}{settings.filled()}"
    manifest = Manifest(model, hashlib.sha256(known.encode()).hexdigest(), __version__, settings.filled())
    return ReleasePlan(package, settings, manifest, planned, requirements)


def make_file(package: Path, path: Path) -> PackageFile:
    """Return a file of a package as a plan has it."""
    content = path.read_bytes()
    executable = bool(path.stat().st_mode & 0o100)
    relative = PurePosixPath(path.relative_to(package).as_posix())
    return PackageFile(relative, path, executable, len(content), hashlib.sha256(content).hexdigest())
