"""From a package to the plan of a release: equal packages make equal plans, on any machine and at any time."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

from truss import __version__
from truss.config import load_config
from truss.config_values import CONFIG
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
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from truss.config import TrussConfig
    from truss.release import PackageFile


def plan_release(package: Path, memory: Memory | None = None) -> ReleasePlan:
    """Return the plan of a package's release. Reads, changes nothing of the package.

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
        doubts=(*asked.doubts, *_left_out(package, config, files)),
    )
    return _with_digest(plan, memory)


def _left_out(package: Path, config: TrussConfig, files: Iterable[PackageFile]) -> Iterator[str]:
    """Yield that the command of a server names a file that lies beside config.yaml, and so in no release."""
    command = config.docker_server.start_command or "" if config.docker_server else ""
    modules = re.findall(r"(?:^|\s)(?:-m\s+(\w+)|(\w+):\w+)", command)  # `-m main`, `main:app`
    names = {f"{one or other}.py" for one, other in modules} | {*re.findall(r"(?:^|\s)(\w+\.py)\b", command)}
    for name in sorted(names - {file.path.name for file in files}):
        if (package / name).is_file():
            yield (
                f"{name} lies beside {CONFIG}, and a release has the folders {config.model_module_dir}, "
                f"{config.bundled_packages_dir} and {config.data_dir} alone: move it into one of them."
            )


def plan_edit(before: ReleasePlan, paths: Collection[str], memory: Memory) -> ReleasePlan | None:
    """Return the plan of a package in which only some files were written; None where all of it has to be looked at.

    Args:
        before: Its plan until then, of a package without links.
        paths: Of these files, absolute.
        memory: Of the plans before.

    Raises:
        PackageError: The package is wrong.
    """
    config = before.config
    above = f"{before.package}{os.sep}"
    names = {path.removeprefix(above) for path in paths}
    old = {number: file for number, file in enumerate(before.files) if str(file.path) in names}
    if len(old) != len(names) or names & {CONFIG, *before.settings}:
        return None
    files = list(before.files)
    for number, file in old.items():
        try:
            found = os.lstat(file.source)
            if not stat.S_ISREG(found.st_mode):
                return None
            files[number] = memory.file(str(file.path), str(file.source), found, link=False)
        except OSError:
            return None
        ways = [imported_modules(code_files([one], config), memory) for one in (file, files[number])]
        if ways[0] != ways[1]:  # they may imply requirements
            return None
    if str(config.model_file) in names:
        check_model(before.package, config, files)
    return _with_digest(replace(before, files=tuple(files)), memory)


def _with_digest(plan: ReleasePlan, memory: Memory) -> ReleasePlan:
    digest = _digest(plan, memory.server(server_digest))
    return replace(plan, manifest=replace(plan.manifest, digest=digest))


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
