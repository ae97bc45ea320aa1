"""Bodies at the edge: JSON by orjson, msgpack for clients that speak it, to and from what crosses the wire."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from truss_server import wire
from truss_server.edge.errors import AnswerError
from truss_server.edge.json_body import dump_json

_JSON = b"application/json"
_MSGPACK = b"application/octet-stream"

_DIGITS = b"".join(
    b"0" if char in b"0123456789" else b"." if char == b"." else b" "
    for char in (bytes([number]) for number in range(256))
)
"""Maps digits to 0, the point to itself, all else to a space."""

_LONG = b" " + 19 * b"0"
"""What is left of the beginning of an integer that may have more than 64 bits; cheaper to look for than a pattern."""

_LONG_INTEGER = re.compile(rb"(?:^|[^0-9.])(?:-[0-9]{19}|[0-9]{20})[0-9]*(?:$|[^0-9.eE])")


def parse_body(body: bytes, *, binary: bool) -> bytes:
    """Return the inputs in a request body, marshalled.

    Raises:
        AnswerError: 400, it is no JSON or no msgpack.
    """
    if binary:
        return _parse_msgpack(body)
    try:
        value = orjson.loads(body)
        if _has_long_integer(body):
            value = json.loads(body)  # for orjson, an integer over 64 bits is a float
        return wire.pack(value)
    except (ValueError, RecursionError) as exc:
        raise AnswerError(400, f"Invalid JSON payload: {exc}") from exc


def _has_long_integer(body: bytes) -> bool:
    digits = body.translate(_DIGITS)
    return (_LONG in digits or digits.startswith(_LONG[1:])) and _LONG_INTEGER.search(body) is not None


def _parse_msgpack(body: bytes) -> bytes:
    import msgpack

    try:
        value = msgpack.unpackb(body, strict_map_key=False)
        return wire.pack(value)
    except (ValueError, TypeError, msgpack.UnpackException) as exc:  # TypeError: a key no dictionary can have
        raise AnswerError(400, f"Invalid msgpack payload: {str(exc) or type(exc).__name__}") from exc


def render_value(value: Any, *, binary: bool) -> tuple[bytes, bytes]:
    """Return the content type and the body of an answer.

    Raises:
        AnswerError: 500, a number in it is too large for the format.
    """
    try:
        if not binary:
            return _JSON, dump_json(value)
        import msgpack

        return _MSGPACK, msgpack.packb(value)
    except (ValueError, OverflowError) as exc:
        raise AnswerError(500, f"the model's answer has no such form: {exc}") from exc
