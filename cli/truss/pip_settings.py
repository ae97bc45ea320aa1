"""How the user reaches package indexes, as far as a build inside Docker can use it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from truss.context import Member
from truss.errors import BuildError
from truss.uv_settings import uv_settings

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

UV_ALWAYS = {
    "UV_CACHE_DIR": "/opt/truss/build/cache",
    "UV_COMPILE_BYTECODE": "1",  # the user of a container cannot write beside what is installed
    "UV_LINK_MODE": "copy",  # the cache is another file system
    "UV_NO_PROGRESS": "1",
    "UV_PYTHON_DOWNLOADS": "never",
    "PYC_INVALIDATION_MODE": "UNCHECKED_HASH",  # the same bytes, whenever they are made
}
"""What uv is told in each build."""

UV_USERS = (
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_STRATEGY",
    "UV_FIND_LINKS",
    "UV_INSECURE_HOST",
    "UV_HTTP_TIMEOUT",
)
"""What the user's environment may say to it."""

SYSTEM_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"

FOLDER = PurePosixPath("settings")
SETTINGS = PurePosixPath("/opt/truss/build/settings")
"""Where the settings are inside an image that is built; they are in none that is kept."""

PIP_CONF, UV_ENV, CERTIFICATE_FILE = "pip.conf", "uv.env", "certificates.pem"
SECRETS = (PIP_CONF, UV_ENV, CERTIFICATE_FILE)


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
    unseen = [link for link in values["find-links"] if not _is_url(link)]
    values["find-links"] = [link for link in values["find-links"] if link not in unseen]
    certificates = _certificates(environ)
    values["cert"] = [str(SETTINGS / member.path.name) for member in certificates]
    lines = [f"{option} = {value}" for option, value in ALWAYS.items()]
    lines += [f"{option} = {' '.join(found)}" for option, found in values.items() if found]
    config = Member(FOLDER / PIP_CONF, "\n".join(["[global]", *lines, ""]).encode())
    script = Member(FOLDER / UV_ENV, _uv_script(environ, certificates).encode())
    return PipSettings((config, script, *certificates), tuple(unseen))


def proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the arguments of a build that lead it through the user's proxies."""
    return {name: environ[name] for name in PROXIES if environ.get(name)}


def _certificates(environ: Mapping[str, str]) -> tuple[Member, ...]:
    """Return the user's certificates as a file for the context."""
    name = next((name for name in CERTIFICATES if environ.get(name)), None)
    if name is None:
        return ()
    try:
        return (Member(FOLDER / CERTIFICATE_FILE, Path(environ[name]).read_bytes()),)
    except OSError as exc:
        raise BuildError(f"{name} names {environ[name]}, which cannot be read: {exc.strerror}.") from exc


def _uv_script(environ: Mapping[str, str], certificates: tuple[Member, ...]) -> str:
    """Return the same settings as a shell script that uv's command is run after."""
    said = uv_settings(environ, files=()).environ
    values = UV_ALWAYS | {name: said[name] for name in UV_USERS if said.get(name)}
    links = [link for link in values.pop("UV_FIND_LINKS", "").split(",") if _is_url(link)]
    if links:
        values["UV_FIND_LINKS"] = ",".join(links)
    if certificates:
        values["SSL_CERT_FILE"] = str(SETTINGS / CERTIFICATE_FILE)
    lines = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
    if not certificates:
        # Those of the image, where it has any: a company's own may be among them.
        lines.append(f"[ ! -e {SYSTEM_CERTIFICATES} ] || export UV_SYSTEM_CERTS=1")
    return "".join(f"{line}\n" for line in lines)


def _is_url(link: str) -> bool:
    """Return whether a build can see what a link names."""
    return link.startswith(("http://", "https://"))
