"""What a model returns and yields, as values that cross the wire."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
from collections import deque
from collections.abc import Iterator, KeysView, ValuesView
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Callable
from uuid import UUID

from truss_server.worker.foreign import FOREIGN, FOREIGN_TYPED

_SCALARS = frozenset([str, int, float, bool, type(None)])
_TEXT = frozenset([str])
PLAIN = _SCALARS | {dict, list, tuple}
"""What most methods return: no coroutine, no stream and no response."""

_MSGPACK_KEYS = frozenset([int, float, bool, type(None), bytes])  # besides text
_MAX_ITEMS = 1_000_000  # of an iterator, which may have no end
_MAX_STEPS = 3  # from a key to what it is in JSON: an enum of numpy's dates, text of its own class
_MAX_DEPTH = 200  # of containers in containers; a structure that contains itself ends here


class UnsendableError(Exception):
    """What the model gave cannot be sent; the message is for its author and for the client."""


class UnserializableError(UnsendableError, TypeError):
    """A value is in the answer that JSON has no form for; the message names the path to it."""


def plain(value: Any, path: str = "output") -> Any:
    """Return `value` as None, bool, int, float, str, list and dict with str keys: what JSON has.

    Arrays of numpy and torch become lists, pydantic models what their JSON schemas say, dataclasses dictionaries,
    iterators lists, dates ISO 8601 text, timedelta seconds, Decimal, UUID and paths text, bytes base64 text, enums
    their value.
    What is plain already is returned as it is; a list of numbers is checked as a whole, not one by one.

    Raises:
        UnserializableError: Something in it has no such form.
    """
    return _walk(value, path, 0, _to_json)


def binary(value: Any) -> Any:
    """Return `value` as msgpack has it: as `plain`, but bytes stay, and types that JSON lacks are marked dictionaries.

    The marks are those of msgpack-numpy (arrays) and of Truss (dates, Decimal, UUID), which clients know.

    Raises:
        UnserializableError: Something in it has no such form.
    """
    return _walk(value, "output", 0, _to_msgpack)


def _walk(value: Any, path: str, depth: int, convert: Callable[[Any], Any]) -> Any:
    kind = type(value)
    if kind in _SCALARS:
        return value
    if depth > _MAX_DEPTH:
        raise UnserializableError(f"{path} is nested more than {_MAX_DEPTH} levels deep")
    if kind is dict:
        return _walk_dict(value, path, depth, convert)
    if kind is list or kind is tuple:
        if not value or _are_scalars(value):
            return value
        return [_walk(item, f"{path}[{at}]", depth + 1, convert) for at, item in enumerate(value)]
    try:
        closer = convert(value)
    except UnserializableError as exc:
        problem = str(exc) or f"is of type {_name(value)}, which JSON has no form for"
        raise UnserializableError(f"{path} {problem}") from None
    if type(closer) is Marked or (type(closer) is bytes and convert is _to_msgpack):
        return dict(closer) if type(closer) is Marked else closer  # marshal knows no subclasses
    return _walk(closer, path, depth + 1, convert)


def _are_scalars(values: list[Any] | tuple[Any, ...]) -> bool:
    """Tell whether all are scalars; of thousands of one type, in half the time."""
    kinds = list(map(type, values))
    return (kinds[0] in _SCALARS and kinds.count(kinds[0]) == len(kinds)) or _SCALARS.issuperset(kinds)


def _walk_dict(value: dict[Any, Any], path: str, depth: int, convert: Callable[[Any], Any]) -> dict[Any, Any]:
    if _SCALARS.issuperset(map(type, value.values())) and _TEXT.issuperset(map(type, value)):
        return value
    result: dict[Any, Any] = {}
    for key, item in value.items():
        if convert is _to_msgpack and type(key) in _MSGPACK_KEYS:
            result[key] = _walk(item, f"{path}[{key!r}]", depth + 1, convert)
            continue
        text = _key(key, path)
        result[text] = _walk(item, f"{path}.{text}", depth + 1, convert)
    return result


def _key(key: Any, path: str) -> str:
    """Return a dictionary's key as JSON has it."""
    closer = key
    with contextlib.suppress(UnserializableError):
        for _ in range(_MAX_STEPS):
            closer = closer if type(closer) in PLAIN else _to_json(closer)
        if type(closer) in _SCALARS:
            return closer if isinstance(closer, str) else json.dumps(closer)
    raise UnserializableError(f"{path} has a key of type {_name(key)}; JSON has only text keys")


