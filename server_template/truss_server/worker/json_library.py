"""JSON by the libraries of the server's own environment, where the model's interpreter can run them.

A list of ten thousand numbers costs either process as much to hand over as to parse: large bodies are parsed, and
answers written, where they are used, and by what the edge uses. Nothing becomes importable by it: the model's
environment is its author's.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from typing import TYPE_CHECKING, Any, Callable

from truss_server.plain_json import dump_plain
from truss_server.worker.encode import plain

if TYPE_CHECKING:
    from pathlib import Path

_read: Callable[[bytes | bytearray | memoryview], Any] | None = None
_write: Callable[[Any], bytes] | None = None


def borrow(folder: Path) -> bool:
    """Make use of msgspec and orjson in a folder of installed packages; return whether this interpreter can.

    Called before any code of the model runs: for a moment both can be imported by name.
    """
    global _read, _write
    try:
        msgspec, orjson = _import(folder, "msgspec"), _import(folder, "orjson")
    except (ImportError, OSError):
        return False
    _read, _write = msgspec.json.Decoder().decode, orjson.dumps
    return True


def _import(folder: Path, name: str) -> Any:
    """Import a package from a folder, and have it forgotten by `sys.modules`."""
    package = folder / name
    # Of such a suffix, the first names the interpreter's version, its build and the C library.
    if not any(package.glob(f"*{EXTENSION_SUFFIXES[0]}")):
        raise ImportError(f"{name} in {folder} is of another Python")
    spec = importlib.util.spec_from_file_location(name, package / "__init__.py")
    if spec is None or spec.loader is None:  # cannot happen for a file ending in .py
        raise ImportError(str(package))
    before = {key: sys.modules.pop(key) for key in _modules(name)}
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    finally:
        for key in _modules(name):
            del sys.modules[key]
        sys.modules.update(before)
    return module


def _modules(name: str) -> list[str]:
    return [key for key in sys.modules if key == name or key.startswith(f"{name}.")]


def is_here() -> bool:
    """Return whether there are such libraries."""
    return _write is not None


def load(text: bytes | bytearray | memoryview) -> Any:
    """Return the value of a JSON text, where the libraries are here; integers of any size are exact.

    Raises:
        ValueError: It is no JSON.
        RecursionError: It is nested too deeply.
    """
    if _read is None:
        raise ValueError("nothing is here to read it with")
    return _read(text)


def dump(value: Any, path: str = "output") -> bytes:
    """Return a value of the model as JSON.

    Raises:
        UnserializableError: Something in it has no such form; the message names the path to it.
    """
    # orjson must meet nothing that runs code of Python: it bears no change, by that or by another thread meanwhile.
    known = plain(value, path)
    if _write is not None:
        try:
            return _write(known)
        except TypeError:  # integers over 64 bits, half a surrogate pair
            pass
    return dump_plain(known)
