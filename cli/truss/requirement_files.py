"""What a package asks its environment to hold, from whatever file says it: pip's, pyproject.toml, uv.lock."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from truss.errors import PackageError
from truss.excerpt import Mark, describe
from truss.index_urls import without_login
from truss.project_doubts import lock_doubts, login_doubts, project_indexes, python_doubts
from truss.requirements import HASH, OPTION, Line, objection, project, read_lines, wheel_path
from truss.uv_lock import export_lock

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from truss.config import TrussConfig
    from truss.memory import Memory

PYPROJECT, UV_LOCK = "pyproject.toml", "uv.lock"

OTHERS = {"poetry.lock", "pdm.lock", "pixi.lock", "Pipfile", "Pipfile.lock"}
"""Files of tools whose dependencies are not read here, by name."""

OTHER_SUFFIXES = {".toml", ".yml", ".yaml", ".json", ".py", ".cfg"}
"""Of files that are none of pip's."""

MOST_SHOWN = 20
"""Of the problems of one file, at most."""

_INCLUDE = re.compile(r"(-r|--requirement|-c|--constraint)(?:\s+|=|(?<=-[rc]))(.+)")


@dataclass
class Asked:
    """What a package asks for.

    Attributes:
        lines: Of a requirements file.
        constraints: Lines of a constraints file.
        files: Paths in the package of the files that say so.
        locked: Whether they are the pins of a lock.
        doubts: What does not fit together, each a sentence.
    """

    lines: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    locked: bool = False
    doubts: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether nothing may be added: with hashes, every line needs one."""
        return self.locked or any(HASH.search(line) for line in self.lines)


def read_requirements(package: Path, config: TrussConfig, memory: Memory) -> Asked:
    """Return what a package asks for.

    Args:
        package: Its folder.
        config: Its configuration.
        memory: Of earlier plans.

    Raises:
        PackageError: A file that is missing, outside the package, or says what no image could follow.
    """
    name = config.requirements_file
    if name is None:
        return Asked(list(config.requirements))
    kind = PurePosixPath(name).name
    if kind == UV_LOCK:
        return _of_lock(package, name, memory, config)
    if kind == PYPROJECT:
        lines = _of_project(package, name)
        return Asked(lines, files=[name], doubts=_doubts(_toml(package, name), config))
    if kind in OTHERS or PurePosixPath(kind).suffix in OTHER_SUFFIXES:
        raise PackageError(
            f"`requirements_file` names {name}, which is not read here.",
            hint="Name a pip file, such as requirements.txt, a pyproject.toml or a uv.lock.",
        )
    asked = Asked()
    _read_pip_file(package, PurePosixPath(name), asked, into=asked.lines)
    return asked


def _read_pip_file(package: Path, name: PurePosixPath, asked: Asked, into: list[str]) -> None:
    """Add what a pip file says, and the files that it includes."""
    asked.files.append(str(name))
    path = package / name
    text = _text(package, name)
    wrong = []
    for line in read_lines(text):
        include = _INCLUDE.fullmatch(line.text)
        if include is None:
            problem = objection(line.text) or _lacking(package, line.text)
            if problem is not None:
                wrong.append(_at(path, text, line, problem))
            into.append(line.text)
            continue
        other = _beside(name, include[2].strip().strip("\"'"))
        if other is None or not (package / other).is_file():
            wrong.append(_at(path, text, line, f"there is no file `{other or include[2]}` in the package"))
        elif str(other) not in asked.files:
            constrains = include[1] in {"-c", "--constraint"}
            _read_pip_file(package, other, asked, asked.constraints if constrains else into)
    _refuse(path, wrong, "\n\n")


def _lacking(package: Path, line: str) -> str | None:
    """Return that the wheel which a requirement names is not there."""
    wheel = wheel_path(line)
    there = wheel is None or (package / wheel).is_file()
    return None if there else f"there is no file `{wheel}` in the package"


def _at(path: Path, text: str, line: Line, problem: str) -> str:
    return describe(path, text, Mark(line.number, 1), problem)


def _beside(name: PurePosixPath, other: str) -> PurePosixPath | None:
    """Return a path in the package that a file in it names relative to itself, None where that leads out of it."""
    parts: list[str] = []
    for part in (name.parent / other).parts:
        if part == "..":
            if not parts:
                return None
            parts.pop()
        else:
            parts.append(part)
    found = PurePosixPath(*parts)
    return None if "://" in other or found.is_absolute() else found


def _of_project(package: Path, name: str) -> list[str]:
    """Return the dependencies of a `pyproject.toml`."""
    project_table = _toml(package, name).get("project")
    if not isinstance(project_table, dict):
        raise PackageError(
            f"{package / name} has no [project] table, which is where dependencies are read from.",
            hint="Write `dependencies` there, or name a pip file or a uv.lock in `requirements_file`.",
        )
    if "dependencies" in project_table.get("dynamic", ()):
        raise PackageError(
            f"The dependencies in {package / name} are dynamic: only its build backend knows them.",
            hint="Write them into [project], or name the file that holds them in `requirements_file`.",
        )
    lines = project_table.get("dependencies", [])
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise PackageError(f"`dependencies` in {package / name} is no list of texts.")
    _check_sources(package, name, lines)
    return _checked(package / name, [" ".join(line.split()) for line in lines])


def _check_sources(package: Path, name: str, lines: list[str]) -> None:
    sources = _toml(package, name).get("tool", {}).get("uv", {}).get("sources", {})
    elsewhere = sorted({project(line) for line in lines} & {project(source) for source in sources})
    if elsewhere:
        raise PackageError(
            f"[tool.uv.sources] in {package / name} says where {', '.join(elsewhere)} comes from, "
            "which only uv understands.",
            hint="Run `uv lock` and write `requirements_file: uv.lock`.",
        )


def _of_lock(package: Path, name: str, memory: Memory, config: TrussConfig) -> Asked:
    """Return the pins of a `uv.lock`; uv checks the hashes of those that have some, which one from git has not."""
    beside = str(PurePosixPath(name).with_name(PYPROJECT))
    texts = [_text(package, PurePosixPath(one)) for one in (name, beside)]
    exported = memory.lock("\0".join(texts), lambda: export_lock(package, name))
    lines = _checked(package / name, [line.text for line in read_lines(exported)])
    lines = [line for line in lines if not OPTION.match(line)]
    lock, project = _toml(package, name), _toml(package, beside)
    lines = [*_pages(lock, project), *lines]
    doubts = [*lock_doubts(lock, _table(project)), *_doubts(project, config)]
    return Asked(lines, files=[name, beside], locked=True, doubts=doubts)


def _pages(lock: Mapping[str, Any], project: Mapping[str, Any]) -> list[str]:
    """Return options that lead to what a lock has from indexes of the project's own: a page for each package.

    As indexes they would answer for every other package, too; the user's are those that are asked for these. A comment
    has the name of the index, by which its login is found.
    """
    comments: dict[str, list[str]] = {}
    for name, url in project_indexes(project):  # a lock has their URLs without logins
        comments.setdefault(without_login(url).rstrip("/"), []).append(f" # index {name}" if name else "")
    found = {
        f"--find-links {registry}/{canonicalize_name(one['name'])}/{comment}"
        for one in lock.get("package", ())
        if (registry := one.get("source", {}).get("registry", "").rstrip("/")).startswith(
            ("http://", "https://")
        )
        for comment in comments.get(registry, ())
    }
    return sorted(found)


def _doubts(project: Mapping[str, Any], config: TrussConfig) -> list[str]:
    return [*login_doubts(project), *python_doubts(_table(project), config)]


def _table(project: Mapping[str, Any]) -> dict[str, Any]:
    """Return the [project] table of a `pyproject.toml`, empty where it has none."""
    table = project.get("project")
    return table if isinstance(table, dict) else {}


def _checked(path: Path, lines: list[str]) -> list[str]:
    _refuse(path, [problem for line in lines if (problem := objection(line)) is not None], "\n")
    return lines


def _refuse(path: Path, wrong: list[str], between: str) -> None:
    """Raise what is wrong with a file, if anything is."""
    if wrong:
        more = [f"... and {len(wrong) - MOST_SHOWN} more."] if len(wrong) > MOST_SHOWN else []
        details = between.join([*wrong[:MOST_SHOWN], *more])
        raise PackageError(f"{path} cannot be used as it is.", details=details)


def _toml(package: Path, name: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(_text(package, PurePosixPath(name)))
    except tomllib.TOMLDecodeError as exc:
        raise PackageError(f"{package / name} is no TOML: {exc}.") from exc


def _text(package: Path, name: PurePosixPath) -> str:
    path = package / name
    if not path.resolve().is_relative_to(package.resolve()):
        raise PackageError(f"{path} leads out of the package.", hint="Copy what it names into the package.")
    try:
        return path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError) as exc:
        hint = (
            "uv needs it beside uv.lock."
            if name.name == PYPROJECT
            else "Add it, or correct `requirements_file`."
        )
        raise PackageError(f"There is no file {name} in the package.", hint=hint) from exc
    except OSError as exc:
        raise PackageError(f"{path} cannot be read: {exc.strerror}.") from exc
    except UnicodeDecodeError as exc:
        raise PackageError(f"{path} is not UTF-8.", hint="Save the file as UTF-8.") from exc
