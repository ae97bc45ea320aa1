"""JSON of plain values by the standard library, for edge and worker: always valid, whatever a model puts in."""

from __future__ import annotations

import json
import math
from typing import Any

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_encode_ascii = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def dump_plain(value: Any) -> bytes:
    """Return a plain value as compact JSON in UTF-8; NaN and infinities are null, as in what orjson writes."""
    try:
        return _encode(value).encode()
    except ValueError:  # a number that JSON lacks, or half a surrogate pair, which UTF-8 lacks
        return _encode_ascii(_finite(value)).encode()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value
