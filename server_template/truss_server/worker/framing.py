"""What a generator yields, as the bytes of a stream."""

from __future__ import annotations

import re
from typing import Any

from truss_server.worker import json_library
from truss_server.worker.encode import plain

_EVENTS = "text/event-stream"
_FIELD = re.compile(r"[\r\n]*((data|event|id|retry):|:[^\r\n]*[\r\n])")
"""How a server-sent event begins: with a field or a whole comment."""
_LINE_END = re.compile("\r\n|\r|\n")


class Framer:
    """Turns what a generator yields into bytes.

    The first item decides. After text or bytes all text and bytes pass as they are. After an object, objects become
    JSON lines or server-sent events, and text and bytes become such lines or events as well, so that the stream stays
    what its content type says. Events are for the routes and the clients that ask for them: `data: {...}`, with a
    closing `data: [DONE]` in OpenAI's dialect, with `event: TYPE` in front in those of Anthropic and of OpenAI's
    responses, which have no closing mark. Text that the author wrote as events passes.

    Args:
        framing: `lines`, `binary`, `sse` (a plain route whose client accepts events), `openai` or `named`.

    Attributes:
        content_type: Of the stream, known once the first item was framed; events it is from the start.
    """

    def __init__(self, framing: str) -> None:
        self._framing = framing
        self._sse = framing not in ("lines", "binary")
        self._raw: bool | None = None  # whether text and bytes pass as they are
        self._objects = False
        self._gap = b""  # what an event needs in front to begin on a line of its own
        self.content_type = _EVENTS if self._sse else ""

    def frame(self, item: Any) -> bytes:
        """Return the bytes of one yielded item.

        Raises:
            UnserializableError: It is an object JSON has no form for.
        """
        if isinstance(item, str):
            if self._raw is None:
                self._begin("text/plain; charset=utf-8", raw=self._framing != "sse" or _is_event(item))
            if not self._raw:
                return self._text(item)
            data = item.encode("utf-8", "replace")  # half a surrogate pair has no UTF-8
            return self._noted(data) if self._sse else data
        if isinstance(item, (bytes, bytearray, memoryview)):
            data = bytes(item)
            if self._raw is None:
                raw = self._framing != "sse" or _is_event(_written(data))
                self._begin("application/octet-stream", raw=raw)
            if not self._raw:
                return self._text(data)
            return self._noted(data) if self._sse else data
        value = plain(item, "chunk") if self._framing == "named" else item
        text = json_library.dump(value, "chunk")
        if self._raw is None:
            self._begin("application/x-ndjson", raw=False)
        if not self._sse:
            return text + b"\n"
        self._objects = True
        named = self._framing == "named" and isinstance(value, dict) and isinstance(value.get("type"), str)
        prefix = b"event: %b\n" % _one_line(value["type"]) if named else b""
        gap, self._gap = self._gap, b""
        return b"%b%bdata: %b\n\n" % (gap, prefix, text)

    def _begin(self, content_type: str, *, raw: bool) -> None:
        """Note what the first item decides."""
        self._raw = raw
        self.content_type = self.content_type or content_type

    def _noted(self, data: bytes) -> bytes:
        """Return bytes as they are; the next event must not become a part of one that they begin."""
        if data:
            self._gap = b"" if data.endswith((b"\n\n", b"\r\n\r\n")) else b"\n\n"
        return data

    def _text(self, item: str | bytes) -> bytes:
        """Return text, or bytes, as a line or an event between those of objects."""
        if not self._sse:
            return json_library.dump(item) + b"\n"
        text = item if isinstance(item, str) else _written(item)
        if _is_event(text) and text.endswith("\n\n"):
            return text.encode("utf-8", "replace")
        text = text if isinstance(item, str) else plain(item)
        lines = [b"data: %b\n" % line.encode("utf-8", "replace") for line in _LINE_END.split(text)]
        return b"".join([*lines, b"\n"])

    def end(self) -> bytes:
        """Return the bytes that close a complete stream."""
        return self._gap + b"data: [DONE]\n\n" if self._framing == "openai" and self._objects else b""


def _is_event(text: str) -> bool:
    return _FIELD.match(text) is not None


def _written(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _one_line(text: str) -> bytes:
    """The name of an event ends with its line."""
    return " ".join(text.split()).encode("utf-8", "replace")
