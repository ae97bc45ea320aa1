"""How a request ends that is not answered by the model."""

from __future__ import annotations

from typing import Any

GONE = 499
"""Status, in logs and metrics, of a request whose client left before its answer began."""


class AnswerError(Exception):
    """Ends a request with an error status.

    Args:
        status: HTTP status.
        message: Text, or any JSON value.
        headers: More response headers.
        extra: More members of the error body.
        of_model: Whether the model's code is why.
    """

    def __init__(
        self,
        status: int,
        message: Any,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        extra: dict[str, Any] | None = None,
        *,
        of_model: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers
        self.extra = extra or {}
        self.of_model = of_model


def too_large(limit: int) -> AnswerError:
    """Return the error for a body over the limit.

    The connection stays open: the rest of the body is read and thrown away, or else a client that is still sending
    would meet a reset connection before it sees this answer.
    """
    return AnswerError(413, f"the request body is larger than {limit} bytes")


def gone() -> AnswerError:
    """Return the error for a client that left."""
    return AnswerError(GONE, "the client left before its request was answered")
