"""How the user reaches package indexes, as files for a build inside Docker."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from truss.context import Context, Member
from truss.errors import BuildError
from truss.find_links import needed
from truss.indexes import PROXIES, Indexes, read_indexes
from truss.memory import read_files
from truss.secrets import shown_as
from truss.uv_settings import uv_words
from truss.variables import secrets_in, variables

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

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
    "UV_NO_CONFIG": "1",  # that of the base image, or of the package, is not the user's
    "UV_NO_PROGRESS": "1",
    "UV_PYTHON_DOWNLOADS": "never",
    "PYC_INVALIDATION_MODE": "UNCHECKED_HASH",  # the same bytes, whenever they are made
}
"""What uv is told in each build."""

CERTIFICATE_VARIABLES = (
    *("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"),
    *("GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS"),
)
"""uv, Python and OpenSSL heed the first; the others are for what commands of the user run."""

DIGITS = 16
"""Of a digest of packages, in the name of the folder they are sent in."""

SYSTEM_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"

FOLDER, WHEELS, GIVEN = PurePosixPath("settings"), PurePosixPath("wheels"), PurePosixPath("secrets")
SETTINGS = PurePosixPath("/opt/truss/build/settings")
"""Where the settings are inside an image that is built; they are in none that is kept."""

BESIDE = SETTINGS.parent
"""Where the folders of a context that hold settings and packages are in there."""

PIP_CONF, UV_ENV, CERTIFICATE_FILE, NETRC, APT_CONF = (
    "pip.conf",
    "uv.env",
    "certificates.pem",
    "netrc",
    "apt.conf",
)
SECRETS = (PIP_CONF, UV_ENV, CERTIFICATE_FILE, NETRC, APT_CONF)


@dataclass(frozen=True)
class PipSettings:
    """Settings of pip and uv for a build inside Docker.

    Attributes:
        members: Files for the context of a build.
        wheels: More of them: packages of the user's folders.
        secrets: Passwords in the settings.
        unseen: Indexes in folders of this machine: no build sees them.
        given: More secrets of the user, by name, which commands ask for.
    """

    members: tuple[Member, ...] = ()
    wheels: tuple[Member, ...] = ()
    secrets: frozenset[str] = frozenset()
    unseen: tuple[str, ...] = ()
    given: Mapping[str, str] = field(default_factory=dict)

    @property
    def largest(self) -> int:
        """Bytes of the largest file that is a secret of a build."""
        given = [len(value.encode()) for value in self.given.values()]
        return max((*given, *(member.size for member in self.members)), default=0)

    def giving(self, values: Mapping[str, str]) -> PipSettings:
        """Return the settings with more secrets, whose values are to be shown nowhere."""
        return replace(self, given=values, secrets=self.secrets.union(*map(shown_as, values.values())))

    def write(self, folder: Path) -> dict[str, Path]:
        """Write all of it to a folder; return where each secret of a build is, by the name it has in a Dockerfile."""
        files = {}
        for member in self.members:
            if isinstance(member.content, bytes):
                files[str(member.path)] = folder / member.path
                _write(folder / member.path, member.content)
        for name, value in self.given.items():
            files[name] = folder / GIVEN / name
            _write(files[name], value.encode())
        return files


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
    members = tuple(context)
    lines = list(_lines(members))
    found = settings_of(read_indexes(environ, files, lines), members, variables(lines, environ))
    return replace(found, secrets=found.secrets | secrets_in(lines, environ))


def settings_of(
    indexes: Indexes,
    context: Iterable[Member] = (),
    said: Mapping[str, str] | None = None,
) -> PipSettings:
    """Return settings that lead a build to indexes.

    Args:
        indexes: Where packages come from.
        context: Files of the build.
        said: Variables of the user that requirements name.

    Raises:
        BuildError: A file cannot be read.
    """
    wheels = sent_wheels(indexes, context)
    seen = [url for url in (indexes.index, *indexes.extra) if not url.startswith(("file:", "/", ".", "~"))]
    unseen = tuple(url for url in (indexes.index, *indexes.extra) if url not in seen)
    inside = replace(
        indexes,
        index=indexes.index if indexes.index in seen else "",
        extra=tuple(url for url in indexes.extra if url in seen),
        links=(*indexes.links, *(str(BESIDE / one.path.parent) for one in wheels[:1])),
        folders=(),
    )
    values = {
        "index-url": [inside.index],
        "extra-index-url": inside.extra,
        "find-links": inside.links,
        "no-index": ["true"] if indexes.no_index else [],
        "trusted-host": indexes.trusted,
        "timeout": [indexes.timeout],
        "cert": [str(SETTINGS / CERTIFICATE_FILE)] if indexes.certificates else [],
    }
    lines = [f"{option} = {value}" for option, value in ALWAYS.items()]
    lines += [f"{option} = {' '.join(found)}" for option, found in values.items() if any(found)]
    members = [
        Member(FOLDER / PIP_CONF, "\n".join(["[global]", *lines, ""]).encode()),
        Member(FOLDER / UV_ENV, _uv_script(inside, said or {}).encode()),
        *_certificates(indexes),
    ]
    if indexes.logins:
        members.append(Member(FOLDER / NETRC, indexes.netrc_text.encode()))
    return PipSettings(tuple(members), wheels, indexes.secrets, unseen)


def _write(path: Path, content: bytes) -> None:
    """Write a file, in a folder of its kind."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the arguments of a build that lead it through the user's proxies.

    Each is said in capitals and not: apt knows the latter only. What is for all is said for each: neither apt nor
    Docker's first builder knows ALL_PROXY. Docker keeps these neither in the image nor in its history.

    Raises:
        BuildError: A file that may name them cannot be read.
    """
    found = read_indexes(environ).proxies
    said = {name: found.get(name.lower()) or found.get(name) or "" for name in PROXIES}
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        said[name] = said[name] or said["ALL_PROXY"]
    return {each: value for name, value in said.items() if value for each in (name, name.lower())}


def _certificates(indexes: Indexes) -> tuple[Member, ...]:
    """Return the user's certificates as a file for the context, and one that names them to apt."""
    path = indexes.certificates
    if path is None:
        return ()
    try:
        content = path.read_bytes()
    except OSError as exc:
        hint = "PIP_CERT, REQUESTS_CA_BUNDLE, SSL_CERT_FILE and `cert` in pip.conf name it."
        raise BuildError(f"The certificates {path} cannot be read: {exc.strerror}.", hint=hint) from exc
    trust = f'Acquire::https::CAInfo "{SETTINGS / CERTIFICATE_FILE}";\n'
    return Member(FOLDER / CERTIFICATE_FILE, content), Member(FOLDER / APT_CONF, trust.encode())


