"""URLs of package indexes and proxies: what in them is secret, and the names and passwords that belong into them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from truss.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Mapping

TOKEN_LENGTH = 8
"""Of what may be a token in a URL's query; a shorter word says something else."""


def url_secrets(url: str) -> set[str]:
    """Return name, password and query of a URL, as they are written there and as they are meant."""
    try:
        parts = urlsplit(url if "//" in url else f"//{url}")  # proxies may have no scheme
    except ValueError:  # a bracket in a password
        login = url.rpartition("//")[2].rpartition("@")[0]
        return {login.partition(":")[2] or login} - {""}
    signed = [word.partition("=")[2] for word in parts.query.split("&")]
    # A token may stand for the name, beside no password or one that says so.
    named = parts.username if parts.password in {None, "", "x-oauth-basic"} else None
    values = (parts.password, named, *(word for word in signed if len(word) >= TOKEN_LENGTH))
    return {word for value in values if value for word in (value, unquote(value))}


def split_url(url: str) -> SplitResult:
    """Return the parts of a URL.

    Raises:
        BuildError: It has none; its password is not shown.
    """
    try:
        return urlsplit(url)
    except ValueError as exc:
        shown = re.sub(r"//.*@", "//****@", url)
        hint = "Correct it where it is set; in a name or a password write `%5B` for `[` and `%5D` for `]`."
        raise BuildError(f"{shown} is no URL of a package index: {exc}.", hint=hint) from exc


def without_login(url: str) -> str:
    """Return a URL without name and password.

    Raises:
        BuildError: It is no URL.
    """
    parts = split_url(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def with_credentials(url: str, name: str, environ: Mapping[str, str]) -> str:
    """Return the URL of one of uv's named indexes, with the name and password that variables hold for it.

    Raises:
        BuildError: It is no URL.
    """
    key = re.sub(r"[^A-Za-z0-9]", "_", name).upper()
    user, password = (environ.get(f"UV_INDEX_{key}_{what}", "") for what in ("USERNAME", "PASSWORD"))
    parts = split_url(url)
    if not name or not (user or password) or "@" in parts.netloc:
        return url
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc}"))
