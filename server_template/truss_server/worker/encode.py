"""What a model returns and yields, as values that cross the wire and bytes that leave it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Callable

from truss_server.plain_json import dump_plain

_SCALARS = frozenset([str, int, float, bool, type(None)])
_MAX_DEPTH = 200  # of containers in containers; a structure that contains itself ends here


class UnserializableError(TypeError):
    """A value is in the answer that JSON has no form for; the message names the path to it."""


def plain(value: Any, path: str = "output", depth: int = 0) -> Any:
    """Return `value` as None, bool, int, float, str, list and dict with str keys.

    What is plain already is returned as it is; a list of numbers is checked as a whole, not one by one.

    Raises:
        UnserializableError: Something in it has no such form.
    """
    kind = type(value)
    if kind in _SCALARS:
        return value
    if depth > _MAX_DEPTH:
        raise UnserializableError(f"{path} is nested more than {_MAX_DEPTH} levels deep")
    if kind is dict:
        return _plain_dict(value, path, depth)
    if kind is list or kind is tuple:
        if _SCALARS.issuperset(map(type, value)):
            return value
        return [plain(item, f"{path}[{at}]", depth + 1) for at, item in enumerate(value)]
    return plain(_convert(value, path), path, depth + 1)


def _plain_dict(value: dict[Any, Any], path: str, depth: int) -> dict[str, Any]:
    if _SCALARS.issuperset(map(type, value.values())) and all(type(key) is str for key in value):
        return value
    result = {}
    for key, item in value.items():
        if type(key) not in _SCALARS and not isinstance(key, str):
            raise UnserializableError(f"{path} has a key of type {_name(key)}; JSON has only text keys")
        text = str.__str__(key) if isinstance(key, str) else json.dumps(key)
        result[text] = plain(item, f"{path}.{text}", depth + 1)
    return result


def _convert(value: Any, path: str) -> Any:
    """Turn one object into something closer to plain."""
    if isinstance(value, str):
        return str.__str__(value)  # and not str(value), which for an Enum is its name
    for base in (int, float):
        if isinstance(value, base):
            return base(value)
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    # By their methods and not by their classes: none of these libraries is imported for it.
    for method in ("model_dump", "tolist"):  # pydantic; numpy and torch
        convert: Callable[[], Any] | None = getattr(type(value), method, None) and getattr(value, method)
        if convert is not None:
            return convert()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise UnserializableError(f"{path} is of type {_name(value)}, which JSON has no form for")


def _name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


class Framer:
    """Turns what a generator yields into bytes.

    Text and bytes pass as they are. Objects become JSON lines, or server-sent events where the route speaks the
    dialect of an API that streams so: `data: {...}` and a closing `data: [DONE]` (OpenAI), `event: TYPE` in front
    (Anthropic and OpenAI's responses, which name events and have no closing mark).

    Args:
        framing: `lines`, `openai` or `named`.

    Attributes:
        content_type: Of the stream, known once the first item was framed.
    """

    def __init__(self, framing: str) -> None:
        self._framing = framing
        self._events = 0
        self.content_type = ""

    def frame(self, item: Any) -> bytes:
        """Return the bytes of one yielded item.

        Raises:
            UnserializableError: It is an object JSON has no form for.
        """
        sse = self._framing != "lines"
        if isinstance(item, str):
            self.content_type = self.content_type or (
                "text/event-stream" if sse else "text/plain; charset=utf-8"
            )
            return item.encode("utf-8", "replace")  # half a surrogate pair has no UTF-8
        if isinstance(item, (bytes, bytearray, memoryview)):
            self.content_type = self.content_type or (
                "text/event-stream" if sse else "application/octet-stream"
            )
            return bytes(item)
        value = plain(item, "chunk")
        text = dump_plain(value)
        if not sse:
            self.content_type = self.content_type or "application/x-ndjson"
            return text + b"\n"
        self.content_type = self.content_type or "text/event-stream"
        self._events += 1
        named = self._framing == "named" and isinstance(value, dict) and isinstance(value.get("type"), str)
        prefix = b"event: %b\n" % _one_line(value["type"]) if named else b""
        return b"%bdata: %b\n\n" % (prefix, text)

    def end(self) -> bytes:
        """Return the bytes that close a complete stream."""
        return b"data: [DONE]\n\n" if self._framing == "openai" and self._events else b""


def _one_line(text: str) -> bytes:
    """The name of an event ends with its line."""
    return " ".join(text.split()).encode("utf-8", "replace")