def sent_wheels(indexes: Indexes, context: Iterable[Member]) -> tuple[Member, ...]:
    """Return the packages of the user's folders that a build may need, in a folder named after what is in them.

    uv's cache, which builds share, knows a package by the folder it came from, its name and its version.

    Args:
        indexes: Where packages come from.
        context: Files of the build.

    Raises:
        BuildError: One cannot be read.
    """
    found = tuple(_wheels(context, indexes)) if indexes.folders else ()
    folder = WHEELS / Context(found).digest[:DIGITS]
    return tuple(Member(folder / one.path, one.content) for one in found)


def _lines(context: Iterable[Member]) -> Iterator[str]:
    """Yield the lines of the requirements files of a context."""
    for member in context:
        if isinstance(member.content, bytes) and member.path.suffix == ".txt":
            yield from member.content.decode().splitlines()


def _wheels(context: Iterable[Member], indexes: Indexes) -> Iterator[Member]:
    """Yield the packages of the user's folders that a build may need."""
    members = list(context)
    wheels = [
        member.content.source
        for member in members
        if not isinstance(member.content, bytes) and member.path.suffix == ".whl"
    ]
    try:
        for file in read_files(needed(_lines(members), wheels, indexes.folders)):
            yield Member(file.path, file)
    except OSError as exc:
        raise BuildError(f"{exc.filename}, a package of yours, cannot be read: {exc.strerror}.") from exc


def _uv_script(indexes: Indexes, more: Mapping[str, str]) -> str:
    """Return the settings as a shell script that uv's command is run after."""
    certificates = str(SETTINGS / CERTIFICATE_FILE) if indexes.certificates else ""
    said = {
        **uv_words(indexes),
        "UV_ARGUMENTS": "--no-index" if indexes.no_index else "",  # uv has no variable for it
        "NETRC": str(SETTINGS / NETRC) if indexes.logins else "",
        "APT_CONFIG": str(SETTINGS / APT_CONF) if certificates else "",
        **dict.fromkeys(CERTIFICATE_VARIABLES, certificates),
    }
    values = {**more, **UV_ALWAYS} | {name: value for name, value in said.items() if value}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
    if not indexes.certificates:
        # Those of the image, where it has any: a company's own may be among them.
        lines.append(f"[ ! -e {SYSTEM_CERTIFICATES} ] || export UV_SYSTEM_CERTS=1")
    return "".join(f"{line}\n" for line in lines)
