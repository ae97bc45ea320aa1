"""From a package to the plan of a release: equal packages make equal plans, on any machine and at any time."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

from truss import __version__
from truss.config import load_config
from truss.config_values import CONFIG
from truss.errors import PackageError
from truss.excerpt import Mark, describe
from truss.memory import Memory
from truss.model_source import check_model, imported_modules
from truss.package import code_files, package_files
from truss.release import ReleasePlan
from truss.requirements import implied, objection, read_lines
from truss.server_source import server_digest
from truss_server.protocol import Manifest

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from truss.config import TrussConfig
    from truss.release import PackageFile


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
    files = package_files(package, config, memory)
    check_model(package, config, files)
    requirements = _requirements(package, config, files, memory)
    model = config.model_slug(package)
    manifest = Manifest(
        model=model,
        digest=_digest(model, config, files, requirements, memory.server(server_digest)),
        tool_version=__version__,
        config=config.filled(),
    )
    return ReleasePlan(package.resolve(), config, manifest, files, requirements)


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
    if len(old) != len(names) or names & {CONFIG, config.requirements_file}:
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
    server = memory.server(server_digest)
    digest = _digest(before.manifest.model, config, files, before.requirements, server)
    return replace(before, manifest=replace(before.manifest, digest=digest), files=tuple(files))


def _requirements(
    package: Path, config: TrussConfig, files: Sequence[PackageFile], memory: Memory
) -> tuple[str, ...]:
    if config.requirements_file is None:
        listed = list(config.requirements)
    else:
        listed = _read_file(package / config.requirements_file)
    return (*listed, *implied(listed, imported_modules(code_files(files, config), memory)))


def _read_file(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        raise PackageError(f"{path} is not UTF-8.", hint="Save the file as UTF-8.") from exc
    lines = read_lines(text)
    wrong = [
        describe(path, text, Mark(line.number, 1), problem)
        for line in lines
        if (problem := objection(line.text)) is not None
    ]
    if wrong:
        raise PackageError(f"{path} cannot be used as it is.", details="\n\n".join(wrong))
    return [line.text for line in lines]


def _digest(
    model: str, config: TrussConfig, files: Sequence[PackageFile], requirements: Sequence[str], server: str
) -> str:
    """Return a hash (hex) over all that decides what a release does; times and places on disk do not."""
    parts = {
        "model": model,
        "tool": __version__,
        "server": server,
        "config": config.filled(),
        "requirements": requirements,
        "files": [(str(file.path), file.executable, file.sha256) for file in files],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
