"""How the user reaches package indexes, as files for a build inside Docker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from truss.context import Member
from truss.errors import BuildError
from truss.find_links import needed
from truss.indexes import Indexes, read_indexes
from truss.memory import read_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
"""Docker passes these on to a build and keeps them neither in the image nor in its history."""

ALWAYS = {
    "disable-pip-version-check": "true",
    "no-cache-dir": "true",
    "no-input": "true",
    "progress-bar": "off",
    "root-user-action": "ignore",
}
"""Options for a build that nobody watches and whose container is thrown away."""

FOLDER, WHEELS = PurePosixPath("settings"), PurePosixPath("wheels")
INSIDE, WHEELS_INSIDE = PurePosixPath("/tmp/settings"), PurePosixPath("/tmp/wheels")  # noqa: S108 deleted after the build

CERTIFICATES, NETRC = "certificates.pem", "netrc"


@dataclass(frozen=True)
class PipSettings:
    """Settings of pip for a build inside Docker.

    Attributes:
        members: Files for the context of a build.
        secrets: Passwords in them.
        unseen: Indexes in folders of this machine: no build sees them.
    """

    members: tuple[Member, ...] = ()
    secrets: frozenset[str] = frozenset()
    unseen: tuple[str, ...] = ()


def pip_settings(
    environ: Mapping[str, str], context: Iterable[Member] = (), files: Iterable[Path] | None = None
) -> PipSettings:
    """Return the user's settings for the installation of what a context asks for.

    Args:
        environ: The user's environment variables.
        context: Files of a build; the requirements among them decide which packages of the user's folders go along.
        files: Configuration files of pip, the stronger ones last; by default those pip would read.

    Raises:
        BuildError: A file that the settings name cannot be read.
    """
    indexes = read_indexes(environ, files)
    wheels = tuple(_wheels(context, indexes))
    certificates = _certificates(indexes)
    urls = [url for url in (indexes.index, *indexes.extra) if url]
    unseen = tuple(url for url in urls if url.startswith(("file:", "/", ".", "~")))
    values = {
        "index-url": [indexes.index] if indexes.index not in unseen else [],
        "extra-index-url": [url for url in indexes.extra if url not in unseen],
        "find-links": [*indexes.links, *([str(WHEELS_INSIDE)] if wheels else [])],
        "no-index": ["true"] if indexes.no_index else [],
        "trusted-host": list(indexes.trusted),
        "timeout": [indexes.timeout],
        "cert": [str(INSIDE / member.path.name) for member in certificates],
    }
    lines = [f"{option} = {value}" for option, value in ALWAYS.items()]
    lines += [f"{option} = {' '.join(found)}" for option, found in values.items() if any(found)]
    config = Member(FOLDER / "pip.conf", "\n".join(["[global]", *lines, ""]).encode())
    netrc = Member(FOLDER / NETRC, indexes.netrc_text.encode())
    return PipSettings((config, netrc, *certificates, *wheels), indexes.secrets, unseen)


def proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the arguments of a build that lead it through the user's proxies."""
    names = [name for upper in PROXIES for name in (upper, upper.lower())]
    return {name: environ[name] for name in names if environ.get(name)}


def _certificates(indexes: Indexes) -> tuple[Member, ...]:
    """Return the user's certificates as a file for the context."""
    path = indexes.certificates
    if path is None:
        return ()
    try:
        return (Member(FOLDER / CERTIFICATES, path.read_bytes()),)
    except OSError as exc:
        hint = "PIP_CERT, REQUESTS_CA_BUNDLE, SSL_CERT_FILE and `cert` in pip.conf name it."
        raise BuildError(f"The certificates {path} cannot be read: {exc.strerror}.", hint=hint) from exc


def _wheels(context: Iterable[Member], indexes: Indexes) -> Iterable[Member]:
    """Yield the packages of the user's folders that a build may need."""
    if not indexes.folders:
        return
    lines: list[str] = []
    wheels = []
    for member in context:
        if isinstance(member.content, bytes):
            lines += member.content.decode().splitlines() if member.path.suffix == ".txt" else []
        elif member.path.suffix == ".whl":
            wheels.append(member.content.source)
    try:
        for path in needed(lines, wheels, indexes.folders):
            yield Member(WHEELS / path.name, read_file(path))
    except OSError as exc:
        raise BuildError(f"{exc.filename}, a package of yours, cannot be read: {exc.strerror}.") from exc
