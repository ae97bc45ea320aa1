"""From what runs and what is on disk to what has to be done: pure, and in doubt it loads again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from truss.config_values import CONFIG
from truss.errors import PackageError
from truss.excerpt import Mark, describe
from truss.model_source import is_newer_than_this
from truss.patch_code import CodeChange, compare_code
from truss.snapshot import read_verified

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from truss.release import PackageFile
    from truss.snapshot import Snapshot

Kind = Literal["nothing", "swap", "load", "environment", "rebuild"]

REBUILD_KEYS = (
    *("base_image", "system_packages", "build", "build_commands", "python_version", "resources", "runtime"),
    *("docker_server", "external_data", "secrets"),
)
"""Keys of config.yaml that decide how the server is built or started, not what the model does."""

OWN_FILES = frozenset({"release.json"})
"""In a release, but not of the package."""


@dataclass(frozen=True)
class Patch:
    """What has to be done for an edit.

    Attributes:
        kind: How much of it: `nothing` at all, `swap` code, `load` again, a new `environment`, or `rebuild`.
        where: The file the edit is about, for people.
        reasons: Why it is not less, each a sentence without its end.
        changed: Paths that are new or different.
        deleted: Paths that are gone.
        modules: Paths of own modules to be executed again; for `swap` only.
        keep: Names at the top of such a module whose objects stay; for `swap` only.
    """

    kind: Kind
    where: str = ""
    reasons: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    keep: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Files:
    """Which files differ."""

    changed: tuple[str, ...]
    deleted: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.changed, *self.deleted)

    def patch(self, kind: Kind, *reasons: str, root: str = "", first: str = "") -> Patch:
        """Return a patch of all these files."""
        return Patch(kind, _where(self.all, first, root), reasons, self.changed, self.deleted)


def plan_patch(old: Snapshot, new: Snapshot) -> Patch:
    """Return what makes of a version that runs the one on disk.

    Args:
        old: What runs.
        new: What is on disk.

    Raises:
        PackageError: A Python file that was edited is none.
    """
    before, after = old.files, new.files
    changed = tuple(path for path in after if _facts(before.get(path)) != _facts(after[path]))
    files = _Files(changed, tuple(path for path in before if path not in after))
    reasons = _why_rebuild(old, new)
    if reasons:
        return files.patch("rebuild", *reasons, first=CONFIG)
    if old.plan.environment != new.plan.environment:
        _check_syntax(new, files.changed)
        named = new.plan.config.requirements_file or CONFIG
        return files.patch("environment", "the requirements changed", first=named)
    if not files.all:
        same = old.plan.manifest.digest == new.plan.manifest.digest
        return Patch("nothing") if same else files.patch("rebuild", "truss itself has changed")
    unread = _check_syntax(new, files.changed)
    settings = _changed_settings(old, new)
    if settings:
        said = _listed(settings)
        return files.patch("load", f"{said} in {CONFIG} changed", first=CONFIG)
    if unread:
        return files.patch("load", f"{unread} is in a Python newer than that of truss", first=unread)
    return _plan_files(old, new, files)


def plan_resync(running: Mapping[str, str], digest: str, new: Snapshot) -> Patch:
    """Return what makes of a version that runs, of which no more than hashes is known, the one on disk.

    Args:
        running: SHA-256 (hex) of its files by path.
        digest: Of its plan.
        new: What is on disk.
    """
    after = new.files
    changed = tuple(path for path in after if running.get(path) != after[path].sha256)
    if (
        digest == new.plan.manifest.digest
    ):  # what the model has written beside the files of the package is its own
        touched = _Files(changed, ())
        return touched.patch("load", "files were changed where it runs") if changed else Patch("nothing")
    deleted = tuple(path for path in running if path not in after and path not in OWN_FILES)
    files = _Files(changed, deleted)
    settings = {CONFIG, *new.plan.settings} & set(files.all)
    if settings or not files.all:
        reason = f"{min(settings)} is another one" if settings else "truss itself has changed"
        return files.patch("rebuild", f"{reason} than when it was pushed" if settings else reason)
    return files.patch("load", "what runs is not what this folder held")


def _facts(file: PackageFile | None) -> tuple[str, bool] | None:
    return None if file is None else (file.sha256, file.executable)


def _why_rebuild(old: Snapshot, new: Snapshot) -> tuple[str, ...]:
    before, after = old.plan.manifest, new.plan.manifest
    reasons = [
        f"`{key}` in {CONFIG} changed"
        for key in REBUILD_KEYS
        if before.config.get(key) != after.config.get(key)
    ]
    if old.plan.config.asked_python != new.plan.config.asked_python and not reasons:
        reasons.append(f"`python_version` in {CONFIG} changed")
    if before.tool_version != after.tool_version:
        reasons.append("truss itself has changed")
    return tuple(reasons)


def _changed_settings(old: Snapshot, new: Snapshot) -> list[str]:
    """Return the keys of config.yaml that the model can see, whose values differ."""
    before, after = old.plan.manifest.config, new.plan.manifest.config
    apart = {*REBUILD_KEYS, "requirements", "requirements_file"}
    return [key for key in after if key not in apart and before.get(key) != after[key]]


def _check_syntax(new: Snapshot, changed: Iterable[str]) -> str:
    """Return an edited file that only the model's newer Python may be able to read.

    Raises:
        PackageError: There is one that no Python can read.
    """
    asked = new.plan.config.asked_python
    newer = asked is not None and is_newer_than_this(asked)
    for path in changed:
        if path in new.broken:
            if newer:
                return path
            raise _no_python(new.files[path], new.broken[path])
    return ""


def _no_python(file: PackageFile, error: SyntaxError | ValueError) -> PackageError:
    if not isinstance(error, SyntaxError):
        return PackageError(f"{file.path} is no valid Python: {error}.")
    mark = Mark(max(1, error.lineno or 1), max(1, error.offset or 1))
    text = read_verified(file).decode("utf-8", "replace")
    return PackageError(
        f"{file.path} is no valid Python.", details=describe(file.path, text, mark, error.msg)
    )


def _plan_files(old: Snapshot, new: Snapshot, files: _Files) -> Patch:
    """Plan changed files where the settings stayed."""
    config = new.plan.config
    if config.docker_server is not None:
        return files.patch("load", "a server of your own is started again with each edit")
    settings = {CONFIG, *old.plan.settings, *new.plan.settings}
    code = {path for path in files.all if path in {*old.modules.sources, *new.modules.sources}}
    code |= {path for path in files.all if path in {*old.broken, *new.broken}}
    for path in files.all:
        if path in code or path in settings:
            continue
        gone = "was deleted" if path in files.deleted else "changed"
        data = PurePosixPath(config.data_dir) in PurePosixPath(path).parents
        reason = f"{path} {gone}" + ("" if data else ", which is no code")
        return files.patch("load", reason, root="load", first=path)
    change = compare_code(old.modules, new.modules, config, code)
    if change.reason:
        return files.patch("load", change.reason, root=change.root, first=change.file)
    return _swap(files, change)


def _swap(files: _Files, change: CodeChange) -> Patch:
    return Patch(
        "swap",
        _where(files.all, "", ""),
        (),
        files.changed,
        files.deleted,
        change.modules,
        change.keep,
    )


def _where(paths: tuple[str, ...], first: str, root: str) -> str:
    """Return files for people: one of them, how many more, and the part of the model that is affected."""
    if not paths:
        return first
    shown = first if first in paths else paths[0]
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{shown}{f' ({root})' if root else ''}{more}"


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
