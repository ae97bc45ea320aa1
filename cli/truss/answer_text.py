"""What of an answer is shown: text in whole characters, errors in the words of the server. No input or output."""

from __future__ import annotations

import codecs
import contextlib
import json
import re
from typing import Any

MOST_ERROR_CHARACTERS = 16_000
"""Of an error that a server describes, this much is shown."""

MOST_EVENT_CHARACTERS = 1 << 20
"""A server-sent event that is longer is not looked into."""


class WholeCharacters:
    """Cuts a stream of bytes between characters of UTF-8, never inside one; bytes that are none pass as they are."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def feed(self, chunk: bytes, *, final: bool = False) -> bytes:
        """Return the bytes that are complete now.

        Args:
            chunk: What came.
            final: Whether nothing follows; what is held back is given out as it is.
        """
        return self._decoder.decode(chunk, final).encode("utf-8", "surrogateescape")


class EventErrors:
    """Notices the event by which a server tells in the middle of a stream that it failed.

    Attributes:
        text: What it says, empty as long as none was seen.
    """

    def __init__(self) -> None:
        self.text = ""
        self._pending = ""

    def feed(self, text: str) -> None:
        """Look at what came."""
        *events, rest = re.split(r"(?:\r\n|\n|\r(?!\n)){2}", self._pending + text)
        self._pending = rest if len(rest) <= MOST_EVENT_CHARACTERS else ""
        for event in events:
            self.text = self.text or _event_error(event)


def _event_error(event: str) -> str:
    """Return the error that a server-sent event tells of, empty where it tells of none."""
    fields = [line.partition(":")[::2] for line in event.splitlines()]
    data = "\n".join(value.removeprefix(" ") for name, value in fields if name == "data")
    named = any(name == "event" and value.strip() == "error" for name, value in fields)
    try:
        value = json.loads(data)
    except ValueError:
        return data if named else ""
    if named or (isinstance(value, dict) and (value.get("error") or value.get("type") == "error")):
        return error_text(value)
    return ""


def error_text(value: Any) -> str:
    """Return an error of any of the dialects as text: its message, and the traceback if there is one."""
    if not isinstance(value, dict):
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    inner = value.get("error", value.get("message", value.get("detail", value)))
    if isinstance(inner, dict):
        message = inner.get("message", json.dumps(inner, ensure_ascii=False))
        trace = inner.get("traceback", value.get("traceback"))
    else:
        message, trace = inner, value.get("traceback")
    text = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
    if not isinstance(trace, str):
        return text
    # The last line of a traceback is the message again.
    return trace.rstrip() if text.partition("\n")[0] in trace else f"{text}\n{trace.rstrip()}"


def error_body_text(body: bytes) -> str:
    """Return what the body of an error answer says."""
    text = body.decode("utf-8", "replace").strip()
    with contextlib.suppress(ValueError):
        text = error_text(json.loads(text))
    cut = len(text) - MOST_ERROR_CHARACTERS
    return text if cut <= 0 else f"{text[:MOST_ERROR_CHARACTERS]}\n[{cut} characters cut]"


def pretty_json(body: bytes) -> str:
    """Return JSON for people; what is no JSON comes back as text."""
    text = body.decode("utf-8", "replace")
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text
