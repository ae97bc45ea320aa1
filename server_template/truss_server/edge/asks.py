"""What a request asks for, read once from its headers."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

from truss_server.edge.client import AnswerError, too_large
from truss_server.edge.dialects import PLAIN

if TYPE_CHECKING:
    from truss_server.edge.asgi import Scope
    from truss_server.edge.dialects import Dialect

_DEADLINES = (b"x-request-timeout", b"x-stainless-timeout", b"x-stainless-read-timeout")
"""Headers in which a client says how many seconds it will wait; the latter two are sent by OpenAI's and Anthropic's."""

HEAD_LIMIT = 64 * 1024
"""Bytes of a request's head; a frame, too, has its limit."""

_numbers = itertools.count(1)
_prefix = os.urandom(6).hex()


class Ask:
    """The headers of a request, as far as they decide how it is answered.

    Args:
        scope: ASGI scope.
        dialect: Of its route.

    Attributes:
        request_id: Given (`x-request-id`, `x-baseten-request-id`) or made.
        traceparent: W3C trace context, empty where the client sent none.
        binary: Whether the body is msgpack and the answer shall be.
        framing: How objects of a stream are to become bytes.
        gather: Whether a stream is to be collected into one JSON document.
        deadline: Seconds the client will wait, None where it does not say.
    """

    __slots__ = ("_head", "_length", "binary", "deadline", "framing", "gather", "request_id", "traceparent")

    def __init__(self, scope: Scope, dialect: Dialect) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        given = headers.get(b"x-request-id") or headers.get(b"x-baseten-request-id")
        self.request_id = _text(given)[:128] if given else f"{_prefix}{next(_numbers):08x}"
        self.traceparent = _text(headers.get(b"traceparent", b""))[:128]
        self.binary = _media_type(headers.get(b"content-type", b"")) == b"application/octet-stream"
        accept = headers.get(b"accept", b"")
        self.gather = False
        self.framing = dialect.framing
        if dialect is PLAIN:
            if self.binary:
                self.framing = "binary"
            elif b"text/event-stream" in accept:
                self.framing = "sse"
            # Truss's rule, which its clients rely on: who accepts nothing but JSON gets a stream as one JSON document.
            self.gather = (
                accept == b"application/json" and b"openai" not in headers.get(b"user-agent", b"").lower()
            )
        length = headers.get(b"content-length", b"0")
        self._length = int(length) if length.isdigit() else 0
        self._head = sum(len(name) + len(value) for name, value in scope["headers"]) + len(
            scope["query_string"]
        )
        self.deadline = next(filter(None, (_seconds(headers.get(name)) for name in _DEADLINES)), None)

    def check_size(self, limit: int) -> None:
        """Refuse what its head alone shows to be too large.

        Raises:
            AnswerError: 413 or 431.
        """
        if self._head > HEAD_LIMIT:
            raise AnswerError(431, f"the request's head is larger than {HEAD_LIMIT} bytes")
        if self._length > limit:
            raise too_large(limit)


def _media_type(content_type: bytes) -> bytes:
    return content_type.partition(b";")[0].strip().lower() if content_type else b""


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _seconds(value: bytes | None) -> float | None:
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        return None
    return seconds if 0 < seconds < float("inf") else None
