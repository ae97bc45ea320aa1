"""Whether what a project says of itself fits what is made of it: its lock, and the Python that images have."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from truss.errors import BuildError
from truss.index_urls import without_login

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from truss.config import TrussConfig

HERE = ({"virtual": "."}, {"editable": "."}, {"directory": "."})
"""How a lock says which of its packages is the project itself."""

PATCHES = range(40)
"""Of a version of Python: a project may ask for a part of them."""


def lock_doubts(lock: Mapping[str, Any], project: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a project has been told to depend on since its lock was made, or no more.

    Args:
        lock: A `uv.lock`.
        project: The `[project]` table beside it.
    """
    own = next((one for one in lock.get("package", ()) if one.get("source") in HERE), None)
    if own is None or "dependencies" in project.get("dynamic", ()):
        return
    locked = _by_name(_locked(own.get("metadata", {}).get("requires-dist", ())))
    asked = _by_name(_asked(project.get("dependencies", ())))
    names = sorted(locked.keys() | asked.keys())
    if differ := [name for name in names if _differ(locked.get(name), asked.get(name))]:
        yield (
            f"uv.lock was made for other dependencies than pyproject.toml has now: {', '.join(differ)}. "
            "What it pins is installed; `uv lock` writes it anew."
        )


def project_indexes(project: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield name and URL of each index of a project's own, where uv can use it.

    Args:
        project: Its `pyproject.toml`.
    """
    for one in project.get("tool", {}).get("uv", {}).get("index", ()):
        if isinstance(one, dict):
            name, url = str(one.get("name", "")), str(one.get("url", ""))
            with suppress(BuildError):  # a bracket in a password
                without_login(url)
                yield name, url


def login_doubts(project: Mapping[str, Any]) -> Iterator[str]:
    """Yield that a `pyproject.toml` has a password, with which it goes into the image."""
    for name, url in project_indexes(project):
        if without_login(url) != url:
            yield (
                f"pyproject.toml has a login in the URL of the index {name or without_login(url)}, and goes into the "
                "image with it: take it out; uv reads UV_INDEX_NAME_USERNAME and UV_INDEX_NAME_PASSWORD, or a netrc."
            )


def python_doubts(project: Mapping[str, Any], config: TrussConfig) -> Iterator[str]:
    """Yield that a project asks for another Python than its images have.

    Args:
        project: Its `[project]` table.
        config: Of the package.
    """
    asked = project.get("requires-python", "")
    try:
        wanted = SpecifierSet(asked)
    except (InvalidSpecifier, TypeError):
        return  # uv says what is wrong with it
    version = f"3.{config.python_version.removeprefix('py3')}"
    if config.base_image.image is None and not any(
        wanted.contains(f"{version}.{patch}") for patch in PATCHES
    ):
        yield (
            f"pyproject.toml asks for Python {asked}, and images of this package have Python {version}: "
            f"{'change' if config.asked_python else 'write'} `python_version` in config.yaml."
        )


def _locked(entries: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, SpecifierSet | None]]:
    """Yield names and versions of what a lock was made for; None where it is not known by a version."""
    for entry in entries:
        if "extra ==" not in entry.get("marker", ""):
            elsewhere = entry.keys() & {"url", "git", "path", "directory", "editable", "virtual"}
            yield (
                canonicalize_name(entry["name"]),
                None if elsewhere else SpecifierSet(entry.get("specifier", "")),
            )


def _asked(lines: Iterable[str]) -> Iterator[tuple[str, SpecifierSet | None]]:
    """Yield the same of what a project asks for."""
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        yield canonicalize_name(requirement.name), None if requirement.url else requirement.specifier


def _by_name(
    found: Iterable[tuple[str, SpecifierSet | None]],
) -> dict[str, set[SpecifierSet | None]]:
    """Return all that is said of each name: markers may give one several versions."""
    known: dict[str, set[SpecifierSet | None]] = {}
    for name, versions in found:
        known.setdefault(name, set()).add(versions)
    return known


def _differ(one: set[SpecifierSet | None] | None, other: set[SpecifierSet | None] | None) -> bool:
    if one is None or other is None:
        return True
    return None not in one | other and one != other
