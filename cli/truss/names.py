"""What a model is called. Not in `truss.config`: that takes pydantic, and `truss init` answers at once."""

from __future__ import annotations

import re
import unicodedata

MODEL_NAME_LENGTH = 63
"""What fits into a label of DNS, and so into whatever a name of a model ends up in."""


def slug(name: str) -> str:
    """Return a name in lower case letters and digits, with single `.`, `_`, `-` between; may be empty."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    joined = re.sub(r"[^a-z0-9]+", lambda gap: gap[0] if gap[0] in {".", "_", "-"} else "-", plain)
    return joined.strip("._-")[:MODEL_NAME_LENGTH].rstrip("._-")


IMAGE_NAME_LENGTH = 255

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = rf"{_LABEL}(?:\.{_LABEL})*(?::\d+)?"
_WORD = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:(?=localhost/|[^/]*[.:]){_HOST}/)?{_WORD}(?:/{_WORD})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?"
)


def is_image_name(name: str) -> bool:
    """Return whether an engine takes a text as the name of an image, with a tag or without."""
    return _IMAGE.fullmatch(name) is not None and len(name) <= IMAGE_NAME_LENGTH


def is_secret_name(name: str) -> bool:
    """Return whether a text may name a secret, and so a file."""
    return re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}", name) is not None
