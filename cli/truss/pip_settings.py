"""How the user reaches package indexes, as far as a build inside Docker can use it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from truss.context import Member
from truss.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Mapping

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
"""Docker passes these on to a build and keeps them neither in the image nor in its history."""

CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
"""Name a file of the certificates that TLS is checked against; the first one that is set wins."""

OPTIONS = {
    "PIP_INDEX_URL": "index-url",
    "PIP_EXTRA_INDEX_URL": "extra-index-url",
    "PIP_FIND_LINKS": "find-links",
    "PIP_TRUSTED_HOST": "trusted-host",
    "PIP_DEFAULT_TIMEOUT": "timeout",
}
"""Options of pip by environment variable, which may hold several values with spaces between them."""

ALWAYS = {
    "disable-pip-version-check": "true",
    "no-cache-dir": "true",
    "no-input": "true",
    "progress-bar": "off",
    "root-user-action": "ignore",
}
"""Options for a build that nobody watches and whose container is thrown away."""

FOLDER = PurePosixPath("settings")
INSIDE = PurePosixPath("/tmp/settings")  # noqa: S108 in a stage of the build that is deleted


@dataclass(frozen=True)
class PipSettings:
    """Settings of pip for a build inside Docker.

    Attributes:
        members: Files for the context of a build.
        unseen: Folders of this machine that `PIP_FIND_LINKS` names: no build sees them.
    """

    members: tuple[Member, ...] = ()
    unseen: tuple[str, ...] = ()


def pip_settings(environ: Mapping[str, str]) -> PipSettings:
    """Return the settings of pip in environment variables.

    Raises:
        BuildError: A file that they name cannot be read.
    """
    values = {option: environ.get(name, "").split() for name, option in OPTIONS.items()}
    unseen = [link for link in values["find-links"] if not link.startswith(("http://", "https://"))]
    values["find-links"] = [link for link in values["find-links"] if link not in unseen]
    certificates = _certificates(environ)
    values["cert"] = [str(INSIDE / member.path.name) for member in certificates]
    lines = [f"{option} = {value}" for option, value in ALWAYS.items()]
    lines += [f"{option} = {' '.join(found)}" for option, found in values.items() if found]
    config = Member(FOLDER / "pip.conf", "\n".join(["[global]", *lines, ""]).encode())
    return PipSettings((config, *certificates), tuple(unseen))


def proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the arguments of a build that lead it through the user's proxies."""
    return {name: environ[name] for name in PROXIES if environ.get(name)}


def _certificates(environ: Mapping[str, str]) -> tuple[Member, ...]:
    """Return the user's certificates as a file for the context."""
    name = next((name for name in CERTIFICATES if environ.get(name)), None)
    if name is None:
        return ()
    try:
        return (Member(FOLDER / "certificates.pem", Path(environ[name]).read_bytes()),)
    except OSError as exc:
        raise BuildError(f"{name} names {environ[name]}, which cannot be read: {exc.strerror}.") from exc
