"""How the user reaches package indexes, whatever says it: variables of uv and of pip, uv.toml, pip.conf, netrc."""

from __future__ import annotations

import math
import netrc as netrc_files
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from truss.errors import BuildError
from truss.index_urls import split_url, url_secrets, with_credentials
from truss.pip_files import pip_options, pip_variables
from truss.requirements import HASH, OPTION
from truss.uv_files import LISTS, TRUE, uv_options, uv_variables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
"""Variables that lead through proxies, here in capitals."""

SYSTEM_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where systems keep the certificates that they trust, in one file."""

_PAGE = re.compile(
    r"(?:--find-links|--index-url|--extra-index-url|-f|-i)[\s=]\s*(?P<url>\S+)(\s+# index (?P<index>\S+))?"
)


@dataclass(frozen=True)
class Indexes:
    """Where packages come from.

    Attributes:
        index: URL of the main index, empty for PyPI.
        extra: URLs of more indexes, the first one counts most.
        links: URLs of pages with links to packages.
        folders: Folders of this machine with packages.
        no_index: Whether only links and folders are asked.
        trusted: Hosts whose certificates are not checked.
        certificates: File of the certificates that all others are checked against.
        system: Whether these are the system's, because somebody asked for them.
        timeout: Whole seconds; empty for the tool's own.
        strategy: How uv chooses between indexes; empty for its own way.
        proxies: Variables that lead through proxies, whatever says so.
        offline: Whether pages that a lock names are not asked either.
        logins: Of hosts whose URLs have none: host, name and password.
    """

    index: str = ""
    extra: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    no_index: bool = False
    trusted: tuple[str, ...] = ()
    certificates: Path | None = None
    system: bool = False
    timeout: str = ""
    strategy: str = ""
    proxies: Mapping[str, str] = field(default_factory=dict)
    offline: bool = False
    logins: tuple[tuple[str, str, str], ...] = ()

    @property
    def netrc_text(self) -> str:
        """The logins as a netrc file."""
        return "".join(
            f"machine {host} login {_quoted(name)} password {_quoted(word)}\n"
            for host, name, word in self.logins
        )

    @property
    def secrets(self) -> frozenset[str]:
        """Names, passwords and queries in URLs, as they are written there and as they are meant."""
        found = {password for *_, password in self.logins}
        proxies = (url for url in self.proxies.values() if "@" in url)
        for url in (self.index, *self.extra, *self.links, *proxies):
            found |= url_secrets(url)
        return frozenset(found)


def read_indexes(
    environ: Mapping[str, str], files: Iterable[Path] | None = None, lines: Iterable[str] = ()
) -> Indexes:
    """Return where the user's packages come from: lists add up; of all else, what is nearer to the command counts.

    Args:
        environ: The user's environment.
        files: Configuration files of pip, the stronger ones last; by default those pip would read.
        lines: Of requirements files, which may name more pages.

    Raises:
        BuildError: One of the files is broken, or a URL is none.
    """
    of_uv = (uv_variables(environ), uv_options(environ))
    of_pip = (pip_variables(environ), pip_options(environ, files))
    options = _merged([of_uv[0], of_pip[0], of_uv[1], {**of_pip[1], **of_pip[0]}])
    found = [word.removeprefix("file://") for word in options.get("find-links", ())]
    index, extra = " ".join(options.get("index-url", ())), tuple(options.get("extra-index-url", ()))
    links = tuple(word for word in found if "://" in word)
    folders = tuple(Path(word).expanduser().absolute() for word in found if "://" not in word)
    no_index = _is_true(options, "no-index")
    texts = list(lines)
    pages = [match for line in texts if (match := _PAGE.match(line))]
    offline = bool(no_index and folders and pages and not links and _all_hashed(texts))
    if not offline:
        links += tuple(_with_logins(pages, environ))
    urls = (index, *extra, *links, *(match["url"] for match in pages))
    named = " ".join(options.get("cert", ())) or environ.get("SSL_CERT_FILE", "")
    system = not named and _is_true(options, "system-certs")
    certificates = _system_certificates() if system else Path(named).expanduser() if named else None
    strategy = " ".join(options.get("index-strategy", ()))
    if extra and not any(said.get("extra-index-url") for said in of_uv):
        # pip takes the best of all indexes, and its users expect just that
        strategy = strategy or "unsafe-best-match"
    return Indexes(
        index=index,
        extra=extra,
        links=links,
        folders=folders,
        no_index=no_index,
        trusted=tuple(options.get("trusted-host", ())),
        certificates=certificates,
        system=system,
        timeout=_whole_seconds(" ".join(options.get("timeout", ()))),
        strategy=strategy,
        proxies=_proxies(options, of_pip[0], environ),
        offline=offline,
        logins=tuple(_logins(urls, environ)),
    )


def redactor(secrets: Iterable[str]) -> Callable[[str], str]:
    """Return what puts stars in place of secrets, in whatever a tool says."""
    words = sorted((re.escape(one) for one in secrets if one), key=len, reverse=True)
    if not words:
        return lambda text: text
    pattern = re.compile("|".join(words))
    return lambda text: pattern.sub("****", text)


def _merged(sources: Iterable[Mapping[str, list[str]]]) -> dict[str, list[str]]:
    """Return what sources say, the stronger one first."""
    merged: dict[str, list[str]] = {}
    for said in sources:
        for option, words in said.items():
            if option in LISTS:
                known = merged.setdefault(option, [])
                known += [word for word in words if word not in known]
            else:
                merged.setdefault(option, words)
    return merged


def _all_hashed(lines: Iterable[str]) -> bool:
    """Return whether lines are the pins of a lock, and what they name can lie in a folder."""
    return all(HASH.search(line) and "://" not in line for line in lines if line and not OPTION.match(line))


def _is_true(options: Mapping[str, list[str]], option: str) -> bool:
    return " ".join(options.get(option, ())).lower() in TRUE


def _system_certificates() -> Path | None:
    """Return the file of certificates that this machine trusts, None where it has none of the usual ones."""
    known = (*SYSTEM_CERTIFICATES, ssl.get_default_verify_paths().openssl_cafile)
    return next((path for path in map(Path, known) if path.is_file()), None)


def _whole_seconds(text: str) -> str:
    """Return seconds as uv wants them: pip takes fractions, too."""
    try:
        return str(math.ceil(float(text))) if text else ""
    except (ValueError, OverflowError) as exc:
        hint = "UV_HTTP_TIMEOUT, PIP_DEFAULT_TIMEOUT, PIP_TIMEOUT and `timeout` in pip.conf say it."
        raise BuildError(
            f"The time limit of downloads, {text!r}, is no number of seconds.", hint=hint
        ) from exc


def _proxies(
    options: Mapping[str, list[str]], near: Mapping[str, list[str]], environ: Mapping[str, str]
) -> dict[str, str]:
    """Return variables for proxies: pip's own variable before those that every tool reads, and these before files."""
    names = [name for upper in PROXIES for name in (upper, upper.lower())]
    found = {name: environ[name] for name in names if environ.get(name)}
    of_pip = " ".join(options.get("proxy", ()))
    said = {
        "HTTP_PROXY": " ".join(options.get("http-proxy", ())) or of_pip,
        "HTTPS_PROXY": " ".join(options.get("https-proxy", ())) or of_pip,
        "NO_PROXY": ",".join(options.get("no-proxy", ())),
    }
    everything = {"ALL_PROXY", "all_proxy"} & found.keys()
    for name, value in said.items():
        forms = {name, name.lower()}
        if near.get("proxy") and name != "NO_PROXY":
            found |= dict.fromkeys(forms, of_pip)
        elif value and not forms & found.keys() and (name == "NO_PROXY" or not everything):
            found |= dict.fromkeys(forms, value)
    return found


def _with_logins(pages: Iterable[re.Match[str]], environ: Mapping[str, str]) -> Iterator[str]:
    """Yield pages of named indexes with the logins of these: uv has them for the pages without, too."""
    for page in pages:
        url = with_credentials(page["url"], page["index"] or "", environ)
        if url != page["url"]:
            yield url


def _logins(urls: Iterable[str], environ: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield what the user's netrc knows of the hosts of URLs."""
    hosts = {parts.hostname for url in urls if (parts := split_url(url)).hostname and not parts.username}
    path = Path(environ.get("NETRC") or Path(environ.get("HOME", "~")).expanduser() / ".netrc")
    try:
        known = netrc_files.netrc(path)
    except (OSError, netrc_files.NetrcParseError, UnicodeDecodeError):
        return  # uv and pip pass over it, too
    for host in sorted(filter(None, hosts)):
        if (found := known.authenticators(host)) is not None:
            yield host, found[0], found[2] or ""


def _quoted(word: str) -> str:
    """Return a word of a netrc file, in quotes where it would end too early without them."""
    if re.fullmatch(r"[^\s\"'\\#]+", word):
        return word
    escaped = re.sub(r'(["\\])', r"\\\1", word)
    return f'"{escaped}"'
