"""How the user reaches package indexes, whatever says it: variables of uv and of pip, uv.toml, pip.conf, netrc."""

from __future__ import annotations

import configparser
import netrc as netrc_files
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from truss.errors import BuildError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

PIP_VARIABLES = {
    "index-url": ("PIP_INDEX_URL",),
    "extra-index-url": ("PIP_EXTRA_INDEX_URL",),
    "find-links": ("PIP_FIND_LINKS",),
    "no-index": ("PIP_NO_INDEX",),
    "trusted-host": ("PIP_TRUSTED_HOST",),
    "cert": ("PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    "timeout": ("PIP_TIMEOUT", "PIP_DEFAULT_TIMEOUT"),
}
"""Options of pip and the variables that set them, the stronger one first."""

UV_VARIABLES = {
    "index-url": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
    "extra-index-url": ("UV_INDEX", "UV_EXTRA_INDEX_URL"),
    "find-links": ("UV_FIND_LINKS",),
    "trusted-host": ("UV_INSECURE_HOST",),
    "cert": ("SSL_CERT_FILE",),
    "timeout": ("UV_HTTP_TIMEOUT",),
}
"""What uv calls them: the first is set, unless any of them is set already."""

PROXIES = {"http_proxy", "https_proxy", "all_proxy"}

TOKEN_LENGTH = 8
"""Of what may be a token in a URL's query; a shorter word says something else."""

TRUE = {"1", "true", "yes", "on", "y", "t"}

_NAMED = re.compile(r"([A-Za-z0-9._-]+)=(?=[a-z+]+://|/)")


@dataclass(frozen=True)
class Indexes:
    """Where packages come from.

    Attributes:
        index: URL of the main index, empty for PyPI.
        extra: URLs of more indexes.
        links: URLs of pages with links to packages.
        folders: Folders of this machine with packages.
        no_index: Whether only links and folders are asked.
        trusted: Hosts whose certificates are not checked.
        certificates: File of the certificates that all others are checked against.
        timeout: Seconds, as they were written; empty for the tool's own.
        proxies: URLs of proxies.
        logins: Of hosts whose URLs have none: host, name and password.
    """

    index: str = ""
    extra: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    no_index: bool = False
    trusted: tuple[str, ...] = ()
    certificates: Path | None = None
    timeout: str = ""
    proxies: tuple[str, ...] = ()
    logins: tuple[tuple[str, str, str], ...] = ()

    @property
    def netrc_text(self) -> str:
        """The logins as a netrc file."""
        return "".join(f"machine {host} login {name} password {word}\n" for host, name, word in self.logins)

    @property
    def secrets(self) -> frozenset[str]:
        """Names, passwords and queries in URLs, as they are written there and as they are meant."""
        found = {password for *_, password in self.logins}
        for url in (self.index, *self.extra, *self.links, *self.proxies):
            found |= url_secrets(url)
        return frozenset(found)


def read_indexes(environ: Mapping[str, str], files: Iterable[Path] | None = None) -> Indexes:
    """Return where the user's packages come from; what is nearer to the command counts more.

    Args:
        environ: The user's environment.
        files: Configuration files of pip, the stronger ones last; by default those pip would read.

    Raises:
        BuildError: One of the files is broken.
    """
    options = {**pip_options(environ, files), **uv_options(environ)}
    options.update(pip_variables(environ))
    options.update(_of_uv_variables(environ))
    found = [word.removeprefix("file://") for word in options.get("find-links", ())]
    folders = tuple(Path(word).expanduser().absolute() for word in found if "://" not in word)
    certificates = "".join(options.get("cert", ())) or environ.get("SSL_CERT_FILE", "")
    index, extra = "".join(options.get("index-url", ())), tuple(options.get("extra-index-url", ()))
    links = tuple(word for word in found if "://" in word)
    return Indexes(
        index=index,
        extra=extra,
        links=links,
        folders=folders,
        no_index="".join(options.get("no-index", ())).lower() in TRUE,
        trusted=tuple(options.get("trusted-host", ())),
        certificates=Path(certificates).expanduser() if certificates else None,
        timeout="".join(options.get("timeout", ())),
        proxies=tuple(
            environ[name] for name in sorted(environ) if name.lower() in PROXIES and "@" in environ[name]
        ),
        logins=tuple(_logins((index, *extra, *links), environ)),
    )


def url_secrets(url: str) -> set[str]:
    """Return name, password and query of a URL, as they are written there and as they are meant."""
    try:
        parts = urlsplit(url)
    except ValueError:  # a bracket in a password
        login = url.partition("//")[2].rpartition("@")[0]
        return {login.partition(":")[2] or login} - {""}
    signed = [word.partition("=")[2] for word in parts.query.split("&")]
    named = parts.username if parts.password is None else None
    values = (parts.password, named, *(word for word in signed if len(word) >= TOKEN_LENGTH))
    return {word for value in values if value for word in (value, unquote(value))}


def _logins(urls: Iterable[str], environ: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield what the user's netrc knows of the hosts of URLs."""
    path = Path(environ.get("NETRC") or Path(environ.get("HOME", "~")).expanduser() / ".netrc")
    try:
        known = netrc_files.netrc(path)
    except (OSError, netrc_files.NetrcParseError, UnicodeDecodeError):
        return  # uv and pip pass over it, too
    hosts = {parts.hostname for url in urls if (parts := urlsplit(url)).hostname and not parts.username}
    for host in sorted(filter(None, hosts)):
        if (login := known.authenticators(host)) is not None:
            yield host, login[0], login[2] or ""


def redactor(secrets: Iterable[str]) -> Callable[[str], str]:
    """Return what puts stars in place of secrets, in whatever a tool says."""
    words = sorted((re.escape(one) for one in secrets if one), key=len, reverse=True)
    if not words:
        return lambda text: text
    pattern = re.compile("|".join(words))
    return lambda text: pattern.sub("****", text)


def pip_files(environ: Mapping[str, str]) -> list[Path]:
    """Return the files pip would read, the stronger ones last."""
    named = environ.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return []
    home = Path(environ.get("HOME", "~")).expanduser()
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    shared = [
        Path(folder) for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep) if folder
    ]
    found = [*(folder / "pip" / "pip.conf" for folder in reversed(shared)), Path("/etc/pip.conf")]
    found += [home / ".pip" / "pip.conf", user / "pip" / "pip.conf", Path(sys.prefix) / "pip.conf"]
    return [*found, Path(named)] if named else found


def pip_options(environ: Mapping[str, str], files: Iterable[Path] | None = None) -> dict[str, list[str]]:
    """Return the options in pip's files, each as words.

    Raises:
        BuildError: One of them is broken.
    """
    options: dict[str, str] = {}
    for path in pip_files(environ) if files is None else files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as exc:
            raise BuildError(f"pip's configuration {path} cannot be read.", details=str(exc)) from exc
        for section in ("global", "install"):
            if parser.has_section(section):
                options.update({key.replace("_", "-"): value for key, value in parser.items(section)})
    return {option: value.split() for option, value in options.items()}


def uv_options(environ: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the options in uv's file, the user's or else the system's, by the names that pip has for them.

    Raises:
        BuildError: It is broken.
    """
    if environ.get("UV_NO_CONFIG", "").lower() in TRUE:
        return {}
    home = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "~")).expanduser() / ".config")
    named = environ.get("UV_CONFIG_FILE")
    files = [Path(named)] if named else [home / "uv" / "uv.toml", Path("/etc/uv/uv.toml")]
    path = next((path for path in files if path.is_file()), None)
    if path is None:
        return {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise BuildError(f"uv's configuration {path} cannot be read.", details=str(exc)) from exc
    return dict(_of_uv_table({**table, **table.get("pip", {})}, environ))


def _of_uv_table(table: Mapping[str, Any], environ: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    names = {"index-url": "index-url", "extra-index-url": "extra-index-url", "find-links": "find-links"}
    for theirs, ours in {**names, "no-index": "no-index", "allow-insecure-host": "trusted-host"}.items():
        if (value := table.get(theirs)) is not None:
            yield ours, [str(word) for word in value] if isinstance(value, list) else [str(value)]
    indexes = [one for one in table.get("index", ()) if isinstance(one, dict) and not one.get("explicit")]
    if main := [_known(one, environ) for one in indexes if one.get("default")]:
        yield "index-url", main[:1]
    if more := [_known(one, environ) for one in indexes if not one.get("default")]:
        yield "extra-index-url", more


def _known(index: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """Return the URL of one of uv's named indexes, with the name and password that variables hold for it."""
    return _with_credentials(str(index.get("url", "")), str(index.get("name", "")), environ)


def _with_credentials(url: str, name: str, environ: Mapping[str, str]) -> str:
    key = re.sub(r"[^A-Za-z0-9]", "_", name).upper()
    user, password = (environ.get(f"UV_INDEX_{key}_{what}", "") for what in ("USERNAME", "PASSWORD"))
    parts = urlsplit(url)
    if not name or not (user or password) or "@" in parts.netloc:
        return url
    return urlunsplit(
        parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{parts.netloc}")
    )


def pip_variables(environ: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the options in pip's variables, each as words."""
    found = {}
    for option, names in PIP_VARIABLES.items():
        value = next((environ[name] for name in names if environ.get(name)), "")
        if value:
            found[option] = value.split()
    return found


def _of_uv_variables(environ: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for option, names in UV_VARIABLES.items():
        value = next((environ[name] for name in names if environ.get(name)), "")
        if not value or option == "cert":
            continue
        words = value.replace(",", " ").split() if option == "find-links" else value.split()
        named = [
            (match[1] if (match := _NAMED.match(word)) else "", _NAMED.sub("", word, count=1))
            for word in words
        ]
        found[option] = [_with_credentials(word, name, environ) for name, word in named]
    return found
