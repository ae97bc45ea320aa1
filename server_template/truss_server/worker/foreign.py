"""Objects of libraries in answers: known by their methods and names, because none of these libraries is imported."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable

_WRITTEN_BY_STR = frozenset(
    ["ipaddress", "pydantic.networks", "pydantic.types", "pydantic_core._pydantic_core"]
)
"""Modules whose objects JSON has as text: addresses, URLs, secrets, which show as stars."""


def _has(method: str) -> Callable[[type, Any], bool]:
    return lambda kind, _: callable(getattr(kind, method, None))


def _is_finer(kind: type, value: Any) -> bool:
    """Tell whether it is a datetime64 or timedelta64 of numpy, or an array of them, that counts nanoseconds or less."""
    dtype: Any = getattr(value, "dtype", None) if kind.__module__ == "numpy" else None
    return getattr(dtype, "kind", "") in ("m", "M") and dtype.str[3:] in ("[ns]", "[ps]", "[fs]", "[as]")


def _is_dataclass(kind: type, value: Any) -> bool:
    return dataclasses.is_dataclass(kind) and not isinstance(value, type)


def _dump(value: Any) -> Any:
    """Return what a model of pydantic 2 is in JSON, as its schema promises it."""
    try:
        return value.model_dump(mode="json")
    except (
        TypeError,
        ValueError,
    ):  # fields pydantic knows no JSON of, as arrays; an author's own `model_dump`
        return value.model_dump()


def _dump_fields(value: Any) -> Any:
    """Return what a dataclass is; pydantic's own as `_dump` does."""
    serializer = getattr(type(value), "__pydantic_serializer__", None)
    if serializer is None:
        return _fields(value)
    try:
        return serializer.to_python(value, mode="json")
    except (TypeError, ValueError):
        return _fields(value)


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


Form = tuple[Callable[[type, Any], bool], Callable[[Any], Any]]

FOREIGN: tuple[Form, ...] = (
    (_has("model_dump"), _dump),
    # In microseconds, which Python has; else they would be numbers.
    (_is_finer, lambda value: value.astype(f"{value.dtype.kind}8[us]").tolist()),
    (_has("tolist"), lambda value: value.tolist()),  # numpy and torch
    (_has("dict"), lambda value: value.dict()),  # pydantic 1
    (_is_dataclass, _dump_fields),
    (lambda kind, _: kind.__module__ in _WRITTEN_BY_STR, str),
)
"""Whether it is one of them, and how it becomes something closer to what JSON has."""

FOREIGN_TYPED: tuple[Form, ...] = (
    (_has("model_dump"), lambda value: value.model_dump()),
    (_is_dataclass, _fields),
)
"""Those that become something else where more types are known than JSON's."""