def _to_json(value: Any) -> Any:
    """Turn one object into something closer to plain."""
    for types, convert in _FORMS:
        if isinstance(value, types):
            return convert(value)
    for is_it, convert in FOREIGN:
        if is_it(type(value), value):
            return convert(value)
    if isinstance(value, Iterator):
        return _items(value)
    raise UnserializableError


def _items(iterator: Iterator[Any]) -> list[Any]:
    items = list(itertools.islice(iterator, _MAX_ITEMS + 1))
    if len(items) > _MAX_ITEMS:
        raise UnserializableError(f"has more than {_MAX_ITEMS} items")
    return items


def _without_cache(value: dict[Any, Any]) -> dict[Any, Any]:
    """Leave out the attention cache in what transformers' generate() returns: memory of the model, no answer."""
    return {key: item for key, item in value.items() if key != "past_key_values"}


_FORMS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (Enum, lambda value: value.value),  # first: an enum may be an int or a str as well
    (bool, bool),
    (int, int),
    (float, float),
    (str, str.__str__),
    (dict, _without_cache),
    ((list, tuple, set, frozenset, range, deque, KeysView, ValuesView), list),
    ((bytes, bytearray, memoryview), lambda value: base64.b64encode(value).decode("ascii")),
    ((datetime, date, time), lambda value: value.isoformat()),
    (timedelta, lambda value: value.total_seconds()),
    ((Decimal, UUID, PurePath), str),
)


class Marked(dict):  # type: ignore[type-arg]
    """A dictionary that stands for a value of another type; its keys are bytes."""


def _to_msgpack(value: Any) -> Any:
    """Turn one object into something closer to what msgpack has."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if type(value).__module__ == "numpy" and hasattr(value, "dtype"):
        return _marked_array(value)
    for types, mark, form in _MARKED_FORMS:
        if isinstance(value, types):
            return Marked({mark: True, b"data": form(value)})
    for is_it, convert in FOREIGN_TYPED:
        if is_it(type(value), value):
            return convert(value)
    return _to_json(value)


def _marked_array(value: Any) -> Marked:
    fields = {b"type": value.dtype.str, b"data": value.tobytes()}
    if type(value).__name__ == "ndarray":
        return Marked({b"nd": True, b"kind": b"", b"shape": list(value.shape), **fields})
    return Marked({b"nd": False, **fields})


_MARKED_FORMS: tuple[tuple[Any, bytes, Callable[[Any], Any]], ...] = (
    (datetime, b"__dt_datetime_iso__", datetime.isoformat),  # before date, which it is too
    (date, b"__dt_date_iso__", date.isoformat),
    (time, b"__dt_time_iso__", time.isoformat),
    (timedelta, b"__dt_timedelta__", lambda value: [value.days, value.seconds, value.microseconds]),
    (Decimal, b"__decimal__", str),
    (UUID, b"__uuid__", str),
)


def revive(value: Any) -> Any:
    """Turn the marked dictionaries of a msgpack request back into the values they stand for."""
    if type(value) is list:
        return [revive(item) for item in value]
    if type(value) is not dict:
        return value
    if b"data" in value:
        if value.get(b"nd") is not None and b"type" in value:
            return _array(value)
        for mark, make in _MARKS.items():
            if mark in value:
                return make(value[b"data"])
    return {key: revive(item) for key, item in value.items()}


def _array(value: dict[bytes, Any]) -> Any:
    import numpy as np

    kind = value[b"type"]
    flat = np.frombuffer(value[b"data"], dtype=np.dtype(kind.decode() if isinstance(kind, bytes) else kind))
    return flat.reshape(value[b"shape"]) if value[b"nd"] else flat[0]


_MARKS: dict[bytes, Callable[[Any], Any]] = {
    b"__dt_datetime_iso__": datetime.fromisoformat,
    b"__dt_date_iso__": date.fromisoformat,
    b"__dt_time_iso__": time.fromisoformat,
    b"__dt_timedelta__": lambda data: timedelta(days=data[0], seconds=data[1], microseconds=data[2]),
    b"__decimal__": Decimal,
    b"__uuid__": UUID,
}


def _name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
