"""From a package to the plan of a release: equal packages make equal plans, on any machine and at any time."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from truss import __version__
from truss.config import load_config
from truss.external_data import external_files
from truss.memory import Memory
from truss.model_source import check_model, imported_modules
from truss.package import code_files, named_files, package_files
from truss.release import ReleasePlan
from truss.requirement_files import read_requirements
from truss.requirements import implied, wheel_path
from truss.server_source import server_digest
from truss_server.protocol import Manifest

if TYPE_CHECKING:
    from pathlib import Path


def plan_release(package: Path, memory: Memory | None = None) -> ReleasePlan:
    """Return the plan of a package's release. Reads, changes nothing.

    Args:
        package: Its folder.
        memory: Of an earlier plan of it, so that only what changed is read.

    Raises:
        PackageError: The package is wrong.
    """
    memory = memory or Memory()
    config = load_config(package)
    asked = read_requirements(package, config, memory)
    files = package_files(package, config, memory, asked.files, external_files(config))
    check_model(package, config, files)
    added = (
        ()
        if asked.complete or config.docker_server
        else implied(asked.lines, imported_modules(code_files(files, config), memory))
    )
    wheels = named_files(package, {str(path) for line in asked.lines if (path := wheel_path(line))}, memory)
    model = config.model_slug(package)
    manifest = Manifest(
        model=model,
        digest="",
        tool_version=__version__,
        config=config.filled(),
    )
    plan = ReleasePlan(
        package.resolve(),
        config,
        manifest,
        files,
        requirements=(*asked.lines, *added),
        constraints=tuple(asked.constraints),
        wheels=wheels,
        settings=tuple(asked.files),
    )
    digest = _digest(plan, memory.server(server_digest))
    return replace(plan, manifest=replace(manifest, digest=digest))


def _digest(plan: ReleasePlan, server: str) -> str:
    """Return a hash (hex) over all that decides what a release does; times and places on disk do not."""
    parts = {
        "model": plan.manifest.model,
        "tool": __version__,
        "server": server,
        "config": plan.manifest.config,
        "requirements": plan.requirements,
        "constraints": plan.constraints,
        "files": [(str(file.path), file.executable, file.sha256) for file in (*plan.files, *plan.wheels)],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
