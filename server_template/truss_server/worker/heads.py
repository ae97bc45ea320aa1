"""What an author says of a response (status and headers) as far as HTTP can carry it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from truss_server.worker.encode import UnsendableError

if TYPE_CHECKING:
    from collections.abc import Iterable

OURS = frozenset(["x-request-id", "x-truss-generation"])
"""Headers that the server gives every answer; an author's own would make two of them."""

_BODILESS = (204, 304)
_STATUSES = range(200, 600)  # of those below, which end no request, and above none is HTTP's
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[^\r\n\0]*")


class Head:
    """Status and headers of a response, and what they promise of its body.

    Args:
        status: As the author gave it.
        headers: Likewise.

    Attributes:
        status: For the edge.
        headers: For the edge, without those that it makes itself.

    Raises:
        UnsendableError: No answer can begin like this.
    """

    def __init__(self, status: Any, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.status = int(status)
        if self.status not in _STATUSES:
            raise UnsendableError(f"its status is {self.status}; a response has one from 200 to 599")
        self.headers: list[tuple[bytes, bytes]] = []
        self._length: int | None = None
        self._sent = 0
        for name, value in headers:
            self._add(bytes(name), bytes(value))

    def _add(self, name: bytes, value: bytes) -> None:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise UnsendableError(f"its header {_shown(name)}: {_shown(value)} is none in HTTP")
        lower = name.lower()
        if lower == b"transfer-encoding" or lower.decode() in OURS:
            return  # how a body is framed is up to the server
        if lower == b"content-length":
            if self.status in _BODILESS:
                return
            if not value.isdigit() or self._length is not None:
                raise UnsendableError(f"its content-length {_shown(value)} is none, or one of several")
            self._length = int(value)
        self.headers.append((name, value))

    def body(self, data: bytes, *, last: bool) -> bytes:
        """Return the next bytes of the body as they may be sent: none where the status allows none.

        Raises:
            UnsendableError: They are not what the content-length says.
        """
        if self.status in _BODILESS:
            return b""
        self._sent += len(data)
        if self._length is not None and (self._sent > self._length or (last and self._sent < self._length)):
            than = "more" if self._sent > self._length else "less"
            raise UnsendableError(f"its body is {than} than the {self._length} bytes of its content-length")
        return data


def _shown(data: bytes) -> str:
    return repr(data[:100].decode("latin-1"))
