"""JSON by the orjson of the server's own environment, where the model's interpreter can run it.

A list of ten thousand numbers costs either process as much to hand over as to read: large bodies are read, and answers
written, where they are used. Nothing becomes importable by it: the model's environment is its author's.
"""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import json
import operator
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from truss_server.plain_json import dump_plain
from truss_server.worker.encode import plain, to_json

if TYPE_CHECKING:
    from types import ModuleType

_orjson: ModuleType | None = None
_options = 0

_ALIKE = bytes.maketrans(b"0123456789", b"0" * 10)
_LONG = b"0" * 19
_TOO_LONG = re.compile(rb"-\d{19}|\d{20}")
"""What may be an integer of more than 64 bits, of which orjson makes a float."""


def borrow(path: str) -> bool:
    """Load the extension module of orjson from a file; return whether this interpreter can."""
    global _orjson, _options  # noqa: PLW0603 - one process, one library
    if path.endswith(importlib.machinery.EXTENSION_SUFFIXES[0]):  # it names version, platform and C library
        try:
            spec = importlib.util.spec_from_file_location("orjson", path)
            if spec is not None and spec.loader is not None:
                module = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module)
                # What orjson would write in another form than `plain`, or without asking.
                passed = "OPT_PASSTHROUGH_SUBCLASS", "OPT_PASSTHROUGH_DATETIME", "OPT_PASSTHROUGH_DATACLASS"
                _options = functools.reduce(operator.or_, (getattr(module, name) for name in passed))
                _orjson = module
        except (ImportError, OSError):
            return False
    return _orjson is not None


def is_here() -> bool:
    """Return whether there is such a library."""
    return _orjson is not None


def load(text: bytes | bytearray) -> Any:
    """Return the value of a JSON text; integers of any size are exact.

    Raises:
        ValueError: It is no JSON.
    """
    if _orjson is None or (_LONG in text.translate(_ALIKE) and _TOO_LONG.search(text)):
        return json.loads(text, parse_constant=_refuse)
    return _orjson.loads(text)


def dump(value: Any, path: str = "output") -> bytes:
    """Return a value of the model as JSON, in the forms of `encode.plain`.

    Raises:
        UnserializableError: Something in it has no such form; the message names the path to it.
    """
    if _orjson is not None:
        try:
            return bytes(_orjson.dumps(value, default=_closer, option=_options))
        except TypeError:
            pass  # keys and integers that orjson does not take; or it cannot be sent, which `plain` tells well
    return dump_plain(plain(value, path))


def _closer(value: Any) -> Any:
    if isinstance(value, Iterator):
        raise TypeError  # it can be read once, and all may have to be written again
    return to_json(value)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
