"""Which packages in the user's own folders a build in a container may need: it is sent those, and no folder whole.

Nothing is resolved here: every file goes along that a requirement, or a requirement of such a file, allows.
"""

from __future__ import annotations

import platform
import sys
import tarfile
import zipfile
import zlib
from contextlib import suppress
from email.parser import HeaderParser
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from truss.requirements import without_hashes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from packaging.tags import Tag
    from packaging.version import Version

MOST_METADATA_BYTES = 4 * 1024 * 1024

BACKENDS = ("setuptools", "wheel")
"""What a source distribution is built with where it says nothing else."""


def needed(
    lines: Iterable[str], wheels: Iterable[Path], folders: Iterable[Path], *, here: bool = False
) -> list[Path]:
    """Return the files of folders that an installation may need, sorted by name.

    Args:
        lines: Of requirements files.
        wheels: Files that are installed whatever is in the folders.
        folders: Of the user's.
        here: Whether the installation is one on this machine, and none in a container.
    """
    known: dict[str, list[tuple[Version, Path]]] = {}
    for folder in folders:
        for name, version, path in _packages(folder, here=here):
            known.setdefault(name, []).append((version, path))
    waiting = [one for line in lines if (one := _requirement(without_hashes(line))) is not None]
    for wheel in wheels:
        waiting += _requires(wheel, frozenset())
    found: dict[Path, frozenset[str]] = {}
    while waiting and known:
        wanted = waiting.pop()
        for version, path in known.get(canonicalize_name(wanted.name), ()):
            extras = found.get(path, frozenset()) | wanted.extras
            if wanted.specifier.contains(version, prereleases=True) and found.get(path) != extras:
                found[path] = extras
                waiting += _requires(path, extras)
    return sorted(found, key=lambda path: path.name)


def name_of(path: Path) -> str:
    """Return the normalised name of the project that a file is a package of."""
    return parse_wheel_filename(path.name)[0] if path.suffix == ".whl" else parse_sdist_filename(path.name)[0]


def _packages(folder: Path, *, here: bool) -> Iterator[tuple[str, Version, Path]]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        with suppress(InvalidWheelFilename, InvalidSdistFilename):  # pip passes over it, too
            if path.suffix == ".whl":
                name, version, _, tags = parse_wheel_filename(path.name)
                if here or any(_runs_in_container(tag) for tag in tags):
                    yield name, version, path
            elif path.name.endswith((".tar.gz", ".zip")):
                name, version = parse_sdist_filename(path.name)
                yield name, version, path


def _runs_in_container(tag: Tag) -> bool:
    """Return whether a wheel is for a container of this machine: Linux, whatever runs the engine."""
    machine = {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())
    return tag.platform == "any" or ("linux" in tag.platform and tag.platform.endswith(machine))


def _requires(path: Path, extras: frozenset[str]) -> list[Requirement]:
    """Return what a package requires; of one that must be built first, what builds it, too."""
    try:
        if path.suffix == ".whl":
            return _required(_of_zip(path, ".dist-info/METADATA"), extras)
        read = _of_zip if path.suffix == ".zip" else _of_tar
        return [*_required(read(path, "/PKG-INFO"), extras), *_builds(read(path, "/pyproject.toml"))]
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, tarfile.TarError):
        return []  # the installer will say what is wrong with it


def _required(metadata: str, extras: frozenset[str]) -> list[Requirement]:
    headers = HeaderParser().parsestr(metadata).get_all("Requires-Dist", [])
    found = [one for header in headers if (one := _requirement(header)) is not None]
    return [one for one in found if _applies(one, extras)]


def _builds(project: str) -> list[Requirement]:
    """Return what a source distribution is built with."""
    try:
        table = tomllib.loads(project).get("build-system", {})
        lines = list(map(str, table.get("requires", BACKENDS)))
    except (tomllib.TOMLDecodeError, AttributeError, TypeError):
        lines = [*BACKENDS]
    return [one for line in lines if (one := _requirement(line)) is not None]


def _of_zip(path: Path, ending: str) -> str:
    """Return the text of a file just below the root of a wheel, empty where there is none."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if _is_at_root(name, ending):
                with archive.open(name) as file:
                    return file.read(MOST_METADATA_BYTES).decode("utf-8", "replace")
    return ""


def _of_tar(path: Path, ending: str) -> str:
    """Return the text of a file just below the root of a source distribution, empty where there is none."""
    with tarfile.open(path) as archive:
        for member in archive:
            if _is_at_root(member.name, ending) and member.isfile():
                file = archive.extractfile(member)
                return file.read(MOST_METADATA_BYTES).decode("utf-8", "replace") if file else ""
    return ""


def _is_at_root(name: str, ending: str) -> bool:
    """Return whether a member of an archive, all of which is in one folder, lies in no other below that."""
    path = PurePosixPath(name)
    return len(path.parts) == 2 and str(path).endswith(ending)  # noqa: PLR2004 a folder and a name


def _applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    """Return whether a requirement holds with these extras; what else its marker asks is the container's business."""
    marker = requirement.marker
    if marker is None or "extra" not in str(marker):
        return True
    return any(marker.evaluate({"extra": extra}) for extra in extras)


def _requirement(line: str) -> Requirement | None:
    try:
        return Requirement(line)
    except InvalidRequirement:
        return None  # an option, a URL or a path
