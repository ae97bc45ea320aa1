"""What a request asks for, read once from its headers."""

from __future__ import annotations

import os
from itertools import chain, count
from typing import TYPE_CHECKING

from truss_server.edge.dialects import PLAIN
from truss_server.edge.errors import AnswerError, too_large

if TYPE_CHECKING:
    from truss_server.edge.asgi import Scope
    from truss_server.edge.dialects import Dialect

_DEADLINES = (b"x-request-timeout", b"x-stainless-timeout", b"x-stainless-read-timeout")
"""Headers in which a client says how many seconds it will wait; the latter two are sent by OpenAI's and Anthropic's."""

_JSON = b"application/json"
_MSGPACK = b"application/octet-stream"

_SELDOM = frozenset([b"traceparent", b"x-baseten-request-id", b"x-request-id", *_DEADLINES])
"""Headers that most requests have none of."""

HEAD_LIMIT = 64 * 1024
"""Bytes of a request's head; a frame, too, has its limit."""

_numbers = count(1)
_prefix = os.urandom(6).hex()


class Ask:
    """The headers of a request, as far as they decide how it is answered.

    Args:
        scope: ASGI scope.
        dialect: Of its route.

    Attributes:
        dialect: Of its route.
        request_id: Given (`x-request-id`, `x-baseten-request-id`) or made.
        traceparent: W3C trace context, empty where the client sent none.
        binary: Whether the body is msgpack and the answer shall be.
        framing: How objects of a stream are to become bytes.
        gather: Whether a stream is to be collected into one JSON document.
        deadline: Seconds the client will wait, None where it does not say.
    """

    __slots__ = (
        "_scope",
        "binary",
        "deadline",
        "dialect",
        "framing",
        "gather",
        "request_id",
        "traceparent",
    )

    def __init__(self, scope: Scope, dialect: Dialect) -> None:
        self._scope = scope
        self.dialect = dialect
        headers: dict[bytes, bytes] = dict(scope["headers"])
        content_type = headers.get(b"content-type", _JSON)
        self.binary = content_type != _JSON and _media_type(content_type) == _MSGPACK
        self.framing = dialect.framing
        self.gather = False
        if dialect is PLAIN:
            self._read_accept(headers)
        self.request_id = self.traceparent = ""
        self.deadline: float | None = None
        if not _SELDOM.isdisjoint(headers):
            self._read_seldom(headers)
        self.request_id = self.request_id or f"{_prefix}{next(_numbers):08x}"

    def _read_accept(self, headers: dict[bytes, bytes]) -> None:
        accept = headers.get(b"accept", b"")
        if self.binary:
            self.framing = "binary"
        elif b"text/event-stream" in accept:
            self.framing = "sse"
        # Truss's rule, which its clients rely on: who accepts nothing but JSON gets a stream as one JSON document.
        self.gather = accept == _JSON and b"openai" not in headers.get(b"user-agent", b"").lower()

    def _read_seldom(self, headers: dict[bytes, bytes]) -> None:
        given = headers.get(b"x-request-id") or headers.get(b"x-baseten-request-id", b"")
        self.request_id = _text(given)[:128]
        self.traceparent = _text(headers.get(b"traceparent", b""))[:128]
        self.deadline = next(filter(None, (_seconds(headers.get(name)) for name in _DEADLINES)), None)

    @property
    def log_fields(self) -> dict[str, str]:
        """What a log record of the request says of it."""
        fields = {"request_id": self.request_id}
        if self.traceparent:
            fields["traceparent"] = self.traceparent
        return fields

    def check_size(self, limit: int) -> None:
        """Refuse what its head alone shows to be too large.

        Raises:
            AnswerError: 413 or 431.
        """
        self.check_head()
        length = dict(self._scope["headers"]).get(b"content-length", b"")
        if length.isdigit() and int(length) > limit:
            raise too_large(limit)

    def check_head(self) -> None:
        """Refuse a head that is too large.

        Raises:
            AnswerError: 431.
        """
        scope = self._scope
        if sum(map(len, chain.from_iterable(scope["headers"])), len(scope["query_string"])) > HEAD_LIMIT:
            raise AnswerError(431, f"the request's head is larger than {HEAD_LIMIT} bytes")


def _media_type(content_type: bytes) -> bytes:
    return content_type.partition(b";")[0].strip().lower()


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
