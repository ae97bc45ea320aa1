"""A package at one moment: its plan, and what its Python files say. Reads only what changed since the last one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from truss.definitions import Source, read_source
from truss.own_modules import Modules
from truss.package import code_files
from truss.release import FileChangedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from truss.release import PackageFile, ReleasePlan


@dataclass(frozen=True)
class Snapshot:
    """A package as it is planned, and what its code says.

    Attributes:
        plan: Of its release.
        modules: Its own modules.
        broken: Why a Python file cannot be read, by path.
    """

    plan: ReleasePlan
    modules: Modules
    broken: Mapping[str, SyntaxError | ValueError]

    @cached_property
    def files(self) -> dict[str, PackageFile]:
        """Its files by their path as text."""
        return {str(file.path): file for file in self.plan.files}


@dataclass
class Sources:
    """What Python files say, by the hash of their content: each is read once.

    Attributes:
        known: What was read.
    """

    known: dict[str, Source | SyntaxError | ValueError] = field(default_factory=dict)

    def snapshot(self, plan: ReleasePlan) -> Snapshot:
        """Return a plan with what its Python files say.

        Raises:
            PackageError: A file has changed since it was planned.
        """
        sources: dict[str, Source] = {}
        broken: dict[str, SyntaxError | ValueError] = {}
        for file in code_files(plan.files, plan.config):
            found = self.known.get(file.sha256) or self._read(file)
            if isinstance(found, Source):
                sources[str(file.path)] = found
            else:
                broken[str(file.path)] = found
        used = {file.sha256 for file in plan.files}
        self.known = {sha256: one for sha256, one in self.known.items() if sha256 in used}
        modules = Modules(sources, (plan.config.bundled_packages_dir,), frozenset(broken))
        return Snapshot(plan, modules, broken)

    def _read(self, file: PackageFile) -> Source | SyntaxError | ValueError:
        content = read_verified(file)
        found: Source | SyntaxError | ValueError
        try:
            found = read_source(content)
        except (SyntaxError, ValueError) as exc:
            found = exc
        except (RecursionError, MemoryError) as exc:
            found = ValueError(f"it is too deeply nested ({type(exc).__name__})")
        self.known[file.sha256] = found
        return found


def read_verified(file: PackageFile) -> bytes:
    """Return the content of a file, which must be what was planned.

    Raises:
        FileChangedError: It is not any more.
    """
    try:
        content = file.source.read_bytes()
    except OSError as exc:
        raise FileChangedError(f"{file.path} cannot be read any more: {exc.strerror}.") from exc
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise FileChangedError(f"{file.path} has changed while it was looked at.")
    return content
