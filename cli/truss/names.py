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


_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = rf"{_LABEL}(?:\.{_LABEL})*(?::[0-9]+)?"
_WORD = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"

IMAGE_NAME = (
    rf"(?![^@]{{256}})(?:(?=localhost/|[^/]*[.:]){_HOST}/)?{_WORD}(?:/{_WORD})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?"
)
"""What an engine takes as the name of an image, with a tag or without; as regular expressions of editors, too."""

LOGIN = "DOCKER_REGISTRY_"
"""How the name of a secret begins that is the login of a registry on Truss's own platform."""

SECRET_NAME = "[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}"  # noqa: S105 - what one is called, no secret


def is_image_name(name: str) -> bool:
    """Return whether an engine takes a text as the name of an image, with a tag or without."""
    return re.fullmatch(IMAGE_NAME, name) is not None


def is_secret_name(name: str) -> bool:
    """Return whether a text may name a secret, and so a file."""
    return re.fullmatch(SECRET_NAME, name) is not None
