"""What uv is told by its variables and its files, by the names that pip has for it where it has one."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from truss.errors import BuildError
from truss.index_urls import with_credentials

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

TRUE = {"1", "true", "yes", "on", "y", "t"}

VARIABLES = {
    "index-url": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
    "extra-index-url": ("UV_INDEX", "UV_EXTRA_INDEX_URL"),
    "find-links": ("UV_FIND_LINKS",),
    "trusted-host": ("UV_INSECURE_HOST",),
    "timeout": ("UV_HTTP_TIMEOUT", "UV_REQUEST_TIMEOUT", "HTTP_TIMEOUT"),
    "index-strategy": ("UV_INDEX_STRATEGY",),
    "system-certs": ("UV_SYSTEM_CERTS", "UV_NATIVE_TLS"),
}
"""Options and the variables that set them, the stronger one first; lists have the words of all."""

LISTS = ("extra-index-url", "find-links", "trusted-host")
"""Options that add up, wherever they are said."""

OPTIONS = {
    "find-links": "find-links",
    "no-index": "no-index",
    "allow-insecure-host": "trusted-host",
    "index-strategy": "index-strategy",
    "http-proxy": "http-proxy",
    "https-proxy": "https-proxy",
    "no-proxy": "no-proxy",
    "system-certs": "system-certs",
    "native-tls": "system-certs",
}
"""Of a uv.toml, the stronger one first, beside those that name indexes."""

OF_MACHINE = (
    *("cache-dir", "no-cache", "offline", "keyring-provider", "link-mode", "python-preference"),
    *("concurrent-downloads", "concurrent-builds", "concurrent-installs"),
)
"""Options of a uv.toml that say how a machine works, for uv on this one; each has a variable of its name."""

_NAMED = re.compile(r"([A-Za-z0-9._-]+)=(?=[a-z+]+://|/)")


def uv_variables(environ: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the options in uv's variables, each as words.

    Raises:
        BuildError: An index is no URL.
    """
    found: dict[str, list[str]] = {}
    for option, names in VARIABLES.items():
        values = [environ[name] for name in names if environ.get(name)]
        for value in values if option in LISTS else values[:1]:
            words = value.replace(",", " ").split() if option == "find-links" else value.split()
            found.setdefault(option, []).extend(_variable_word(option, word, environ) for word in words)
    return found


def _variable_word(option: str, word: str, environ: Mapping[str, str]) -> str:
    if option not in {"index-url", "extra-index-url"}:
        return word
    match = _NAMED.match(word)
    return with_credentials(_NAMED.sub("", word, count=1), match[1] if match else "", environ)


def uv_options(environ: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the options in uv's files, each as words: the user's before the system's, tables before plain URLs.

    Raises:
        BuildError: One of them is broken.
    """
    tables = _tables(environ)
    found: dict[str, list[str]] = {}
    for theirs, option in OPTIONS.items():
        for path, table in tables:
            words = _words(path, table, theirs)
            if option == "find-links":
                words = [_from(path, word) for word in words]
            if words and (option in LISTS or option not in found):
                found.setdefault(option, []).extend(words)
    mains: list[str] = []
    more: list[str] = []
    names: set[str] = set()
    for path, table in tables:
        for index in _indexes(path, table):
            name, url = str(index.get("name", "")), _from(path, str(index.get("url", "")))
            if index.get("explicit") or name in names:
                continue
            names |= {name} - {""}
            url = with_credentials(url, name, environ)
            if index.get("format") == "flat":
                found.setdefault("find-links", []).append(url)
            else:
                (mains if index.get("default") else more).append(url)
    for path, table in tables:
        mains += [_from(path, word) for word in _words(path, table, "index-url")]
        more += [_from(path, word) for word in _words(path, table, "extra-index-url")]
    found |= {"index-url": mains[:1], "extra-index-url": more}
    return {option: words for option, words in found.items() if words}


def machine_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what uv's files say of how this machine works, as variables.

    Raises:
        BuildError: One of them is broken.
    """
    found: dict[str, str] = {}
    for path, table in _tables(environ):
        for option in OF_MACHINE:
            if words := _words(path, table, option):
                found.setdefault(f"UV_{option.replace('-', '_').upper()}", words[0])
    return found


def _tables(environ: Mapping[str, str]) -> list[tuple[Path, Mapping[str, Any]]]:
    """Return the tables of uv's files, each with its file, the stronger ones first."""
    read = [(path, _read(path)) for path in _files(environ)]
    return [*((path, _table(path, table, "pip")) for path, table in read), *read]


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield the files uv would read, the stronger one first."""
    if environ.get("UV_NO_CONFIG", "").lower() in TRUE:
        return
    if named := environ.get("UV_CONFIG_FILE"):
        yield Path(named)
        return
    home = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "~")).expanduser() / ".config")
    shared = [one for one in (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep) if one]
    if environ.get("UV_NO_SYSTEM_CONFIG", "").lower() in TRUE:
        shared = []
    else:
        shared.append("/etc")
    system = [Path(folder, "uv", "uv.toml") for folder in shared]
    yield from (path for path in [home / "uv" / "uv.toml"] if path.is_file())
    yield from [path for path in system if path.is_file()][:1]


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise BuildError(f"uv's configuration {path} cannot be read.", details=str(exc)) from exc


def _table(path: Path, table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = table.get(name, {})
    if not isinstance(found, dict):
        raise _wrong(path, name, "table")
    return found


def _indexes(path: Path, table: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    found = table.get("index", [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise _wrong(path, "index", "list of tables")
    return found


def _words(path: Path, table: Mapping[str, Any], option: str) -> list[str]:
    value = table.get(option, [])
    words = value if isinstance(value, list) else [value]
    if not all(isinstance(word, str | int) for word in words):
        raise _wrong(path, option, "text or list of texts")
    return [str(word).lower() if isinstance(word, bool) else str(word) for word in words]


def _wrong(path: Path, option: str, kind: str) -> BuildError:
    return BuildError(f"uv's configuration {path} cannot be read.", details=f"`{option}` is no {kind}.")


def _from(path: Path, word: str) -> str:
    """Return a URL, or a path that a file names relative to itself."""
    return word if "://" in word or word.startswith("~") else str(path.absolute().parent / word)
