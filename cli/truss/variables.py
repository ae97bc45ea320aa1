"""What requirements say of the user's secrets: `${NAME}`, which an installer expands, and logins and tokens in URLs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from truss.index_urls import TOKEN_LENGTH, url_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
"""As pip reads it, and uv."""

_URL = re.compile(r"[a-z+]+://[^\s'\"]+")
_LOGIN = re.compile(r"//[^/@\s]+@")
_TOKEN = re.compile(rf"([?&][^=&#\s]+=)(?!\$\{{)[^&#\s]{{{TOKEN_LENGTH},}}")

_OWN = frozenset({"HOME", "PATH"})
"""What an installation inside an image has values of its own for."""


def variable_names(lines: Iterable[str]) -> list[str]:
    """Return the names of the variables in requirements."""
    return sorted({name for line in lines for name in _VARIABLE.findall(line)} - _OWN)


def variables(lines: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables in requirements that the user has set; an installer leaves the others as they are."""
    return {name: environ[name] for name in variable_names(lines) if environ.get(name)}


def secrets_in(lines: Iterable[str], environ: Mapping[str, str]) -> frozenset[str]:
    """Return what is not to be shown of requirements: values of variables, logins and tokens of URLs."""
    texts = list(lines)
    values = variables(texts, environ)
    found = {value for value in values.values() if len(value) >= TOKEN_LENGTH}
    for text in texts:
        expanded = _VARIABLE.sub(lambda match: values.get(match[1], match[0]), text)
        for url in _URL.findall(expanded):
            found |= url_secrets(url)
    return frozenset(word for word in found if not _VARIABLE.fullmatch(word))


def with_names(line: str, values: Mapping[str, str]) -> str:
    """Return a requirement with the names of variables in place of their values in its URL."""
    name, at, url = line.partition(" @ ")
    written: dict[str, str] = {}
    for variable, value in sorted(values.items()):
        for form in filter(None, (value, quote(value, safe=""))):
            written.setdefault(form, f"${{{variable}}}")
    # All in one pass, the longest first: a short value may be a part of another, or of a name put in its place.
    forms = "|".join(map(re.escape, sorted(written, key=len, reverse=True)))
    return f"{name}{at}{re.sub(forms, lambda found: written[found[0]], url) if forms else url}"


def without_secrets(text: str) -> str:
    """Return requirements without the logins and tokens of their URLs."""
    return _TOKEN.sub(r"\1****", _LOGIN.sub("//", text))
