"""JSON bodies at the edge: orjson, and the standard library for what orjson has no form for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from truss_server.plain_json import dump_plain

LIBRARIES = Path(orjson.__file__).parent.parent
"""Folder of orjson and msgspec, of which the worker makes use as well where it can."""


def dump_json(value: Any) -> bytes:
    """Return a plain value as JSON."""
    try:
        return orjson.dumps(value)
    except TypeError:  # integers over 64 bits, half a surrogate pair
        return dump_plain(value)
